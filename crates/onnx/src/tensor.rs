//! ONNX tensors ⇄ [`Tensor`].

use std::sync::Arc;

use fewbits_graph::{DType, Shape, Tensor, TensorBytes};
use half::{bf16, f16};

use crate::proto::{TensorProto, data_type};
use crate::storage::External;
use crate::{Error, Result};

/// The graph's element type for an ONNX one. bfloat16 and float64 become float32, unsigned
/// integers wider than 8 bits the next wider signed type that holds them (uint64: int64, checked).
pub(crate) fn dtype(code: i32) -> Option<DType> {
    Some(match code {
        data_type::FLOAT | data_type::DOUBLE | data_type::BFLOAT16 => DType::F32,
        data_type::FLOAT16 => DType::F16,
        data_type::UINT8 => DType::U8,
        data_type::INT8 => DType::I8,
        data_type::INT16 => DType::I16,
        data_type::INT32 | data_type::UINT16 => DType::I32,
        data_type::INT64 | data_type::UINT32 | data_type::UINT64 => DType::I64,
        data_type::BOOL => DType::Bool,
        data_type::INT4 => DType::I4,
        _ => return None,
    })
}

/// The ONNX code of an element type.
pub(crate) fn code(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => data_type::FLOAT,
        DType::F16 => data_type::FLOAT16,
        DType::F64 => data_type::DOUBLE,
        DType::I8 => data_type::INT8,
        DType::U8 => data_type::UINT8,
        DType::I16 => data_type::INT16,
        DType::I32 => data_type::INT32,
        DType::I64 => data_type::INT64,
        DType::I4 => data_type::INT4,
        DType::Bool => data_type::BOOL,
    }
}

/// The tensor that a message holds. Elements of raw or external data are not copied.
pub(crate) fn read(proto: &TensorProto, external: &External) -> Result<Tensor> {
    let bad = |what: String| Error::tensor(&proto.name, what);
    let shape: Vec<usize> = proto
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| bad(format!("dimension {d} is negative"))))
        .collect::<Result<_>>()?;
    let elements = Shape::fixed(&shape).elements();
    let elements = elements.ok_or_else(|| bad(format!("the size of shape {shape:?} overflows")))?;
    let raw = match (proto.data_location, &proto.raw_data) {
        (Some(1), _) => Some(external.bytes(proto)?),
        (_, Some(raw)) if !raw.is_empty() || elements == 0 => Some(raw.clone()),
        _ => None,
    };
    let tensor = match raw {
        Some(raw) => read_raw(proto.data_type, shape.clone(), elements, raw),
        None => read_typed(proto, &shape, elements),
    };
    tensor.map_err(|what| bad(format!("{what} (type {}, shape {shape:?})", proto.data_type)))
}

/// Checked little-endian words of `N` bytes.
fn words<const N: usize>(raw: &[u8], elements: usize) -> std::result::Result<Vec<[u8; N]>, String> {
    let (words, rest) = raw.as_chunks::<N>();
    if words.len() != elements || !rest.is_empty() {
        return Err(format!("{} bytes of data for {elements} elements of {N}", raw.len()));
    }
    Ok(words.to_vec())
}

fn read_raw(code: i32, shape: Vec<usize>, elements: usize, raw: bytes::Bytes) -> std::result::Result<Tensor, String> {
    match code {
        data_type::DOUBLE => {
            let data = words::<8>(&raw, elements)?.into_iter().map(|w| f64::from_le_bytes(w) as f32).collect();
            return Ok(Tensor::new::<f32>(shape, data));
        }
        data_type::BFLOAT16 => {
            let data = words::<2>(&raw, elements)?.into_iter().map(|w| bf16::from_le_bytes(w).to_f32()).collect();
            return Ok(Tensor::new::<f32>(shape, data));
        }
        data_type::UINT16 => {
            let data = words::<2>(&raw, elements)?.into_iter().map(|w| i32::from(u16::from_le_bytes(w))).collect();
            return Ok(Tensor::new::<i32>(shape, data));
        }
        data_type::UINT32 => {
            let data = words::<4>(&raw, elements)?.into_iter().map(|w| i64::from(u32::from_le_bytes(w))).collect();
            return Ok(Tensor::new::<i64>(shape, data));
        }
        data_type::UINT64 => {
            let data = words::<8>(&raw, elements)?.into_iter().map(|w| signed(u64::from_le_bytes(w)));
            return Ok(Tensor::new::<i64>(shape, data.collect::<std::result::Result<_, _>>()?));
        }
        _ => {}
    }
    let dtype = dtype(code).ok_or("unsupported element type")?;
    if dtype == DType::Bool && raw.iter().any(|&b| b > 1) {
        return Err("a boolean is neither 0 nor 1".to_owned());
    }
    let len = raw.len();
    let bytes = TensorBytes::shared(Arc::new(raw), 0, len);
    let tensor = bytes.and_then(|bytes| Tensor::from_bytes(dtype, shape, bytes));
    tensor.ok_or_else(|| format!("{len} bytes of data for {elements} elements of {dtype}"))
}

fn signed(n: u64) -> std::result::Result<i64, String> {
    i64::try_from(n).map_err(|_| format!("{n} is too large for int64"))
}

/// Elements of the typed fields.
fn read_typed(proto: &TensorProto, shape: &[usize], elements: usize) -> std::result::Result<Tensor, String> {
    let check = |got: usize| match got == elements {
        true => Ok(()),
        false => Err(format!("{got} elements present, {elements} declared")),
    };
    let shape = shape.to_vec();
    macro_rules! narrow {
        ($t:ty) => {{
            check(proto.int32_data.len())?;
            let data: std::result::Result<Vec<$t>, _> = proto.int32_data.iter().map(|&v| <$t>::try_from(v)).collect();
            Tensor::new(shape, data.map_err(|_| "an element is out of its type's range".to_owned())?)
        }};
    }
    let halves = || -> std::result::Result<Vec<u16>, String> {
        check(proto.int32_data.len())?;
        let bits = proto.int32_data.iter().map(|&v| u16::try_from(v));
        bits.collect::<std::result::Result<_, _>>().map_err(|_| "an element is no 16-bit pattern".to_owned())
    };
    Ok(match proto.data_type {
        data_type::FLOAT => {
            check(proto.float_data.len())?;
            Tensor::new(shape, proto.float_data.clone())
        }
        data_type::DOUBLE => {
            check(proto.double_data.len())?;
            Tensor::new(shape, proto.double_data.iter().map(|&v| v as f32).collect())
        }
        data_type::FLOAT16 => Tensor::new(shape, halves()?.into_iter().map(f16::from_bits).collect()),
        data_type::BFLOAT16 => Tensor::new(shape, halves()?.into_iter().map(|b| bf16::from_bits(b).to_f32()).collect()),
        data_type::INT8 => narrow!(i8),
        data_type::UINT8 => narrow!(u8),
        data_type::INT16 => narrow!(i16),
        data_type::INT32 | data_type::UINT16 => narrow!(i32),
        data_type::BOOL => {
            check(proto.int32_data.len())?;
            Tensor::from_bools(shape, &proto.int32_data.iter().map(|&v| v != 0).collect::<Vec<_>>())
        }
        data_type::INT64 => {
            check(proto.int64_data.len())?;
            Tensor::new(shape, proto.int64_data.clone())
        }
        data_type::UINT32 | data_type::UINT64 => {
            check(proto.uint64_data.len())?;
            let data = proto.uint64_data.iter().map(|&v| signed(v));
            Tensor::new(shape, data.collect::<std::result::Result<_, _>>()?)
        }
        data_type::INT4 => {
            let bytes = proto.int32_data.iter().map(|&v| u8::try_from(v & 0xff));
            let bytes: Vec<u8> = bytes.collect::<std::result::Result<_, _>>().map_err(|e| e.to_string())?;
            Tensor::from_bytes(DType::I4, shape, TensorBytes::from(bytes))
                .ok_or_else(|| format!("packed data does not hold {elements} elements"))?
        }
        _ => return Err("unsupported element type".to_owned()),
    })
}

/// The message for a tensor.
pub(crate) fn write(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    let dims = tensor.shape().iter().map(|&d| i64::try_from(d));
    let dims = dims.collect::<std::result::Result<_, _>>().map_err(|e| Error::tensor(name, e.to_string()))?;
    Ok(TensorProto {
        name: name.to_owned(),
        dims,
        data_type: code(tensor.dtype()),
        raw_data: Some(bytes::Bytes::copy_from_slice(tensor.bytes())),
        ..TensorProto::default()
    })
}
