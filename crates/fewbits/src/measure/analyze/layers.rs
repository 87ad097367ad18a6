//! The layers of an analysis as the report shows them.

use std::collections::BTreeMap;

use fewbits_graph::{Graph, NodeId};
use fewbits_quantize::{
    ActivationProfile, Bins, Comparison, Constraint, Diagnosis, Form, Format, LayerProfile, Sensitivity, WeightProfile,
    constraint,
};
use fewbits_report::{ActivationFigures, AnalyzedLayer, Histogram, WeightFigures, format};

/// Quantiles of channels that are shown.
const QUANTILES: usize = 32;

/// What was measured of each layer, in execution order. Operators that only move elements are left
/// out, and so is what samples did not show.
pub(super) fn layers(
    graph: &Graph,
    forms: &[Form],
    sensitivity: &Sensitivity,
    comparison: &Comparison,
    diagnosis: &Diagnosis,
) -> Vec<AnalyzedLayer> {
    let accumulated: BTreeMap<&str, f64> = comparison.layers.iter().map(|l| (l.node.as_str(), l.sqnr_db)).collect();
    let costs: BTreeMap<NodeId, _> = sensitivity.layers.iter().map(|l| (l.node, l)).collect();
    let shown = graph.node_ids().filter(|n| {
        let moves = constraint(&graph.node(*n).op, Format::Onnx) == Some(Constraint::SameAsInputs);
        costs.contains_key(n) || (!moves && diagnosis.profiles[n.0].activation.is_some())
    });
    let layer = |(i, id): (usize, NodeId)| {
        let (node, cost) = (graph.node(id), costs.get(&id));
        let db = |db: Option<f64>| format::finite_sqnr(db);
        let LayerProfile { weights, activation } = &diagnosis.profiles[id.0];
        let causes = diagnosis.findings.iter().filter(|f| f.node == id);
        AnalyzedLayer {
            index: i as u64 + 1,
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            form: forms[id.0].name().to_owned(),
            accumulated_db: db(accumulated.get(node.name.as_str()).copied()),
            alone_db: db(cost.map(|c| c.alone_db)),
            kept_db: db(cost.map(|c| c.kept_db)),
            gain_db: db(cost.map(|c| c.kept_db - sensitivity.output_db)),
            causes: causes.map(|f| f.cause.key().to_owned()).collect(),
            weights: weights.as_ref().map(weight_figures),
            activation: activation.as_ref().map(activation_figures),
        }
    };
    shown.enumerate().map(layer).collect()
}

fn histogram(bins: &Bins) -> Histogram {
    Histogram { low: bins.low, high: bins.high, counts: bins.counts.clone() }
}

/// The quantiles of `numbers` in descending order; empty without numbers.
fn descending(numbers: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut sorted: Vec<f32> = numbers.collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let Some(last) = sorted.len().checked_sub(1) else { return Vec::new() };
    (0..=QUANTILES).map(|q| sorted[q * last / QUANTILES]).collect()
}

fn weight_figures(profile: &WeightProfile) -> WeightFigures {
    let limits = descending(profile.limits.iter().copied());
    WeightFigures {
        value: profile.value.clone(),
        histogram: histogram(&profile.histogram),
        channels: profile.outputs.len() as u64,
        dead_channels: profile.dead as u64,
        channel_largest: descending(profile.outputs.iter().copied()),
        limit: limits.first().copied(),
        median_limit: limits.get(QUANTILES / 2).copied(),
    }
}

fn activation_figures(profile: &ActivationProfile) -> ActivationFigures {
    ActivationFigures {
        value: profile.value.clone(),
        histogram: histogram(&profile.histogram),
        min: profile.extremes.0,
        max: profile.extremes.1,
        range_low: profile.range.map(|r| r.0),
        range_high: profile.range.map(|r| r.1),
        saturated: profile.saturated,
        channels: profile.channels.len() as u64,
        dead_channels: profile.dead as u64,
        channel_largest: descending(profile.channels.iter().map(|(low, high)| low.abs().max(high.abs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_run_from_the_largest_to_the_smallest() {
        let quantiles = descending((0..1000).map(|i| i as f32));
        assert_eq!((quantiles.len(), quantiles[0], quantiles[QUANTILES]), (33, 999.0, 0.0));
        assert!((quantiles[16] - 499.5).abs() <= 1.0 && quantiles.is_sorted_by(|a, b| a >= b));
        assert_eq!(descending([2.0].into_iter()), vec![2.0; 33]);
        assert_eq!(descending(std::iter::empty()), Vec::<f32>::new());
    }
}
