//! One rule a cause: what it looks at, from where on it speaks, and what it advises.

use std::collections::BTreeSet;

use fewbits_graph::ops::{Binary, BinaryKind, DepthwiseConv2d};
use fewbits_graph::{Activation, DType, Graph, Node, NodeId, Op, ValueId};

use super::cause::{Cause, Finding, Remedy, Side};
use super::profile::{ActivationProfile, LayerProfile, Narrow, largest_and_median};
use crate::bias::smallest_scale;
use crate::domain::moves;
use crate::{Calibration, Form, Mode, Recipe, Statistics, WeightScales};

/// A channel this many times larger than the median one leaves that 8 of 256 levels: 3 bits, where
/// the noise is 20 dB below the channel's own signal.
const OUTLIER: f32 = 32.0;

/// Fewer live channels have no typical one.
const LEAST_CHANNELS: usize = 4;

/// At most this share of the channels are outliers; more of them are a wide distribution.
const OUTLIER_SHARE: f32 = 0.1;

/// One step of the input that becomes 4 of the output costs 2 of 8 bits. Folded layers have 1 or
/// less.
const AMPLIFIED: f32 = 4.0;

/// A bias this many times larger than what the median channel varies by leaves that 16 levels.
const HUGE_BIAS: f32 = 16.0;

/// A bias is an offset, no part of a wide distribution, if its own channel varies by less than a
/// quarter of it.
const OFFSET: f32 = 4.0;

/// Levels that the bulk of an edge should have: with 16, rounding noise is 4 bits (24 dB) closer to
/// the signal than it need be.
const LEAST_LEVELS: f32 = 16.0;

/// Clipping that cuts off this share of the energy is noise at 30 dB, above that of rounding to
/// 8 bits (35 to 45 dB for the usual distributions).
const CLIPPED_ENERGY: f64 = 1e-3;

/// One addend this many times wider than the other leaves that 16 levels. From 64 on the plan keeps
/// the sum in float.
const UNEQUAL: f32 = 16.0;

/// Dead channels are worth a word from this share on; most trained networks have a few.
const DEAD_SHARE: f32 = 0.25;

/// More nodes than these in one `--exclude` are no advice: the edge is the network's main stream.
const MOST_EXCLUDED: usize = 6;

/// All that rules look at.
struct Context<'a> {
    graph: &'a Graph,
    statistics: &'a Statistics,
    recipe: &'a Recipe,
    narrow: &'a Narrow<'a>,
    forms: &'a [Form],
    profiles: &'a [LayerProfile],
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
    /// For each node the channel of its output that is an outlier.
    outliers: Vec<Option<usize>>,
}

/// What one rule says of a node, and what it advises.
type Rule<'a> = fn(&Context<'a>, NodeId) -> Option<(Cause, Vec<Remedy>)>;

/// All causes, in execution order.
pub(super) fn findings(
    graph: &Graph,
    statistics: &Statistics,
    recipe: &Recipe,
    narrow: &Narrow<'_>,
    forms: &[Form],
    profiles: &[LayerProfile],
) -> Vec<Finding> {
    let outliers = graph.nodes.iter().zip(profiles).map(|(node, p)| outlier(node, p.activation.as_ref()?));
    let context = Context {
        graph,
        statistics,
        recipe,
        narrow,
        forms,
        profiles,
        producers: graph.producers(),
        consumers: graph.consumers(),
        outliers: outliers.map(|o| o.map(|(channel, _, _)| channel)).collect(),
    };
    // What stretches the range of an edge, the most specific cause first: one explains it.
    let stretched: [Rule<'_>; 4] =
        [Context::unfolded_batch_norm, Context::huge_bias, Context::outlier_channel, Context::few_levels];
    let others: [Rule<'_>; 4] =
        [Context::outlier_weights, Context::clipped_tails, Context::unequal_addends, Context::dead_channels];
    let quantized = graph.node_ids().filter(|n| forms[n.0] != Form::Float);
    let at = |node: NodeId| {
        let stretched = stretched.iter().find_map(|rule| rule(&context, node));
        let found = others.iter().filter_map(|rule| rule(&context, node)).chain(stretched);
        found.map(|(cause, remedies)| Finding { node, cause, remedies }).collect::<Vec<_>>()
    };
    quantized.flat_map(at).collect()
}

/// The outlier among the channels of an output: channel, its largest magnitude, the median one.
fn outlier(node: &Node, activation: &ActivationProfile) -> Option<(usize, f32, f32)> {
    // The last axis of these counts positions or rows, not channels.
    if matches!(node.op, Op::MatMul(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Transpose(_)) {
        return None;
    }
    let magnitudes: Vec<f32> = activation.channels.iter().map(|(low, high)| low.abs().max(high.abs())).collect();
    let (channel, largest, median) = largest_and_median(&magnitudes, LEAST_CHANNELS)?;
    let far = magnitudes.iter().filter(|&&m| m > OUTLIER * median).count();
    let few = far as f32 <= (OUTLIER_SHARE * magnitudes.len() as f32).max(1.0);
    (far > 0 && few).then_some((channel, largest, median))
}

/// Whether each channel of the output is made of the same channel of the input.
fn keeps_channels(op: &Op) -> bool {
    moves(op) || matches!(op, Op::Unary(_) | Op::Binary(_) | Op::PRelu(_) | Op::DepthwiseConv2d(_) | Op::Reduce(_))
}

impl Context<'_> {
    fn node(&self, node: NodeId) -> &Node {
        self.graph.node(node)
    }

    fn activation(&self, node: NodeId) -> Option<&ActivationProfile> {
        self.profiles[node.0].activation.as_ref()
    }

    /// The name of a value.
    fn name(&self, id: ValueId) -> &str {
        &self.graph.value(id).name
    }

    /// A constant input as numbers.
    fn floats(&self, node: &Node, position: usize) -> Option<Vec<f32>> {
        let value = self.graph.value(node.inputs.get(position).copied().flatten()?);
        value.data.as_ref().filter(|t| t.dtype() == DType::F32).map(fewbits_graph::Tensor::to_f32)
    }

    /// The step of an integer edge.
    fn step(&self, id: ValueId) -> Option<f32> {
        self.narrow.range(self.name(id)).map(|(low, high)| (high - low) / 255.0)
    }

    /// The nodes that must stay float for an edge to be one: what makes it and what reads it, through
    /// operators that only move.
    fn float_edge(&self, edge: ValueId) -> Vec<Remedy> {
        let (mut nodes, mut seen, mut pending) = (BTreeSet::new(), BTreeSet::new(), vec![edge]);
        while let Some(id) = pending.pop() {
            if !seen.insert(id) {
                continue;
            }
            for &node in self.producers[id.0].iter().chain(&self.consumers[id.0]) {
                if self.forms[node.0] != Form::Int8 {
                    continue;
                }
                nodes.insert(node);
                if moves(&self.node(node).op) {
                    let around = self.node(node).inputs.iter().flatten().chain(&self.node(node).outputs);
                    pending.extend(around.filter(|v| self.graph.value(**v).data.is_none()));
                }
            }
        }
        let names: Vec<String> = nodes.iter().map(|&n| self.node(n).name.clone()).collect();
        match names.len() {
            0 => Vec::new(),
            1..=MOST_EXCLUDED => vec![Remedy::Exclude(names), Remedy::Mode(Mode::Dynamic)],
            _ => vec![Remedy::Mode(Mode::Dynamic)],
        }
    }

    fn outlier_weights(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let weights = self.profiles[node.0].weights.as_ref().filter(|_| self.forms[node.0] != Form::Float16Weights)?;
        let found = |side, numbers: &[f32]| {
            let (channel, largest, median) = largest_and_median(numbers, LEAST_CHANNELS)?;
            let far = largest > OUTLIER * median;
            far.then_some(Cause::OutlierWeights { side, channel, largest, median })
        };
        let exclude = || Remedy::Exclude(vec![self.node(node).name.clone()]);
        if self.recipe.per_tensor
            && let Some(cause) = found(Side::Output, &weights.outputs)
        {
            return Some((cause, vec![Remedy::PerChannel, exclude()]));
        }
        let cause = found(Side::Input, &weights.inputs)?;
        let mse = Remedy::WeightScales(WeightScales::Mse);
        let scales = self.recipe.weight_scales.resolved(self.recipe.weight_bits(self.node(node)));
        let others = (scales != WeightScales::Mse).then_some(mse);
        Some((cause, [exclude()].into_iter().chain(others).collect()))
    }

    fn outlier_channel(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let activation = self.activation(node).filter(|a| a.range.is_some())?;
        let (channel, largest, median) = outlier(self.node(node), activation)?;
        // Named where it arises, not where it is handed on.
        let inputs = self.node(node).inputs.iter().flatten();
        let handed_on =
            inputs.filter_map(|v| self.producers[v.0]).any(|before| self.outliers[before.0] == Some(channel));
        if keeps_channels(&self.node(node).op) && handed_on {
            return None;
        }
        let of_weights = self.profiles[node.0].weights.as_ref().and_then(|w| {
            let (at, largest, median) = largest_and_median(&w.outputs, LEAST_CHANNELS)?;
            (at == channel && largest > OUTLIER * median).then_some(largest / median)
        });
        let cause = Cause::OutlierChannel { channel, largest, median, weights: of_weights };
        Some((cause, self.float_edge(self.node(node).outputs[0])))
    }

    /// The factors of a per-channel multiplication, and whether it is what became of a batch norm.
    fn channel_scales(&self, node: &Node) -> Option<(ValueId, Vec<f32>, bool)> {
        let x = (*node.inputs.first()?)?;
        match &node.op {
            Op::BatchNorm(op) => {
                let (gamma, variance) = (self.floats(node, 1)?, self.floats(node, 4)?);
                let scales = gamma.iter().zip(&variance).map(|(g, v)| g / (v + op.epsilon).sqrt());
                Some((x, scales.collect(), true))
            }
            Op::DepthwiseConv2d(DepthwiseConv2d { stride: [1, 1], multiplier: 1, .. }) => {
                let weights = self.graph.value(node.inputs[1]?);
                let pointwise = weights.shape.to_fixed().is_some_and(|s| s.len() == 4 && s[..3] == [1, 1, 1]);
                // The name that spelling a batch norm out gives.
                let spelled_out = weights.name == format!("{}_scale", node.name);
                pointwise.then(|| Some((x, self.floats(node, 1)?, spelled_out)))?
            }
            Op::Binary(Binary { kind: kind @ (BinaryKind::Mul | BinaryKind::Div), .. }) => {
                let constant_first = self.graph.value(x).data.is_some();
                let (x, position) = if constant_first { (node.inputs[1]?, 0) } else { (x, 1) };
                let mut scales = self.floats(node, position).filter(|s| s.len() > 1)?;
                if *kind == BinaryKind::Div {
                    scales.iter_mut().for_each(|s| *s = 1.0 / *s);
                }
                Some((x, scales, false))
            }
            _ => None,
        }
    }

    fn unfolded_batch_norm(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let activation = self.activation(node).filter(|a| a.range.is_some())?;
        let (x, scales, is_batch_norm) = self.channel_scales(self.node(node))?;
        if scales.len() != activation.channels.len() {
            return None;
        }
        let magnitudes: Vec<f32> = scales.iter().map(|s| s.abs()).collect();
        let (_, largest, median) = largest_and_median(&magnitudes, 1)?;
        let live = magnitudes.iter().zip(&activation.channels).filter(|(_, (low, high))| high > low);
        let largest_live = live.map(|(s, _)| *s).fold(0.0, f32::max);
        let amplification = self.step(x).zip(activation.step()).map(|(before, after)| largest_live * before / after);
        let spread = largest / median;
        if !(is_batch_norm || spread >= AMPLIFIED || amplification.is_some_and(|a| a >= AMPLIFIED)) {
            return None;
        }
        let before = self.producers[x.0].filter(|n| self.forms[n.0] == Form::Int8);
        let names = before.into_iter().chain([node]).map(|n| self.node(n).name.clone()).collect();
        let cause = Cause::UnfoldedBatchNorm { spread, amplification, reason: self.why_unfolded(x) };
        Some((cause, vec![Remedy::Exclude(names), Remedy::Mode(Mode::Dynamic)]))
    }

    /// Why the producer of `x` could not take in what follows it.
    fn why_unfolded(&self, x: ValueId) -> String {
        let Some(before) = self.producers[x.0] else {
            return "nothing stands before it".to_owned();
        };
        let before = self.node(before);
        let layer = matches!(
            before.op,
            Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_)
        );
        if !layer {
            return format!("it follows `{}` ({}), which has no weights", before.name, before.op.name());
        }
        match before.op.activation() {
            None | Some(Activation::None) => format!("other nodes read the output of `{}` too", before.name),
            Some(_) => format!("it stands behind the activation of `{}`", before.name),
        }
    }

    fn huge_bias(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let (at, activation) = (self.node(node), self.activation(node).filter(|a| a.range.is_some())?);
        self.profiles[node.0].weights.as_ref()?;
        let biases = self.floats(at, 2).filter(|b| b.len() == activation.channels.len())?;
        let varies = |c: usize| activation.channels[c].1 - activation.channels[c].0;
        let all: Vec<f32> = (0..biases.len()).map(varies).collect();
        let (_, _, median) = largest_and_median(&all, 1)?;
        let offset = |&c: &usize| {
            let (bias, (low, high)) = (biases[c].abs(), activation.channels[c]);
            // A bias that an activation cuts off stretches nothing.
            let arrives = (low + high).abs() / 2.0 >= bias / 2.0;
            bias > HUGE_BIAS * median && bias > OFFSET * varies(c) && arrives
        };
        let channel = (0..biases.len()).filter(offset).max_by(|&a, &b| biases[a].abs().total_cmp(&biases[b].abs()))?;
        let cause = Cause::HugeBias {
            channel,
            bias: biases[channel],
            varies: median,
            levels: activation.step().map(|step| (median / step).min(256.0)),
            coarser: self.coarser_weights(node, &biases),
        };
        Some((cause, self.float_edge(at.outputs[0])))
    }

    /// How many times the weight scale of a channel grew at most so that its bias, in units of input
    /// scale × weight scale, fits into 30 bits.
    fn coarser_weights(&self, node: NodeId, biases: &[f32]) -> Option<f32> {
        let weights = self.profiles[node.0].weights.as_ref()?;
        let input = self.step(self.node(node).inputs[0]?)?;
        let levels = f32::from(self.recipe.weight_bits(self.node(node)).largest());
        let factor = |(weight, bias): (&f32, &f32)| smallest_scale(bias.abs(), input) / (weight / levels);
        let factors = weights.outputs.iter().zip(biases).filter(|(w, _)| **w > 0.0).map(factor);
        let largest = factors.fold(0.0, f32::max);
        (largest > 1.0 && largest.is_finite()).then_some(largest)
    }

    /// Whether the specification gives the output its range, so that no flag changes it.
    fn is_fixed(&self, node: NodeId) -> bool {
        matches!(
            crate::constraint(&self.node(node).op, crate::Format::Onnx),
            None | Some(crate::Constraint::Fixed(_) | crate::Constraint::SameAsInputs)
        )
    }

    fn few_levels(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let activation = self.activation(node).filter(|_| !self.is_fixed(node) && self.outliers[node.0].is_none())?;
        let (range, bulk) = (activation.range?, activation.bulk);
        let levels = (bulk.1 - bulk.0) / activation.step()?;
        let few = levels > 0.0 && levels < LEAST_LEVELS;
        let others = [Calibration::Percentile, Calibration::Entropy, Calibration::Mse];
        let remedies = self.other_calibrations(&others).chain(self.float_edge(self.node(node).outputs[0]));
        few.then(|| (Cause::FewLevels { range, bulk, levels }, remedies.collect()))
    }

    fn clipped_tails(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let activation = self.activation(node).filter(|_| !self.is_fixed(node))?;
        let (range, energy, saturated) = (activation.range?, activation.clipped_energy?, activation.saturated?);
        let cause = Cause::ClippedTails { saturated, energy, range, extremes: activation.extremes };
        let others = [Calibration::Mse, Calibration::Minmax];
        (energy > CLIPPED_ENERGY).then(|| (cause, self.other_calibrations(&others).collect()))
    }

    fn other_calibrations<'m>(&self, methods: &'m [Calibration]) -> impl Iterator<Item = Remedy> + use<'m> {
        let current = self.recipe.calibration;
        methods.iter().copied().filter(move |&m| m != current).map(Remedy::Calibration)
    }

    fn unequal_addends(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let at = self.node(node);
        let Op::Binary(Binary { kind: BinaryKind::Add | BinaryKind::Sub, .. }) = at.op else { return None };
        if self.forms[node.0] != Form::Int8 {
            return None;
        }
        let width = |i: usize| {
            let id = at.inputs[i].filter(|v| self.graph.value(*v).data.is_none())?;
            let (low, high) = self.statistics.histograms.get(&id)?.min_max();
            Some(high - low).filter(|w| *w > 0.0)
        };
        let (a, b) = (width(0)?, width(1)?);
        let (wide, narrow) = (a.max(b), a.min(b));
        let explained = self.outliers[node.0].is_some();
        (wide > UNEQUAL * narrow && !explained)
            .then(|| (Cause::UnequalAddends { wide, narrow }, self.float_edge(at.outputs[0])))
    }

    fn dead_channels(&self, node: NodeId) -> Option<(Cause, Vec<Remedy>)> {
        let profile = &self.profiles[node.0];
        let weights = profile.weights.as_ref()?;
        let channels = weights.outputs.len();
        let still = profile.activation.as_ref().filter(|a| a.channels.len() == channels).map_or(0, |a| a.dead);
        let dead = weights.dead.max(still);
        let many = channels >= LEAST_CHANNELS && dead as f32 >= DEAD_SHARE * channels as f32;
        many.then(|| (Cause::DeadChannels { dead, channels }, Vec::new()))
    }
}
