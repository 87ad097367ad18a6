//! Convolutions, pooling and products.

use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d, FullyConnected, MatMul, Pool2d, PoolKind};
use fewbits_graph::{DType, Granularity, Quantization};

use super::parts::{Attributes, TensorIndex};
use super::site::Site;
use crate::Result;
use crate::schema::enums::{Builtin, activation_code};
use crate::schema::options::{
    BatchMatMulOptions, Conv2DOptions, DepthwiseConv2DOptions, FullyConnectedOptions, Pool2DOptions,
    TransposeConvOptions,
};
use crate::write::lower::transposed_padding_code;
use crate::write::same::padding_code;

/// `[kernel height, kernel width]` of the weights, input 1.
fn kernel(at: &Site<'_, '_>) -> Result<[usize; 2]> {
    let [_, h, w, _] = at.sizes4(1)?;
    Ok([h, w])
}

/// The padding code; lowering saw to there being one.
fn code(
    at: &Site<'_, '_>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
) -> Result<i8> {
    let [_, h, w, _] = at.dims4(0)?;
    let code = padding_code([h, w], kernel, stride, dilation, padding);
    code.ok_or_else(|| at.fail(format!("its padding {padding:?} is neither SAME nor VALID")))
}

/// Inputs `x`, weights and, if there, bias.
fn operands(at: &mut Site<'_, '_>) -> Result<Vec<Option<TensorIndex>>> {
    let mut operands = vec![at.operand(0)?, at.operand(1)?];
    operands.extend(bias(at)?);
    Ok(operands)
}

/// The bias. A 64-bit one (beside 16-bit activations) gets the scales that the runtime looks for.
fn bias(at: &mut Site<'_, '_>) -> Result<Option<Option<TensorIndex>>> {
    let bias = at.optional(2)?;
    if let Some(Some(tensor)) = bias
        && at.value(2)?.dtype == DType::I64
        && let (Some(x), Some(w)) = (&at.value(0)?.quant, &at.value(1)?.quant)
        && let Some((scale, _)) = x.as_per_tensor()
    {
        let scales: Vec<f32> = w.scales.iter().map(|s| s * scale).collect();
        let granularity = if scales.len() == 1 { Granularity::PerTensor } else { Granularity::PerChannel { axis: 0 } };
        let zero_points = vec![0; scales.len()];
        at.emit.set_quantization(tensor, &Quantization { granularity, scales, zero_points })?;
    }
    Ok(bias)
}

pub(super) fn conv_2d(at: &mut Site<'_, '_>, op: &Conv2d) -> Result<()> {
    let options = Conv2DOptions {
        padding: code(at, kernel(at)?, op.stride, op.dilation, op.padding)?,
        stride_w: at.attribute("stride", op.stride[1])?,
        stride_h: at.attribute("stride", op.stride[0])?,
        activation: activation_code(op.activation),
        dilation_w: at.attribute("dilation", op.dilation[1])?,
        dilation_h: at.attribute("dilation", op.dilation[0])?,
    };
    let operands = operands(at)?;
    let version = if op.groups > 1 { 6 } else { 1 };
    at.write(Builtin::CONV_2D, Attributes::of(options).since(version), &operands)
}

pub(super) fn depthwise_conv_2d(at: &mut Site<'_, '_>, op: &DepthwiseConv2d) -> Result<()> {
    let options = DepthwiseConv2DOptions {
        padding: code(at, kernel(at)?, op.stride, op.dilation, op.padding)?,
        stride_w: at.attribute("stride", op.stride[1])?,
        stride_h: at.attribute("stride", op.stride[0])?,
        multiplier: at.attribute("multiplier", op.multiplier)?,
        activation: activation_code(op.activation),
        dilation_w: at.attribute("dilation", op.dilation[1])?,
        dilation_h: at.attribute("dilation", op.dilation[0])?,
    };
    let operands = operands(at)?;
    let version = if op.dilation == [1, 1] { 1 } else { 2 };
    at.write(Builtin::DEPTHWISE_CONV_2D, Attributes::of(options).since(version), &operands)
}

pub(super) fn transpose_conv(at: &mut Site<'_, '_>, op: &ConvTranspose2d) -> Result<()> {
    let [_, h, w, _] = at.sizes4(0)?;
    let Some(target) = at.result()?.shape.to_fixed() else {
        return Err(at.fail("its output shape must be fixed, batch included; fix the input sizes"));
    };
    let &[_, out_h, out_w, _] = target.as_slice() else {
        return Err(at.fail("its output should have 4 dimensions"));
    };
    let padding = transposed_padding_code([h, w], [out_h, out_w], kernel(at)?, op);
    let options = TransposeConvOptions {
        padding: padding.ok_or_else(|| at.fail("its padding is neither SAME nor VALID"))?,
        stride_w: at.attribute("stride", op.stride[1])?,
        stride_h: at.attribute("stride", op.stride[0])?,
        activation: activation_code(op.activation),
    };
    let version = if options.activation != 0 { 4 } else { 1 };
    let shape = at.sizes("output_shape", &target)?;
    let mut operands = vec![shape, at.operand(1)?, at.operand(0)?];
    operands.extend(bias(at)?);
    at.write(Builtin::TRANSPOSE_CONV, Attributes::of(options).since(version), &operands)
}

pub(super) fn pool(at: &mut Site<'_, '_>, op: &Pool2d) -> Result<()> {
    let options = Pool2DOptions {
        padding: code(at, op.kernel, op.stride, [1, 1], op.padding)?,
        stride_w: at.attribute("stride", op.stride[1])?,
        stride_h: at.attribute("stride", op.stride[0])?,
        kernel_w: at.attribute("window", op.kernel[1])?,
        kernel_h: at.attribute("window", op.kernel[0])?,
        activation: activation_code(op.activation),
    };
    let builtin = match op.kind {
        PoolKind::Max => Builtin::MAX_POOL_2D,
        PoolKind::Average { .. } => Builtin::AVERAGE_POOL_2D,
    };
    let x = at.operand(0)?;
    at.write(builtin, Attributes::of(options), &[x])
}

/// Whether a product of float activations with integer weights is quantized on the fly.
fn is_hybrid(at: &Site<'_, '_>) -> Result<bool> {
    Ok(at.value(0)?.dtype.is_float() && matches!(at.value(1)?.dtype, DType::I8 | DType::I4))
}

pub(super) fn fully_connected(at: &mut Site<'_, '_>, op: &FullyConnected) -> Result<()> {
    let options = FullyConnectedOptions {
        activation: activation_code(op.activation),
        keep_num_dims: at.value(0)?.shape.rank() != 2,
        asymmetric_quantize_inputs: is_hybrid(at)?,
        ..FullyConnectedOptions::default()
    };
    let operands = operands(at)?;
    let without_bias = if operands.len() == 2 { 6 } else { 1 };
    let version = without_bias.max(if options.keep_num_dims { 5 } else { 1 });
    at.write(Builtin::FULLY_CONNECTED, Attributes::of(options).since(version), &operands)
}

pub(super) fn batch_matmul(at: &mut Site<'_, '_>, op: &MatMul) -> Result<()> {
    let hybrid = is_hybrid(at)?;
    let options =
        BatchMatMulOptions { adj_x: op.transpose_a, adj_y: op.transpose_b, asymmetric_quantize_inputs: hybrid };
    let operands = at.operands()?;
    at.write(Builtin::BATCH_MATMUL, Attributes::of(options).since(if hybrid { 4 } else { 1 }), &operands)
}
