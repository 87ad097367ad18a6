//! What a layer's weights and activations look like.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Graph, Node, Quantization, ValueId};

use crate::range::without_tails;
use crate::rounding::Filters;
use crate::{Histogram, Recipe, Statistics};

/// Bins of a shown histogram: as many as can be told apart in a plot of a few hundred pixels.
const SHOWN_BINS: usize = 60;

/// A channel whose largest magnitude is this small a part of the tensor's is dead: it is below the
/// resolution of f32 beside the others.
const DEAD: f32 = 1e-7;

/// Share of the elements on each side that is no part of the bulk.
const TAIL: f64 = 5e-4;

/// Counts over equal bins of `[low, high]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bins {
    /// Lower border of the first bin.
    pub low: f32,
    /// Upper border of the last bin.
    pub high: f32,
    /// Elements in each.
    pub counts: Vec<u64>,
}

impl Bins {
    /// Counts elements, given as value and number, over `[low, high]`.
    fn of(low: f32, high: f32, elements: impl Iterator<Item = (f32, u64)>) -> Bins {
        let mut counts = vec![0; SHOWN_BINS];
        let width = (high - low).max(f32::MIN_POSITIVE);
        for (x, n) in elements {
            // Saturating: what lies on or beyond a border counts in the last bin.
            let bin = ((x - low) / width * SHOWN_BINS as f32) as usize;
            counts[bin.min(SHOWN_BINS - 1)] += n;
        }
        Bins { low, high, counts }
    }
}

/// The weights of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightProfile {
    /// Name of the constant.
    pub value: String,
    /// All elements.
    pub histogram: Bins,
    /// Largest magnitude of each output channel.
    pub outputs: Vec<f32>,
    /// Largest magnitude over each input channel; empty where an output sees one input only.
    pub inputs: Vec<f32>,
    /// The magnitude that each channel's scale can express: one for all, or one a channel; empty
    /// where the weights stay float.
    pub limits: Vec<f32>,
    /// Output channels without weights.
    pub dead: usize,
}

/// The output of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationProfile {
    /// Name of the value.
    pub value: String,
    /// All elements of all samples.
    pub histogram: Bins,
    /// Smallest and largest element.
    pub extremes: (f32, f32),
    /// The real numbers that the integer edge can express, if there is one.
    pub range: Option<(f32, f32)>,
    /// Share of the elements outside of the range.
    pub saturated: Option<f64>,
    /// Energy of what clipping cuts off, as a share of the energy of the signal.
    pub clipped_energy: Option<f64>,
    /// Where all but one in a thousand of the elements that are not 0 lie.
    pub bulk: (f32, f32),
    /// Smallest and largest element of each channel; empty where the last axis has no fixed size.
    pub channels: Vec<(f32, f32)>,
    /// Channels that never change.
    pub dead: usize,
}

impl ActivationProfile {
    /// The step between two integers, if the edge is an integer one.
    pub fn step(&self) -> Option<f32> {
        self.range.map(|(low, high)| (high - low) / 255.0).filter(|step| step.is_normal())
    }
}

/// What is known of a layer beside its operator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerProfile {
    /// Its weights, where it has constant ones.
    pub weights: Option<WeightProfile>,
    /// Its first output, where samples showed it.
    pub activation: Option<ActivationProfile>,
}

/// The quantized graph by the names that both graphs share.
pub(super) struct Narrow<'a> {
    graph: &'a Graph,
    values: BTreeMap<&'a str, ValueId>,
    nodes: BTreeMap<&'a str, &'a Node>,
    recipe: &'a Recipe,
}

impl<'a> Narrow<'a> {
    pub(super) fn new(graph: &'a Graph, recipe: &'a Recipe) -> Self {
        Narrow {
            recipe,
            graph,
            values: graph.value_ids().map(|id| (graph.value(id).name.as_str(), id)).collect(),
            nodes: graph.nodes.iter().map(|n| (n.name.as_str(), n)).collect(),
        }
    }

    /// The real numbers that the integer form of an activation can express.
    pub(super) fn range(&self, name: &str) -> Option<(f32, f32)> {
        // A public output that stays float has its integer form under this name.
        let quantized = format!("{name}_quantized");
        [name, quantized.as_str()].into_iter().find_map(|name| {
            let value = self.graph.value(*self.values.get(name)?);
            let (scale, zero) = value.quant.as_ref().and_then(Quantization::as_per_tensor)?;
            (value.dtype == DType::I8).then(|| ((-128 - zero) as f32 * scale, (127 - zero) as f32 * scale))
        })
    }

    /// The largest magnitude that the weights of the node of this name can express, by channel.
    fn limits(&self, node: &str) -> Option<Vec<f32>> {
        let node = self.nodes.get(node)?;
        let weights = self.graph.value((*node.inputs.get(1)?)?);
        let quant = weights.quant.as_ref().filter(|_| weights.dtype == DType::I8 && weights.data.is_some())?;
        let largest = f32::from(self.recipe.weight_bits(node).largest());
        Some(quant.scales.iter().map(|s| s * largest).collect())
    }
}

/// The profile of one node.
pub(super) fn profile(graph: &Graph, node: &Node, statistics: &Statistics, narrow: &Narrow<'_>) -> LayerProfile {
    LayerProfile {
        weights: weights(graph, node, narrow),
        activation: node.outputs.first().and_then(|&id| activation(graph, id, statistics, narrow)),
    }
}

fn weights(graph: &Graph, node: &Node, narrow: &Narrow<'_>) -> Option<WeightProfile> {
    let value = graph.value(node.inputs.get(1).copied().flatten()?);
    let tensor = value.data.as_ref().filter(|t| t.dtype() == DType::F32 && t.elements() > 0)?;
    let filters = Filters::of(&node.op, tensor.shape())?;
    let data = tensor.to_f32();
    let largest = data.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let inner: usize = filters.shape[filters.axis + 1..].iter().product();
    let output = |i: usize| i / inner.max(1) % filters.shape[filters.axis].max(1);
    let mut outputs = vec![0.0f32; filters.shape[filters.axis]];
    // The input channel is the last axis, unless that is the output channel itself.
    let last = if inner > 1 { filters.shape.last().copied().unwrap_or(1) } else { 0 };
    let mut inputs = vec![0.0f32; last];
    for (i, x) in data.iter().enumerate() {
        let place = &mut outputs[output(i)];
        *place = place.max(x.abs());
        if last > 0 {
            inputs[i % last] = inputs[i % last].max(x.abs());
        }
    }
    Some(WeightProfile {
        value: value.name.clone(),
        histogram: Bins::of(-largest, largest, data.iter().map(|&x| (x, 1))),
        dead: outputs.iter().filter(|&&m| m <= DEAD * largest).count(),
        outputs,
        inputs,
        limits: narrow.limits(&node.name).unwrap_or_default(),
    })
}

fn activation(graph: &Graph, id: ValueId, statistics: &Statistics, narrow: &Narrow<'_>) -> Option<ActivationProfile> {
    let value = graph.value(id);
    let histogram = statistics.histograms.get(&id).filter(|h| !h.is_empty() && !h.is_unbounded())?;
    let extremes = histogram.min_max();
    let range = narrow.range(&value.name);
    let (low, high) = (extremes.0.min(range.map_or(0.0, |r| r.0)), extremes.1.max(range.map_or(0.0, |r| r.1)));
    let fixed = value.shape.0.last().and_then(fewbits_graph::Dim::fixed);
    let channels = statistics.channel_extremes(id).filter(|c| Some(c.len()) == fixed).unwrap_or_default();
    let largest = extremes.0.abs().max(extremes.1.abs());
    Some(ActivationProfile {
        value: value.name.clone(),
        histogram: Bins::of(low, high, histogram.bins().map(|(centre, _, n)| (centre.clamp(low, high), n))),
        extremes,
        range,
        saturated: range.map(|range| saturated(histogram, range)),
        clipped_energy: range.map(|range| clipped_energy(histogram, range)),
        bulk: bulk(histogram),
        dead: channels.iter().filter(|(low, high)| high - low <= DEAD * largest).count(),
        channels,
    })
}

/// Share of the elements outside of `range`, as exact as the bins are narrow. What a step's half
/// outside is still rounds to the border.
fn saturated(histogram: &Histogram, (low, high): (f32, f32)) -> f64 {
    let half = (high - low) / 510.0;
    let outside = histogram.bins().filter(|(centre, _, _)| *centre < low - half || *centre > high + half);
    outside.map(|(_, _, n)| n).sum::<u64>() as f64 / histogram.total().max(1) as f64
}

/// `Σ (distance to the range)² ÷ Σ x²` over what [`saturated`] counts.
fn clipped_energy(histogram: &Histogram, (low, high): (f32, f32)) -> f64 {
    let half = f64::from((high - low) / 510.0);
    let (mut clipped, mut signal) = (0.0, 0.0);
    for (centre, _, n) in histogram.bins() {
        let distance = f64::from((low - centre).max(centre - high).max(0.0));
        clipped += if distance > half { n as f64 * distance * distance } else { 0.0 };
        signal += n as f64 * f64::from(centre) * f64::from(centre);
    }
    if signal > 0.0 { clipped / signal } else { 0.0 }
}

/// Where all but `TAIL` on each side of the elements lie. Those in the bins at 0 are left out: after
/// a ReLU they are most, and exact at any scale.
fn bulk(histogram: &Histogram) -> (f32, f32) {
    without_tails(|| histogram.bins().filter(|(centre, width, _)| centre.abs() > *width), TAIL)
}

/// Largest of positive finite numbers with its index, and the median of those that are not dead
/// beside it; `None` for fewer than `least` of these.
pub(super) fn largest_and_median(numbers: &[f32], least: usize) -> Option<(usize, f32, f32)> {
    let (at, largest) = numbers.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))?;
    let mut live: Vec<f32> = numbers.iter().copied().filter(|&x| x > DEAD * largest).collect();
    live.sort_by(f32::total_cmp);
    let fits = largest.is_finite() && largest > 0.0 && live.len() >= least;
    // The lower of two middle ones: of two channels, the smaller is the rule.
    fits.then(|| (at, largest, live[(live.len() - 1) / 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(data: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        h.add(data).unwrap();
        h
    }

    #[test]
    fn bins_hold_every_element() {
        let bins = Bins::of(-1.0, 1.0, [(-1.0, 2), (0.999, 1), (1.0, 3)].into_iter());
        assert_eq!((bins.counts[0], bins.counts[SHOWN_BINS - 1]), (2, 4));
        assert_eq!(Bins::of(0.0, 0.0, [(0.0, 5)].into_iter()).counts.iter().sum::<u64>(), 5);
    }

    #[test]
    fn what_lies_outside_is_saturated() {
        let h = histogram(&[0.0, 0.5, 1.0, -4.0]);
        assert_eq!(saturated(&h, (-1.0, 1.0)), 0.25);
        let energy = clipped_energy(&h, (-1.0, 1.0));
        assert!((energy - 9.0 / 17.25).abs() < 1e-2, "{energy}");
        assert_eq!(saturated(&h, (-4.0, 1.0)), 0.0);
    }

    #[test]
    fn the_bulk_leaves_out_zeros_and_single_outliers() {
        let mut data: Vec<f32> = (0..20_000).map(|i| 1.0 + (i % 100) as f32 / 100.0).collect();
        data.extend(vec![0.0; 100_000]);
        data.push(1000.0);
        let (low, high) = bulk(&histogram(&data));
        assert!((0.9..1.1).contains(&low) && (1.9..2.3).contains(&high), "{low} {high}");
    }

    #[test]
    fn the_median_is_that_of_live_channels() {
        assert_eq!(largest_and_median(&[0.0, 1.0, 0.0, 9.0, 1.0], 3), Some((3, 9.0, 1.0)));
        assert_eq!(largest_and_median(&[0.0, 1.0], 2), None);
        assert_eq!(largest_and_median(&[1.0, f32::INFINITY], 1), None);
    }
}
