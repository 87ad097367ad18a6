//! Convolutions and pooling.

use fewbits_graph::ops::{Conv2d, ConvInteger, ConvTranspose2d, DepthwiseConv2d, Pool2d, PoolKind};
use fewbits_graph::{DType, Node, Tensor, ValueId};

use super::attribute::{int, size, sizes};
use super::emitter::{Emitter, Form};
use super::linear::dynamic_weights;
use super::{input, optional};
use crate::import::constant::Relay;
use crate::layout::to_first;
use crate::proto::AttributeProto;
use crate::{Result, tensor};

/// Height and width of the kernel, of weights stored `[O, kh, kw, I]` or `[1, kh, kw, O]`.
fn kernel(w: &Emitter<'_>, node: &Node, weights: ValueId) -> Result<[usize; 2]> {
    match w.graph.value(weights).shape.to_fixed().as_deref() {
        Some(&[_, h, w, _]) => Ok([h, w]),
        _ => Err(super::error(node, "the weights must have a fixed shape of four dimensions")),
    }
}

fn attributes(
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    groups: usize,
) -> Vec<AttributeProto> {
    vec![
        sizes("dilations", &dilation),
        size("group", groups),
        sizes("kernel_shape", &kernel),
        sizes("pads", &padding),
        sizes("strides", &stride),
    ]
}

/// Conv2d → Conv; with int8 weights and float activations → ConvInteger.
pub(super) fn conv(w: &mut Emitter<'_>, node: &Node, op: &Conv2d) -> Result<()> {
    let weights = input(node, 1)?;
    let attributes = attributes(kernel(w, node, weights)?, op.stride, op.dilation, op.padding, op.groups);
    if dynamic_weights(w, node) {
        return dynamic_conv(w, node, attributes);
    }
    let x = w.float(input(node, 0)?, Form::First)?;
    let kernel = w.weights(weights, &to_first(4))?;
    finish(w, node, "Conv", x, kernel, attributes)
}

fn finish(
    w: &mut Emitter<'_>,
    node: &Node,
    operator: &str,
    x: String,
    weights: String,
    attributes: Vec<AttributeProto>,
) -> Result<()> {
    let bias = match optional(node, 2) {
        Some(bias) => w.bias(bias)?,
        None => String::new(),
    };
    let out = w.result(node, 0, Form::First)?;
    w.node(node, operator, vec![x, weights, bias], vec![out], attributes);
    Ok(())
}

/// The form of ONNX Runtime's `quantize_dynamic`, with unsigned weights.
fn dynamic_conv(w: &mut Emitter<'_>, node: &Node, attributes: Vec<AttributeProto>) -> Result<()> {
    let weights = input(node, 1)?;
    let value = w.graph.value(weights);
    let quant = value.quant.clone().ok_or_else(|| super::error(node, "expected quantized weights"))?;
    let [quantized, scale, zero_point] = w.dynamic(input(node, 0)?, Form::First)?;
    let kernel = w.unsigned_weights(weights, &to_first(4))?;
    let zero = quant.zero_points.first().and_then(|z| u8::try_from(z + 128).ok());
    let zero = zero.ok_or_else(|| super::error(node, "a zero point is out of range"))?;
    let weight_zero = w.literal(&Tensor::scalar(zero))?;
    let product = w.main_step(node, "ConvInteger", vec![quantized, kernel, zero_point, weight_zero], attributes);
    let product = w.step("Cast", vec![product], vec![int("to", tensor::code(DType::F32).into())]);
    let channels = quant.scales.len();
    let shape = if channels == 1 { Vec::new() } else { vec![1, channels, 1, 1] };
    let scales = w.literal(&Tensor::new(shape, quant.scales.clone()))?;
    let factor = w.step("Mul", vec![scale, scales], Vec::new());
    let Some(bias) = optional(node, 2) else {
        let out = w.result(node, 0, Form::First)?;
        w.extra("Mul", vec![product, factor], out, Vec::new());
        return Ok(());
    };
    let product = w.step("Mul", vec![product, factor], Vec::new());
    let channels = w.graph.value(bias).shape.elements().unwrap_or(1);
    let relay = Relay { join: Some(vec![1, channels, 1, 1]), ..Relay::none() };
    let bias = w.constant(bias, &relay)?;
    let out = w.result(node, 0, Form::First)?;
    w.extra("Add", vec![product, bias], out, Vec::new());
    Ok(())
}

/// DepthwiseConv2d → Conv with as many groups as input channels.
pub(super) fn depthwise(w: &mut Emitter<'_>, node: &Node, op: &DepthwiseConv2d) -> Result<()> {
    let weights = input(node, 1)?;
    let channels = w.graph.value(weights).shape.0.get(3).and_then(fewbits_graph::Dim::fixed);
    let groups = channels.and_then(|c| c.checked_div(op.multiplier));
    let groups = groups.ok_or_else(|| super::error(node, "the weights must have a fixed number of channels"))?;
    let attributes = attributes(kernel(w, node, weights)?, op.stride, op.dilation, op.padding, groups);
    let x = w.float(input(node, 0)?, Form::First)?;
    let kernel = w.weights(weights, &[3, 0, 1, 2])?;
    finish(w, node, "Conv", x, kernel, attributes)
}

/// ConvTranspose2d → ConvTranspose, whose weights are `[C, O / groups, kh, kw]`.
pub(super) fn transpose(w: &mut Emitter<'_>, node: &Node, op: &ConvTranspose2d) -> Result<()> {
    let weights = input(node, 1)?;
    let shape = w.graph.value(weights).shape.to_fixed();
    let Some(&[o, kh, kw, per_group]) = shape.as_deref() else {
        return Err(super::error(node, "the weights must have a fixed shape of four dimensions"));
    };
    let mut attributes = attributes([kh, kw], op.stride, op.dilation, op.padding, op.groups);
    attributes.push(sizes("output_padding", &op.output_padding));
    let x = w.float(input(node, 0)?, Form::First)?;
    let kernel = match op.groups {
        1 => w.weights(weights, &[3, 0, 1, 2])?,
        g => {
            let relay = Relay {
                split: Some(vec![g, o / g, kh, kw, per_group]),
                perm: vec![0, 4, 1, 2, 3],
                join: Some(vec![g * per_group, o / g, kh, kw]),
                mixes: true,
            };
            w.constant(weights, &relay)?
        }
    };
    finish(w, node, "ConvTranspose", x, kernel, attributes)
}

/// ConvInteger.
pub(super) fn conv_integer(w: &mut Emitter<'_>, node: &Node, op: &ConvInteger) -> Result<()> {
    let (x, weights) = (input(node, 0)?, input(node, 1)?);
    let conv = &op.conv;
    let attributes = attributes(kernel(w, node, weights)?, conv.stride, conv.dilation, conv.padding, conv.groups);
    let mut inputs = vec![w.raw(x, Form::First)?, w.raw(weights, Form::First)?];
    for i in [2, 3] {
        inputs.push(match optional(node, i) {
            Some(zero_point) => w.raw(zero_point, Form::Stored)?,
            None => String::new(),
        });
    }
    let out = w.claim(node.outputs[0], Form::First);
    w.node(node, "ConvInteger", inputs, vec![out], attributes);
    Ok(())
}

/// Pool2d → MaxPool or AveragePool. Padding beyond what is counted says that the output size is
/// rounded up.
pub(super) fn pool(w: &mut Emitter<'_>, node: &Node, op: &Pool2d) -> Result<()> {
    let [top, left, bottom, right] = op.padding;
    let rounded_up = op.counted_padding != [bottom, right];
    let mut attributes = vec![
        int("ceil_mode", i64::from(rounded_up)),
        sizes("kernel_shape", &op.kernel),
        sizes("pads", &[top, left, op.counted_padding[0], op.counted_padding[1]]),
        sizes("strides", &op.stride),
    ];
    let operator = match op.kind {
        PoolKind::Max => {
            attributes.push(sizes("dilations", &op.dilation));
            "MaxPool"
        }
        PoolKind::Average { count_include_pad } => {
            if op.dilation != [1, 1] {
                attributes.push(sizes("dilations", &op.dilation));
            }
            attributes.push(int("count_include_pad", i64::from(count_include_pad)));
            "AveragePool"
        }
    };
    let x = w.float(input(node, 0)?, Form::First)?;
    let out = w.result(node, 0, Form::First)?;
    w.node(node, operator, vec![x], vec![out], attributes);
    Ok(())
}
