//! Dynamic-range quantization: int8 weights, activations quantized on the fly in the kernels.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Node, Op, ValueId};

use crate::plan::excluded_nodes;
use crate::tables::quantize_tables;
use crate::{Recipe, Result, quantize_weights};

/// Constants with fewer elements stay float: they would save nothing and cost accuracy (the rule
/// of TFLite's converter).
pub(crate) const SMALLEST_WEIGHTS: usize = 1024;

/// Gives the weights of convolutions, fully-connected layers and embedding tables int8 types.
///
/// Weights get one scale for a channel (or for the tensor, if `recipe.per_tensor`), embedding
/// tables one for a row.
///
/// # Errors
/// If `recipe.exclude` names a node that does not exist.
pub fn quantize_dynamic(graph: &Graph, recipe: &Recipe) -> Result<Graph> {
    let excluded = excluded_nodes(graph, recipe)?;
    let mut out = graph.clone();
    let mut quantized: BTreeMap<(ValueId, usize), ValueId> = BTreeMap::new();
    for index in 0..out.nodes.len() {
        let node = &out.nodes[index];
        let Some((id, axis)) = weights(&out, node).filter(|_| !excluded.contains(node.name.as_str())) else {
            continue;
        };
        let new = match quantized.get(&(id, axis)) {
            Some(&new) => new,
            None => add_quantized(&mut out, id, axis, recipe),
        };
        quantized.insert((id, axis), new);
        out.nodes[index].inputs[1] = Some(new);
    }
    quantize_tables(&mut out, &excluded);
    out.prune();
    out.infer()?;
    out.validate()?;
    Ok(out)
}

/// The constant weights of a node and the axis of their channels, if they are large enough.
fn weights(graph: &Graph, node: &Node) -> Option<(ValueId, usize)> {
    let axis = match &node.op {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) => 0,
        Op::DepthwiseConv2d(_) => 3,
        _ => return None,
    };
    let id = node.inputs.get(1).copied().flatten()?;
    let data = graph.value(id).data.as_ref()?;
    let fits = data.dtype() == DType::F32 && data.elements() >= SMALLEST_WEIGHTS;
    let float_input = node.inputs[0].is_some_and(|x| graph.value(x).dtype == DType::F32);
    (fits && float_input).then_some((id, axis))
}

/// Adds the int8 form of a float constant; the float one goes with the next pruning, and its name
/// passes on.
fn add_quantized(graph: &mut Graph, id: ValueId, axis: usize, recipe: &Recipe) -> ValueId {
    let value = graph.value(id).clone();
    let axis = (!recipe.per_tensor).then_some(axis);
    // `weights` chose a value that has data.
    let Some(data) = &value.data else { return id };
    let (tensor, quant) = quantize_weights(data, axis, recipe.weight_scales, |_| 0.0);
    let new = graph.add_constant(format!("{}_int8", value.name), tensor);
    graph.value_mut(new).quant = Some(quant);
    new
}
