//! Half-precision weights.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Tensor, ValueId};
use half::f16;

use crate::plan::excluded_nodes;
use crate::{Recipe, Result};

/// A graph with half-precision constants, and what did not fit into them.
#[derive(Clone, Debug)]
pub struct Float16 {
    /// The graph: large float constants are `F16`, activations stay `F32`.
    pub graph: Graph,
    /// Constants with finite elements that overflow to infinity, with the number of such elements.
    /// They stay float.
    pub overflows: Vec<(String, usize)>,
}

/// Constants with fewer elements stay float: scalars and short vectors (scales, epsilons) are
/// where half precision's range is missed most.
const SMALLEST: usize = 16;

/// Gives float constants the IEEE half type, rounding to nearest even.
///
/// # Errors
/// If `recipe.exclude` names a node that does not exist.
pub fn quantize_float16(graph: &Graph, recipe: &Recipe) -> Result<Float16> {
    let excluded = excluded_nodes(graph, recipe)?;
    let mut out = graph.clone();
    let mut overflows = BTreeMap::new();
    let mut kept: Vec<ValueId> = Vec::new();
    for node in graph.nodes.iter().filter(|n| excluded.contains(n.name.as_str())) {
        kept.extend(node.inputs.iter().flatten());
    }
    for id in graph.value_ids().filter(|id| !kept.contains(id) && !graph.outputs.contains(id)) {
        let value = graph.value(id);
        let Some(data) = value.data.as_ref().filter(|t| t.dtype() == DType::F32 && t.elements() >= SMALLEST) else {
            continue;
        };
        let float = data.to_f32();
        let halves: Vec<f16> = float.iter().map(|&x| f16::from_f32(x)).collect();
        let lost = float.iter().zip(&halves).filter(|(x, h)| x.is_finite() && h.is_infinite()).count();
        if lost > 0 {
            overflows.insert(value.name.clone(), lost);
            continue;
        }
        let value = out.value_mut(id);
        value.data = Some(Tensor::new(data.shape().to_vec(), halves));
        value.dtype = DType::F16;
    }
    out.infer()?;
    out.validate()?;
    Ok(Float16 { graph: out, overflows: overflows.into_iter().collect() })
}
