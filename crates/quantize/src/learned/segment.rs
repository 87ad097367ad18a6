//! Walking a graph once with all samples, layer by layer.

use std::collections::BTreeSet;

use fewbits_engine::Engine;
use fewbits_graph::{Graph, NodeId, Tensor, ValueId};

use crate::Result;

/// Most bytes of activations that a walk keeps; beyond that it computes them again from where it
/// last could.
const KEPT_BYTES: usize = 96 << 20;

/// How far the samples have come: values that everything later can be computed from.
pub(super) struct Walk {
    frontier: Vec<ValueId>,
    /// For each sample a tensor for each value of the frontier.
    kept: Vec<Vec<Tensor>>,
    /// Those of the next frontier, while a stage is stepped through.
    next: Vec<Vec<Tensor>>,
}

/// From a frontier to the input of a layer.
pub(super) struct Stage {
    /// The nodes between, with the frontier as public inputs.
    pub(super) graph: Graph,
    /// Where the layer's input stands among the outputs.
    wanted: Source,
    /// The frontier after this stage, if there may be one, and where its tensors are.
    next: Option<Vec<(ValueId, Source)>>,
}

#[derive(Clone, Copy)]
enum Source {
    /// An output of the stage's graph.
    Computed(usize),
    /// A value of the old frontier.
    Kept(usize),
}

impl Walk {
    /// At the public inputs, of which each sample has a tensor.
    pub(super) fn new(graph: &Graph, samples: Vec<Vec<Tensor>>) -> Self {
        Walk { frontier: graph.inputs.clone(), kept: samples, next: Vec::new() }
    }

    /// What must be computed for `wanted`, an input of `node`.
    pub(super) fn stage(&self, graph: &Graph, node: NodeId, wanted: ValueId) -> Stage {
        let live = live_values(graph, node);
        // Shapes that are computed must be seen whole for inference to follow them.
        let activations = live.iter().all(|&v| graph.value(v).dtype.is_float() || graph.value(v).quant.is_some());
        let mut outputs: Vec<ValueId> = Vec::new();
        let mut source = |v: ValueId| match self.frontier.iter().position(|&f| f == v) {
            Some(kept) => Source::Kept(kept),
            None => Source::Computed(outputs.iter().position(|&o| o == v).unwrap_or_else(|| {
                outputs.push(v);
                outputs.len() - 1
            })),
        };
        let wanted = source(wanted);
        let next = activations.then(|| live.into_iter().map(|v| (v, source(v))).collect());
        Stage { graph: between(graph, &self.frontier, outputs), wanted, next }
    }

    /// Runs a stage on one sample; returns the layer's input.
    pub(super) fn step(&mut self, stage: &Stage, engine: &mut Engine, sample: usize) -> Result<Tensor> {
        let kept = &self.kept[sample];
        let computed = if stage.graph.outputs.is_empty() { Vec::new() } else { engine.run(kept)? };
        let tensor = |source: Source| match source {
            Source::Computed(i) => computed[i].clone(),
            Source::Kept(i) => kept[i].clone(),
        };
        if let Some(next) = stage.next.as_ref().filter(|_| self.next.len() == sample) {
            let tensors: Vec<Tensor> = next.iter().map(|&(_, source)| tensor(source)).collect();
            let bytes: usize = tensors.iter().map(|t| t.bytes().len()).sum();
            if bytes * self.kept.len() <= KEPT_BYTES {
                self.next.push(tensors);
            }
        }
        Ok(tensor(stage.wanted))
    }

    /// All samples went through the stage.
    pub(super) fn moved(&mut self, stage: &Stage) {
        let next = std::mem::take(&mut self.next);
        if let Some(values) = stage.next.as_ref().filter(|_| next.len() == self.kept.len()) {
            self.frontier = values.iter().map(|&(v, _)| v).collect();
            self.kept = next;
        }
    }
}

/// Activations that exist before `node` and are read by it or later.
fn live_values(graph: &Graph, node: NodeId) -> Vec<ValueId> {
    let (before, after) = graph.nodes.split_at(node.0);
    let made: BTreeSet<ValueId> = before.iter().flat_map(|n| &n.outputs).chain(&graph.inputs).copied().collect();
    let read: BTreeSet<ValueId> =
        after.iter().flat_map(|n| n.inputs.iter().flatten()).chain(&graph.outputs).copied().collect();
    made.intersection(&read).copied().filter(|&v| graph.value(v).data.is_none()).collect()
}

/// The nodes that compute `outputs` from `inputs`.
fn between(graph: &Graph, inputs: &[ValueId], outputs: Vec<ValueId>) -> Graph {
    let mut wanted: BTreeSet<ValueId> = outputs.iter().copied().collect();
    let mut nodes = Vec::new();
    for node in graph.nodes.iter().rev() {
        if node.outputs.iter().any(|v| wanted.contains(v) && !inputs.contains(v)) {
            wanted.extend(node.inputs.iter().flatten());
            nodes.push(node.clone());
        }
    }
    nodes.reverse();
    let mut part = Graph { inputs: inputs.to_vec(), outputs, nodes, ..graph.clone() };
    part.prune();
    part
}
