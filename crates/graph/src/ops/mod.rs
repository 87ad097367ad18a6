//! The operators, by family: plain structs with every attribute explicit, and their shape rules.

mod conv;
mod elementwise;
mod linear;
mod movement;
mod norm;
mod pool;
pub(crate) mod quantize;
mod reduce;
mod reshape;
mod resize;

pub use conv::{Conv2d, ConvTranspose2d, DepthwiseConv2d};
pub use elementwise::{
    Binary, BinaryKind, Cast, Compare, CompareKind, Logical, LogicalKind, PRelu, Unary, UnaryKind, Where,
};
pub use linear::{FullyConnected, MatMul};
pub use movement::{
    Concat, CumSum, DepthToSpace, Fill, Gather, GatherElements, GatherNd, OneHot, Pad, PadMode, Range, ScatterNd,
    Slice, SpaceToDepth, Split, Tile, slice_indices,
};
pub use norm::{BatchNorm, GroupNorm, L2Norm, LayerNorm};
pub use pool::{Pool2d, PoolKind};
pub use quantize::{ConvInteger, Dequantize, DynamicQuantize, FakeQuantize, MatMulInteger, Quantize, Requantize};
pub use reduce::{ArgReduce, LogSoftmax, Reduce, ReduceKind, Softmax, TopK};
pub use reshape::{Expand, Flatten, Identity, Reshape, ShapeOf, Squeeze, Transpose, Unsqueeze};
pub use resize::{Coordinates, NearestRounding, Resize, ResizeMode};

/// An activation fused into the operator before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// None.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `min(max(x, −1), 1)`.
    ReluN1To1,
}

impl Activation {
    /// The interval that the activation clamps to.
    pub fn range(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
            Activation::ReluN1To1 => (-1.0, 1.0),
        }
    }

    /// The activation that clamps to `[min, max]`, if it is one of these.
    pub fn from_range(min: f32, max: f32) -> Option<Self> {
        [Activation::None, Activation::Relu, Activation::Relu6, Activation::ReluN1To1]
            .into_iter()
            .find(|a| a.range() == (min, max))
    }
}
