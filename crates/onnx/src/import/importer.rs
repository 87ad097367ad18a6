//! The graph under construction, and for every ONNX name the values that hold it.

use std::collections::{HashMap, HashSet};

use fewbits_graph::ops::{Dequantize, PoolKind, ResizeMode, Transpose};
use fewbits_graph::{DType, Graph, Inference, Node, NodeId, Op, Quantization, Shape, Tensor, Value, ValueId};

use super::constant::{Constant, Relay, Then};
use crate::layout::{Layout, to_first, to_last};
use crate::storage::External;
use crate::{Error, Result};

/// The graph values that hold one ONNX value.
#[derive(Clone, Copy, Debug)]
struct Slot {
    plain: Option<ValueId>,
    last: Option<ValueId>,
    primary: Layout,
}

impl Slot {
    fn get(&self, layout: Layout) -> Option<ValueId> {
        match layout {
            Layout::Plain => self.plain,
            Layout::ChannelsLast => self.last,
        }
    }

    fn set(&mut self, layout: Layout, id: ValueId) {
        match layout {
            Layout::Plain => self.plain = Some(id),
            Layout::ChannelsLast => self.last = Some(id),
        }
    }
}

/// What an output is to be, where inference does not say it all.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Value name, already unique.
    pub(crate) name: String,
    /// Element type and quantization parameters of integer edges.
    pub(crate) quant: Option<(DType, Quantization)>,
}

/// Reads nodes into a graph.
pub(crate) struct Importer {
    pub(crate) graph: Graph,
    pub(crate) external: External,
    inference: Inference,
    slots: HashMap<String, Slot>,
    constants: HashMap<String, Constant>,
    materialized: HashMap<(String, String), ValueId>,
    used_values: HashSet<String>,
    used_nodes: HashSet<String>,
    reserved: HashSet<String>,
    public_outputs: HashSet<String>,
    wants_last: HashSet<String>,
}

impl Importer {
    /// An empty graph. `reserved` are all value names of the file, which no invented name may take.
    pub(crate) fn new(
        external: External,
        reserved: HashSet<String>,
        public_outputs: HashSet<String>,
        wants_last: HashSet<String>,
    ) -> Self {
        Importer {
            graph: Graph::default(),
            external,
            inference: Inference::new(),
            slots: HashMap::new(),
            constants: HashMap::new(),
            materialized: HashMap::new(),
            used_values: HashSet::new(),
            used_nodes: HashSet::new(),
            reserved,
            public_outputs,
            wants_last,
        }
    }

    /// Whether a convolution or the like reads the value `name`, possibly through element-wise
    /// operators.
    pub(crate) fn wants_last(&self, name: &str) -> bool {
        self.wants_last.contains(name)
    }

    /// A node name that no node has yet.
    pub(crate) fn fresh_node(&mut self, name: &str) -> String {
        fresh(name, &mut self.used_nodes, &HashSet::new())
    }

    /// A value name that neither the file nor the graph has.
    pub(crate) fn fresh_value(&mut self, name: &str) -> String {
        fresh(name, &mut self.used_values, &self.reserved)
    }

    /// The name for the graph value that holds `name` of the file: that name, if it is still
    /// free and is not to go to the public output in the author's layout.
    pub(crate) fn claim(&mut self, name: &str, layout: Layout) -> String {
        if layout == Layout::ChannelsLast && self.public_outputs.contains(name) {
            return self.fresh_value(&format!("{name}_nhwc"));
        }
        match self.used_values.insert(name.to_owned()) {
            true => name.to_owned(),
            false => self.fresh_value(name),
        }
    }

    /// Adds a public input.
    pub(crate) fn add_input(&mut self, name: &str, dtype: DType, shape: Shape) {
        self.used_values.insert(name.to_owned());
        let id = self.push_value(name.to_owned(), dtype, shape);
        self.graph.inputs.push(id);
        self.bind(name, Layout::Plain, id);
    }

    fn push_value(&mut self, name: String, dtype: DType, shape: Shape) -> ValueId {
        // Not `Graph::add_value`, whose search for the name is linear.
        self.graph.values.push(Value { name, dtype, shape, quant: None, data: None });
        ValueId(self.graph.values.len() - 1)
    }

    /// Says that `name` of the file is held by `id` in the given layout.
    pub(crate) fn bind(&mut self, name: &str, layout: Layout, id: ValueId) {
        let slot = self.slots.entry(name.to_owned()).or_insert(Slot { plain: None, last: None, primary: layout });
        slot.set(layout, id);
        if self.graph.value(id).shape.rank() < 3 {
            // Without spatial axes both layouts are the same.
            *slot = Slot { plain: Some(id), last: Some(id), primary: Layout::Plain };
        }
    }

    /// Registers a constant of the file; it becomes a graph value when something reads it.
    pub(crate) fn add_constant(&mut self, name: &str, constant: Constant) {
        self.constants.insert(name.to_owned(), constant);
    }

    /// The constant `name`, if it is one.
    pub(crate) fn constant(&self, name: &str) -> Option<&Constant> {
        self.constants.get(name)
    }

    /// Whether `name` is known at all.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.constants.contains_key(name) || self.slots.contains_key(name)
    }

    fn slot(&self, name: &str) -> Result<Slot> {
        self.slots.get(name).copied().ok_or_else(|| Error::model(format!("nothing provides the value `{name}`")))
    }

    /// The layout in which `name` was produced.
    pub(crate) fn layout(&self, name: &str) -> Layout {
        self.slots.get(name).map_or(Layout::Plain, |s| s.primary)
    }

    /// Shape of `name` with axes in ONNX order.
    pub(crate) fn shape(&self, name: &str) -> Result<Shape> {
        if let Some(constant) = self.constants.get(name) {
            return Ok(Shape::fixed(constant.tensor.shape()));
        }
        let slot = self.slot(name)?;
        let stored = |id: ValueId| self.graph.value(id).shape.clone();
        Ok(match (slot.plain, slot.last) {
            (Some(id), _) => stored(id),
            (None, Some(id)) => {
                let shape = stored(id);
                shape.permuted(&to_first(shape.rank())).unwrap_or(shape)
            }
            (None, None) => Shape::default(),
        })
    }

    /// Element type of `name`.
    pub(crate) fn dtype(&self, name: &str) -> Result<DType> {
        if let Some(constant) = self.constants.get(name) {
            return Ok(constant.result_dtype());
        }
        let slot = self.slot(name)?;
        Ok(slot.plain.or(slot.last).map_or(DType::F32, |id| self.graph.value(id).dtype))
    }

    /// The integers that `name` holds, if all are known while reading.
    pub(crate) fn known_ints(&mut self, name: &str) -> Option<Vec<i64>> {
        self.partly_known_ints(name)?.into_iter().collect()
    }

    /// The integers that `name` holds, `None` for symbolic ones.
    pub(crate) fn partly_known_ints(&mut self, name: &str) -> Option<Vec<Option<i64>>> {
        if let Some(constant) = self.constants.get(name) {
            let ints = if constant.quant.is_none() { constant.tensor.to_i64() } else { None };
            return Some(ints?.into_iter().map(Some).collect());
        }
        let id = self.slots.get(name)?.plain?;
        Some(self.inference.ints(&self.graph, id)?.iter().map(fewbits_graph::SymInt::known).collect())
    }

    /// The graph value that already holds `name` in a layout, if there is one.
    pub(crate) fn existing(&self, name: &str, layout: Layout) -> Option<ValueId> {
        self.slots.get(name)?.get(layout)
    }

    /// The graph value that holds `name` in a layout; a transpose is added where it is needed.
    pub(crate) fn value(&mut self, name: &str, layout: Layout) -> Result<ValueId> {
        if let Some(constant) = self.constants.get(name) {
            let rank = constant.tensor.shape().len();
            let relay = match layout {
                Layout::ChannelsLast if rank > 2 => Relay::permute(to_last(rank)),
                _ => Relay::none(),
            };
            return self.materialize(name, &relay);
        }
        let slot = self.slot(name)?;
        if let Some(id) = slot.get(layout) {
            return Ok(id);
        }
        let (source, perm, suffix): (_, fn(usize) -> Vec<usize>, _) = match layout {
            Layout::Plain => (slot.last, to_first, "nchw"),
            Layout::ChannelsLast => (slot.plain, to_last, "nhwc"),
        };
        let source = source.ok_or_else(|| Error::model(format!("nothing provides the value `{name}`")))?;
        let perm = perm(self.graph.value(source).shape.rank());
        let node = self.fresh_node(&format!("{name}_to_{suffix}"));
        let out = match layout == Layout::Plain && self.public_outputs.contains(name) {
            true => self.claim(name, layout),
            false => self.fresh_value(&format!("{name}_{suffix}")),
        };
        let output = Output { name: out, quant: None };
        let id = self.push(node, Transpose { perm }.into(), vec![Some(source)], vec![output])?[0];
        self.bind(name, layout, id);
        Ok(id)
    }

    /// The graph value of the constant `name` with its axes relaid, followed by its conversion to
    /// float where it has one.
    pub(crate) fn materialize(&mut self, name: &str, relay: &Relay) -> Result<ValueId> {
        self.materialize_as(name, relay, true)
    }

    /// As [`Importer::materialize`], but a half-precision constant is left without its `Cast`:
    /// for operators that read half-precision weights themselves.
    pub(crate) fn materialize_weights(&mut self, name: &str, relay: &Relay) -> Result<ValueId> {
        self.materialize_as(name, relay, false)
    }

    fn materialize_as(&mut self, name: &str, relay: &Relay, cast: bool) -> Result<ValueId> {
        let constant = self.constants.get(name).cloned();
        let constant = constant.ok_or_else(|| Error::model(format!("`{name}` is not a constant")))?;
        let key = (name.to_owned(), relay.key());
        let stored = match self.materialized.get(&key) {
            Some(&id) => id,
            None => {
                let (data, quant) = constant.relaid(relay).map_err(|what| Error::tensor(name, what))?;
                let stored = self.claim(&constant.stored, Layout::Plain);
                let id = self.push_value(stored, data.dtype(), Shape::fixed(data.shape()));
                let value = self.graph.value_mut(id);
                (value.data, value.quant) = (Some(data), quant);
                self.materialized.insert(key.clone(), id);
                id
            }
        };
        let (node, op): (&str, Op) = match &constant.then {
            Then::Nothing => return Ok(stored),
            Then::Cast { .. } if !cast => return Ok(stored),
            Then::Cast { node } => (node, fewbits_graph::ops::Cast { to: DType::F32 }.into()),
            Then::Dequantize { node } => (node, Dequantize.into()),
        };
        let key = (key.0, format!("{} float", key.1));
        if let Some(&id) = self.materialized.get(&key) {
            return Ok(id);
        }
        let node = self.fresh_node(node);
        let output = Output { name: self.claim(name, Layout::Plain), quant: None };
        let id = self.push(node, op, vec![Some(stored)], vec![output])?[0];
        self.materialized.insert(key, id);
        Ok(id)
    }

    /// Gives integer edge `id` its parameters, and with it the edges that it was only moved from.
    pub(crate) fn set_quantization(&mut self, id: ValueId, quant: &Quantization) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let value = self.graph.value_mut(id);
            let dtype = value.dtype;
            value.quant = Some(quant.clone());
            if quant.as_per_tensor().is_none() {
                break;
            }
            // Only the newest nodes can have made an edge without parameters that is read now.
            let producer = self.graph.nodes.iter().rev().find(|n| n.outputs.contains(&id));
            next = producer
                .filter(|n| passes_quantization(&n.op) && !matches!(n.op, Op::Concat(_)))
                .and_then(|n| n.inputs.first().copied().flatten())
                .filter(|&v| self.graph.value(v).quant.is_none() && self.graph.value(v).dtype == dtype);
        }
    }

    /// A new constant that the file does not have.
    pub(crate) fn new_constant(&mut self, name: &str, data: Tensor) -> ValueId {
        let name = self.fresh_value(name);
        let id = self.push_value(name, data.dtype(), Shape::fixed(data.shape()));
        self.graph.value_mut(id).data = Some(data);
        id
    }

    /// Appends a node and infers its outputs.
    pub(crate) fn push(
        &mut self,
        name: String,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Output>,
    ) -> Result<Vec<ValueId>> {
        let first = inputs.first().copied().flatten().map(|v| self.graph.value(v));
        let dtype = first.map_or(DType::F32, |v| v.dtype);
        let passed = first
            .filter(|v| v.quant.as_ref().is_some_and(|q| q.as_per_tensor().is_some()))
            .and_then(|v| passes_quantization(&op).then(|| (v.dtype, v.quant.clone())));
        let ids: Vec<ValueId> = outputs
            .into_iter()
            .enumerate()
            .map(|(i, output)| {
                let id = self.push_value(output.name, dtype, Shape::default());
                let quant = match output.quant {
                    Some((dtype, quant)) => Some((dtype, Some(quant))),
                    // The second output of a selection is its indices.
                    None if i == 0 || matches!(op, Op::Split(_)) => passed.clone(),
                    None => None,
                };
                if let Some((dtype, quant)) = quant {
                    let value = self.graph.value_mut(id);
                    (value.dtype, value.quant) = (dtype, quant);
                }
                id
            })
            .collect();
        self.graph.nodes.push(Node { name, op, inputs, outputs: ids.clone() });
        let node = NodeId(self.graph.nodes.len() - 1);
        self.inference.node(&mut self.graph, node)?;
        Ok(ids)
    }
}

/// Whether an operator on integers keeps the scale of its first input.
fn passes_quantization(op: &Op) -> bool {
    match op {
        Op::Pool2d(pool) => pool.kind == PoolKind::Max,
        Op::Resize(resize) => matches!(resize.mode, ResizeMode::Nearest(_)),
        Op::Pad(_)
        | Op::Concat(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::GatherNd(_)
        | Op::Tile(_)
        | Op::SpaceToDepth(_)
        | Op::DepthToSpace(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Expand(_)
        | Op::Transpose(_)
        | Op::Identity(_) => true,
        _ => false,
    }
}

/// `name`, or `name_1`, `name_2`… if it is taken.
fn fresh(name: &str, used: &mut HashSet<String>, reserved: &HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut n = 0usize;
    while used.contains(&candidate) || reserved.contains(&candidate) {
        n += 1;
        candidate = format!("{name}_{n}");
    }
    used.insert(candidate.clone());
    candidate
}
