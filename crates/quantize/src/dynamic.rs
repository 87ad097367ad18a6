//! Dynamic-range quantization: int8 weights, activations quantized on the fly in the kernels.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Node, ValueId};

use crate::bias::{correct_float_bias, dequantized};
use crate::plan::excluded_nodes;
use crate::rounding::Filters;
use crate::tables::quantize_tables;
use crate::weights::quantize_layer_weights;
use crate::{Recipe, Result, Statistics, WeightBits};

/// Constants with fewer elements stay float: they would save nothing and cost accuracy (the rule
/// of TFLite's converter).
pub(crate) const SMALLEST_WEIGHTS: usize = 1024;

/// Gives the weights of convolutions, fully-connected layers and embedding tables int8 types.
///
/// Weights get one scale for a channel (or for the tensor, if `recipe.per_tensor`), embedding
/// tables one for a row. With `statistics` of the graph, biases take back what rounding shifts.
///
/// # Errors
/// If `recipe.exclude` names a node that does not exist.
pub fn quantize_dynamic(graph: &Graph, statistics: Option<&Statistics>, recipe: &Recipe) -> Result<Graph> {
    let excluded = excluded_nodes(graph, recipe)?;
    let mut out = graph.clone();
    narrow_weights(&mut out, |node| !excluded.contains(node.name.as_str()), statistics, recipe);
    quantize_tables(&mut out, &excluded);
    out.prune();
    out.infer()?;
    out.validate()?;
    Ok(out)
}

/// Gives the weights of the `chosen` layers with float activations int8 types. The float forms go with
/// the next pruning.
pub(crate) fn narrow_weights(
    out: &mut Graph,
    chosen: impl Fn(&Node) -> bool,
    statistics: Option<&Statistics>,
    recipe: &Recipe,
) {
    // By axis and bits too: two kinds of layers may share a tensor.
    let mut quantized: BTreeMap<(ValueId, usize, WeightBits), (ValueId, Vec<f64>)> = BTreeMap::new();
    for index in 0..out.nodes.len() {
        let node = &out.nodes[index];
        let Some(id) = float_weights(out, node).filter(|_| chosen(node)) else { continue };
        let value = out.value(id).clone();
        let Some((data, filters)) = value.data.as_ref().and_then(|d| Some((d, Filters::of(&node.op, d.shape())?)))
        else {
            continue;
        };
        let bits = recipe.weight_bits(node);
        let (new, rounded) = quantized.entry((id, filters.axis, bits)).or_insert_with(|| {
            let (tensor, quant) = quantize_layer_weights(data, filters, recipe, bits, |_| 0.0);
            let rounded = dequantized(&tensor, &quant);
            let new = out.add_constant(format!("{}_int8", value.name), tensor);
            out.value_mut(new).quant = Some(quant);
            (new, rounded)
        });
        out.nodes[index].inputs[1] = Some(*new);
        correct_float_bias(out, index, data, rounded, statistics, recipe);
    }
}

/// The constant weights of a node, if they are large enough.
pub(crate) fn float_weights(graph: &Graph, node: &Node) -> Option<ValueId> {
    let id = node.inputs.get(1).copied().flatten()?;
    let data = graph.value(id).data.as_ref()?;
    Filters::of(&node.op, data.shape())?;
    let fits = data.dtype() == DType::F32 && data.elements() >= SMALLEST_WEIGHTS;
    let float_input = node.inputs[0].is_some_and(|x| graph.value(x).dtype == DType::F32);
    (fits && float_input).then_some(id)
}
