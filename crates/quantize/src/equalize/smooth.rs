//! Scale migration from layer normalisations into the layers that read them (Xiao et al.,
//! "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models", 2023).

use fewbits_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};

use super::layer::{Layer, Side, set_constant};
use crate::{Result, Statistics};

/// Share of the burden that weights take over: the paper's α.
const MIGRATED: f64 = 0.5;

/// Smallest range that weights or activations count with.
const SMALLEST: f64 = 1e-5;

/// Divides the channels of layer normalisations by `s = aᵅ / w¹⁻ᵅ` (largest activation and largest
/// weight of each channel, α = 0.5) and multiplies the weights that read them by it.
///
/// Where something else reads the normalisation too (the residual stream of post-norm transformers), the
/// fully-connected layers get a normalisation of their own, and the other readers keep the old one.
///
/// # Errors
/// Shape inference errors.
pub fn smooth(graph: &Graph, statistics: &Statistics) -> Result<Graph> {
    let mut out = graph.clone();
    let consumers = graph.consumers();
    for index in (0..graph.nodes.len()).rev() {
        // From the end, so that an added node does not move those that are still to come.
        smooth_one(&mut out, graph, &consumers, index, statistics);
    }
    out.sort()?;
    out.infer()?;
    out.validate()?;
    Ok(out)
}

fn smooth_one(
    out: &mut Graph,
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    index: usize,
    statistics: &Statistics,
) -> Option<()> {
    let node = &graph.nodes[index];
    let edge = *node.outputs.first()?;
    let Op::LayerNorm(norm) = &node.op else { return None };
    let extremes = statistics.channel_extremes(edge)?;
    let parameters = [1, 2].map(|slot| graph.value(node.inputs.get(slot).copied().flatten()?).data.as_ref());
    let [Some(gamma), beta] = parameters else { return None };
    let over_channels = norm.axis + 1 == graph.value(edge).shape.rank() && gamma.elements() == extremes.len();
    if !over_channels || beta.is_some_and(|b| b.elements() != extremes.len()) {
        return None;
    }
    let (layers, others) = readers(graph, &consumers[edge.0], edge, extremes.len());
    if layers.is_empty() {
        return None;
    }
    let scales = scales(&layers, &extremes);
    let divided = |t: &Tensor| {
        let data = t.to_f32().iter().zip(&scales).map(|(&x, s)| (f64::from(x) / s) as f32).collect();
        Tensor::new(t.shape().to_vec(), data)
    };
    let (gamma, beta) = (divided(gamma), beta.map(divided));
    let at = if others || graph.outputs.contains(&edge) { own_norm(out, node, edge, &layers) } else { index };
    set_constant(out, at, 1, gamma);
    if let Some(beta) = beta {
        set_constant(out, at, 2, beta);
    }
    let side = Side { scales: &scales, shifts: &[] };
    layers.iter().for_each(|layer| layer.apply(out, &side, &Side::default()));
    Some(())
}

/// The fully-connected layers that read an edge, and whether something else does.
fn readers(graph: &Graph, nodes: &[NodeId], edge: ValueId, channels: usize) -> (Vec<Layer>, bool) {
    let mut layers = Vec::new();
    let mut others = false;
    for reader in nodes {
        let at = &graph.nodes[reader.0];
        let once = at.inputs.iter().flatten().filter(|v| **v == edge).count() == 1;
        let first = once && at.inputs.first() == Some(&Some(edge)) && matches!(at.op, Op::FullyConnected(_));
        match first.then(|| Layer::of(graph, reader.0, channels)).flatten() {
            Some(layer) => layers.push(layer),
            None => others = true,
        }
    }
    (layers, others)
}

fn scales(layers: &[Layer], extremes: &[(f32, f32)]) -> Vec<f64> {
    let mut read = vec![0.0f64; extremes.len()];
    for layer in layers {
        read.iter_mut().zip(layer.input_ranges(|_| 1.0)).for_each(|(all, r)| *all = all.max(r));
    }
    let scale = |(&(low, high), r): (&(f32, f32), &f64)| {
        let size = f64::from(low.abs().max(high.abs())).max(SMALLEST);
        size.powf(MIGRATED) / r.max(SMALLEST).powf(1.0 - MIGRATED)
    };
    extremes.iter().zip(&read).map(scale).collect()
}

/// A copy of the normalisation that the layers read; its index.
fn own_norm(out: &mut Graph, node: &Node, edge: ValueId, layers: &[Layer]) -> usize {
    let source = out.value(edge).clone();
    let smoothed = out.add_value(format!("{}_smoothed", source.name), source.dtype, source.shape);
    layers.iter().for_each(|layer| out.nodes[layer.node].inputs[0] = Some(smoothed));
    let copy = Node { name: format!("{}_smoothed", node.name), outputs: vec![smoothed], ..node.clone() };
    out.nodes.push(copy);
    out.nodes.len() - 1
}
