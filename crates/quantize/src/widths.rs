//! What narrower weights of each layer cost at the model's outputs.
//!
//! One layer at a time has its weights rounded, everything else stays float: errors of several layers
//! add up to about the sum of their energies, as they have little to do with each other (Zhou et al.,
//! "Adaptive Quantization for Deep Neural Network", AAAI 2018).

use std::collections::BTreeMap;

use fewbits_engine::{Engine, Options};
use fewbits_graph::{DType, Graph, Node, NodeId, Tensor, ValueId};

use crate::bias::{correct_float_bias, dequantized};
use crate::rounding::Filters;
use crate::sensitivity::side_by_side;
use crate::weights::quantize_layer_weights;
use crate::{Error, Form, Recipe, Result, Statistics, WeightBits, forms};

/// Layers that share one tensor of weights, and what widths of it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWidths {
    /// The nodes of the float graph, in execution order.
    pub nodes: Vec<NodeId>,
    /// Weights in the tensor.
    pub elements: usize,
    /// For each width asked for the energy of the outputs' error as a share of the energy of the float
    /// outputs; infinite where outputs are no numbers.
    pub noise: Vec<f64>,
}

/// The layers of the float graph that have integer weights in its quantization `quantized`, grouped by
/// the tensor they share.
pub fn weight_layers(graph: &Graph, quantized: &Graph) -> Vec<Vec<NodeId>> {
    let forms = forms(graph, quantized);
    let integer = integer_weights(quantized);
    let mut groups: BTreeMap<ValueId, Vec<NodeId>> = BTreeMap::new();
    for id in graph.node_ids().filter(|id| forms[id.0] != Form::Float) {
        let node = graph.node(id);
        if let Some((weights, _)) = weights(graph, node).filter(|_| integer.contains_key(node.name.as_str())) {
            groups.entry(weights).or_default().push(id);
        }
    }
    let mut layers: Vec<Vec<NodeId>> = groups.into_values().collect();
    layers.sort();
    layers
}

/// Nodes of a quantized graph with constant integer weights.
fn integer_weights(graph: &Graph) -> BTreeMap<&str, ValueId> {
    let weights = |node: &Node| node.inputs.get(1).copied().flatten();
    let integer = |id: &ValueId| graph.value(*id).dtype == DType::I8 && graph.value(*id).data.is_some();
    graph.nodes.iter().filter_map(|n| Some((n.name.as_str(), weights(n).filter(integer)?))).collect()
}

/// A layer's constant float weights.
fn weights<'a>(graph: &'a Graph, node: &Node) -> Option<(ValueId, &'a Tensor)> {
    let id = node.inputs.get(1).copied().flatten()?;
    let data = graph.value(id).data.as_ref().filter(|t| t.dtype() == DType::F32)?;
    Filters::of(&node.op, data.shape()).map(|_| (id, data))
}

/// Measures each of `layers` (as [`weight_layers`] gives them) at each of `widths`, everything else of
/// the float graph `graph` as it is, on `samples` (a tensor for each public input). Weights are rounded
/// as `recipe` says, but nothing is learned. `advance` is called `layers × widths` times; `threads` work
/// at a time (0: one a core), and results do not depend on them.
///
/// # Errors
/// [`Error::NoSamples`]; samples that do not fit the graph.
pub fn layer_widths(
    graph: &Graph,
    statistics: Option<&Statistics>,
    recipe: &Recipe,
    layers: &[Vec<NodeId>],
    widths: &[WeightBits],
    samples: &[Vec<Tensor>],
    threads: usize,
    advance: &mut dyn FnMut(),
) -> Result<Vec<LayerWidths>> {
    if samples.is_empty() {
        return Err(Error::NoSamples);
    }
    let mut engine = Engine::compile(graph, &Options { threads, ..Options::default() })?;
    let expected = samples.iter().map(|s| engine.run(s)).collect::<fewbits_engine::Result<Vec<_>>>()?;
    drop(engine);
    let measure = |at: usize| -> Result<f64> {
        let (layer, bits) = (&layers[at / widths.len()], widths[at % widths.len()]);
        let rounded = with_rounded(graph, statistics, recipe, layer, bits);
        let mut engine = Engine::compile(&rounded, &Options { threads: 1, ..Options::default() })?;
        let (mut signal, mut noise) = (0.0, 0.0);
        for (sample, expected) in samples.iter().zip(&expected) {
            let outputs = engine.run(sample)?;
            for (float, narrow) in expected.iter().zip(&outputs).filter(|(t, _)| t.dtype().is_float()) {
                for (a, b) in float.to_f32().into_iter().zip(narrow.to_f32()) {
                    let (a, b) = (f64::from(a), f64::from(b));
                    (signal, noise) = (signal + a * a, noise + (a - b) * (a - b));
                }
            }
        }
        let share = if noise == 0.0 { 0.0 } else { noise / signal };
        Ok(if share.is_finite() { share } else { f64::INFINITY })
    };
    let noise = side_by_side(layers.len() * widths.len(), threads, measure, advance)?;
    let layer = |(nodes, noise): (&Vec<NodeId>, &[f64])| {
        let elements = weights(graph, graph.node(nodes[0])).map_or(0, |(_, data)| data.elements());
        LayerWidths { nodes: nodes.clone(), elements, noise: noise.to_vec() }
    };
    Ok(layers.iter().zip(noise.chunks(widths.len().max(1))).map(layer).collect())
}

/// The float graph with the weights of `layer` replaced by what `bits` bits leave of them, and biases
/// that take back the shift of it.
fn with_rounded(
    graph: &Graph,
    statistics: Option<&Statistics>,
    recipe: &Recipe,
    layer: &[NodeId],
    bits: WeightBits,
) -> Graph {
    let mut out = graph.clone();
    for &id in layer {
        let node = graph.node(id);
        let Some((weights, data)) = weights(graph, node) else { continue };
        let Some(filters) = Filters::of(&node.op, data.shape()) else { continue };
        let (tensor, quant) = quantize_layer_weights(data, filters, recipe, bits, |_| 0.0);
        let rounded = dequantized(&tensor, &quant);
        let float: Vec<f32> = rounded.iter().map(|&w| w as f32).collect();
        let name = format!("{}_rounded", graph.value(weights).name);
        let new = out.add_constant(name, Tensor::new(data.shape().to_vec(), float));
        out.nodes[id.0].inputs[1] = Some(new);
        correct_float_bias(&mut out, id.0, data, &rounded, statistics, recipe);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, quantize_dynamic};
    use fewbits_graph::ops::FullyConnected;
    use fewbits_graph::{Activation, Shape};

    fn numbers(seed: usize, n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 500.0 - 1.0).collect()
    }

    /// Two layers of shared weights, then one of its own.
    fn graph() -> Graph {
        let mut graph = Graph::default();
        let dense = || FullyConnected { activation: Activation::None };
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[4, 40]));
        let shared = graph.add_constant("w", Tensor::new(vec![40, 40], numbers(1, 1600)));
        let own = graph.add_constant("v", Tensor::new(vec![30, 40], numbers(2, 1200)));
        let a = graph.add_node("a", dense(), &[Some(x), Some(shared)], "a");
        let b = graph.add_node("b", dense(), &[Some(a), Some(shared)], "b");
        graph.outputs = vec![graph.add_node("c", dense(), &[Some(b), Some(own)], "c")];
        graph.infer().unwrap();
        graph
    }

    #[test]
    fn fewer_bits_cost_more_and_shared_weights_stand_together() {
        let (graph, recipe) = (graph(), Recipe::new(Mode::Dynamic));
        let quantized = quantize_dynamic(&graph, None, &recipe).unwrap();
        let layers = weight_layers(&graph, &quantized);
        assert_eq!(layers, [vec![NodeId(0), NodeId(1)], vec![NodeId(2)]]);
        let widths = [8, 4, 2].map(|b| WeightBits::try_from(b).unwrap());
        let samples = vec![vec![Tensor::new(vec![4, 40], numbers(3, 160))]];
        let measure = |threads| {
            let mut done = 0;
            let all =
                layer_widths(&graph, None, &recipe, &layers, &widths, &samples, threads, &mut || done += 1).unwrap();
            assert_eq!(done, 6);
            all
        };
        let all = measure(1);
        assert_eq!(all, measure(3));
        assert_eq!((all[0].elements, all[1].elements), (1600, 1200));
        for layer in &all {
            assert!(layer.noise[0] > 0.0 && layer.noise[0] < 1e-3, "{layer:?}");
            assert!(layer.noise[1] > 20.0 * layer.noise[0] && layer.noise[2] > 4.0 * layer.noise[1], "{layer:?}");
        }
    }
}
