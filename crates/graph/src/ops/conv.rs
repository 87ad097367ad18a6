//! Convolutions over NHWC tensors.
//!
//! Padding is `[top, left, bottom, right]`; strides and dilations are `[height, width]`.

use crate::infer::{Ctx, TensorType, window_dim};
use crate::{Activation, Dim, Result, Shape, SymInt};

/// 2-D convolution.
///
/// Inputs: `x` `[N, H, W, C]`; `weights` `[O, kh, kw, C / groups]`; optional `bias` `[O]`.
/// Output: `[N, H', W', O]`. Output channel `o` reads the input channels of group
/// `o / (O / groups)`. One-dimensional convolutions are stored with `H = 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Zero padding (the input's zero point when quantized).
    pub padding: [usize; 4],
    /// Groups.
    pub groups: usize,
    /// Fused activation.
    pub activation: Activation,
}

/// Depthwise convolution.
///
/// Inputs: `x` `[N, H, W, C]`; `weights` `[1, kh, kw, C × multiplier]`; optional `bias`
/// `[C × multiplier]`. Output: `[N, H', W', C × multiplier]`; output channel `o` reads input
/// channel `o / multiplier`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepthwiseConv2d {
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Zero padding.
    pub padding: [usize; 4],
    /// Output channels for each input channel.
    pub multiplier: usize,
    /// Fused activation.
    pub activation: Activation,
}

/// Transposed convolution.
///
/// Inputs: `x` `[N, H, W, C]`; `weights` `[O, kh, kw, C / groups]` (input and output roles as in
/// [`Conv2d`]: `O` is the number of channels of the output); optional `bias` `[O]`. Output
/// `[N, H', W', O]` with `H' = (H − 1) × stride + dilation × (kh − 1) + 1 + output_padding − top − bottom`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// Strides.
    pub stride: [usize; 2],
    /// Dilations.
    pub dilation: [usize; 2],
    /// Rows and columns cut off the full result.
    pub padding: [usize; 4],
    /// Rows and columns added at the bottom and right.
    pub output_padding: [usize; 2],
    /// Groups.
    pub groups: usize,
    /// Fused activation.
    pub activation: Activation,
}

fn check_windows(ctx: &Ctx<'_>, stride: [usize; 2], dilation: [usize; 2]) -> Result<()> {
    if stride.contains(&0) || dilation.contains(&0) {
        return Err(ctx.bad_attribute("strides and dilations must be at least 1"));
    }
    Ok(())
}

fn check_bias(ctx: &Ctx<'_>, channels: usize) -> Result<()> {
    match ctx.optional(2) {
        Some(bias) if bias.shape.elements() != Some(channels) => {
            Err(ctx.bad_shape(bias, format!("expected a bias of {channels} elements")))
        }
        _ => Ok(()),
    }
}

/// `[H', W']` of a window of `kernel` over input 0.
fn output_size(
    ctx: &Ctx<'_>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
) -> Result<[Dim; 2]> {
    let x = ctx.ranked(0, 4)?;
    let size = |axis: usize| {
        let pads = (padding[axis], padding[axis + 2]);
        window_dim(&x.shape.0[1 + axis], kernel[axis], stride[axis], dilation[axis], pads)
            .ok_or_else(|| ctx.bad_shape(x, format!("a kernel of {kernel:?} with dilation {dilation:?} does not fit")))
    };
    Ok([size(0)?, size(1)?])
}

impl Conv2d {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        check_windows(ctx, self.stride, self.dilation)?;
        let (x, w) = (ctx.ranked(0, 4)?, ctx.ranked(1, 4)?);
        let out_channels = ctx.fixed_dim(w, 0)?;
        let (kh, kw, per_group) = (ctx.fixed_dim(w, 1)?, ctx.fixed_dim(w, 2)?, ctx.fixed_dim(w, 3)?);
        if self.groups == 0 || !out_channels.is_multiple_of(self.groups) {
            return Err(
                ctx.bad_attribute(format!("{} groups do not divide {out_channels} output channels", self.groups))
            );
        }
        if let Some(channels) = x.shape.0[3].fixed()
            && Some(channels) != per_group.checked_mul(self.groups)
        {
            let what = format!("expected {per_group} × {} input channels", self.groups);
            return Err(ctx.bad_shape(x, what));
        }
        check_bias(ctx, out_channels)?;
        let [h, wd] = output_size(ctx, [kh, kw], self.stride, self.dilation, self.padding)?;
        ctx.like_input(Shape(vec![x.shape.0[0].clone(), h, wd, Dim::Fixed(out_channels)]))
    }
}

impl DepthwiseConv2d {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        check_windows(ctx, self.stride, self.dilation)?;
        let (x, w) = (ctx.ranked(0, 4)?, ctx.ranked(1, 4)?);
        let (kh, kw, out_channels) = (ctx.fixed_dim(w, 1)?, ctx.fixed_dim(w, 2)?, ctx.fixed_dim(w, 3)?);
        if ctx.fixed_dim(w, 0)? != 1 {
            return Err(ctx.bad_shape(w, "expected a leading dimension of 1"));
        }
        if let Some(channels) = x.shape.0[3].fixed()
            && Some(out_channels) != channels.checked_mul(self.multiplier)
        {
            let what = format!("expected {out_channels} / {} input channels", self.multiplier);
            return Err(ctx.bad_shape(x, what));
        }
        check_bias(ctx, out_channels)?;
        let [h, wd] = output_size(ctx, [kh, kw], self.stride, self.dilation, self.padding)?;
        ctx.like_input(Shape(vec![x.shape.0[0].clone(), h, wd, Dim::Fixed(out_channels)]))
    }
}

impl ConvTranspose2d {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        check_windows(ctx, self.stride, self.dilation)?;
        let (x, w) = (ctx.ranked(0, 4)?, ctx.ranked(1, 4)?);
        let out_channels = ctx.fixed_dim(w, 0)?;
        let (kernel, per_group) = ([ctx.fixed_dim(w, 1)?, ctx.fixed_dim(w, 2)?], ctx.fixed_dim(w, 3)?);
        if self.groups == 0 || !out_channels.is_multiple_of(self.groups) {
            return Err(
                ctx.bad_attribute(format!("{} groups do not divide {out_channels} output channels", self.groups))
            );
        }
        if let Some(channels) = x.shape.0[3].fixed()
            && Some(channels) != per_group.checked_mul(self.groups)
        {
            let what = format!("expected {per_group} × {} input channels", self.groups);
            return Err(ctx.bad_shape(x, what));
        }
        check_bias(ctx, out_channels)?;
        let size = |axis: usize| match &x.shape.0[1 + axis] {
            Dim::Fixed(n) => self.output_dim(*n, kernel[axis], axis).map(Dim::Fixed),
            // One element gives the constant part, each further one adds a stride.
            size => {
                let one = i64::try_from(self.output_dim(1, kernel[axis], axis)?).ok()?;
                let stride = SymInt::Known(i64::try_from(self.stride[axis]).ok()?);
                SymInt::from(size).sub(&SymInt::Known(1)).mul(&stride).add(&SymInt::Known(one)).to_dim()
            }
        };
        let size = |axis| size(axis).ok_or_else(|| ctx.bad_shape(x, "the output size is not a positive number"));
        ctx.like_input(Shape(vec![x.shape.0[0].clone(), size(0)?, size(1)?, Dim::Fixed(out_channels)]))
    }

    /// Output size along `axis` (0 height, 1 width); `None` if it is not positive.
    fn output_dim(&self, size: usize, kernel: usize, axis: usize) -> Option<usize> {
        let span = size.checked_sub(1)?.checked_mul(self.stride[axis])?;
        let extent = kernel.checked_sub(1)?.checked_mul(self.dilation[axis])?.checked_add(1)?;
        let full = span.checked_add(extent)?.checked_add(self.output_padding[axis])?;
        full.checked_sub(self.padding[axis].checked_add(self.padding[axis + 2])?).filter(|&n| n > 0)
    }
}
