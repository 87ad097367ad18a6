//! Edges whose channels may be scaled: a layer, what commutes with a scaling, and layers again.

use fewbits_graph::ops::{PadMode, PoolKind, ReduceKind, ResizeMode, UnaryKind};
use fewbits_graph::{Activation, Graph, NodeId, Op, ValueId};

use super::layer::Layer;

/// A clamp on the way whose bounds do not scale along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cap {
    /// The clamped edge.
    pub(super) value: ValueId,
    pub(super) low: f32,
    pub(super) high: f32,
}

/// A layer and the layers that read its output, with everything between them.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) producer: Layer,
    pub(super) consumers: Vec<Layer>,
    /// The producer's output.
    pub(super) edge: ValueId,
    pub(super) caps: Vec<Cap>,
    /// What is between them commutes with adding a constant to a channel, too; after a ReLU, if the
    /// channel stays positive.
    pub(super) shifts: bool,
    /// The producer clamps at 0.
    pub(super) rectified: bool,
}

impl Link {
    /// Channels of the edge.
    pub(super) fn channels(&self) -> usize {
        self.producer.outputs
    }

    /// Largest magnitude of the weights that read each channel, those of output channel `o` of a layer
    /// divided by `scale(layer, o)`.
    pub(super) fn read_ranges(&self, scale: impl Fn(&Layer, usize) -> f64) -> Vec<f64> {
        let mut read = vec![0.0f64; self.channels()];
        for layer in &self.consumers {
            let ranges = layer.input_ranges(|o| scale(layer, o));
            read.iter_mut().zip(ranges).for_each(|(all, r)| *all = all.max(r));
        }
        read
    }
}

/// All links of a graph, in execution order. A layer's output belongs to at most one, its input too.
pub(super) fn links(graph: &Graph) -> Vec<Link> {
    let consumers = graph.consumers();
    (0..graph.nodes.len()).filter_map(|node| link(graph, &consumers, node)).collect()
}

fn link(graph: &Graph, consumers: &[Vec<NodeId>], node: usize) -> Option<Link> {
    let producer = Layer::any(graph, node)?;
    let edge = *graph.nodes[node].outputs.first()?;
    let activation = graph.nodes[node].op.activation()?;
    let mut link = Link {
        consumers: Vec::new(),
        caps: Vec::new(),
        shifts: true,
        rectified: activation != Activation::None,
        edge,
        producer,
    };
    let (low, high) = activation.range();
    link.cap(edge, low, high)?;
    let mut pending = vec![edge];
    while let Some(value) = pending.pop() {
        if graph.outputs.contains(&value) || consumers[value.0].is_empty() {
            return None;
        }
        for reader in &consumers[value.0] {
            let at = &graph.nodes[reader.0];
            let others = at.inputs.iter().skip(1).flatten();
            if at.inputs.first() != Some(&Some(value)) || others.clone().any(|v| *v == value) {
                return None;
            }
            if matches!(at.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_))
            {
                let consumer = Layer::of(graph, reader.0, link.channels())?;
                link.shifts &= consumer.sees_no_padding();
                link.consumers.push(consumer);
            } else {
                link.pass(graph, reader.0)?;
                pending.push(*at.outputs.first()?);
            }
        }
    }
    Some(link)
}

impl Link {
    /// Notes a clamp to `[low, high]`; `None` if it moves 0, so that nothing commutes with it.
    fn cap(&mut self, value: ValueId, low: f32, high: f32) -> Option<()> {
        if low > 0.0 || high < 0.0 || high.is_nan() || low.is_nan() {
            return None;
        }
        if high != f32::INFINITY || (low != 0.0 && low != f32::NEG_INFINITY) {
            self.caps.push(Cap { value, low, high });
        }
        Some(())
    }

    /// Takes a node into the link, if it commutes with a positive factor for each channel.
    fn pass(&mut self, graph: &Graph, node: usize) -> Option<()> {
        let at = &graph.nodes[node];
        let (input, output) = (at.inputs[0]?, *at.outputs.first()?);
        let rank = graph.value(input).shape.rank();
        let mut shifts = false;
        match &at.op {
            Op::Identity(_) => shifts = true,
            Op::Pool2d(pool) if pool.activation == Activation::None => {
                shifts = pool.padding == [0; 4] || matches!(pool.kind, PoolKind::Max);
            }
            Op::Reduce(r) => {
                let kept = r.axes.iter().all(|&a| a + 1 < rank);
                shifts = r.kind == ReduceKind::Mean;
                let linear = matches!(r.kind, ReduceKind::Mean | ReduceKind::Sum | ReduceKind::Max | ReduceKind::Min);
                (kept && linear).then_some(())?;
            }
            Op::Pad(p) => {
                let zero =
                    at.inputs.get(2).copied().flatten().is_none_or(|v| {
                        graph.value(v).data.as_ref().is_some_and(|t| t.to_f32().iter().all(|&x| x == 0.0))
                    });
                (zero || p.mode != PadMode::Constant).then_some(())?;
                // Channels must stay where they are.
                (graph.value(input).shape.0.last() == graph.value(output).shape.0.last()).then_some(())?;
            }
            Op::Resize(r) if !matches!(r.mode, ResizeMode::Cubic { .. }) => {
                (graph.value(input).shape.0.last() == graph.value(output).shape.0.last()).then_some(())?;
            }
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                // Row-major order keeps channel `i % C` where it was as long as rows are whole.
                let last = graph.value(output).shape.0.last()?.fixed()?;
                (last > 0 && last.is_multiple_of(self.channels())).then_some(())?;
                shifts = true;
            }
            Op::Unary(u) => match u.kind {
                UnaryKind::Relu => {
                    shifts = true;
                    self.rectified = true;
                }
                UnaryKind::LeakyRelu { alpha } if alpha >= 0.0 => {}
                UnaryKind::Clip { min, max } => {
                    self.cap(output, min, max)?;
                    self.rectified |= min == 0.0;
                }
                _ => return None,
            },
            Op::PRelu(_) => {}
            _ => return None,
        }
        self.shifts &= shifts;
        Some(())
    }
}
