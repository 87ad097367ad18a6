//! Half-precision weights.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Node, Op, Tensor, ValueId};
use half::f16;

use crate::bias::correct_float_bias;
use crate::dynamic::SMALLEST_WEIGHTS;
use crate::plan::excluded_nodes;
use crate::rounding::{Filters, Halves};
use crate::{Recipe, Result, Statistics, WeightRounding};

/// A graph with half-precision constants, and what did not fit into them.
#[derive(Clone, Debug)]
pub struct Float16 {
    /// The graph: large float constants are `F16`, activations stay `F32`.
    pub graph: Graph,
    /// Constants with finite elements that overflow to infinity, with the number of such elements.
    /// They stay float.
    pub overflows: Vec<(String, usize)>,
}

/// The bias of a layer. It stays float: an error in it shifts a whole channel by the same amount,
/// which no averaging over weights takes out again, and it is a small part of the file.
fn bias(node: &Node) -> Option<ValueId> {
    let layer =
        matches!(node.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_));
    *node.inputs.get(2).filter(|_| layer)?
}

/// Gives float constants but biases and those under 1,024 elements the IEEE half type, rounding to
/// nearest even (weights of layers as `recipe.weight_rounding` says). With `statistics` of the graph,
/// biases take back what rounding shifts.
///
/// # Errors
/// If `recipe.exclude` names a node that does not exist.
pub fn quantize_float16(graph: &Graph, statistics: Option<&Statistics>, recipe: &Recipe) -> Result<Float16> {
    let excluded = excluded_nodes(graph, recipe)?;
    let mut out = graph.clone();
    let mut overflows = BTreeMap::new();
    let mut kept: Vec<ValueId> = Vec::new();
    let mut layers: BTreeMap<ValueId, &Op> = BTreeMap::new();
    for node in &graph.nodes {
        layers.extend(node.inputs.get(1).copied().flatten().map(|weights| (weights, &node.op)));
        match excluded.contains(node.name.as_str()) {
            true => kept.extend(node.inputs.iter().flatten()),
            false => kept.extend(bias(node)),
        }
    }
    for id in graph.value_ids().filter(|id| !kept.contains(id) && !graph.outputs.contains(id)) {
        let value = graph.value(id);
        let Some(data) = value.data.as_ref().filter(|t| t.dtype() == DType::F32 && t.elements() >= SMALLEST_WEIGHTS)
        else {
            continue;
        };
        let float = data.to_f32();
        let mut halves: Vec<f16> = float.iter().map(|&x| f16::from_f32(x)).collect();
        let lost = float.iter().zip(&halves).filter(|(x, h)| x.is_finite() && h.is_infinite()).count();
        if lost > 0 {
            overflows.insert(value.name.clone(), lost);
            continue;
        }
        let filters = layers.get(&id).and_then(|op| Filters::of(op, data.shape()));
        if let Some(filters) = filters.filter(|_| recipe.weight_rounding != WeightRounding::Nearest) {
            filters.balance(&Halves, |i| f64::from(float[i]), &mut halves);
        }
        let value = out.value_mut(id);
        value.data = Some(Tensor::new(data.shape().to_vec(), halves));
        value.dtype = DType::F16;
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        let Some(weights) = node.inputs.get(1).copied().flatten() else { continue };
        let (before, after) = (&graph.value(weights).data, out.value(weights));
        if let (Some(before), Some(after), DType::F16) = (before, after.data.as_ref(), after.dtype) {
            let rounded: Vec<f64> = after.to_f32().into_iter().map(f64::from).collect();
            correct_float_bias(&mut out, index, before, &rounded, statistics, recipe);
        }
    }
    out.prune();
    out.infer()?;
    out.validate()?;
    Ok(Float16 { graph: out, overflows: overflows.into_iter().collect() })
}
