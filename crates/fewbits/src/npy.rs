//! Tensors as `.npy` files (NumPy's format 1.0).

use fewbits_graph::{DType, Tensor};

/// The bytes of an `.npy` file that holds `tensor`. Packed 4-bit integers become `int8`.
pub fn to_npy(tensor: &Tensor) -> Vec<u8> {
    let unpacked: Vec<u8>;
    let (descr, data) = match tensor.dtype() {
        DType::F32 => ("<f4", tensor.bytes()),
        DType::F16 => ("<f2", tensor.bytes()),
        DType::F64 => ("<f8", tensor.bytes()),
        DType::I8 => ("|i1", tensor.bytes()),
        DType::U8 => ("|u1", tensor.bytes()),
        DType::I16 => ("<i2", tensor.bytes()),
        DType::I32 => ("<i4", tensor.bytes()),
        DType::I64 => ("<i8", tensor.bytes()),
        DType::Bool => ("|b1", tensor.bytes()),
        DType::I4 => {
            // Values of −8…7 are whole numbers in f32 and in i8.
            unpacked = tensor.to_f32().iter().flat_map(|&v| (v as i8).to_le_bytes()).collect();
            ("|i1", unpacked.as_slice())
        }
    };
    let extents: String = tensor.shape().iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", extents.trim_end());
    // The data start at a multiple of 64; the header ends in a newline.
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let start = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64);
    let length = start - MAGIC.len() - 2;
    header.extend(std::iter::repeat_n(' ', length - header.len() - 1));
    header.push('\n');
    let mut bytes = Vec::with_capacity(start + data.len());
    bytes.extend_from_slice(MAGIC);
    // Ranks are small numbers: the header stays far below the 65,535 bytes of format 1.0.
    bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_data::{ArrayData, DType as DataType, Dataset, InputSpec, OpenOptions};

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        std::fs::write(&path, to_npy(&Tensor::new(vec![2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.5]))).unwrap();
        let spec = InputSpec::new("x", DataType::F32, vec![None, Some(3)]);
        let data = Dataset::open(&path, &[spec], &OpenOptions::default()).unwrap();
        assert_eq!(data.len(), 2);
        assert_eq!(data.sample(1).unwrap().inputs[0].data, ArrayData::F32(vec![4.0, 5.0, 6.5]));
    }

    #[test]
    fn header_is_aligned_for_every_rank() {
        for rank in 0..6 {
            let bytes = to_npy(&Tensor::new(vec![1; rank], vec![7i8]));
            assert_eq!(bytes.len() % 64, 1);
            assert_eq!(bytes.last(), Some(&7));
            assert_eq!(bytes[bytes.len() - 2], b'\n');
        }
        let scalar = to_npy(&Tensor::scalar(1i64));
        assert!(String::from_utf8_lossy(&scalar).contains("'shape': (), }"));
        let vector = to_npy(&Tensor::new(vec![2], vec![1u8, 2]));
        assert!(String::from_utf8_lossy(&vector).contains("'shape': (2,), }"));
    }
}
