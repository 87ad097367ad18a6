//! Pooling over NHWC tensors.

use crate::infer::{Ctx, TensorType, window_dim};
use crate::{Activation, Result, Shape};

/// What [`Pool2d`] takes of each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest element.
    Max,
    /// The mean.
    Average {
        /// Padding counts as zeros in the mean.
        count_include_pad: bool,
    },
}

/// Pooling. Input `[N, H, W, C]`, output `[N, H', W', C]`. A "ceil" output size is expressed by
/// larger bottom and right padding, which `count_include_pad` does not count beyond
/// `counted_padding`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Maximum or average.
    pub kind: PoolKind,
    /// Window `[height, width]`.
    pub kernel: [usize; 2],
    /// Strides `[height, width]`.
    pub stride: [usize; 2],
    /// Dilations `[height, width]`.
    pub dilation: [usize; 2],
    /// Padding `[top, left, bottom, right]`, all of it.
    pub padding: [usize; 4],
    /// Bottom and right padding that `count_include_pad` counts (`[bottom, right]`); smaller than
    /// `padding` only where the source rounded its output size up.
    pub counted_padding: [usize; 2],
    /// Fused activation.
    pub activation: Activation,
}

impl Pool2d {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        if self.stride.contains(&0) || self.dilation.contains(&0) {
            return Err(ctx.bad_attribute("strides and dilations must be at least 1"));
        }
        let x = ctx.ranked(0, 4)?;
        let size = |axis: usize| {
            let pads = (self.padding[axis], self.padding[axis + 2]);
            window_dim(&x.shape.0[1 + axis], self.kernel[axis], self.stride[axis], self.dilation[axis], pads)
                .ok_or_else(|| ctx.bad_shape(x, format!("a window of {:?} does not fit", self.kernel)))
        };
        ctx.like_input(Shape(vec![x.shape.0[0].clone(), size(0)?, size(1)?, x.shape.0[3].clone()]))
    }
}
