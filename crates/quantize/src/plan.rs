//! Which nodes become integer, and the parameters of their edges.

use std::collections::BTreeSet;

use fewbits_graph::ops::{Binary, BinaryKind};
use fewbits_graph::{DType, Graph, Node, Op, ValueId};

use crate::domain::{Constraint, IntegerForm, integer_form};
use crate::narrow::{Narrow, narrow_edges};
use crate::tables::table;
use crate::{ActivationParams, Format, IoType, Ranges, Recipe, Result, Statistics, activation_params};

/// How many times wider one addend's range may be than the other's before the narrow one would be
/// left with fewer than four of the 256 levels. Attention masks (additions of −10⁴ or −10³⁸) are
/// the case in practice.
const WIDEST_ADDEND: f32 = 64.0;

/// The decisions of full-integer quantization.
pub(crate) struct Plan {
    /// For each node its integer form, `None` where it stays float.
    pub(crate) forms: Vec<Option<IntegerForm>>,
    /// For each value the int8 parameters it has as an integer edge.
    pub(crate) params: Vec<Option<ActivationParams>>,
    /// For each value what layers with weights read instead of it.
    pub(crate) narrow: Vec<Option<Narrow>>,
    /// Names of layers with int8 weights whose activations stay float.
    pub(crate) hybrid: BTreeSet<String>,
}

impl Plan {
    /// Decides for every node and edge of a simplified float graph.
    pub(crate) fn new(graph: &Graph, statistics: &Statistics, recipe: &Recipe, format: Format) -> Result<Self> {
        let ranges = &statistics.ranges(recipe.calibration);
        let excluded = excluded_nodes(graph, recipe)?;
        let mut ranges = Ranged { graph, ranges, flattened: BTreeSet::new() };
        let mut forms: Vec<Option<IntegerForm>> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            // Tables have a better form of their own, unless no float may be left.
            let stays_float =
                excluded.contains(node.name.as_str()) || (recipe.io == IoType::Float && table(graph, node).is_some());
            let form = integer_form(graph, node, format);
            let fits = form.as_ref().is_some_and(|form| ranges.allow(node, form));
            forms.push(form.filter(|_| fits && !stays_float));
        }
        let hybrid = match recipe.io {
            IoType::Float => keep_residual_stream(graph, &mut forms),
            // No float operator may be left.
            IoType::Int8 | IoType::Uint8 => BTreeSet::new(),
        };
        keep_useful_moves(graph, &mut forms, recipe.io);
        let mut params = edge_params(graph, &ranges, &forms);
        let narrow = narrow_edges(graph, &forms, statistics, recipe, &mut params);
        Ok(Plan { forms, params, narrow, hybrid })
    }
}

/// The names in `--exclude`; they, and those of overrides, must exist.
pub(crate) fn excluded_nodes<'a>(graph: &Graph, recipe: &'a Recipe) -> Result<BTreeSet<&'a str>> {
    recipe.check_names(graph)?;
    Ok(recipe.exclude.iter().map(String::as_str).collect())
}

/// Ranges of observed activations and of constants.
struct Ranged<'a> {
    graph: &'a Graph,
    ranges: &'a Ranges,
    /// Values that hold a narrow and a far wider range at once.
    flattened: BTreeSet<ValueId>,
}

impl Ranged<'_> {
    fn get(&self, id: ValueId) -> Option<(f32, f32)> {
        if let Some(&range) = self.ranges.get(&id) {
            return Some(range);
        }
        let data = self.graph.value(id).data.as_ref().filter(|t| t.dtype() == DType::F32)?.to_f32();
        let range = data.iter().fold((0.0f32, 0.0f32), |(lo, hi), &x| (lo.min(x), hi.max(x)));
        (range.0.is_finite() && range.1.is_finite()).then_some(range)
    }

    /// Whether all edges of the integer form have ranges that eight bits can hold together.
    fn allow(&mut self, node: &Node, form: &IntegerForm) -> bool {
        let inputs: Vec<ValueId> = form.data.iter().filter_map(|&i| node.inputs[i]).collect();
        if inputs.iter().any(|v| self.flattened.contains(v)) {
            if form.moves {
                self.flattened.extend(&node.outputs);
            }
            return false;
        }
        if self.drowns_an_addend(node) {
            self.flattened.extend(&node.outputs);
            return false;
        }
        inputs.iter().chain(&node.outputs).all(|&v| self.get(v).is_some())
    }

    /// Whether one addend is so wide that int8 would leave nothing of the other.
    fn drowns_an_addend(&self, node: &Node) -> bool {
        let Op::Binary(Binary { kind: BinaryKind::Add | BinaryKind::Sub, .. }) = &node.op else { return false };
        let width = |i: usize| node.inputs[i].and_then(|v| self.get(v)).map(|(lo, hi)| hi - lo);
        match (width(0), width(1)) {
            (Some(a), Some(b)) => a.min(b) > 0.0 && a.max(b) > WIDEST_ADDEND * a.min(b),
            _ => true,
        }
    }
}

/// Leaves the residual stream of transformers in float: additions that a layer normalisation reads.
/// A few channels of it are ten or a hundred times larger than all others (Bondarenko et al.,
/// "Understanding and Overcoming the Challenges of Efficient Transformer Quantization", 2021), so
/// that eight bits for the tensor leave nothing of these. The layers that feed such an addition and
/// nothing else give it float numbers: they keep int8 weights, but quantize their input by row.
fn keep_residual_stream(graph: &Graph, forms: &mut [Option<IntegerForm>]) -> BTreeSet<String> {
    let (consumers, producers) = (graph.consumers(), graph.producers());
    let mut hybrid = BTreeSet::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let addition = matches!(node.op, Op::Binary(Binary { kind: BinaryKind::Add, .. }));
        let readers = node.outputs.iter().flat_map(|v| &consumers[v.0]);
        let normalised = readers.map(|r| &graph.nodes[r.0].op).any(|op| matches!(op, Op::LayerNorm(_)));
        if !(addition && normalised) {
            continue;
        }
        forms[i] = None;
        for feeding in node.inputs.iter().flatten().filter_map(|v| producers[v.0]) {
            let layer = &graph.nodes[feeding.0];
            let alone = layer.outputs.iter().all(|v| consumers[v.0].len() == 1 && !graph.outputs.contains(v));
            if matches!(layer.op, Op::FullyConnected(_)) && alone && forms[feeding.0].take().is_some() {
                hybrid.insert(layer.name.clone());
            }
        }
    }
    hybrid
}

/// Moving operators (reshape, pooling…) stay in the domain of what feeds them: quantizing for
/// them alone would cost accuracy and buy nothing.
fn keep_useful_moves(graph: &Graph, forms: &mut [Option<IntegerForm>], io: IoType) {
    let producers = graph.producers();
    let consumers = graph.consumers();
    let from_input = |v: ValueId| producers[v.0].is_none();
    for i in 0..forms.len() {
        let Some(form) = forms[i].as_ref().filter(|f| f.moves) else { continue };
        let sources: Vec<ValueId> = form.data.iter().filter_map(|&d| graph.nodes[i].inputs[d]).collect();
        let integer = |v: &ValueId| from_input(*v) || producers[v.0].is_some_and(|p| forms[p.0].is_some());
        if !sources.iter().any(integer) {
            forms[i] = None;
        }
    }
    // What only carries a public input towards float operators goes back to float.
    for i in (0..forms.len()).rev() {
        let node = &graph.nodes[i];
        let Some(form) = forms[i].as_ref().filter(|f| f.moves) else { continue };
        let fed_by_integer = form.data.iter().filter_map(|&d| node.inputs[d]).any(|v| {
            producers[v.0].is_some_and(|p| forms[p.0].as_ref().is_some_and(|f| !f.moves))
                || graph.value(v).data.is_some()
        });
        let read_by_integer = node.outputs.iter().flat_map(|v| &consumers[v.0]).any(|c| forms[c.0].is_some());
        let chained = form
            .data
            .iter()
            .filter_map(|&d| node.inputs[d])
            .any(|v| producers[v.0].is_some_and(|p| forms[p.0].as_ref().is_some_and(|f| f.moves)));
        if !(fed_by_integer || read_by_integer || io != IoType::Float || chained) {
            forms[i] = None;
        }
    }
}

/// Sets of values that share one scale and zero point.
struct Groups {
    parent: Vec<usize>,
    fixed: Vec<Option<ActivationParams>>,
}

impl Groups {
    fn root(&self, v: ValueId) -> usize {
        let mut at = v.0;
        while self.parent[at] != at {
            at = self.parent[at];
        }
        at
    }

    /// Joins two sets unless the specification gives them different parameters.
    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        match (self.fixed[a], self.fixed[b]) {
            (Some(x), Some(y)) if x != y => {}
            (x, y) => {
                // The smaller index is the root, whatever the order of joining.
                let (root, child) = (a.min(b), a.max(b));
                self.parent[child] = root;
                self.fixed[root] = x.or(y);
            }
        }
    }
}

/// Parameters of all values that stand on an integer edge.
fn edge_params(graph: &Graph, ranges: &Ranged<'_>, forms: &[Option<IntegerForm>]) -> Vec<Option<ActivationParams>> {
    let count = graph.values.len();
    let mut groups = Groups { parent: (0..count).collect(), fixed: vec![None; count] };
    let nodes = || graph.nodes.iter().zip(forms).filter_map(|(n, f)| Some((n, f.as_ref()?)));
    for (node, form) in nodes() {
        if let Constraint::Fixed(params) = form.constraint {
            node.outputs.iter().for_each(|v| groups.fixed[v.0] = Some(params));
        }
    }
    let shares = |form: &IntegerForm| form.constraint == Constraint::SameAsInputs;
    for (node, form) in nodes().filter(|(_, f)| shares(f) && f.data.len() == 1) {
        let input = node.inputs[form.data[0]];
        input.iter().for_each(|&v| node.outputs.iter().for_each(|&out| groups.join(v, out)));
    }
    for (node, form) in nodes().filter(|(_, f)| shares(f) && f.data.len() > 1) {
        let sources: Vec<ValueId> = form.data.iter().filter_map(|&d| node.inputs[d]).collect();
        let fixed: Vec<_> = sources.iter().map(|&v| groups.fixed[groups.root(v)]).collect();
        // A source with given parameters joins only if all agree; else it is requantized.
        let all_same = fixed.windows(2).all(|w| w[0] == w[1]);
        for (&v, fixed) in sources.iter().zip(fixed) {
            if (all_same || fixed.is_none()) && graph.value(v).data.is_none() {
                groups.join(v, node.outputs[0]);
            }
        }
    }
    let mut union: Vec<Option<(f32, f32)>> = vec![None; count];
    for id in graph.value_ids() {
        if let Some((lo, hi)) = ranges.get(id) {
            let group = &mut union[groups.root(id)];
            let (a, b) = group.unwrap_or((0.0, 0.0));
            *group = Some((a.min(lo), b.max(hi)));
        }
    }
    let params = |id: ValueId| {
        let root = groups.root(id);
        groups.fixed[root].or_else(|| union[root].map(|(lo, hi)| activation_params(lo, hi)))
    };
    graph.value_ids().map(|id| if graph.value(id).dtype == DType::F32 { params(id) } else { None }).collect()
}
