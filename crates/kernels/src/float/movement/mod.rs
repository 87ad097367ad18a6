//! Data movement, generic over the element: anything `Copy`, so every dtype shares one kernel.

mod gather;
mod join;
mod order;
mod pad;
mod select;
mod view;

pub use gather::{gather, gather_elements, gather_nd, scatter_elements, scatter_nd};
pub use join::{concat, split};
pub use order::{ArgOrder, TopK, arg_extreme, cumsum, top_k};
pub use pad::{PadMode, pad};
pub use select::{one_hot, range_f32, range_i64, select};
pub use view::{CopyPlan, View};

use std::fmt;

/// An index read from a tensor does not exist in the tensor it points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexError {
    /// The index as read.
    pub index: i64,
    /// Length of the axis it points into.
    pub len: usize,
    /// Position of the index in the index tensor.
    pub position: usize,
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, len, position } = self;
        write!(f, "index {index} (element {position} of the indices) is outside an axis of length {len}")
    }
}

impl std::error::Error for IndexError {}

/// The axis position that `index` means, counting negative ones from the end.
fn resolve(index: i64, len: usize, position: usize) -> Result<usize, IndexError> {
    let wrapped = if index < 0 { i128::from(index) + len as i128 } else { i128::from(index) };
    match usize::try_from(wrapped) {
        Ok(i) if i < len => Ok(i),
        _ => Err(IndexError { index, len, position }),
    }
}
