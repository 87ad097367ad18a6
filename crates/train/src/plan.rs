//! The order of work and the buffers of one set of input shapes.

use std::collections::BTreeMap;

use fewbits_engine::Engine;
use fewbits_graph::{DType, Graph, SymInt, Tensor, ValueId};

use crate::analysis::Analysis;
use crate::buffers::Pool;
use crate::derivative::Derivative;
use crate::returns::Backwards;
use crate::site::Derived;
use crate::{Error, Result};

/// A part of a buffer: the first `len` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) buffer: usize,
    pub(crate) len: usize,
}

/// Where a step's input comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Floats(Place),
    /// A tensor by its value.
    Other(ValueId),
    Absent,
}

/// Where the gradient of an input goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    pub(crate) place: Place,
    pub(crate) accumulate: bool,
    /// A node that reads a value twice writes the second share apart; it is added here.
    pub(crate) then_add_to: Option<Place>,
}

/// The backward pass of a step.
pub(crate) struct Return {
    /// Gradients of the outputs; those that nobody contributed to are zeroed first.
    pub(crate) gradients: Vec<(Place, bool)>,
    pub(crate) goals: Vec<Option<Goal>>,
}

/// A node that is differentiated.
pub(crate) struct Step {
    pub(crate) node: String,
    pub(crate) op: &'static str,
    pub(crate) derivative: Box<dyn Derivative>,
    pub(crate) inputs: Vec<Source>,
    pub(crate) outputs: Vec<Place>,
    /// `None` if no output leads to an output of the graph.
    pub(crate) back: Option<Return>,
}

/// An output of the graph.
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) place: Place,
    /// Where the given gradient goes, and whether it is added; `None` if nothing trained leads here.
    pub(crate) seed: Option<(Place, bool)>,
}

/// Nodes that do not depend on what is trained.
pub(crate) struct Frozen {
    pub(crate) engine: Engine,
    /// Its results, by value of the graph.
    pub(crate) results: Vec<ValueId>,
}

/// A graph planned for one set of input shapes.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    pub(crate) values: Vec<Vec<f32>>,
    pub(crate) gradients: Vec<Vec<f32>>,
    /// Constants and run-time values that are not of floats, by value.
    pub(crate) tensors: Vec<Option<Tensor>>,
    /// Where float inputs and results of the frozen part go, by value.
    pub(crate) loads: BTreeMap<ValueId, Place>,
    pub(crate) frozen: Option<Frozen>,
    /// Values and gradients of parameters.
    pub(crate) params: Vec<(Place, Place)>,
    /// Gradients of inputs, in the order in which they were asked for.
    pub(crate) inputs: Vec<Place>,
    pub(crate) outputs: Vec<Output>,
}

/// Compiles the nodes that do not depend on what is trained.
fn freeze(graph: &Graph, imports: &[ValueId]) -> Result<Option<Frozen>> {
    if imports.is_empty() {
        return Ok(None);
    }
    let mut part = graph.clone();
    part.outputs = imports.to_vec();
    part.prune();
    let options = fewbits_engine::Options { threads: rayon::current_num_threads(), ..Default::default() };
    Ok(Some(Frozen { engine: Engine::compile(&part, &options)?, results: imports.to_vec() }))
}

/// Forward buffers while they are shared out.
struct Storage {
    pool: Pool,
    place: Vec<Option<Place>>,
}

impl Storage {
    /// A buffer of its own for a class.
    fn pin(&mut self, class: usize, len: usize) -> Place {
        *self.place[class].get_or_insert_with(|| Place { buffer: self.pool.fresh(len), len })
    }
}

impl Plan {
    /// Plans `graph`, whose input shapes are fixed and inferred (`ints` are its known integers).
    /// Gradients flow to `trainable` constants and `wanted` inputs.
    pub(crate) fn new(
        graph: &Graph,
        ints: &[Option<Vec<SymInt>>],
        trainable: &[ValueId],
        wanted: &[ValueId],
    ) -> Result<Plan> {
        let roots: Vec<ValueId> = trainable.iter().chain(wanted).copied().collect();
        let a = Analysis::new(graph, ints, &roots)?;
        let derived = a.derive()?;
        let frozen = freeze(graph, &a.imports)?;
        let mut storage = Storage { pool: Pool::default(), place: vec![None; graph.values.len()] };
        let params: Vec<Place> = trainable.iter().map(|v| storage.pin(v.0, a.len(v.0))).collect();
        let mut loads = BTreeMap::new();
        let float_inputs = graph.inputs.iter().filter(|v| graph.value(**v).dtype == DType::F32);
        for &v in float_inputs.chain(a.imports.iter().filter(|v| graph.value(**v).dtype == DType::F32)) {
            loads.insert(v, storage.pin(v.0, a.len(v.0)));
        }
        let constants = pin_constants(&a, &mut storage);
        let passes: Vec<Vec<usize>> = derived.iter().map(|d| d.passes.clone()).collect();
        let mut steps = share_values(&a, derived, &mut storage);
        let mut values = storage.pool.allocate();
        for (place, data) in constants {
            values[place.buffer][..place.len].copy_from_slice(&data);
        }
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        for &v in &graph.outputs {
            let value = graph.value(v);
            let place = storage.place[a.class[v.0]].filter(|_| value.dtype == DType::F32);
            let place = place.ok_or_else(|| Error::OutputType { value: value.name.clone(), dtype: value.dtype })?;
            outputs.push(Output { name: value.name.clone(), dims: a.dims[v.0].clone(), place, seed: None });
        }
        let mut back = Backwards::new(&a, &roots);
        back.seed(&mut outputs);
        back.share(&mut steps, &passes);
        let of = |v: &ValueId, back: &Backwards<'_>| back.pinned[&v.0];
        let params = trainable.iter().zip(params).map(|(v, place)| (place, of(v, &back))).collect();
        let inputs = wanted.iter().map(|v| of(v, &back)).collect();
        let tensors = (0..graph.values.len())
            .map(|v| a.known[v].clone().filter(|t| !matches!(t.dtype(), DType::F32 | DType::F16)))
            .collect();
        let gradients = back.pool.allocate();
        Ok(Plan { steps, values, gradients, tensors, loads, frozen, params, inputs, outputs })
    }
}

/// Places for the float constants that are not trained, with their elements.
fn pin_constants(a: &Analysis<'_>, storage: &mut Storage) -> Vec<(Place, Vec<f32>)> {
    let nodes = a.nodes.iter().flat_map(|&i| a.graph.nodes[i].inputs.iter().flatten());
    let mut constants = Vec::new();
    for v in nodes.chain(&a.graph.outputs) {
        let data = a.known[v.0].as_ref().filter(|t| matches!(t.dtype(), DType::F32 | DType::F16));
        if let (Some(data), None) = (data, storage.place[v.0]) {
            constants.push((storage.pin(v.0, data.elements()), data.to_f32()));
        }
    }
    constants
}

/// Makes the steps, and gives each value that lives only for a while a buffer.
fn share_values(a: &Analysis<'_>, derived: Vec<Derived>, storage: &mut Storage) -> Vec<Step> {
    let graph = a.graph;
    // For each class the last step that reads it; outputs and what the backward pass reads stay.
    let mut last = vec![0usize; graph.values.len()];
    for (step, (&i, d)) in a.nodes.iter().zip(&derived).enumerate() {
        let node = &graph.nodes[i];
        for v in node.inputs.iter().flatten() {
            last[a.class[v.0]] = last[a.class[v.0]].max(step);
        }
        for out in &node.outputs {
            last[a.class[out.0]] = last[a.class[out.0]].max(if d.outputs { usize::MAX } else { step });
        }
        for v in d.inputs.iter().filter_map(|&i| node.inputs.get(i).copied().flatten()) {
            last[a.class[v.0]] = usize::MAX;
        }
    }
    for v in &graph.outputs {
        last[a.class[v.0]] = usize::MAX;
    }
    // Parameters, inputs and constants stay.
    let mut produced = vec![false; graph.values.len()];
    let mut steps = Vec::with_capacity(derived.len());
    for (step, (&i, d)) in a.nodes.iter().zip(derived).enumerate() {
        let node = &graph.nodes[i];
        let mut temporary = Vec::new();
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for out in &node.outputs {
            let (class, len) = (a.class[out.0], a.len(out.0));
            let buffer = if last[class] == usize::MAX { storage.pool.fresh(len) } else { storage.pool.take(len) };
            let place = Place { buffer, len };
            storage.place[class] = Some(place);
            produced[class] = true;
            outputs.push(place);
            temporary.push(class);
        }
        let source = |v: &Option<ValueId>| match v {
            None => Source::Absent,
            Some(v) => storage.place[a.class[v.0]].map_or(Source::Other(*v), Source::Floats),
        };
        let inputs = node.inputs.iter().map(source).collect();
        temporary.extend(node.inputs.iter().flatten().map(|v| a.class[v.0]));
        temporary.sort_unstable();
        temporary.dedup();
        for class in temporary.into_iter().filter(|&c| last[c] == step && produced[c]) {
            if let Some(place) = storage.place[class] {
                storage.pool.give(place.buffer);
            }
        }
        let (node, op) = (node.name.clone(), node.op.name());
        steps.push(Step { node, op, derivative: d.derivative, inputs, outputs, back: None });
    }
    steps
}
