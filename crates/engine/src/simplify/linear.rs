//! Matrix products with constant matrices as fully-connected layers.

use fewbits_graph::ops::{Dequantize, FullyConnected};
use fewbits_graph::{Activation, DType, Granularity, Graph, NodeId, Op, Quantization, Result, Tensor, ValueId};

use super::Context;
use super::edit::Edit;

/// A constant that an operator reads as weights: directly, or through a `Dequantize`.
pub(super) struct Weights {
    /// The stored constant.
    pub(super) constant: ValueId,
    /// The conversion between the constant and the operator.
    pub(super) dequantize: Option<NodeId>,
}

/// The weights in `slot` of `node`: a floating-point constant, or a dequantized one.
pub(super) fn weights_of(edit: &Edit<'_>, node: NodeId, slot: usize) -> Option<Weights> {
    let v = edit.input(node, slot)?;
    if edit.constant(v).is_some() {
        return Some(Weights { constant: v, dequantize: None });
    }
    let dequantize = edit.producer(v).filter(|&p| matches!(edit.op(p), Op::Dequantize(_)))?;
    let constant = edit.input(dequantize, 0).filter(|&c| edit.constant(c).is_some())?;
    Some(Weights { constant, dequantize: Some(dequantize) })
}

/// Quantization parameters of a tensor after its axes are reordered; `None` for block-wise ones,
/// whose scales are a tensor of their own.
pub(super) fn permuted_quantization(quant: &Quantization, perm: &[usize]) -> Option<Quantization> {
    let granularity = match quant.granularity {
        Granularity::PerTensor => Granularity::PerTensor,
        Granularity::PerChannel { axis } => Granularity::PerChannel { axis: perm.iter().position(|&p| p == axis)? },
        Granularity::Blocked { .. } => return None,
    };
    Some(Quantization { granularity, ..quant.clone() })
}

/// Puts other elements and parameters in the place of weights, keeping a `Dequantize` between.
pub(super) fn set_weights(
    edit: &mut Edit<'_>,
    node: NodeId,
    slot: usize,
    weights: &Weights,
    data: Tensor,
    quant: Option<Quantization>,
) {
    let Some(dequantize) = weights.dequantize else {
        return edit.set_constant(node, slot, data, quant, "");
    };
    let shared = edit.input(node, slot).is_none_or(|v| edit.sole_reader(v).is_none());
    if !shared {
        return edit.set_constant(dequantize, 0, data, quant, "");
    }
    let name = edit.value(weights.constant).name.clone();
    let constant = edit.add_constant(&name, data);
    edit.value_mut(constant).quant = quant;
    let shape = edit.shape(constant).clone();
    let real = edit.add_value(&format!("{name}_dequantized"), DType::F32, shape, None);
    edit.add_node(&format!("{name}_dequantize"), Dequantize, &[Some(constant)], real);
    edit.set_input(node, slot, Some(real));
}

/// Replaces `MatMul` by `FullyConnected` where the second operand is a constant matrix, in floating
/// point or dequantized: weights are then stored output-major, as the kernels and TFLite want them.
pub(super) fn matmul_to_fully_connected(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let Op::MatMul(op) = edit.op(node) else { continue };
        let transposed = op.transpose_b;
        // Integer products stay: LiteRT rounds a BATCH_MATMUL twice, a fully-connected layer once.
        let real = |a: ValueId| edit.value(a).quant.is_none() && edit.shape(a).rank() >= 2;
        let fits = !op.transpose_a && edit.input(node, 0).is_some_and(real);
        let Some(weights) = weights_of(&edit, node, 1).filter(|_| fits) else { continue };
        if edit.shape(weights.constant).rank() != 2 || (!transposed && !swap_axes(&mut edit, node, &weights)) {
            continue;
        }
        let inputs = [edit.input(node, 0), edit.input(node, 1)];
        edit.replace(node, FullyConnected { activation: Activation::None }, &inputs);
    }
    edit.finish()
}

fn swap_axes(edit: &mut Edit<'_>, node: NodeId, weights: &Weights) -> bool {
    let value = edit.value(weights.constant);
    let quant = value.quant.as_ref().map(|q| permuted_quantization(q, &[1, 0]));
    let Some(data) = value.data.as_ref().and_then(|t| t.transposed(&[1, 0])) else { return false };
    match quant {
        Some(None) => return false,
        quant => set_weights(edit, node, 1, weights, data, quant.flatten()),
    }
    true
}
