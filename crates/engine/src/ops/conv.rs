//! Convolutions.

use std::sync::Arc;

use fewbits_graph::Tensor;
use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d};
use fewbits_kernels::float::conv::{PackedConvF32, conv2d_reference};
use fewbits_kernels::float::conv_transpose::PackedConvTransposeF32;
use fewbits_kernels::float::depthwise::depthwise_conv2d;
use fewbits_kernels::shape::ConvShape;

use super::clamp;
use crate::site::{Lowered, Lowering, Site};
use crate::view::cast_mut;

/// Stride, dilation and padding of a window.
pub(super) struct Window<'a> {
    pub(super) stride: &'a [usize; 2],
    pub(super) dilation: &'a [usize; 2],
    pub(super) padding: &'a [usize; 4],
    pub(super) groups: usize,
}

/// Geometry of a convolution whose weights are `[…, kh, kw, …]`.
pub(super) fn geometry(site: &Site<'_>, window: &Window<'_>) -> Result<ConvShape, String> {
    let [_, kh, kw, _] = site.input(1)?.nhwc()?;
    sliding(site, [kh, kw], window)
}

/// Geometry of a window of `kernel` that slides over input 0.
pub(super) fn sliding(site: &Site<'_>, kernel: [usize; 2], window: &Window<'_>) -> Result<ConvShape, String> {
    let [batch, in_h, in_w, in_c] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, out_c] = site.output()?.nhwc()?;
    Ok(ConvShape {
        batch,
        in_h,
        in_w,
        in_c,
        out_h,
        out_w,
        out_c,
        kernel_h: kernel[0],
        kernel_w: kernel[1],
        stride_h: window.stride[0],
        stride_w: window.stride[1],
        dilation_h: window.dilation[0],
        dilation_w: window.dilation[1],
        pad_top: window.padding[0],
        pad_left: window.padding[1],
        groups: window.groups,
    })
}

/// Bytes of `count` floats.
fn floats(count: usize) -> usize {
    count * size_of::<f32>()
}

impl<'a> From<&'a Conv2d> for Window<'a> {
    fn from(op: &'a Conv2d) -> Self {
        Window { stride: &op.stride, dilation: &op.dilation, padding: &op.padding, groups: op.groups }
    }
}

pub(super) fn conv2d(op: &Conv2d, site: &Site<'_>) -> Lowering {
    let shape = geometry(site, &op.into())?;
    let clamp = clamp(op.activation);
    let has_bias = site.optional(2).is_some();
    if site.is_runtime(1) || site.is_runtime(2) {
        return Ok(Lowered::new(move |ctx| {
            let (x, weights, bias) = (ctx.input(0), ctx.input(1), has_bias.then(|| ctx.input(2)));
            conv2d_reference(&shape, x, weights, bias, ctx.output(0), clamp);
            Ok(())
        }));
    }
    let weights = site.constant(1)?;
    if shape.is_depthwise() && shape.groups > 1 {
        return grouped_as_depthwise(shape, weights, site, clamp);
    }
    let bias = site.optional_floats(2)?;
    let packed = site.env.packed.get(site.node, || PackedConvF32::new(&shape, &weights.to_f32(), bias.as_deref()));
    let scratch = floats(packed.scratch_len(&shape, rayon::current_num_threads()));
    let kernel = Lowered::new(move |ctx| {
        let x = ctx.input(0);
        let (out, scratch) = ctx.output_and_scratch();
        packed.run(&shape, x, out, cast_mut(scratch), clamp);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

/// A grouped convolution with one input channel a group, on the depthwise kernel.
fn grouped_as_depthwise(
    shape: ConvShape,
    weights: &Tensor,
    site: &Site<'_>,
    clamp: fewbits_kernels::float::Clamp,
) -> Lowering {
    let bias = site.optional_floats(2)?;
    let laid = || weights.transposed(&[3, 1, 2, 0]).map(|t| t.to_f32());
    let laid: Arc<Option<Vec<f32>>> = site.env.packed.get(site.node, laid);
    if laid.is_none() {
        return Err("the weights cannot be laid out for the depthwise kernel".into());
    }
    Ok(Lowered::new(move |ctx| {
        let weights = laid.as_deref().unwrap_or_default();
        depthwise_conv2d(&shape, ctx.input(0), weights, bias.as_deref(), ctx.output(0), clamp);
        Ok(())
    }))
}

pub(super) fn depthwise(op: &DepthwiseConv2d, site: &Site<'_>) -> Lowering {
    let groups = site.input(0)?.nhwc()?[3];
    let window = Window { stride: &op.stride, dilation: &op.dilation, padding: &op.padding, groups };
    let shape = geometry(site, &window)?;
    let (clamp, has_bias) = (clamp(op.activation), site.optional(2).is_some());
    Ok(Lowered::new(move |ctx| {
        let bias = has_bias.then(|| ctx.input(2));
        depthwise_conv2d(&shape, ctx.input(0), ctx.input(1), bias, ctx.output(0), clamp);
        Ok(())
    }))
}

pub(super) fn transpose(op: &ConvTranspose2d, site: &Site<'_>) -> Lowering {
    let window = Window { stride: &op.stride, dilation: &op.dilation, padding: &op.padding, groups: op.groups };
    let shape = geometry(site, &window)?;
    let clamp = clamp(op.activation);
    let (weights, bias) = (site.constant(1)?, site.optional_floats(2)?);
    let pack = || PackedConvTransposeF32::new(&shape, &weights.to_f32(), bias.as_deref());
    let packed = site.env.packed.get(site.node, pack);
    let scratch = floats(packed.scratch_len(&shape, rayon::current_num_threads()));
    let kernel = Lowered::new(move |ctx| {
        let x = ctx.input(0);
        let (out, scratch) = ctx.output_and_scratch();
        packed.run(&shape, x, out, cast_mut(scratch), clamp);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}
