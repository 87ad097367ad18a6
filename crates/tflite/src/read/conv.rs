//! Convolutions. Weights have the graph's layout already: OHWI, and 1HWC for depthwise.

use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d};

use super::context::Import;
use crate::Result;
use crate::schema::enums::{PADDING_SAME, PADDING_VALID};
use crate::schema::options::{Conv2DOptions, DepthwiseConv2DOptions, TransposeConvOptions};

/// A window that slides over the two spatial axes.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
}

/// Padding `[top, left, bottom, right]` that a file's padding code means for input 0 of size
/// `[H, W]`.
pub(super) fn padding(cx: &Import<'_>, code: i8, size: [Option<usize>; 2], window: &Window) -> Result<[usize; 4]> {
    match code {
        PADDING_VALID => return Ok([0; 4]),
        PADDING_SAME => {}
        other => return Err(cx.fail(format!("padding {other} is neither SAME nor VALID"))),
    }
    let mut padding = [0; 4];
    for axis in 0..2 {
        let (stride, extent) = (window.stride[axis], (window.kernel[axis] - 1) * window.dilation[axis] + 1);
        let total = match size[axis] {
            Some(size) => ((size.div_ceil(stride).max(1) - 1) * stride + extent).saturating_sub(size),
            // With steps of one the size cancels out.
            None if stride == 1 => extent - 1,
            None => {
                return Err(
                    cx.fail("SAME padding with strides needs a fixed height and width; export with fixed sizes")
                );
            }
        };
        padding[axis] = total / 2;
        padding[axis + 2] = total - total / 2;
    }
    Ok(padding)
}

/// `[kernel height, kernel width]` of the weights in input `i`.
fn kernel(cx: &Import<'_>, i: usize) -> Result<[usize; 2]> {
    match cx.dims4(i)? {
        [_, Some(h), Some(w), _] if h > 0 && w > 0 => Ok([h, w]),
        _ => Err(cx.fail("the weights must have a fixed, non-empty shape")),
    }
}

/// Inputs `x`, weights and, if there, bias.
fn operands(cx: &Import<'_>) -> Result<Vec<Option<fewbits_graph::ValueId>>> {
    let mut inputs = vec![Some(cx.input(0)?), Some(cx.input(1)?)];
    inputs.extend(cx.optional(2).map(Some));
    Ok(inputs)
}

pub(super) fn conv_2d(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<Conv2DOptions>()?;
    let window = Window {
        kernel: kernel(cx, 1)?,
        stride: [cx.size("stride_h", o.stride_h)?, cx.size("stride_w", o.stride_w)?],
        dilation: [cx.size("dilation_h", o.dilation_h)?, cx.size("dilation_w", o.dilation_w)?],
    };
    let [_, h, w, channels] = cx.dims4(0)?;
    let groups = match (channels, cx.dims4(1)?[3]) {
        (Some(c), Some(per_group)) if per_group > 0 && c % per_group == 0 && c > 0 => c / per_group,
        (None, _) => 1,
        _ => return Err(cx.fail("the weights do not fit the input's channels")),
    };
    let op = Conv2d {
        stride: window.stride,
        dilation: window.dilation,
        padding: padding(cx, o.padding, [h, w], &window)?,
        groups,
        activation: cx.activation(o.activation)?,
    };
    let inputs = operands(cx)?;
    cx.emit(op, &inputs)
}

pub(super) fn depthwise_conv_2d(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<DepthwiseConv2DOptions>()?;
    let window = Window {
        kernel: kernel(cx, 1)?,
        stride: [cx.size("stride_h", o.stride_h)?, cx.size("stride_w", o.stride_w)?],
        dilation: [cx.size("dilation_h", o.dilation_h)?, cx.size("dilation_w", o.dilation_w)?],
    };
    let [_, h, w, channels] = cx.dims4(0)?;
    // The attribute is redundant, and some converters leave it 0.
    let multiplier = match (channels, cx.dims4(1)?[3]) {
        (Some(c), Some(out)) if c > 0 && out > 0 && out % c == 0 => out / c,
        (None, _) => cx.size("depth_multiplier", o.multiplier)?,
        _ => return Err(cx.fail("the weights do not fit the input's channels")),
    };
    let op = DepthwiseConv2d {
        stride: window.stride,
        dilation: window.dilation,
        padding: padding(cx, o.padding, [h, w], &window)?,
        multiplier,
        activation: cx.activation(o.activation)?,
    };
    let inputs = operands(cx)?;
    cx.emit(op, &inputs)
}

pub(super) fn transpose_conv(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<TransposeConvOptions>()?;
    let stride = [cx.size("stride_h", o.stride_h)?, cx.size("stride_w", o.stride_w)?];
    let kernel = kernel(cx, 1)?;
    let [_, h, w, _] = cx.dims4(2)?;
    let out = match cx.ints(0)?.as_slice() {
        &[_, h, w, _] => [h, w],
        _ => return Err(cx.fail("the output shape should have 4 elements")),
    };
    let (mut padding, mut output_padding) = ([0; 4], [0; 2]);
    for (axis, size) in [h, w].into_iter().enumerate() {
        let sizes = size.filter(|&s| s > 0).zip(usize::try_from(out[axis]).ok().filter(|&n| n > 0));
        let (size, out) = sizes.ok_or_else(|| cx.fail("it needs fixed, non-empty spatial sizes"))?;
        let full = (size - 1).checked_mul(stride[axis]).and_then(|n| n.checked_add(kernel[axis]));
        let full = full.ok_or_else(|| cx.fail("its output size overflows"))?;
        // The runtime pads as the forward convolution from the output to the input would.
        let covered = (out.div_ceil(stride[axis]) - 1).saturating_mul(stride[axis]).saturating_add(kernel[axis]);
        let before = if o.padding == PADDING_SAME { covered.saturating_sub(out) / 2 } else { 0 };
        padding[axis] = before;
        padding[axis + 2] = full.saturating_sub(before + out);
        output_padding[axis] = (before + out).saturating_sub(full);
    }
    let activation = cx.activation(o.activation)?;
    let mut inputs = vec![Some(cx.input(2)?), Some(cx.input(1)?)];
    inputs.extend(cx.optional(3).map(Some));
    let op = ConvTranspose2d { stride, dilation: [1, 1], padding, output_padding, groups: 1, activation };
    cx.emit(op, &inputs)
}
