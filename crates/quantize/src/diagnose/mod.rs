//! Why a layer loses more than it should: statistics of weights and activations, causes by name,
//! and the flags that address them.

mod cause;
mod profile;
mod rules;

use fewbits_graph::{Graph, NodeId};

pub use cause::{Cause, Finding, Remedy, Side};
pub use profile::{ActivationProfile, Bins, LayerProfile, WeightProfile};

use crate::sensitivity::Sensitivity;
use crate::{Form, Recipe, Statistics};
use profile::Narrow;

/// Decibels at the outputs from which a layer counts as sensitive though nothing was found in its
/// numbers: a fifth of all noise, and twice what gains differ by from one small set of samples to
/// another.
const SENSITIVE_DB: f64 = 1.0;

/// Outputs this good are what 8 bits give a network of many layers: nothing is called sensitive.
const GOOD_OUTPUTS_DB: f64 = 30.0;

/// Most layers called sensitive; the list has the rest.
const MOST_SENSITIVE: usize = 3;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// One for each node of the float graph.
    pub profiles: Vec<LayerProfile>,
    /// Causes, in execution order of their nodes.
    pub findings: Vec<Finding>,
}

/// Looks for causes in the numbers of `graph`, whose `statistics` were gathered on samples, and in
/// what `recipe` made of it: `quantized`, with the `forms` of its nodes.
pub fn diagnose(
    graph: &Graph,
    statistics: &Statistics,
    recipe: &Recipe,
    quantized: &Graph,
    forms: &[Form],
) -> Diagnosis {
    let narrow = Narrow::new(quantized, recipe);
    let profiles: Vec<LayerProfile> =
        graph.nodes.iter().map(|node| profile::profile(graph, node, statistics, &narrow)).collect();
    let findings = rules::findings(graph, statistics, recipe, &narrow, forms, &profiles);
    Diagnosis { profiles, findings }
}

impl Diagnosis {
    /// Adds the layers whose exclusion buys most and for which no cause was found, at them or at an
    /// edge that they share with others.
    pub fn add_sensitive(&mut self, graph: &Graph, sensitivity: &Sensitivity) {
        if sensitivity.output_db >= GOOD_OUTPUTS_DB {
            return;
        }
        let named = |remedy: &Remedy, node: NodeId| match remedy {
            Remedy::Exclude(nodes) => nodes.contains(&graph.node(node).name),
            _ => false,
        };
        let explained = |node: NodeId| self.findings.iter().flat_map(|f| &f.remedies).any(|r| named(r, node));
        let gains = sensitivity.layers.iter().map(|l| (l.node, l.kept_db - sensitivity.output_db));
        let mut gains: Vec<(NodeId, f64)> =
            gains.filter(|(node, gain)| *gain >= SENSITIVE_DB && !explained(*node)).collect();
        gains.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let new = gains.into_iter().take(MOST_SENSITIVE).map(|(node, gain_db)| Finding {
            node,
            cause: Cause::Sensitive { gain_db },
            remedies: vec![Remedy::Exclude(vec![graph.node(node).name.clone()])],
        });
        self.findings.extend(new);
        self.findings.sort_by_key(|f| f.node);
    }
}
