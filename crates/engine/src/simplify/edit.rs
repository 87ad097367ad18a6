//! A graph under rewriting: who produces and who reads each value, kept up to date edit by edit.

use fewbits_graph::ops::{Binary, BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Node, NodeId, Op, Quantization, Result, Shape, Tensor, Value, ValueId};

/// The editing session of one pass.
///
/// The maps are built once and follow each edit, so a pass costs time linear in the graph and not
/// in graph × matches. Ids stay valid until [`Edit::finish`], which drops removed nodes, restores
/// the execution order and infers shapes anew.
pub(super) struct Edit<'g> {
    graph: &'g mut Graph,
    producer: Vec<Option<NodeId>>,
    /// For each value, its readers, once for each input slot.
    readers: Vec<Vec<NodeId>>,
    output: Vec<bool>,
    removed: Vec<bool>,
    changed: bool,
}

impl<'g> Edit<'g> {
    pub(super) fn new(graph: &'g mut Graph) -> Self {
        let mut readers = vec![Vec::new(); graph.values.len()];
        for (i, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().flatten().for_each(|v| readers[v.0].push(NodeId(i)));
        }
        let mut output = vec![false; graph.values.len()];
        graph.outputs.iter().for_each(|v| output[v.0] = true);
        let (producer, removed) = (graph.producers(), vec![false; graph.nodes.len()]);
        Edit { graph, producer, readers, output, removed, changed: false }
    }

    /// Applies the edits; whether there were any.
    pub(super) fn finish(self) -> Result<bool> {
        if !self.changed {
            return Ok(false);
        }
        let mut removed = self.removed.iter();
        self.graph.nodes.retain(|_| removed.next() != Some(&true));
        self.graph.sort()?;
        self.graph.prune();
        self.graph.infer()?;
        Ok(true)
    }

    /// Ids of the nodes that are there now; nodes added later are not among them.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        let live: Vec<NodeId> = self.graph.node_ids().filter(|n| !self.removed[n.0]).collect();
        live.into_iter()
    }

    /// Ids of the values that are there now.
    pub(super) fn values(&self) -> impl Iterator<Item = ValueId> + use<> {
        self.graph.value_ids()
    }

    pub(super) fn is_removed(&self, node: NodeId) -> bool {
        self.removed[node.0]
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.graph.node(id)
    }

    pub(super) fn op(&self, id: NodeId) -> &Op {
        &self.graph.node(id).op
    }

    /// Input `slot` of a node, if present.
    pub(super) fn input(&self, id: NodeId, slot: usize) -> Option<ValueId> {
        self.graph.node(id).inputs.get(slot).copied().flatten()
    }

    /// The first output of a node.
    pub(super) fn out(&self, id: NodeId) -> ValueId {
        self.graph.node(id).outputs[0]
    }

    pub(super) fn value(&self, id: ValueId) -> &Value {
        self.graph.value(id)
    }

    pub(super) fn shape(&self, id: ValueId) -> &Shape {
        &self.graph.value(id).shape
    }

    /// The elements of a constant.
    pub(super) fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.graph.value(id).data.as_ref()
    }

    /// The elements of an unquantized floating-point constant.
    pub(super) fn floats(&self, id: ValueId) -> Option<Vec<f32>> {
        let value = self.graph.value(id);
        let data = value.data.as_ref().filter(|t| t.dtype().is_float() && value.quant.is_none())?;
        Some(data.to_f32())
    }

    /// The number that a floating-point constant of one element holds.
    pub(super) fn scalar(&self, id: ValueId) -> Option<f32> {
        self.constant(id).filter(|t| t.elements() == 1)?;
        self.floats(id)?.first().copied()
    }

    /// The elements of an integer constant.
    pub(super) fn integers(&self, id: ValueId) -> Option<Vec<i64>> {
        self.constant(id)?.to_i64()
    }

    pub(super) fn producer(&self, id: ValueId) -> Option<NodeId> {
        self.producer[id.0]
    }

    pub(super) fn is_output(&self, id: ValueId) -> bool {
        self.output[id.0]
    }

    pub(super) fn is_input(&self, id: ValueId) -> bool {
        self.graph.inputs.contains(&id)
    }

    /// Readers, once for each slot.
    pub(super) fn readers(&self, id: ValueId) -> &[NodeId] {
        &self.readers[id.0]
    }

    /// The only reader of a value that is read once and is not a public output.
    pub(super) fn sole_reader(&self, id: ValueId) -> Option<NodeId> {
        match (self.output[id.0], self.readers[id.0].as_slice()) {
            (false, &[reader]) => Some(reader),
            _ => None,
        }
    }

    /// The producer of a value that only one slot reads and that is not a public output, so that
    /// the producer may be changed for that reader's sake.
    pub(super) fn sole_producer(&self, id: ValueId) -> Option<NodeId> {
        self.sole_reader(id)?;
        self.producer(id)
    }

    pub(super) fn op_mut(&mut self, id: NodeId) -> &mut Op {
        self.changed = true;
        &mut self.graph.nodes[id.0].op
    }

    /// The operator, to change, if it is such a one.
    pub(super) fn op_mut_if(&mut self, id: NodeId, wanted: impl Fn(&Op) -> bool) -> Option<&mut Op> {
        wanted(self.op(id)).then(|| self.op_mut(id))
    }

    pub(super) fn value_mut(&mut self, id: ValueId) -> &mut Value {
        self.changed = true;
        self.graph.value_mut(id)
    }

    fn forget_reader(&mut self, value: ValueId, node: NodeId) {
        if let Some(at) = self.readers[value.0].iter().position(|&n| n == node) {
            self.readers[value.0].remove(at);
        }
    }

    /// Makes `slot` of `node` read `value`.
    pub(super) fn set_input(&mut self, node: NodeId, slot: usize, value: Option<ValueId>) {
        self.changed = true;
        if let Some(old) = self.input(node, slot) {
            self.forget_reader(old, node);
        }
        let inputs = &mut self.graph.nodes[node.0].inputs;
        if inputs.len() <= slot {
            inputs.resize(slot + 1, None);
        }
        inputs[slot] = value;
        if let Some(v) = value {
            self.readers[v.0].push(node);
        }
    }

    /// Gives the node another operator and other inputs; its outputs stay.
    pub(super) fn replace(&mut self, node: NodeId, op: impl Into<Op>, inputs: &[Option<ValueId>]) {
        self.changed = true;
        for old in std::mem::take(&mut self.graph.nodes[node.0].inputs).into_iter().flatten() {
            self.forget_reader(old, node);
        }
        inputs.iter().flatten().for_each(|v| self.readers[v.0].push(node));
        let place = &mut self.graph.nodes[node.0];
        (place.op, place.inputs) = (op.into(), inputs.to_vec());
    }

    /// Makes `node` write `value` instead of its output `slot`; the old value has no producer.
    pub(super) fn set_output(&mut self, node: NodeId, slot: usize, value: ValueId) {
        self.changed = true;
        let old = std::mem::replace(&mut self.graph.nodes[node.0].outputs[slot], value);
        if self.producer[old.0] == Some(node) {
            self.producer[old.0] = None;
        }
        self.producer[value.0] = Some(node);
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.changed = true;
        self.removed[node.0] = true;
        for old in std::mem::take(&mut self.graph.nodes[node.0].inputs).into_iter().flatten() {
            self.forget_reader(old, node);
        }
        for out in self.graph.nodes[node.0].outputs.clone() {
            if self.producer[out.0] == Some(node) {
                self.producer[out.0] = None;
            }
        }
    }

    /// Makes all nodes that read `from` read `to`. Public outputs stay as they are.
    pub(super) fn redirect(&mut self, from: ValueId, to: ValueId) {
        self.changed = true;
        let readers = std::mem::take(&mut self.readers[from.0]);
        for &node in &readers {
            let inputs = self.graph.nodes[node.0].inputs.iter_mut().flatten();
            inputs.filter(|v| **v == from).for_each(|v| *v = to);
        }
        self.readers[to.0].extend(readers);
    }

    /// Removes a node whose output equals `from` in everything, so that its readers read `from`.
    /// Where the output is public, `from`'s producer takes it over; false (and no change) if there
    /// is none that may.
    pub(super) fn bypass(&mut self, node: NodeId, from: ValueId) -> bool {
        let out = self.out(node);
        if !self.output[out.0] {
            self.redirect(out, from);
            self.remove(node);
            return true;
        }
        let Some(before) = self.producer(from).filter(|_| !self.output[from.0]) else {
            return false;
        };
        let slot = self.node(before).outputs.iter().position(|&v| v == from);
        self.remove(node);
        self.set_output(before, slot.unwrap_or(0), out);
        self.redirect(from, out);
        true
    }

    /// Merges `last` into `main`: `main` writes what `last` wrote, and `last` goes.
    pub(super) fn absorb(&mut self, main: NodeId, last: NodeId) {
        let out = self.out(last);
        self.remove(last);
        self.set_output(main, 0, out);
    }

    fn track_new_value(&mut self, id: ValueId) -> ValueId {
        self.changed = true;
        self.producer.resize(self.graph.values.len(), None);
        self.readers.resize(self.graph.values.len(), Vec::new());
        self.output.resize(self.graph.values.len(), false);
        id
    }

    pub(super) fn add_value(&mut self, name: &str, dtype: DType, shape: Shape, quant: Option<Quantization>) -> ValueId {
        let id = self.graph.add_value(name, dtype, shape);
        self.graph.value_mut(id).quant = quant;
        self.track_new_value(id)
    }

    pub(super) fn add_constant(&mut self, name: &str, data: Tensor) -> ValueId {
        let id = self.graph.add_constant(name, data);
        self.track_new_value(id)
    }

    /// Adds a node that writes `output`.
    pub(super) fn add_node(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        output: ValueId,
    ) -> NodeId {
        self.changed = true;
        let id = NodeId(self.graph.nodes.len());
        let node = Node { name: name.to_owned(), op: op.into(), inputs: inputs.to_vec(), outputs: vec![output] };
        self.graph.nodes.push(node);
        self.removed.push(false);
        inputs.iter().flatten().for_each(|v| self.readers[v.0].push(id));
        self.producer[output.0] = Some(id);
        id
    }

    /// Makes `slot` of `node` read the constant `data`. The constant there before is changed in
    /// place where only this slot reads it, so that its name survives; else there is a new one,
    /// named after it or, if the slot was empty, `name`.
    pub(super) fn set_constant(
        &mut self,
        node: NodeId,
        slot: usize,
        data: Tensor,
        quant: Option<Quantization>,
        name: &str,
    ) {
        let old = self.input(node, slot);
        let name = match old {
            Some(v) if self.constant(v).is_some() && !self.is_input(v) => {
                if self.sole_reader(v).is_some() {
                    let value = self.value_mut(v);
                    (value.dtype, value.shape) = (data.dtype(), Shape::fixed(data.shape()));
                    (value.quant, value.data) = (quant, Some(data));
                    return;
                }
                self.value(v).name.clone()
            }
            _ => name.to_owned(),
        };
        let id = self.add_constant(&name, data);
        self.graph.value_mut(id).quant = quant;
        self.set_input(node, slot, Some(id));
    }

    /// The operands of the plain (without activation) binary node that produces `v`.
    pub(super) fn binary(&self, v: ValueId, kind: BinaryKind) -> Option<(ValueId, ValueId)> {
        let node = self.producer(v)?;
        match self.op(node) {
            Op::Binary(Binary { kind: k, activation: Activation::None }) if *k == kind => {
                Some((self.input(node, 0)?, self.input(node, 1)?))
            }
            _ => None,
        }
    }

    /// Function and operand of the unary node that produces `v`.
    pub(super) fn unary(&self, v: ValueId) -> Option<(UnaryKind, ValueId)> {
        let node = self.producer(v)?;
        match self.op(node) {
            Op::Unary(Unary { kind }) => Some((*kind, self.input(node, 0)?)),
            _ => None,
        }
    }

    /// Whether two edges have one element type and the same quantization parameters.
    pub(super) fn same_domain(&self, a: ValueId, b: ValueId) -> bool {
        let (a, b) = (self.value(a), self.value(b));
        a.dtype == b.dtype && a.quant == b.quant
    }

    /// Whether the edge holds plain `f32` numbers.
    pub(super) fn is_f32(&self, v: ValueId) -> bool {
        let value = self.value(v);
        value.dtype == DType::F32 && value.quant.is_none()
    }
}
