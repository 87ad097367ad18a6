//! Where gradients go: buffers shared out from the last step to the first.

use std::collections::BTreeMap;

use fewbits_graph::{Node, ValueId};

use crate::analysis::Analysis;
use crate::buffers::Pool;
use crate::plan::{Goal, Output, Place, Return, Step};

/// Buffers of gradients, shared out from the last step to the first.
pub(crate) struct Backwards<'a> {
    a: &'a Analysis<'a>,
    pub(crate) pool: Pool,
    /// By class; set once somebody has contributed.
    place: Vec<Option<Place>>,
    /// Gradients that stay: of parameters and wanted inputs.
    pub(crate) pinned: BTreeMap<usize, Place>,
}

impl<'a> Backwards<'a> {
    pub(crate) fn new(a: &'a Analysis<'a>, roots: &[ValueId]) -> Self {
        let mut pool = Pool::default();
        let pinned = roots.iter().map(|v| (v.0, Place { buffer: pool.fresh(a.len(v.0)), len: a.len(v.0) }));
        Backwards { a, pinned: pinned.collect(), pool, place: vec![None; a.dims.len()] }
    }

    /// Where a contribution to `class` goes, and whether it is added to what is there.
    fn contribute(&mut self, class: usize) -> (Place, bool) {
        if let Some(place) = self.place[class] {
            return (place, true);
        }
        let len = self.a.len(class);
        let pinned = self.pinned.get(&class).copied();
        let place = pinned.unwrap_or_else(|| Place { buffer: self.pool.take(len), len });
        self.place[class] = Some(place);
        (place, false)
    }

    pub(crate) fn seed(&mut self, outputs: &mut [Output]) {
        for (output, v) in outputs.iter_mut().zip(&self.a.graph.outputs) {
            if self.a.active[v.0] {
                output.seed = Some(self.contribute(self.a.class[v.0]));
            }
        }
    }

    /// `passes` says for each step which inputs have the gradient of its output.
    pub(crate) fn share(&mut self, steps: &mut [Step], passes: &[Vec<usize>]) {
        for ((step, &i), passes) in steps.iter_mut().zip(&self.a.nodes).zip(passes).rev() {
            step.back = self.step(&self.a.graph.nodes[i], passes);
        }
    }

    /// The class of the input that takes over the gradient of the node's output: one that nobody
    /// contributed to, read once by the node.
    fn heir(&self, node: &Node, passes: &[usize]) -> Option<usize> {
        let class = |i: &usize| node.inputs[*i].filter(|v| self.a.active[v.0]).map(|v| self.a.class[v.0]);
        let once = |c: usize| node.inputs.iter().flatten().filter(|v| self.a.class[v.0] == c).count() == 1;
        let free = |c: &usize| self.place[*c].is_none() && !self.pinned.contains_key(c) && once(*c);
        passes.iter().filter_map(class).find(free)
    }

    fn step(&mut self, node: &Node, passes: &[usize]) -> Option<Return> {
        let classes: Vec<usize> = node.outputs.iter().map(|v| self.a.class[v.0]).collect();
        if classes.iter().all(|&c| self.place[c].is_none()) {
            return None;
        }
        let gradients: Vec<(Place, bool)> = classes
            .iter()
            .map(|&c| {
                let (place, present) = self.contribute(c);
                (place, !present)
            })
            .collect();
        let heir = self.heir(node, passes);
        let mut goals: Vec<Option<Goal>> = Vec::with_capacity(node.inputs.len());
        let mut apart = Vec::new();
        for v in &node.inputs {
            let class = v.filter(|v| self.a.active[v.0]).map(|v| self.a.class[v.0]).filter(|c| heir != Some(*c));
            goals.push(class.map(|class| {
                let taken = |g: &Option<Goal>, place: Place| g.is_some_and(|g| g.place.buffer == place.buffer);
                let (place, accumulate) = self.contribute(class);
                if !goals.iter().any(|g| taken(g, place)) {
                    return Goal { place, accumulate, then_add_to: None };
                }
                let second = Place { buffer: self.pool.take(place.len), len: place.len };
                apart.push(second.buffer);
                Goal { place: second, accumulate: false, then_add_to: Some(place) }
            }));
        }
        if let Some(class) = heir {
            self.place[class] = self.place[classes[0]];
        }
        let kept = heir.map(|_| classes[0]);
        let done = classes.iter().filter(|c| !self.pinned.contains_key(c) && kept != Some(**c));
        let done = done.filter_map(|&c| self.place[c]);
        for buffer in apart.into_iter().chain(done.map(|p| p.buffer).collect::<Vec<_>>()) {
            self.pool.give(buffer);
        }
        Some(Return { gradients, goals })
    }
}
