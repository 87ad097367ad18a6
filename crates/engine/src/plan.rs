//! The order of work for one set of input shapes, and its run.

use std::collections::BTreeMap;
use std::time::Instant;

use fewbits_graph::{DType, Graph, Op, Tensor, ValueId};

use crate::arena::{self, Lifetime, Storage};
use crate::context::{List, RunContext};
use crate::fold::{Constants, owned};
use crate::lower::{lower, lower_weight_only};
use crate::macs::macs;
use crate::site::{Environment, Kernel, Lowered, Operand, Site};
use crate::view::TensorView;
use crate::{Error, Result, StepProfile, Unsupported};

/// What a run tells of each value.
pub(crate) type Observer<'o> = dyn FnMut(ValueId, &TensorView<'_>) + 'o;

/// Where a value's bytes are.
#[derive(Clone, Debug)]
enum Place {
    Arena {
        start: usize,
        len: usize,
    },
    Constant(Tensor),
    /// Nowhere: its readers have it in another form.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Read,
    Output(usize),
    Scratch,
}

/// A part of the arena that a step uses.
#[derive(Clone, Copy, Debug)]
struct Region {
    start: usize,
    len: usize,
    role: Role,
}

/// Where a step's input comes from.
enum Source {
    /// The n-th region that is read.
    Read(usize),
    Constant(Tensor),
    /// Absent, without elements, or taken over by the output.
    Empty,
}

struct Work {
    kernel: Kernel,
    regions: Vec<Region>,
    sources: Vec<Source>,
    outputs: usize,
    in_place: bool,
}

/// A node of the graph. Without work its outputs are there already: constants, or another name for
/// an input's bytes.
struct Step {
    name: String,
    op: &'static str,
    work: Option<Work>,
    outputs: Vec<ValueId>,
    macs: u64,
    integer: bool,
}

/// A value's type, fixed shape and place.
struct Slot {
    dtype: DType,
    dims: Vec<usize>,
    place: Place,
}

/// A compiled graph for one set of input shapes.
pub(crate) struct Plan {
    steps: Vec<Step>,
    slots: Vec<Slot>,
    inputs: Vec<ValueId>,
    outputs: Vec<ValueId>,
    arena: Storage,
}

/// The input that the only output of `op` shares its bytes with.
fn aliased(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_))
}

/// Values as the planner sees them, while storage is being shared out.
struct Storages {
    /// For each value its buffer; `None` for constants.
    of_value: Vec<Option<usize>>,
    buffers: Vec<Lifetime>,
}

impl Plan {
    /// Compiles `graph`, whose shapes are all fixed. `constants` are its constants and what
    /// follows from them.
    pub(crate) fn new(graph: &Graph, constants: &Constants, env: &Environment) -> Result<Plan> {
        let dims = fixed_shapes(graph)?;
        let mut lowered = lower_all(graph, &dims, constants, env)?;
        let (storages, in_place) = share_storage(graph, &dims, constants, &lowered);
        let mut buffers = storages.buffers;
        let scratch = scratch_buffers(&lowered, &mut buffers);
        let bytes = buffers.iter().map(|b| b.bytes).fold(0, usize::saturating_add);
        let (offsets, total) = arena::assign(&buffers).ok_or(Error::OutOfMemory { bytes })?;
        let place = |v: usize| match (constants.get(ValueId(v)), storages.of_value[v]) {
            (Some(data), _) => Place::Constant(data.clone()),
            _ if constants.deferred(ValueId(v)).is_some() => Place::Absent,
            (None, Some(b)) => Place::Arena { start: offsets[b], len: buffers[b].bytes },
            (None, None) => Place::Arena { start: 0, len: 0 },
        };
        let slots: Vec<Slot> = dims
            .into_iter()
            .enumerate()
            .map(|(v, dims)| Slot { dtype: graph.values[v].dtype, dims, place: place(v) })
            .collect();
        let steps = graph.nodes.iter().enumerate().map(|(i, node)| {
            let scratch = scratch.get(&i).map(|&b| (offsets[b], buffers[b].bytes));
            let (integer, work) = match lowered[i].take() {
                Some(l) => (l.integer, Some(wire(graph, i, l, &slots, scratch, in_place[i]))),
                None => (false, None),
            };
            let macs = work.as_ref().and_then(|_| macs(graph, node)).unwrap_or(0);
            Step { name: node.name.clone(), op: node.op.name(), work, outputs: node.outputs.clone(), macs, integer }
        });
        let steps = steps.collect();
        let arena = Storage::new(total)?;
        Ok(Plan { steps, slots, inputs: graph.inputs.clone(), outputs: graph.outputs.clone(), arena })
    }

    /// Bytes of all intermediate values and scratch.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena.bytes().len()
    }

    /// Copies the inputs in; they have been checked against the graph.
    pub(crate) fn load(&mut self, inputs: &[Tensor]) {
        for (&id, tensor) in self.inputs.iter().zip(inputs) {
            if let Place::Arena { start, len } = self.slots[id.0].place {
                self.arena.bytes_mut()[start..start + len].copy_from_slice(tensor.bytes());
            }
        }
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Runs step `index`.
    pub(crate) fn step(&mut self, index: usize) -> Result<()> {
        let step = &self.steps[index];
        let Some(work) = &step.work else { return Ok(()) };
        work.run(self.arena.bytes_mut()).map_err(|what| Error::BadData { node: step.name.clone(), op: step.op, what })
    }

    /// Runs all steps.
    pub(crate) fn run(&mut self) -> Result<()> {
        (0..self.steps.len()).try_for_each(|i| self.step(i))
    }

    /// Runs all steps and tells how long each took.
    pub(crate) fn run_profiled(&mut self) -> Result<Vec<StepProfile>> {
        let mut profile = Vec::with_capacity(self.steps.len());
        for i in 0..self.steps.len() {
            let start = Instant::now();
            self.step(i)?;
            let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let Step { name, op, macs, integer, work, .. } = &self.steps[i];
            if work.is_some() {
                profile.push(StepProfile { node: name.clone(), op, ns, macs: *macs, integer: *integer });
            }
        }
        Ok(profile)
    }

    /// Shows the graph's inputs.
    pub(crate) fn observe_inputs(&self, observe: &mut Observer<'_>) {
        for &id in &self.inputs {
            observe(id, &self.view(id));
        }
    }

    /// Shows the outputs of step `index`, which has just run.
    pub(crate) fn observe_step(&self, index: usize, observe: &mut Observer<'_>) {
        for &id in &self.steps[index].outputs {
            if !matches!(self.slots[id.0].place, Place::Absent) {
                observe(id, &self.view(id));
            }
        }
    }

    fn view(&self, id: ValueId) -> TensorView<'_> {
        let slot = &self.slots[id.0];
        let bytes = match &slot.place {
            Place::Arena { start, len } => &self.arena.bytes()[*start..*start + *len],
            Place::Constant(data) => data.bytes(),
            Place::Absent => &[],
        };
        TensorView { dtype: slot.dtype, shape: &slot.dims, bytes }
    }

    /// The graph's outputs.
    pub(crate) fn results(&self) -> Vec<Tensor> {
        let copy = |&id: &ValueId| {
            let slot = &self.slots[id.0];
            match &slot.place {
                Place::Constant(data) => data.clone(),
                Place::Arena { .. } | Place::Absent => owned(slot.dtype, slot.dims.clone(), self.view(id).bytes),
            }
        };
        self.outputs.iter().map(copy).collect()
    }
}

impl Work {
    fn run(&self, arena: &mut [u8]) -> std::result::Result<(), String> {
        let mut ctx = RunContext { in_place: self.in_place, ..RunContext::default() };
        for _ in 0..self.outputs {
            ctx.outputs.push(&mut []);
        }
        let mut reads: List<&[u8]> = List::default();
        // Regions are sorted and disjoint, so that splitting hands out each once.
        let (mut rest, mut base) = (arena, 0);
        for region in &self.regions {
            let (_, from) = rest.split_at_mut(region.start - base);
            let (piece, after) = from.split_at_mut(region.len);
            (rest, base) = (after, region.start + region.len);
            match region.role {
                Role::Read => reads.push(piece),
                Role::Output(i) => *ctx.outputs.get_mut(i) = piece,
                Role::Scratch => ctx.scratch = piece,
            }
        }
        for source in &self.sources {
            ctx.inputs.push(match source {
                Source::Read(i) => reads.get(*i),
                Source::Constant(data) => data.bytes(),
                Source::Empty => &[],
            });
        }
        (self.kernel)(&mut ctx)
    }
}

fn fixed_shapes(graph: &Graph) -> Result<Vec<Vec<usize>>> {
    let fixed = |v: &fewbits_graph::Value| {
        v.shape.to_fixed().ok_or_else(|| Error::UnknownShape { value: v.name.clone(), shape: v.shape.clone() })
    };
    graph.values.iter().map(fixed).collect()
}

/// The operand that value `id` is.
pub(crate) fn operand(graph: &Graph, dims: &[usize], constants: &Constants, id: ValueId) -> Operand {
    let value = graph.value(id);
    let data = constants.get(id).cloned();
    Operand { dtype: value.dtype, dims: dims.to_vec(), quant: value.quant.clone(), data }
}

fn lower_all(
    graph: &Graph,
    dims: &[Vec<usize>],
    constants: &Constants,
    env: &Environment,
) -> Result<Vec<Option<Lowered>>> {
    let mut problems = Vec::new();
    let mut all = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        let known = node.outputs.iter().all(|v| constants.get(*v).is_some() || constants.deferred(*v).is_some());
        if known || aliased(&node.op) {
            all.push(None);
            continue;
        }
        let at = |&id: &ValueId| operand(graph, &dims[id.0], constants, id);
        let narrow = node.inputs.iter().flatten().any(|&v| constants.deferred(v).is_some());
        let stored = |id: &ValueId| at(&constants.deferred(*id).unwrap_or(*id));
        let inputs = node.inputs.iter().map(|v| v.as_ref().map(stored)).collect();
        let site = Site { node: index, inputs, outputs: node.outputs.iter().map(at).collect(), env };
        match if narrow { lower_weight_only(&node.op, &site) } else { lower(&node.op, &site) } {
            Ok(lowered) => all.push(Some(lowered)),
            Err(what) => problems.push(Unsupported { node: node.name.clone(), op: node.op.name(), what }),
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(Error::Unsupported(problems)) }
}

/// Gives every value that is not constant a buffer; aliases share one, and an output takes over
/// the buffer of an input that dies where the kernel allows it. Also says which nodes do.
fn share_storage(
    graph: &Graph,
    dims: &[Vec<usize>],
    constants: &Constants,
    lowered: &[Option<Lowered>],
) -> (Storages, Vec<bool>) {
    let count = graph.values.len();
    let mut root: Vec<usize> = (0..count).collect();
    for node in &graph.nodes {
        if let (true, Some(Some(input)), [output]) = (aliased(&node.op), node.inputs.first(), node.outputs.as_slice()) {
            root[output.0] = root[input.0];
        }
    }
    // The last step that reads a value or an alias of it.
    let mut last = vec![0; count];
    for (i, node) in graph.nodes.iter().enumerate() {
        for v in node.inputs.iter().flatten().chain(&node.outputs) {
            last[root[v.0]] = i;
        }
    }
    for v in &graph.outputs {
        last[root[v.0]] = usize::MAX;
    }
    let bytes = |v: usize| graph.values[v].dtype.byte_len(dims[v].iter().product()).unwrap_or(usize::MAX);
    let mut storages = Storages { of_value: vec![None; count], buffers: Vec::new() };
    let mut in_place = vec![false; graph.nodes.len()];
    let add = |storages: &mut Storages, v: usize, first: usize| {
        if constants.get(ValueId(v)).is_none() && constants.deferred(ValueId(v)).is_none() {
            storages.of_value[v] = Some(storages.buffers.len());
            storages.buffers.push(Lifetime { bytes: bytes(v), first, last: last[v].max(first) });
        }
    };
    for input in &graph.inputs {
        add(&mut storages, input.0, 0);
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        if aliased(&node.op) {
            node.outputs.iter().for_each(|v| storages.of_value[v.0] = storages.of_value[root[v.0]]);
            continue;
        }
        if let (Some(l), Some(&first)) = (&lowered[i], node.outputs.first())
            && let Some(input) = l.in_place.and_then(|k| node.inputs[k])
            && let Some(buffer) = storages.of_value[input.0]
            && node.inputs.iter().flatten().filter(|v| storages.of_value[v.0] == Some(buffer)).count() == 1
            && storages.buffers[buffer].last == i
            && storages.buffers[buffer].bytes == bytes(first.0)
        {
            storages.of_value[first.0] = Some(buffer);
            storages.buffers[buffer].last = last[first.0].max(i);
            in_place[i] = true;
        }
        for v in node.outputs.iter().skip(usize::from(in_place[i])) {
            add(&mut storages, v.0, i);
        }
    }
    (storages, in_place)
}

/// Adds a buffer for each node with scratch; the map tells which.
fn scratch_buffers(lowered: &[Option<Lowered>], buffers: &mut Vec<Lifetime>) -> BTreeMap<usize, usize> {
    let mut of_node = BTreeMap::new();
    for (i, l) in lowered.iter().enumerate() {
        if let Some(l) = l.as_ref().filter(|l| l.scratch > 0) {
            of_node.insert(i, buffers.len());
            buffers.push(Lifetime { bytes: l.scratch, first: i, last: i });
        }
    }
    of_node
}

/// Connects a lowered node with the arena.
fn wire(
    graph: &Graph,
    index: usize,
    lowered: Lowered,
    slots: &[Slot],
    scratch: Option<(usize, usize)>,
    in_place: bool,
) -> Work {
    let node = &graph.nodes[index];
    let mut regions: Vec<Region> = Vec::new();
    let mut add = |start: usize, len: usize, role: Role| {
        if len > 0 && !regions.iter().any(|r| r.start == start) {
            regions.push(Region { start, len, role });
        }
    };
    for (i, output) in node.outputs.iter().enumerate() {
        if let Place::Arena { start, len } = slots[output.0].place {
            add(start, len, Role::Output(i));
        }
    }
    if let Some((start, len)) = scratch {
        add(start, len, Role::Scratch);
    }
    for input in node.inputs.iter().flatten() {
        if let Place::Arena { start, len } = slots[input.0].place {
            add(start, len, Role::Read);
        }
    }
    regions.sort_by_key(|r| r.start);
    let read = |start: usize| regions.iter().filter(|r| r.role == Role::Read).position(|r| r.start == start);
    let sources = node.inputs.iter().enumerate().map(|(i, v)| {
        if let Some((_, data)) = lowered.replaced.iter().find(|(at, _)| *at == i) {
            return Source::Constant(data.clone());
        }
        match v.map(|v| &slots[v.0].place) {
            Some(Place::Constant(data)) => Source::Constant(data.clone()),
            Some(Place::Arena { start, len }) if *len > 0 => read(*start).map_or(Source::Empty, Source::Read),
            _ => Source::Empty,
        }
    });
    let sources = sources.collect();
    Work { kernel: lowered.kernel, regions, sources, outputs: node.outputs.len(), in_place }
}
