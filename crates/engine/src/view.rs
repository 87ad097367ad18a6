//! A tensor that is looked at while the engine runs.

use bytemuck::Pod;
use fewbits_graph::{DType, Element};

/// A value at the moment it is produced: dense, row-major, in the graph's stored layout.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// The elements, little-endian.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The elements, `None` if they are of another type. `Bool` is read as `u8`.
    pub fn as_slice<T: Element>(&self) -> Option<&'a [T]> {
        let same = self.dtype == T::DTYPE || (self.dtype == DType::Bool && T::DTYPE == DType::U8);
        same.then(|| cast(self.bytes))
    }
}

/// `bytes` as elements. The engine keeps all of its values aligned; only an empty slice may stand
/// anywhere.
pub(crate) fn cast<T: Pod>(bytes: &[u8]) -> &[T] {
    if bytes.is_empty() { &[] } else { bytemuck::cast_slice(bytes) }
}

/// As [`cast`], to write.
pub(crate) fn cast_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    if bytes.is_empty() { &mut [] } else { bytemuck::cast_slice_mut(bytes) }
}
