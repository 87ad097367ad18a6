//! Layers with `int8` weights (`int4` ones are unpacked for the same kernels): on `int8` activations (TFLite's arithmetic), and on float ones whose
//! rows are quantized as they come (dynamic range).

use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d, FullyConnected, MatMul};
use fewbits_graph::{Activation, DType, Op};
use fewbits_kernels::int8::{
    FloatOutput, MatMul as BatchProduct, Operands, PackedConv, PackedDense, PackedDepthwise, PackedTransposeConv,
    Requant, WeightOrder, quantize_row_dynamic,
};
use fewbits_kernels::shape::ConvShape;

use super::clamp;
use super::conv::{Window, geometry};
use super::int_elementwise::activation_limits;
use super::linear::{Product, layer_sizes};
use crate::context::{carve, carved};
use crate::convert::through_float;
use crate::site::{Lowered, Lowering, Operand, Site};

/// Scales of the weights, one or one for each output channel.
fn weight_scales(site: &Site<'_>) -> Result<Vec<f32>, String> {
    let quant = site.input(1)?.quant.as_ref().ok_or("the weights have no scale")?;
    Ok(quant.scales.clone())
}

/// The weights' elements.
fn weights(site: &Site<'_>) -> Result<Vec<i8>, String> {
    let data = site.constant(1)?.signed_bytes().ok_or("the weights are not int8 or int4")?;
    Ok(data.into_owned())
}

/// The bias in units of input scale × weight scale.
fn bias(site: &Site<'_>, channels: usize) -> Result<Option<Vec<i32>>, String> {
    let Some(edge) = site.optional(2) else { return Ok(None) };
    let data = site.constant(2)?;
    if data.elements() != channels {
        return Err(format!("a bias of {} elements for {channels} channels", data.elements()));
    }
    if edge.dtype == DType::I32 {
        return Ok(data.as_slice::<i32>().map(|b| b.into_owned()));
    }
    let (input, scales) = (f64::from(site.input(0)?.affine()?.0), weight_scales(site)?);
    let unit = |c: usize| input * f64::from(scales[c % scales.len()]);
    // The cast saturates.
    Ok(Some(data.to_f32().iter().enumerate().map(|(c, &b)| (f64::from(b) / unit(c)).round() as i32).collect()))
}

/// From sums to the output's scale.
fn requant(site: &Site<'_>, channels: usize, activation: Activation) -> Result<Requant, String> {
    let (x, out) = (site.input(0)?.affine_i8()?, site.output()?.affine_i8()?);
    let scales = weight_scales(site)?;
    let multiplier = |c: usize| x.scale * f64::from(scales[c % scales.len()]) / out.scale;
    let multipliers: Vec<f64> = (0..channels).map(multiplier).collect();
    let (low, high) = activation_limits(activation, out);
    Ok(Requant::new(site.env.rounding, &multipliers, out.zero_point).with_clamp(low, high))
}

/// The product of two scales, rounded to `f32` as TFLite's `GetQuantizedConvolutionMultipler` does
/// for matrices with one scale (its per-channel sibling multiplies in `f64`).
fn product_of_scales(a: f64, b: f64) -> f64 {
    f64::from(a as f32 * b as f32)
}

/// As [`requant`], for matrices.
fn dense_requant(site: &Site<'_>, channels: usize, activation: Activation) -> Result<Requant, String> {
    let (x, out) = (site.input(0)?.affine_i8()?, site.output()?.affine_i8()?);
    let [scale] = weight_scales(site)?[..] else { return requant(site, channels, activation) };
    let multiplier = product_of_scales(x.scale, f64::from(scale)) / out.scale;
    let (low, high) = activation_limits(activation, out);
    Ok(Requant::per_tensor(site.env.rounding, multiplier, channels, out.zero_point).with_clamp(low, high))
}

/// Whether packed weights for `a` serve `b`: the batch does not matter.
fn same_layer(a: &ConvShape, b: &ConvShape) -> bool {
    ConvShape { batch: 0, ..*a } == ConvShape { batch: 0, ..*b }
}

/// One kernel for the three convolutions: they differ in packing and in the type packed.
macro_rules! convolution {
    ($packed:ty, $site:expr, $shape:expr, $weights:expr, $activation:expr) => {{
        let (site, shape): (&Site<'_>, ConvShape) = ($site, $shape);
        let (weights, bias) = ($weights, bias(site, shape.out_c)?);
        let requant = requant(site, shape.out_c, $activation)?;
        let zero_point = site.input(0)?.affine_i8()?.zero_point;
        let packed = site.env.packed.get_fitting(
            site.node,
            |p: &$packed| same_layer(p.shape(), &shape),
            || <$packed>::new(site.env.isa, &shape, &weights, bias.as_deref()),
        );
        let scratch = packed.scratch_len(shape.batch);
        Ok(Lowered::on_integers(move |ctx| {
            let x = ctx.input(0);
            let (out, scratch) = ctx.output_and_scratch();
            packed.run(x, zero_point, &requant, out, scratch);
            Ok(())
        })
        .scratch(scratch))
    }};
}

pub(super) fn conv2d(op: &Conv2d, site: &Site<'_>) -> Lowering {
    let shape = geometry(site, &op.into())?;
    if shape.is_depthwise() && shape.groups > 1 {
        let laid = site.constant(1)?.transposed(&[3, 1, 2, 0]).ok_or("the weights cannot be laid out")?;
        let laid = laid.signed_bytes().ok_or("the weights are not int8 or int4")?.into_owned();
        return convolution!(PackedDepthwise, site, shape, laid, op.activation);
    }
    convolution!(PackedConv, site, shape, weights(site)?, op.activation)
}

pub(super) fn depthwise(op: &DepthwiseConv2d, site: &Site<'_>) -> Lowering {
    let groups = site.input(0)?.nhwc()?[3];
    let window = Window { stride: &op.stride, dilation: &op.dilation, padding: &op.padding, groups };
    convolution!(PackedDepthwise, site, geometry(site, &window)?, weights(site)?, op.activation)
}

pub(super) fn transpose(op: &ConvTranspose2d, site: &Site<'_>) -> Lowering {
    if op.groups != 1 {
        return through_float(&Op::ConvTranspose2d(op.clone()), site);
    }
    let window = Window { stride: &op.stride, dilation: &op.dilation, padding: &op.padding, groups: 1 };
    convolution!(PackedTransposeConv, site, geometry(site, &window)?, weights(site)?, op.activation)
}

pub(super) fn fully_connected(op: &FullyConnected, site: &Site<'_>) -> Lowering {
    let (m, n, k) = layer_sizes(site)?;
    // LiteRT's fully-connected layers round once, all its other operators twice.
    let requant = dense_requant(site, n, op.activation)?.rounded_once();
    dense(site, m, n, k, WeightOrder::OutIn, requant)
}

/// Rows of input 0 times constant weights.
fn dense(site: &Site<'_>, m: usize, n: usize, k: usize, order: WeightOrder, requant: Requant) -> Lowering {
    let (weights, bias) = (weights(site)?, bias(site, n)?);
    let zero_point = site.input(0)?.affine_i8()?.zero_point;
    let pack = || PackedDense::new(site.env.isa, k, n, order, &weights, bias.as_deref());
    let packed = site.env.packed.get(site.node, pack);
    let scratch = packed.scratch_len(m);
    let kernel = Lowered::on_integers(move |ctx| {
        let x = ctx.input(0);
        let (out, scratch) = ctx.output_and_scratch();
        packed.run(x, zero_point, &requant, out, scratch);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

/// Whether input 1 is a constant matrix that packing takes: symmetric, and one for all batches.
fn is_constant_matrix(b: &Operand, k: usize, n: usize) -> bool {
    b.data.is_some() && b.elements() == k * n && b.quant.as_ref().is_some_and(|q| q.is_symmetric())
}

fn order(op: &MatMul, b: &Operand) -> WeightOrder {
    if op.transpose_b && b.dims.len() > 1 { WeightOrder::OutIn } else { WeightOrder::InOut }
}

pub(super) fn matmul(op: &MatMul, site: &Site<'_>) -> Lowering {
    let (a, b) = (site.input(0)?, site.input(1)?);
    if op.transpose_a && a.dims.len() > 1 {
        return through_float(&Op::MatMul(op.clone()), site);
    }
    let Product { batch, m, n, k } = Product::new(a, b, false, op.transpose_b)?;
    if is_constant_matrix(b, k, n) {
        let rows = a.elements().checked_div(k).unwrap_or(0);
        // LiteRT's BATCH_MATMUL rounds twice whatever its operands are, fully-connected layers once.
        return dense(site, rows, n, k, order(op, b), dense_requant(site, n, Activation::None)?);
    }
    let (left, right, out) = (a.affine_i8()?, b.affine_i8()?, site.output()?.affine_i8()?);
    let multiplier = product_of_scales(left.scale, right.scale) / out.scale;
    let requant = Requant::per_tensor(site.env.rounding, multiplier, n.max(1), out.zero_point);
    let (offsets_a, offsets_b) = batch.offsets();
    // One call where the matrices stand in order, one a product under other broadcasts.
    let whole = offsets_a.iter().chain(&offsets_b).eq((0..offsets_a.len()).collect::<Vec<_>>().repeat(2).iter());
    let transpose_b = order(op, b) == WeightOrder::OutIn;
    let count = if whole { offsets_a.len() } else { 1 };
    let (broadcast_a, broadcast_b) = (false, false);
    let product = BatchProduct { isa: site.env.isa, batch: count, m, k, n, transpose_b, broadcast_a, broadcast_b };
    let scratch = product.scratch_len();
    let kernel = Lowered::on_integers(move |ctx| {
        let (a, b) = (ctx.input::<i8>(0), ctx.input::<i8>(1));
        let (out, scratch) = ctx.output_and_scratch::<i8>();
        let mut run = |a, b, out: &mut [i8]| {
            let operands = Operands { a, a_zero_point: left.zero_point, b, b_zero_point: right.zero_point };
            product.run(operands, &requant, out, scratch);
        };
        if whole {
            run(a, b, out);
            return Ok(());
        }
        for ((&at_a, &at_b), out) in offsets_a.iter().zip(&offsets_b).zip(out.chunks_exact_mut((m * n).max(1))) {
            run(&a[at_a * m * k..][..m * k], &b[at_b * k * n..][..k * n], out);
        }
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

/// The part of scratch that holds quantized rows and how they were quantized.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    len: usize,
}

impl Rows {
    fn scratch(self) -> usize {
        carved(self.count * self.len) + carved(self.count * size_of::<f32>()) + carved(self.count)
    }

    /// Quantizes each row of `x` by its own range: values, scales, zero points.
    fn quantize<'s>(
        self,
        isa: fewbits_kernels::isa::Isa,
        x: &[f32],
        scratch: &mut &'s mut [u8],
    ) -> (&'s [i8], &'s [f32], &'s [i8]) {
        let values = carve::<i8>(scratch, self.count * self.len);
        let scales = carve::<f32>(scratch, self.count);
        let zeros = carve::<i8>(scratch, self.count);
        let len = self.len.max(1);
        for (i, (x, q)) in x.chunks_exact(len).zip(values.chunks_exact_mut(len)).enumerate() {
            (scales[i], zeros[i]) = quantize_row_dynamic(isa, x, q);
        }
        (values, scales, zeros)
    }
}

/// Convolution of float images with `int8` weights; each image is quantized by its own range.
pub(super) fn dynamic_conv2d(op: &Conv2d, site: &Site<'_>) -> Lowering {
    let shape = geometry(site, &op.into())?;
    if shape.is_depthwise() && shape.groups > 1 {
        return through_float(&Op::Conv2d(op.clone()), site);
    }
    let (weights, scales, bias) = (weights(site)?, weight_scales(site)?, site.optional_floats(2)?);
    let clamp = clamp(op.activation);
    let isa = site.env.isa;
    let packed = site.env.packed.get_fitting(
        site.node,
        |p: &PackedConv| same_layer(p.shape(), &shape),
        || PackedConv::new(isa, &shape, &weights, None),
    );
    let rows = Rows { count: shape.batch, len: shape.in_h * shape.in_w * shape.in_c };
    let scratch = rows.scratch() + packed.scratch_len(shape.batch);
    let kernel = Lowered::on_integers(move |ctx| {
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let (x, input_scales, zeros) = rows.quantize(isa, ctx.input(0), &mut scratch);
        let (bias, min, max) = (bias.as_deref(), clamp.min, clamp.max);
        let output = FloatOutput { input_scales, weight_scales: &scales, bias, min, max };
        packed.run_f32(x, zeros, &output, ctx.output(0), scratch);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

/// Float rows times `int8` weights; each row is quantized by its own range.
fn dynamic_dense(
    site: &Site<'_>,
    m: usize,
    n: usize,
    k: usize,
    order: WeightOrder,
    bias: Option<Vec<f32>>,
    activation: Activation,
) -> Lowering {
    let (weights, scales) = (weights(site)?, weight_scales(site)?);
    let clamp = clamp(activation);
    let isa = site.env.isa;
    let packed = site.env.packed.get(site.node, || PackedDense::new(isa, k, n, order, &weights, None));
    let rows = Rows { count: m, len: k };
    let scratch = rows.scratch() + packed.scratch_len(m);
    let kernel = Lowered::on_integers(move |ctx| {
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let (x, input_scales, zeros) = rows.quantize(isa, ctx.input(0), &mut scratch);
        let (bias, min, max) = (bias.as_deref(), clamp.min, clamp.max);
        let output = FloatOutput { input_scales, weight_scales: &scales, bias, min, max };
        packed.run_f32(x, zeros, &output, ctx.output(0), scratch);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

pub(super) fn dynamic_fully_connected(op: &FullyConnected, site: &Site<'_>) -> Lowering {
    let (m, n, k) = layer_sizes(site)?;
    dynamic_dense(site, m, n, k, WeightOrder::OutIn, site.optional_floats(2)?, op.activation)
}

pub(super) fn dynamic_matmul(op: &MatMul, site: &Site<'_>) -> Lowering {
    let (a, b) = (site.input(0)?, site.input(1)?);
    let Product { n, k, .. } = Product::new(a, b, false, op.transpose_b)?;
    if !is_constant_matrix(b, k, n) || b.dims.len() != 2 {
        return through_float(&Op::MatMul(op.clone()), site);
    }
    let rows = a.elements().checked_div(k).unwrap_or(0);
    dynamic_dense(site, rows, n, k, order(op, b), None, Activation::None)
}
