//! Weights rounded once for many experiments.
//!
//! Rounding weights so that errors cancel is most of the time that a quantization takes, and its
//! result for a layer does not depend on which other layers stay float.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Node, Quantization, Tensor};

use crate::bias::quantized_bias;
use crate::{Recipe, WeightRounding};

/// The recipe without all that [`with_layers_of`] takes over.
pub(crate) fn without_rounding(recipe: &Recipe) -> Recipe {
    Recipe { weight_rounding: WeightRounding::Nearest, bias_correction: false, ..recipe.clone() }
}

/// `graph` with the narrow weights and the biases that the layers of the same names have in `full`.
///
/// `None` if a layer's weights have another type or other scales there: then they are not the same
/// weights.
pub(crate) fn with_layers_of(full: &Graph, mut graph: Graph) -> Option<Graph> {
    let by_name: BTreeMap<&str, &Node> = full.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Some(weights) = node.inputs.get(1).copied().flatten() else { continue };
        let value = graph.value(weights);
        if value.data.is_none() || !matches!(value.dtype, DType::I8 | DType::F16) || node.inputs.len() > 3 {
            continue;
        }
        let other = by_name.get(node.name.as_str())?;
        let source = full.value(other.inputs.get(1).copied().flatten()?);
        if (source.dtype, &source.quant, &source.shape) != (value.dtype, &value.quant, &value.shape) {
            return None;
        }
        let bias = match other.inputs.get(2).copied().flatten() {
            Some(bias) => Some(bias_of(full, bias.0, &graph, index)?),
            None => None,
        };
        graph.value_mut(weights).data = source.data.clone();
        if let Some((tensor, quant)) = bias {
            let id = graph.add_constant(format!("{}_reused", full.value(other.inputs[2]?).name), tensor);
            graph.value_mut(id).quant = quant;
            let inputs = &mut graph.nodes[index].inputs;
            inputs.resize(3, None);
            inputs[2] = Some(id);
        }
    }
    Some(graph)
}

/// `graph` with the weights, scales and biases of `learned` in those layers of integer weights that
/// `same` names: a guess at what learning them again beside other neighbours would give.
///
/// Both were made from one float graph. Layers are matched by name; those whose weights have another
/// type or shape in the two stay as they are.
pub fn with_learned_layers(learned: &Graph, mut graph: Graph, same: impl Fn(&str) -> bool) -> Graph {
    let by_name: BTreeMap<&str, &Node> = learned.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    for index in 0..graph.nodes.len() {
        let node = graph.nodes[index].clone();
        let Some(other) = by_name.get(node.name.as_str()).filter(|_| same(&node.name)) else { continue };
        let at = |node: &Node, i: usize| node.inputs.get(i).copied().flatten();
        let (Some(weights), Some(source)) = (at(&node, 1), at(other, 1)) else { continue };
        let (value, source) = (graph.value(weights), learned.value(source));
        let integer = value.dtype == DType::I8 && value.data.is_some() && node.inputs.len() <= 3;
        if !integer || (source.dtype, &source.shape) != (value.dtype, &value.shape) {
            continue;
        }
        let value = graph.value_mut(weights);
        (value.data, value.quant) = (source.data.clone(), source.quant.clone());
        let Some((bias, (tensor, quant))) = at(other, 2).and_then(|b| Some((b, bias_of(learned, b.0, &graph, index)?)))
        else {
            continue;
        };
        let id = graph.add_constant(format!("{}_learned", learned.value(bias).name), tensor);
        graph.value_mut(id).quant = quant;
        let inputs = &mut graph.nodes[index].inputs;
        inputs.resize(3, None);
        inputs[2] = Some(id);
    }
    graph.prune();
    graph
}

/// The bias `at` of `full` in the domain of node `index` of `graph`, whose input may have another
/// scale.
fn bias_of(full: &Graph, at: usize, graph: &Graph, index: usize) -> Option<(Tensor, Option<Quantization>)> {
    let source = &full.values[at];
    let data = source.data.as_ref()?;
    let node = &graph.nodes[index];
    let input = graph.value(node.inputs[0]?);
    match (data.dtype(), input.dtype) {
        (DType::F32, DType::F32) => Some((data.clone(), None)),
        (DType::I32, DType::I8) => {
            let before = &source.quant.as_ref()?.scales;
            let weights = graph.value(node.inputs[1]?).quant.as_ref()?;
            let (scale, _) = input.quant.as_ref()?.as_per_tensor()?;
            let after: Vec<f32> = weights.scales.iter().map(|w| w * scale).collect();
            let at = |scales: &[f32], c: usize| f64::from(scales[if scales.len() == 1 { 0 } else { c }]);
            let integers = data.as_slice::<i32>()?;
            let real: Vec<f64> = integers.iter().enumerate().map(|(c, &q)| f64::from(q) * at(before, c)).collect();
            let (tensor, quant) = quantized_bias(&real, after);
            Some((tensor, Some(quant)))
        }
        _ => None,
    }
}
