//! Constant tensors.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytemuck::Pod;
use half::f16;

use crate::DType;
use crate::shape::element_count;

/// Immutable bytes, shared and possibly borrowed from a memory-mapped file.
#[derive(Clone)]
pub struct TensorBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
    len: usize,
}

impl TensorBytes {
    /// The bytes `start..start + len` of `owner`, without a copy; `None` if out of bounds.
    pub fn shared(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, start: usize, len: usize) -> Option<Self> {
        let all = (*owner).as_ref().len();
        (start.checked_add(len)? <= all).then_some(TensorBytes { owner, start, len })
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.start..self.start + self.len]
    }
}

impl From<Vec<u8>> for TensorBytes {
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        TensorBytes { owner: Arc::new(bytes), start: 0, len }
    }
}

/// Keeps a typed vector alive as bytes, so that its alignment survives.
struct Typed<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Typed<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A dense row-major constant. Cloning shares the bytes.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: TensorBytes,
}

/// Element types that a [`Tensor`] holds one-to-one.
pub trait Element: Pod + Send + Sync {
    /// The matching [`DType`].
    const DTYPE: DType;
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
element!(f32 => F32, f16 => F16, f64 => F64, i8 => I8, u8 => U8, i16 => I16, i32 => I32, i64 => I64);

impl Tensor {
    /// A tensor over existing bytes (little-endian); `None` if their number does not fit the
    /// type and shape.
    pub fn from_bytes(dtype: DType, shape: Vec<usize>, bytes: TensorBytes) -> Option<Self> {
        let elements = element_count(&shape)?;
        (dtype.byte_len(elements)? == bytes.len).then_some(Tensor { dtype, shape, bytes })
    }

    /// A tensor that owns `data`.
    ///
    /// # Panics
    /// If `data.len()` is not the product of `shape`.
    pub fn new<T: Element>(shape: Vec<usize>, data: Vec<T>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "data does not fill shape {shape:?}");
        let len = std::mem::size_of_val(data.as_slice());
        let bytes = TensorBytes { owner: Arc::new(Typed(data)), start: 0, len };
        Tensor { dtype: T::DTYPE, shape, bytes }
    }

    /// A boolean tensor, one byte an element.
    ///
    /// # Panics
    /// If `data.len()` is not the product of `shape`.
    pub fn from_bools(shape: Vec<usize>, data: &[bool]) -> Self {
        let mut t = Tensor::new(shape, data.iter().map(|&b| u8::from(b)).collect::<Vec<_>>());
        t.dtype = DType::Bool;
        t
    }

    /// A tensor without axes.
    pub fn scalar<T: Element>(value: T) -> Self {
        Tensor::new(Vec::new(), vec![value])
    }

    /// A vector of `int64`, the usual form of shapes and axes.
    pub fn from_ints(data: &[i64]) -> Self {
        Tensor::new(vec![data.len()], data.to_vec())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The elements as `T`, copied only if a memory-mapped file left them unaligned; `None` if the
    /// tensor holds another type. `Bool` tensors are read as `u8`.
    pub fn as_slice<T: Element>(&self) -> Option<Cow<'_, [T]>> {
        let same = self.dtype == T::DTYPE || (self.dtype == DType::Bool && T::DTYPE == DType::U8);
        same.then(|| match bytemuck::try_cast_slice(self.bytes()) {
            Ok(s) => Cow::Borrowed(s),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(self.bytes())),
        })
    }

    /// Every element converted to `f32` as a plain number (quantization is not applied).
    pub fn to_f32(&self) -> Vec<f32> {
        macro_rules! all {
            ($t:ty) => {
                self.as_slice::<$t>()
                    .into_iter()
                    .flat_map(|s| s.iter().map(|&v| v as f32).collect::<Vec<_>>())
                    .collect()
            };
        }
        match self.dtype {
            DType::F32 => self.as_slice::<f32>().map(Cow::into_owned).unwrap_or_default(),
            DType::F16 => self
                .as_slice::<f16>()
                .into_iter()
                .flat_map(|s| s.iter().map(|v| v.to_f32()).collect::<Vec<_>>())
                .collect(),
            DType::F64 => all!(f64),
            DType::I8 => all!(i8),
            DType::U8 | DType::Bool => all!(u8),
            DType::I16 => all!(i16),
            DType::I32 => all!(i32),
            DType::I64 => all!(i64),
            DType::I4 => self.unpack_i4().into_iter().map(f32::from).collect(),
        }
    }

    /// Every element as `i64`; `None` for floating-point tensors.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        macro_rules! all {
            ($t:ty) => {
                self.as_slice::<$t>().map(|s| s.iter().map(|&v| i64::from(v)).collect())
            };
        }
        match self.dtype {
            DType::I8 => all!(i8),
            DType::U8 | DType::Bool => all!(u8),
            DType::I16 => all!(i16),
            DType::I32 => all!(i32),
            DType::I64 => all!(i64),
            DType::I4 => Some(self.unpack_i4().into_iter().map(i64::from).collect()),
            DType::F32 | DType::F16 | DType::F64 => None,
        }
    }

    /// An `int4` tensor of `data`, packed two a byte, low nibble first; `None` if an element is outside
    /// of [−8, 7] or the shape does not fit.
    pub fn from_nibbles(shape: Vec<usize>, data: &[i8]) -> Option<Self> {
        let fits = data.iter().all(|q| (-8..=7).contains(q)) && element_count(&shape)? == data.len();
        let nibble = |q: i8| q.cast_unsigned() & 0xf;
        let pack = |pair: &[i8]| nibble(pair[0]) | pair.get(1).map_or(0, |&q| nibble(q) << 4);
        let bytes: Vec<u8> = data.chunks(2).map(pack).collect();
        fits.then(|| Tensor::from_bytes(DType::I4, shape, TensorBytes::from(bytes)))?
    }

    /// The elements of an `int8` or `int4` tensor; `None` for other types.
    pub fn signed_bytes(&self) -> Option<Cow<'_, [i8]>> {
        match self.dtype {
            DType::I4 => Some(Cow::Owned(self.unpack_i4())),
            _ => self.as_slice::<i8>(),
        }
    }

    fn unpack_i4(&self) -> Vec<i8> {
        let nibbles = self.bytes().iter().flat_map(|&b| [(b << 4).cast_signed() >> 4, b.cast_signed() >> 4]);
        nibbles.take(self.elements()).collect()
    }

    /// The same bytes under another shape; `None` if the element counts differ.
    pub fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        let elements = element_count(&shape)?;
        (elements == self.elements()).then(|| Tensor { dtype: self.dtype, shape, bytes: self.bytes.clone() })
    }

    /// A copy with axes reordered: `out.shape[i] = self.shape[perm[i]]`. `None` if `perm` is not a
    /// permutation.
    pub fn transposed(&self, perm: &[usize]) -> Option<Self> {
        let shape = crate::Shape::fixed(&self.shape).permuted(perm)?.to_fixed()?;
        if self.dtype == DType::I4 {
            // Packed elements have no byte address.
            let wide = Tensor::new(self.shape.clone(), self.unpack_i4()).transposed(perm)?;
            return Tensor::from_nibbles(shape, &wide.as_slice::<i8>()?);
        }
        let size = self.dtype.byte_len(1)?;
        let mut strides = vec![size; self.shape.len()];
        for i in (1..self.shape.len()).rev() {
            strides[i - 1] = strides[i] * self.shape[i];
        }
        let source = self.bytes();
        let mut out = Vec::with_capacity(source.len());
        let mut index = vec![0usize; shape.len()];
        for _ in 0..self.elements() {
            let at: usize = index.iter().zip(perm).map(|(i, &p)| i * strides[p]).sum();
            out.extend_from_slice(&source[at..at + size]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Tensor::from_bytes(self.dtype, shape, TensorBytes::from(out))
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?}, {} bytes)", self.dtype, self.shape, self.bytes.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_must_fill_the_shape() {
        let bytes = || TensorBytes::from(vec![0u8; 12]);
        assert!(Tensor::from_bytes(DType::F32, vec![3], bytes()).is_some());
        assert!(Tensor::from_bytes(DType::F32, vec![2], bytes()).is_none());
        assert!(Tensor::from_bytes(DType::F32, vec![usize::MAX, 2], bytes()).is_none());
        assert!(Tensor::from_bytes(DType::F32, vec![0, 1 << 40, 1 << 40], Vec::new().into()).is_none());
        // 23 packed 4-bit elements take 12 bytes.
        assert!(Tensor::from_bytes(DType::I4, vec![23], bytes()).is_some());
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(vec![0u8; 4]);
        assert!(TensorBytes::shared(owner.clone(), 2, 2).is_some());
        assert!(TensorBytes::shared(owner.clone(), 2, 3).is_none());
        assert!(TensorBytes::shared(owner, usize::MAX, 2).is_none());
    }

    #[test]
    fn unaligned_bytes_are_copied_not_refused() {
        let mut bytes = vec![0u8];
        bytes.extend([1.5f32, -2.0].iter().flat_map(|n| n.to_le_bytes()));
        let shared = TensorBytes::shared(Arc::new(bytes), 1, 8).unwrap();
        let t = Tensor::from_bytes(DType::F32, vec![2], shared).unwrap();
        assert_eq!(t.as_slice::<f32>().unwrap().as_ref(), [1.5, -2.0]);
        assert!(t.as_slice::<i32>().is_none());
    }

    #[test]
    fn nibbles_unpack_low_first_with_their_sign() {
        let t = Tensor::from_bytes(DType::I4, vec![3], TensorBytes::from(vec![0x8f, 0xf7])).unwrap();
        assert_eq!(t.to_i64(), Some(vec![-1, -8, 7]));
        assert_eq!(t.to_f32(), [-1.0, -8.0, 7.0]);
        assert_eq!(t.signed_bytes().unwrap().as_ref(), [-1, -8, 7]);
    }

    #[test]
    fn nibbles_are_packed_and_moved_as_elements() {
        let t = Tensor::from_nibbles(vec![3, 3], &[-8, 7, 0, 1, 2, 3, -1, -2, -3]).unwrap();
        assert_eq!((t.dtype(), t.bytes().len()), (DType::I4, 5));
        assert_eq!(t.transposed(&[1, 0]).unwrap().to_i64(), Some(vec![-8, 1, -1, 7, 2, -2, 0, 3, -3]));
        for (shape, data) in
            [(vec![1], vec![8]), (vec![1], vec![-9]), (vec![2], vec![0]), (vec![usize::MAX, 2], vec![])]
        {
            assert!(Tensor::from_nibbles(shape, &data).is_none());
        }
        assert_eq!(Tensor::from_nibbles(vec![0], &[]).unwrap().bytes().len(), 0);
    }

    #[test]
    fn bad_permutations_are_refused() {
        let t = Tensor::new(vec![2, 3], vec![0i8; 6]);
        for perm in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 2]] {
            assert!(t.transposed(perm).is_none(), "{perm:?}");
        }
        assert!(t.reshaped(vec![7]).is_none());
        assert!(t.reshaped(vec![usize::MAX, 2]).is_none());
        assert!(Tensor::from_ints(&[]).reshaped(vec![0, 1 << 40, 1 << 40]).is_none());
    }

    proptest! {
        #[test]
        fn transposing_moves_each_element_to_its_place(
            dims in proptest::array::uniform3(0usize..5),
            perm in Just([0usize, 1, 2]).prop_shuffle(),
        ) {
            let count = dims.iter().product::<usize>();
            let t = Tensor::new(dims.to_vec(), (0..count as i32).collect());
            let moved = t.transposed(&perm).unwrap();
            let out: Vec<i32> = moved.as_slice::<i32>().unwrap().into_owned();
            let shape = perm.map(|p| dims[p]);
            prop_assert_eq!(moved.shape(), shape);
            for i in 0..shape[0] {
                for j in 0..shape[1] {
                    for k in 0..shape[2] {
                        let mut at = [0; 3];
                        (at[perm[0]], at[perm[1]], at[perm[2]]) = (i, j, k);
                        let expected = (at[0] * dims[1] + at[1]) * dims[2] + at[2];
                        prop_assert_eq!(out[(i * shape[1] + j) * shape[2] + k], expected as i32);
                    }
                }
            }
        }
    }
}
