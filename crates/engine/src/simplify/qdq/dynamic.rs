//! ONNX's dynamically quantized layers as layers with 8-bit weights.

use fewbits_graph::ops::{BinaryKind, Cast, FullyConnected};
use fewbits_graph::{Activation, DType, Graph, NodeId, Op, Quantization, Result, Tensor, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::signed;

/// Collapses `DynamicQuantizeLinear` → `MatMulInteger` or `ConvInteger` → `Cast` → `Mul` with the
/// product of the scales (what ONNX Runtime's dynamic quantization writes) to `FullyConnected` or
/// `Conv2d` with floating-point activations and `int8` weights. Weights must be symmetric: signed
/// with zero point 0 or unsigned with 128. The bias behind it is folded by [`super::super::affine`].
///
/// Our kernels quantize each row of the activations by its own range, ONNX the tensor by one: the
/// collapsed form rounds no coarser.
pub(in super::super) fn fuse_dynamic_integer(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if matches!(edit.op(node), Op::MatMulInteger(_) | Op::ConvInteger(_)) {
            fuse(&mut edit, node);
        }
    }
    edit.finish()
}

/// The nodes and values of one occurrence.
struct Layer {
    x: ValueId,
    weights: Tensor,
    /// Last node: the one that multiplies by the scales.
    last: NodeId,
    scales: Vec<f32>,
}

fn fuse(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let layer = matched(edit, node)?;
    let name = edit.value(edit.input(node, 1)?).name.clone();
    let (op, weights): (Op, Tensor) = match edit.op(node) {
        Op::ConvInteger(op) => (op.conv.clone().into(), layer.weights),
        _ => (FullyConnected { activation: Activation::None }.into(), layer.weights.transposed(&[1, 0])?),
    };
    let quant = match layer.scales.as_slice() {
        &[scale] => Quantization::per_tensor(scale, 0),
        scales if scales.len() == weights.shape()[0] => Quantization::per_channel(0, scales.to_vec()),
        _ => return None,
    };
    let constant = edit.add_constant(&name, weights);
    edit.value_mut(constant).quant = Some(quant);
    edit.replace(node, op, &[Some(layer.x), Some(constant)]);
    edit.absorb(node, layer.last);
    Some(())
}

fn matched(edit: &Edit<'_>, node: NodeId) -> Option<Layer> {
    let quantize = edit.producer(edit.input(node, 0)?).filter(|&n| matches!(edit.op(n), Op::DynamicQuantize(_)))?;
    let &[q, scale, zero_point] = edit.node(quantize).outputs.as_slice() else { return None };
    if edit.input(node, 0) != Some(q) || edit.input(node, 2) != Some(zero_point) {
        return None;
    }
    let weights = symmetric_weights(edit, node)?;
    if matches!(edit.op(node), Op::MatMulInteger(_)) && weights.shape().len() != 2 {
        return None;
    }
    let cast = edit.sole_reader(edit.out(node)).filter(|&n| *edit.op(n) == Op::Cast(Cast { to: DType::F32 }))?;
    let (last, scales) = scaled(edit, edit.out(cast), scale)?;
    Some(Layer { x: edit.input(quantize, 0)?, weights, last, scales })
}

/// The weights as signed integers with zero point 0.
fn symmetric_weights(edit: &Edit<'_>, node: NodeId) -> Option<Tensor> {
    let data = edit.constant(edit.input(node, 1)?)?;
    let all_zero_points = |wanted: i64| match edit.input(node, 3) {
        Some(z) => edit.integers(z).is_some_and(|z| z.iter().all(|&z| z == wanted)),
        None => wanted == 0,
    };
    match data.dtype() {
        DType::I8 if all_zero_points(0) => Some(data.clone()),
        DType::U8 if all_zero_points(128) => signed(data),
        _ => None,
    }
}

/// The node that ends `v × (scale × weight scales)`, however the product is bracketed, and the
/// weight scales.
fn scaled(edit: &Edit<'_>, v: ValueId, scale: ValueId) -> Option<(NodeId, Vec<f32>)> {
    let (first, other) = times(edit, v)?;
    if let Some(scales) = weight_scales(edit, other) {
        let (last, other) = times(edit, edit.out(first))?;
        return (other == scale).then_some((last, scales));
    }
    if other == scale {
        let (last, other) = times(edit, edit.out(first))?;
        return Some((last, weight_scales(edit, other)?));
    }
    let (a, b) = edit.binary(other, BinaryKind::Mul)?;
    let scales = if a == scale { weight_scales(edit, b) } else { weight_scales(edit, a).filter(|_| b == scale) };
    Some((first, scales?))
}

/// The multiplication that alone reads `v`, and its other operand.
fn times(edit: &Edit<'_>, v: ValueId) -> Option<(NodeId, ValueId)> {
    let node = edit.sole_reader(v)?;
    let (a, b) = edit.binary(edit.out(node), BinaryKind::Mul)?;
    Some((node, if a == v { b } else { a }))
}

/// A constant of one positive scale, or one for each output channel along the last axis.
fn weight_scales(edit: &Edit<'_>, v: ValueId) -> Option<Vec<f32>> {
    let scales = edit.floats(v).filter(|s| s.iter().all(|s| s.is_finite() && *s > 0.0))?;
    let last = edit.shape(v).0.last().and_then(fewbits_graph::Dim::fixed).unwrap_or(1);
    (scales.len() == last || scales.len() == 1).then_some(scales)
}
