//! A layer's weights by output and by input channel.

use fewbits_graph::{DType, Graph, Op, Tensor};

use crate::rounding::Filters;

/// How the constant weights of a node lie.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Index of the node.
    pub(super) node: usize,
    op: Op,
    shape: Vec<usize>,
    weights: Vec<f32>,
    /// Channels of the input: what is repeated along the last axis of flattened input is one channel.
    pub(super) inputs: usize,
    /// Channels of the output.
    pub(super) outputs: usize,
}

impl Layer {
    /// The layer of a node that multiplies a float edge of `inputs` channels with constant float
    /// weights; a constant bias may follow.
    pub(super) fn of(graph: &Graph, node: usize, inputs: usize) -> Option<Layer> {
        let Layer { shape, .. } = &Layer::any(graph, node)?;
        let fits = match &graph.nodes[node].op {
            Op::FullyConnected(_) => inputs > 0 && shape.last()?.is_multiple_of(inputs),
            Op::Conv2d(op) => op.groups.checked_mul(*shape.last()?) == Some(inputs),
            Op::ConvTranspose2d(op) => op.groups.checked_mul(*shape.last()?) == Some(inputs),
            Op::DepthwiseConv2d(op) => inputs.checked_mul(op.multiplier) == shape.last().copied(),
            _ => false,
        };
        Some(Layer { inputs, ..Layer::any(graph, node)? }).filter(|_| fits)
    }

    /// As [`Layer::of`], for a node whose input channels do not matter.
    pub(super) fn any(graph: &Graph, node: usize) -> Option<Layer> {
        let at = &graph.nodes[node];
        let constant = |slot: usize| {
            let value = graph.value(at.inputs.get(slot).copied().flatten()?);
            value.data.as_ref().filter(|t| t.dtype() == DType::F32 && value.quant.is_none())
        };
        let weights = constant(1).filter(|t| t.elements() > 0)?;
        let shape = weights.shape().to_vec();
        let outputs = shape[Filters::of(&at.op, &shape)?.axis];
        let biased = at.inputs.get(2).copied().flatten().is_some();
        let fits = !biased || constant(2).is_some_and(|b| b.elements() == outputs);
        let layer = Layer { node, op: at.op.clone(), weights: weights.to_f32(), shape, inputs: 0, outputs };
        fits.then_some(layer)
    }

    /// Whether each output channel reads one input channel, so that per-channel scales take up
    /// whatever is done to it.
    pub(super) fn is_depthwise(&self) -> bool {
        matches!(self.op, Op::DepthwiseConv2d(_))
    }

    /// Whether every output element sees all weights of its channel: no zeros from padding among its
    /// inputs.
    pub(super) fn sees_no_padding(&self) -> bool {
        match &self.op {
            Op::Conv2d(op) => op.padding == [0; 4],
            Op::DepthwiseConv2d(op) => op.padding == [0; 4],
            Op::FullyConnected(_) => true,
            _ => false,
        }
    }

    /// Every weight with its output and input channel.
    fn elements(&self) -> impl Iterator<Item = (f64, usize, usize)> {
        let filter = (self.weights.len() / self.outputs.max(1)).max(1);
        let last = self.shape.last().copied().unwrap_or(1).max(1);
        let channels = move |i: usize| match &self.op {
            Op::DepthwiseConv2d(op) => (i % self.outputs, i % self.outputs / op.multiplier.max(1)),
            Op::FullyConnected(_) => (i / filter, i % last % self.inputs.max(1)),
            // Input channels of group `o / (outputs / groups)`; there is one group where they are not known.
            _ => {
                let groups = (self.inputs / last).max(1);
                let o = i / filter;
                (o, o / (self.outputs / groups).max(1) * last + i % last)
            }
        };
        self.weights.iter().enumerate().map(move |(i, &w)| {
            let (o, k) = channels(i);
            (f64::from(w), o, k)
        })
    }

    /// Largest magnitude of each output channel's weights, input channel `k` multiplied by `scale(k)`.
    pub(super) fn output_ranges(&self, scale: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut ranges = vec![0.0f64; self.outputs];
        self.elements().for_each(|(w, o, k)| ranges[o] = ranges[o].max(w.abs() * scale(k)));
        ranges
    }

    /// Largest magnitude of the weights over each input channel, output channel `o` divided by
    /// `scale(o)`.
    pub(super) fn input_ranges(&self, scale: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut ranges = vec![0.0f64; self.inputs];
        self.elements().for_each(|(w, o, k)| ranges[k] = ranges[k].max(w.abs() / scale(o)));
        ranges
    }

    /// Gives the node the weights `w × scale_in(k) / scale_out(o)` and the bias
    /// `(b + Σ w × shift_in(k) − shift_out(o)) / scale_out(o)`.
    pub(super) fn apply(&self, graph: &mut Graph, input: &Side<'_>, output: &Side<'_>) {
        let mut bias = match graph.nodes[self.node].inputs.get(2).copied().flatten() {
            Some(id) => graph.value(id).data.as_ref().map_or_else(Vec::new, Tensor::to_f32),
            None => Vec::new(),
        };
        let had_bias = !bias.is_empty();
        bias.resize(self.outputs, 0.0);
        let mut bias: Vec<f64> = bias.into_iter().map(f64::from).collect();
        let mut weights = Vec::with_capacity(self.weights.len());
        for (w, o, k) in self.elements() {
            weights.push((w * input.scale(k) / output.scale(o)) as f32);
            bias[o] += w * input.shift(k);
        }
        let bias: Vec<f32> =
            bias.iter().enumerate().map(|(o, b)| ((b - output.shift(o)) / output.scale(o)) as f32).collect();
        set_constant(graph, self.node, 1, Tensor::new(self.shape.clone(), weights));
        if had_bias || bias.iter().any(|&b| b != 0.0) {
            set_constant(graph, self.node, 2, Tensor::new(vec![self.outputs], bias));
        }
    }
}

/// What is done to the channels of an edge: element `x` becomes `(x − shift) / scale`. Empty for an
/// edge that stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side<'a> {
    pub(super) scales: &'a [f64],
    pub(super) shifts: &'a [f64],
}

impl Side<'_> {
    pub(super) fn scale(&self, channel: usize) -> f64 {
        self.scales.get(channel).copied().unwrap_or(1.0)
    }

    fn shift(&self, channel: usize) -> f64 {
        self.shifts.get(channel).copied().unwrap_or(0.0)
    }
}

/// Makes `slot` of a node read `data`: in place of the constant there, if nothing else reads that.
pub(super) fn set_constant(graph: &mut Graph, node: usize, slot: usize, data: Tensor) {
    let old = graph.nodes[node].inputs.get(slot).copied().flatten();
    let uses = |id| {
        let inputs = graph.nodes.iter().flat_map(|n| n.inputs.iter().flatten());
        inputs.chain(&graph.outputs).filter(|v| **v == id).count()
    };
    if let Some(id) = old.filter(|&id| uses(id) == 1 && graph.value(id).shape.elements() == Some(data.elements())) {
        let shape = graph.value(id).data.as_ref().map_or_else(|| data.shape().to_vec(), |t| t.shape().to_vec());
        graph.value_mut(id).data = Some(Tensor::new(shape, data.to_f32()));
        return;
    }
    let name = match old {
        Some(id) => format!("{}_equalized", graph.value(id).name),
        None => format!("{}_bias", graph.nodes[node].name),
    };
    let id = graph.add_constant(name, data);
    let inputs = &mut graph.nodes[node].inputs;
    inputs.resize(inputs.len().max(slot + 1), None);
    inputs[slot] = Some(id);
}
