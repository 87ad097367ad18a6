//! Activations of fewer than eight bits, on int8 edges.
//!
//! A layer whose inputs have `b` bits reads an int8 edge that takes the upper `2ᵇ` values of the type
//! only: what is too large saturates at 127 by itself, and what is too small does at 0, if a ReLU came
//! before, or at a constant that the edge is compared with. So the graph is one that every runtime
//! computes, with the accuracy of the narrow type (and the speed of int8).

use fewbits_graph::ops::UnaryKind;
use fewbits_graph::{Graph, Node, Op, ValueId};
use serde::{Deserialize, Serialize};

use crate::domain::{Constraint, IntegerForm, moves};
use crate::{ActivationParams, Histogram, Recipe, Statistics};

/// Bits of the activations that layers with weights read: 2 to 8. What only moves, adds or multiplies
/// activations, and layers that read a public input, have eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ActivationBits(u8);

impl Default for ActivationBits {
    fn default() -> Self {
        ActivationBits(8)
    }
}

impl ActivationBits {
    /// Number of values, 4 to 256.
    pub fn levels(self) -> usize {
        1 << self.0
    }
}

impl TryFrom<u8> for ActivationBits {
    type Error = String;

    fn try_from(bits: u8) -> std::result::Result<Self, String> {
        if (2..=8).contains(&bits) {
            Ok(ActivationBits(bits))
        } else {
            Err(format!("{bits} bits for activations: 2 to 8 are possible"))
        }
    }
}

impl From<ActivationBits> for u8 {
    fn from(bits: ActivationBits) -> u8 {
        bits.0
    }
}

/// A narrow edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Narrow {
    pub(crate) params: ActivationParams,
    /// Smallest value that it may take; the largest is 127.
    pub(crate) low: i32,
    /// Numbers below the smallest can occur, so that they must be held.
    pub(crate) held: bool,
}

impl Narrow {
    /// The upper `levels` values of int8 for `[min, max]`, extended to contain 0.
    fn new((min, max): (f32, f32), levels: usize, held: bool) -> Option<Narrow> {
        let (min, max) = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
        let steps = (levels - 1) as f64;
        let scale = ((max - min) / steps) as f32;
        if !scale.is_normal() {
            return None;
        }
        let zero = (-min / f64::from(scale)).round().clamp(0.0, steps) as i32;
        let low = i32::from(i8::MAX) - (levels - 1) as i32;
        Some(Narrow { params: ActivationParams { scale, zero_point: low + zero }, low, held })
    }
}

/// For each value the narrow form that layers read instead of it; the values that need no other form
/// get their narrow parameters in `params`.
pub(crate) fn narrow_edges(
    graph: &Graph,
    forms: &[Option<IntegerForm>],
    statistics: &Statistics,
    recipe: &Recipe,
    params: &mut [Option<ActivationParams>],
) -> Vec<Option<Narrow>> {
    let mut narrow = vec![None; graph.values.len()];
    let levels = recipe.activations.levels();
    if recipe.activations == ActivationBits::default() {
        return narrow;
    }
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let layer = |n: usize| forms[n].as_ref().is_some_and(|f| f.weights.is_some());
    let read = (0..graph.nodes.len()).filter(|&n| layer(n)).filter_map(|n| graph.nodes[n].inputs[0]);
    let producer = |v: ValueId| producers[v.0].map(|p| &graph.nodes[p.0]);
    for v in read.filter(|&v| !is_public(graph, v, &producer)) {
        let Some(range) = statistics.histograms.get(&v).map(|h: &Histogram| recipe.calibration.range_at(h, levels))
        else {
            continue;
        };
        narrow[v.0] = Narrow::new(range, levels, !non_negative(v, &producer));
        let only_layers = consumers[v.0].iter().all(|c| layer(c.0) && graph.nodes[c.0].inputs[0] == Some(v));
        let own = producers[v.0].and_then(|p| forms[p.0].as_ref()).is_some_and(|f| f.constraint == Constraint::Own);
        if let Some(edge) = narrow[v.0].filter(|n| !n.held && only_layers && own && !graph.outputs.contains(&v)) {
            params[v.0] = Some(edge.params);
        }
    }
    narrow
}

/// Whether `v` is a public input, or one that was only moved.
fn is_public<'a>(graph: &Graph, v: ValueId, producer: &impl Fn(ValueId) -> Option<&'a Node>) -> bool {
    match producer(v) {
        None => graph.inputs.contains(&v),
        Some(node) if moves(&node.op) => node.inputs[0].is_some_and(|x| is_public(graph, x, producer)),
        Some(_) => false,
    }
}

/// Whether no element of `v` can be negative.
fn non_negative<'a>(v: ValueId, producer: &impl Fn(ValueId) -> Option<&'a Node>) -> bool {
    let Some(node) = producer(v) else { return false };
    let through = |i: usize| node.inputs[i].is_some_and(|x| non_negative(x, producer));
    match &node.op {
        op if op.activation().is_some_and(|a| a.range().0 >= 0.0) => true,
        Op::Unary(u) => match u.kind {
            UnaryKind::Relu | UnaryKind::Sigmoid | UnaryKind::HardSigmoid { .. } => true,
            UnaryKind::Clip { min, .. } => min >= 0.0,
            _ => false,
        },
        Op::Softmax(_) => true,
        Op::Concat(_) => (0..node.inputs.len()).all(through),
        Op::Pad(_) => false,
        op if moves(op) || matches!(op, Op::Reduce(_)) => through(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_values_of_the_type_are_taken() {
        let one_sided = Narrow::new((0.0, 3.0), 16, false).unwrap();
        assert_eq!((one_sided.low, one_sided.params.zero_point, one_sided.params.scale), (112, 112, 0.2));
        let two_sided = Narrow::new((-1.0, 2.0), 4, true).unwrap();
        assert_eq!((two_sided.low, two_sided.params.zero_point, two_sided.params.scale), (124, 125, 1.0));
        assert_eq!(Narrow::new((0.0, 0.0), 16, true), None);
    }

    #[test]
    fn bits_are_two_to_eight() {
        assert_eq!(ActivationBits::try_from(4).unwrap().levels(), 16);
        assert!(ActivationBits::try_from(1).is_err() && ActivationBits::try_from(9).is_err());
    }
}
