//! Layers of a float graph and what became of them in the quantized one.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Node, NodeId, Op, Quantization, Tensor, ValueId};
use rayon::prelude::*;

use super::descent::{Channel, Quadratic, Start};
use super::moments::{Group, Moments};
use crate::Recipe;
use crate::bias::{quantized_bias, smallest_scale};
use crate::rounding::Filters;

/// A layer with constant weights of its own in both graphs.
pub(super) struct Layer {
    /// The node in the float graph.
    pub(super) float: NodeId,
    /// The node in the quantized graph.
    pub(super) quantized: NodeId,
    pub(super) window: Window,
    /// Float weights, a row for each output channel.
    weights: Vec<Vec<f32>>,
    /// How the weights lie: see [`Filters`].
    shape: Vec<usize>,
    axis: usize,
}

/// What a layer's input looks like from one output position.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) groups: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    /// Input channels of a group.
    channels: usize,
    /// Whether the input is a matrix whose rows are the features, as a fully-connected layer's.
    rows: bool,
}

/// One place that an output is computed for: batch index, and the window's corner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    batch: usize,
    corner: [isize; 2],
}

impl Window {
    fn of(op: &Op, weights: &[usize]) -> Option<Self> {
        let &[a, kh, kw, channels] = weights else {
            let &[_, channels] = weights else { return None };
            let (one, none) = ([1, 1], [0; 4]);
            let dense = matches!(op, Op::FullyConnected(_));
            return dense.then_some(Window {
                groups: 1,
                kernel: one,
                stride: one,
                dilation: one,
                padding: none,
                channels,
                rows: true,
            });
        };
        let kernel = [kh, kw];
        match op {
            Op::Conv2d(op) if a % op.groups == 0 => Some(Window {
                groups: op.groups,
                kernel,
                stride: op.stride,
                dilation: op.dilation,
                padding: op.padding,
                channels,
                rows: false,
            }),
            Op::DepthwiseConv2d(op) => Some(Window {
                groups: channels / op.multiplier,
                kernel,
                stride: op.stride,
                dilation: op.dilation,
                padding: op.padding,
                channels: 1,
                rows: false,
            }),
            _ => None,
        }
    }

    /// Features of one patch, in the order of a filter's weights: rows, columns, channels.
    pub(super) fn features(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// At most `limit` output positions of an input of `shape`, evenly spread but for a little
    /// chance, which `seed` decides.
    pub(super) fn positions(&self, shape: &[usize], limit: usize, seed: usize) -> Vec<Position> {
        let (batch, size) = match shape {
            &[n, h, w, _] if !self.rows => {
                let extent = |i: usize, x: usize| {
                    let covered = self.dilation[i] * (self.kernel[i] - 1) + 1;
                    (x + self.padding[i] + self.padding[i + 2]).saturating_sub(covered) / self.stride[i] + 1
                };
                (n, [extent(0, h), extent(1, w)])
            }
            _ => (shape[..shape.len() - 1].iter().product(), [1, 1]),
        };
        let all = batch * size[0] * size[1];
        let count = all.min(limit);
        let mut state = seed as u64;
        let place = |i: usize| {
            // SplitMix64 (Steele et al. 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let (from, to) = (i * all / count, (i + 1) * all / count);
            let at = from + (z ^ (z >> 31)) as usize % (to - from);
            let corner = |i: usize, out: usize| (out * self.stride[i]) as isize - self.padding[i] as isize;
            let (y, x) = (at / size[1] % size[0], at % size[1]);
            Position { batch: at / (size[0] * size[1]), corner: [corner(0, y), corner(1, x)] }
        };
        (0..count).map(place).collect()
    }

    /// Appends the patch that group `group` sees at a position; 0 beyond the borders.
    pub(super) fn patch(&self, data: &[f32], shape: &[usize], at: Position, group: usize, out: &mut Vec<f32>) {
        if self.rows {
            return out.extend_from_slice(&data[at.batch * self.channels..][..self.channels]);
        }
        let (height, width, all) = (shape[1], shape[2], shape[3]);
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                let inside = |i: usize, k: usize, extent: usize| {
                    let along = at.corner[i] + (k * self.dilation[i]) as isize;
                    usize::try_from(along).ok().filter(|&a| a < extent)
                };
                match (inside(0, ky, height), inside(1, kx, width)) {
                    (Some(y), Some(x)) => {
                        let pixel = ((at.batch * height + y) * width + x) * all + group * self.channels;
                        out.extend_from_slice(&data[pixel..pixel + self.channels]);
                    }
                    _ => out.resize(out.len() + self.channels, 0.0),
                }
            }
        }
    }
}

/// New constants of a layer.
pub(super) struct Solved {
    weights: Tensor,
    quant: Quantization,
    bias: Vec<f64>,
}

impl Layer {
    /// All layers that can be learned, in execution order.
    pub(super) fn all(float: &Graph, quantized: &Graph) -> Vec<Layer> {
        let names: BTreeMap<&str, NodeId> =
            quantized.node_ids().map(|id| (quantized.node(id).name.as_str(), id)).collect();
        let consumers = quantized.consumers();
        let layer = |id: NodeId| {
            let node = float.node(id);
            let other = *names.get(node.name.as_str())?;
            let integer = quantized.node(other).inputs.get(1).copied().flatten()?;
            let value = quantized.value(integer);
            let own = value.dtype == DType::I8 && value.data.is_some() && consumers[integer.0].len() == 1;
            let data = float.value(node.inputs.get(1).copied().flatten()?).data.as_ref().filter(|_| own)?;
            let filters = Filters::of(&node.op, data.shape()).filter(|f| f.taps_meet)?;
            let channels = filters.shape[filters.axis];
            let inner: usize = filters.shape[filters.axis + 1..].iter().product();
            let mut weights = vec![Vec::new(); channels];
            for (i, w) in data.to_f32().into_iter().enumerate() {
                weights[i / inner % channels].push(w);
            }
            let window = Window::of(&node.op, data.shape())?;
            let (shape, axis) = (data.shape().to_vec(), filters.axis);
            Some(Layer { float: id, quantized: other, window, weights, shape, axis })
        };
        float.node_ids().filter_map(layer).collect()
    }

    pub(super) fn float_input(&self, graph: &Graph) -> ValueId {
        data_input(graph.node(self.float))
    }

    pub(super) fn quantized_input(&self, graph: &Graph) -> ValueId {
        data_input(graph.node(self.quantized))
    }

    /// The best integers, scales and biases for the moments of the layer's input.
    pub(super) fn solve(&self, float: &Graph, quantized: &Graph, moments: &Moments, recipe: &Recipe) -> Solved {
        let bias = self.float_bias(float);
        let starts = self.starts(quantized, &bias, recipe);
        let size = self.weights.len() / moments.groups.len();
        let largest = recipe.weight_bits(float.node(self.float)).largest();
        let group = |(g, group): (usize, &Group)| {
            let own = g * size..(g + 1) * size;
            let (weights, bias) = (&self.weights[own.clone()], &bias[own.clone()]);
            let solved = Quadratic::new(group, moments).solve(weights, &starts[own], largest);
            let corrected = |((channel, w), b): ((Channel, &Vec<f32>), &f64)| {
                let bias = b + shift(group, w, &channel);
                (channel, bias)
            };
            solved.into_iter().zip(weights).zip(bias).map(corrected).collect::<Vec<(Channel, f64)>>()
        };
        let solved: Vec<(Channel, f64)> = moments.groups.par_iter().enumerate().flat_map_iter(group).collect();
        let quant = match starts[0] {
            Start::Fixed(scale) => Quantization::per_tensor(scale, 0),
            Start::AtLeast(_) => {
                Quantization::per_channel(self.axis, solved.iter().map(|((scale, _), _)| *scale).collect())
            }
        };
        // As they were taken apart: each channel's weights in their order.
        let inner: usize = self.shape[self.axis + 1..].iter().product();
        let mut rows: Vec<_> = solved.iter().map(|((_, q), _)| q.iter().copied()).collect();
        let count: usize = self.shape.iter().product();
        let integers = (0..count).filter_map(|i| rows[i / inner % self.weights.len()].next());
        let weights = Tensor::new(self.shape.clone(), integers.collect::<Vec<i8>>());
        Solved { weights, quant, bias: solved.iter().map(|(_, bias)| *bias).collect() }
    }

    /// The float layer's bias; 0 for each channel if it has none.
    fn float_bias(&self, float: &Graph) -> Vec<f64> {
        let id = float.node(self.float).inputs.get(2).copied().flatten();
        match id.and_then(|id| float.value(id).data.as_ref()) {
            Some(data) => data.to_f32().into_iter().map(f64::from).collect(),
            None => vec![0.0; self.weights.len()],
        }
    }

    /// What the scale of each channel may be.
    fn starts(&self, quantized: &Graph, bias: &[f64], recipe: &Recipe) -> Vec<Start> {
        let parameters = |id: ValueId| quantized.value(id).quant.as_ref().and_then(Quantization::as_per_tensor);
        let weights = quantized.node(self.quantized).inputs[1].and_then(parameters);
        let input = parameters(self.quantized_input(quantized));
        let start = |b: &f64| match (weights.filter(|_| recipe.per_tensor), input) {
            // One scale for the tensor stays as it is: a channel alone cannot choose it.
            (Some((scale, _)), _) => Start::Fixed(scale),
            (None, Some((scale, _))) => Start::AtLeast(smallest_scale(b.abs() as f32, scale)),
            // A float bias fits any scale.
            (None, None) => Start::AtLeast(0.0),
        };
        bias.iter().map(start).collect()
    }

    /// Puts the solution into the quantized graph.
    pub(super) fn replace(&self, graph: &mut Graph, solved: Solved) {
        let node = graph.node(self.quantized).clone();
        let Some(weights) = node.inputs[1] else { return };
        let input = graph.value(data_input(&node)).quant.as_ref().and_then(|q| q.as_per_tensor());
        let name = match node.inputs.get(2).copied().flatten() {
            Some(old) => graph.value(old).name.clone(),
            None => format!("{}_bias", node.name),
        };
        let count = solved.bias.len();
        let (bias, quant) = match input {
            Some((scale, _)) => {
                let scales = solved.quant.scales.iter().map(|s| s * scale).collect();
                let (tensor, quant) = quantized_bias(&solved.bias, scales);
                (tensor, Some(quant))
            }
            None => (Tensor::new(vec![count], solved.bias.iter().map(|&b| b as f32).collect::<Vec<f32>>()), None),
        };
        let value = graph.value_mut(weights);
        (value.data, value.quant) = (Some(solved.weights), Some(solved.quant));
        let bias = graph.add_constant(name, bias);
        graph.value_mut(bias).quant = quant;
        let inputs = &mut graph.nodes[self.quantized.0].inputs;
        inputs.resize(inputs.len().max(3), None);
        inputs[2] = Some(bias);
    }
}

/// What the mean of a channel's output loses by its new weights and by what its inputs have become.
fn shift(group: &Group, w: &[f32], (scale, q): &Channel) -> f64 {
    let exact: f64 = w.iter().zip(&group.sums.1).map(|(&w, mean)| f64::from(w) * mean).sum();
    let seen: f64 = q.iter().zip(&group.sums.0).map(|(&q, mean)| f64::from(q) * mean).sum();
    exact - f64::from(*scale) * seen
}

fn data_input(node: &Node) -> ValueId {
    // A layer has weights at position 1, so there is a position 0; the graph was validated.
    node.inputs[0].unwrap_or(ValueId(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_engine::{Engine, Options};
    use fewbits_graph::ops::{Conv2d, DepthwiseConv2d, FullyConnected};
    use fewbits_graph::{Activation, Shape};

    fn numbers(seed: usize, n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 500.0 - 1.0).collect()
    }

    /// Every patch times the filters must be the convolution's own output.
    fn patches_are_what_the_layer_sees(op: Op, shape: &[usize], weights: &[usize]) {
        let mut graph = Graph::default();
        let x = graph.add_input("x", DType::F32, Shape::fixed(shape));
        let w = numbers(1, weights.iter().product());
        let id = graph.add_constant("w", Tensor::new(weights.to_vec(), w.clone()));
        graph.outputs = vec![graph.add_node("layer", op.clone(), &[Some(x), Some(id)], "y")];
        let data = numbers(2, shape.iter().product());
        let mut engine = Engine::compile(&graph, &Options { threads: 1, ..Options::default() }).unwrap();
        let out = engine.run(&[Tensor::new(shape.to_vec(), data.clone())]).unwrap().remove(0);
        let (window, out) = (Window::of(&op, weights).unwrap(), (out.to_f32(), *out.shape().last().unwrap()));
        let positions = window.positions(shape, usize::MAX, 3);
        assert_eq!(positions.len() * out.1, out.0.len());
        let (depthwise, k) = (matches!(op, Op::DepthwiseConv2d(_)), window.features());
        for (position, expected) in positions.iter().zip(out.0.chunks_exact(out.1)) {
            for (o, y) in expected.iter().enumerate() {
                let mut patch = Vec::new();
                window.patch(&data, shape, *position, o / (out.1 / window.groups), &mut patch);
                let at = |i: usize| if depthwise { i * out.1 + o } else { o * k + i };
                let sum: f32 = patch.iter().enumerate().map(|(i, x)| x * w[at(i)]).sum();
                assert!((sum - y).abs() < 1e-4, "{sum} {y}");
            }
        }
    }

    #[test]
    fn convolutions_of_every_kind() {
        let activation = Activation::None;
        let conv = Conv2d { stride: [2, 1], dilation: [1, 2], padding: [1, 0, 2, 1], groups: 2, activation };
        patches_are_what_the_layer_sees(conv.into(), &[2, 6, 7, 4], &[6, 3, 2, 2]);
        let depthwise =
            DepthwiseConv2d { stride: [1, 2], dilation: [2, 1], padding: [0, 1, 1, 2], multiplier: 2, activation };
        patches_are_what_the_layer_sees(depthwise.into(), &[1, 7, 6, 3], &[1, 3, 3, 6]);
        patches_are_what_the_layer_sees(FullyConnected { activation }.into(), &[5, 4], &[3, 4]);
    }

    #[test]
    fn few_positions_are_spread_over_all() {
        let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [0; 4], groups: 1, activation: Activation::None };
        let window = Window::of(&op.into(), &[1, 1, 1, 1]).unwrap();
        let places = |seed| -> Vec<usize> {
            let at = |p: &Position| p.corner[0] as usize * 10 + p.corner[1] as usize;
            window.positions(&[1, 10, 10, 1], 20, seed).iter().map(at).collect()
        };
        assert!(places(1).iter().enumerate().all(|(i, &p)| p / 5 == i), "one in each twentieth");
        assert_ne!(places(1), places(2));
        assert_eq!(places(1), places(1));
    }
}
