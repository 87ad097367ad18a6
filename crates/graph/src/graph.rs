//! The graph: values, nodes, and what keeps them consistent.

use std::collections::HashMap;

use crate::fold::known_integers;
use crate::infer::{Ctx, InferInput};
use crate::{DType, Dim, Error, Op, Quantization, Result, Shape, SymInt, Tensor};

/// Index of a [`Value`] in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Index of a [`Node`] in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A typed edge: an input, a constant, or a node's output.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Name, unique in the graph; that of the source file where there was one.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape in the stored layout (channels-last for spatial values).
    pub shape: Shape,
    /// How integers stand for real numbers.
    pub quant: Option<Quantization>,
    /// The elements, for constants.
    pub data: Option<Tensor>,
}

/// An operator applied to values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name, unique in the graph; that of the source file where there was one.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// Inputs in the operator's order; `None` for an absent optional one.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs in the operator's order.
    pub outputs: Vec<ValueId>,
}

/// A model.
///
/// `nodes` stand in execution order. `inputs` and `outputs` are the public ones, in the author's
/// order, with the author's names and layouts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// All values.
    pub values: Vec<Value>,
    /// All nodes, in execution order.
    pub nodes: Vec<Node>,
    /// Public inputs.
    pub inputs: Vec<ValueId>,
    /// Public outputs.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// The value `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The value `id`, to change.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.0]
    }

    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Ids of all nodes, in execution order.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// Ids of all values.
    pub fn value_ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..self.values.len()).map(ValueId)
    }

    /// The value with that name.
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId)
    }

    /// Adds a value. The name is made unique by a suffix where it is taken.
    pub fn add_value(&mut self, name: impl Into<String>, dtype: DType, shape: Shape) -> ValueId {
        let name = self.fresh_value_name(name.into());
        self.values.push(Value { name, dtype, shape, quant: None, data: None });
        ValueId(self.values.len() - 1)
    }

    /// Adds a constant. The name is made unique by a suffix where it is taken.
    pub fn add_constant(&mut self, name: impl Into<String>, data: Tensor) -> ValueId {
        let id = self.add_value(name, data.dtype(), Shape::fixed(data.shape()));
        self.values[id.0].data = Some(data);
        id
    }

    /// Adds a public input.
    pub fn add_input(&mut self, name: impl Into<String>, dtype: DType, shape: Shape) -> ValueId {
        let id = self.add_value(name, dtype, shape);
        self.inputs.push(id);
        id
    }

    /// Appends a node whose single output is a new value named `output`, of the element type of
    /// the first input until [`Graph::infer`] sets type and shape.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        output: impl Into<String>,
    ) -> ValueId {
        let dtype = inputs.iter().flatten().next().map_or(DType::F32, |&v| self.value(v).dtype);
        let out = self.add_value(output, dtype, Shape::default());
        self.nodes.push(Node { name: name.into(), op: op.into(), inputs: inputs.to_vec(), outputs: vec![out] });
        out
    }

    /// `name`, or `name_1`, `name_2`… if it is taken.
    fn fresh_value_name(&self, name: String) -> String {
        if self.find_value(&name).is_none() {
            return name;
        }
        let taken: std::collections::HashSet<&str> = self.values.iter().map(|v| v.name.as_str()).collect();
        let mut n = 1;
        loop {
            let candidate = format!("{name}_{n}");
            if !taken.contains(candidate.as_str()) {
                return candidate;
            }
            n += 1;
        }
    }

    /// For each value, the node that produces it.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for out in &node.outputs {
                producers[out.0] = Some(NodeId(i));
            }
        }
        producers
    }

    /// For each value, the nodes that read it, in execution order; a node that reads it twice
    /// stands there once.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers: Vec<Vec<NodeId>> = vec![Vec::new(); self.values.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for input in node.inputs.iter().flatten() {
                if consumers[input.0].last() != Some(&NodeId(i)) {
                    consumers[input.0].push(NodeId(i));
                }
            }
        }
        consumers
    }

    /// Makes every reader of `from` (nodes and public outputs) read `to` instead.
    pub fn replace_uses(&mut self, from: ValueId, to: ValueId) {
        for input in self.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut()).flatten() {
            if *input == from {
                *input = to;
            }
        }
        for output in &mut self.outputs {
            if *output == from {
                *output = to;
            }
        }
    }

    /// Puts the nodes into an order in which each stands after its producers, keeping the present
    /// order wherever it is one.
    ///
    /// # Errors
    /// [`Error::Cycle`], [`Error::TwoProducers`].
    pub fn sort(&mut self) -> Result<()> {
        let mut producer: Vec<Option<usize>> = vec![None; self.values.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for out in &node.outputs {
                if producer[out.0].replace(i).is_some() {
                    let value = self.value(*out).name.clone();
                    return Err(Error::TwoProducers { value, node: node.name.clone() });
                }
            }
        }
        let order = self.depth_first_order(&producer)?;
        let mut nodes: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| nodes[i].take()).collect();
        Ok(())
    }

    fn depth_first_order(&self, producer: &[Option<usize>]) -> Result<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Open,
            Done,
        }
        let mut marks = vec![Mark::New; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        for root in 0..self.nodes.len() {
            // An explicit stack: a hostile file must not overflow the real one.
            let mut stack = vec![(root, 0usize)];
            while let Some((at, next)) = stack.pop() {
                if marks[at] == Mark::Done {
                    continue;
                }
                marks[at] = Mark::Open;
                let inputs = &self.nodes[at].inputs;
                let pending = (next..inputs.len()).find_map(|i| {
                    let before = inputs[i].and_then(|v| producer[v.0])?;
                    (marks[before] != Mark::Done).then_some((i, before))
                });
                match pending {
                    Some((_, before)) if marks[before] == Mark::Open => {
                        return Err(Error::Cycle { node: self.nodes[before].name.clone() });
                    }
                    Some((i, before)) => stack.extend([(at, i), (before, 0)]),
                    None => {
                        marks[at] = Mark::Done;
                        order.push(at);
                    }
                }
            }
        }
        Ok(order)
    }

    /// Drops nodes whose outputs nobody reads, and values that no node, input or output uses.
    /// Value ids change.
    pub fn prune(&mut self) {
        let producers = self.producers();
        let mut live = vec![false; self.nodes.len()];
        let mut stack: Vec<NodeId> = self.outputs.iter().filter_map(|v| producers[v.0]).collect();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut live[node.0], true) {
                stack.extend(self.node(node).inputs.iter().flatten().filter_map(|v| producers[v.0]));
            }
        }
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            live[index - 1]
        });
        self.drop_unused_values();
    }

    fn drop_unused_values(&mut self) {
        let mut used = vec![false; self.values.len()];
        let nodes = self.nodes.iter().flat_map(|n| n.inputs.iter().flatten().chain(&n.outputs));
        for v in nodes.chain(&self.inputs).chain(&self.outputs) {
            used[v.0] = true;
        }
        let mut new_id = vec![ValueId(0); self.values.len()];
        let mut kept = 0;
        for (i, &u) in used.iter().enumerate() {
            new_id[i] = ValueId(kept);
            kept += usize::from(u);
        }
        let mut index = 0;
        self.values.retain(|_| {
            index += 1;
            used[index - 1]
        });
        for node in &mut self.nodes {
            node.inputs.iter_mut().flatten().chain(&mut node.outputs).for_each(|v| *v = new_id[v.0]);
        }
        self.inputs.iter_mut().chain(&mut self.outputs).for_each(|v| *v = new_id[v.0]);
    }

    /// Computes type and shape of every node's outputs from those of the inputs.
    ///
    /// Outputs that carry quantization parameters keep their declared element type. Shape
    /// arithmetic is followed through symbolic dimensions.
    ///
    /// # Errors
    /// The first node that does not fit its inputs.
    pub fn infer(&mut self) -> Result<()> {
        self.infer_integers().map(|_| ())
    }

    /// As [`Graph::infer`], and returns for each value the elements that follow from constants and
    /// shapes alone: `Some` for small integer tensors whose every element is a number or an
    /// expression over symbolic dimensions.
    ///
    /// # Errors
    /// As [`Graph::infer`].
    pub fn infer_integers(&mut self) -> Result<Vec<Option<Vec<SymInt>>>> {
        let mut ints: Vec<Option<Vec<SymInt>>> = self.values.iter().map(constant_integers).collect();
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let inputs = node.inputs.iter().map(|v| {
                v.map(|v| {
                    let value = &self.values[v.0];
                    InferInput {
                        name: &value.name,
                        dtype: value.dtype,
                        shape: &value.shape,
                        ints: ints[v.0].as_deref(),
                    }
                })
            });
            let ctx = Ctx { node: &node.name, op: node.op.name(), inputs: inputs.collect() };
            let declared = node.outputs.first().map_or(DType::F32, |v| self.value(*v).dtype);
            let types = node.op.infer(&ctx, declared)?;
            let known = types.first().and_then(|t| known_integers(&node.op, &ctx, t));
            let outputs = node.outputs.clone();
            for (&out, t) in outputs.iter().zip(types) {
                let value = &mut self.values[out.0];
                if value.quant.is_none() {
                    value.dtype = t.dtype;
                }
                value.shape = t.shape;
            }
            if let Some(&first) = outputs.first() {
                ints[first.0] = known;
            }
        }
        Ok(ints)
    }

    /// Checks what every later stage relies on: each value is provided before it is read and by
    /// one producer, outputs exist, sizes do not overflow, quantization parameters and constants
    /// fit their types and shapes.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn validate(&self) -> Result<()> {
        let mut defined: Vec<bool> = self.values.iter().map(|v| v.data.is_some()).collect();
        for input in &self.inputs {
            defined[input.0] = true;
        }
        for node in &self.nodes {
            if let Some(v) = node.inputs.iter().flatten().find(|v| !defined[v.0]) {
                return Err(Error::Undefined { node: node.name.clone(), value: self.value(*v).name.clone() });
            }
            for out in &node.outputs {
                if std::mem::replace(&mut defined[out.0], true) {
                    let value = self.value(*out).name.clone();
                    return Err(Error::TwoProducers { value, node: node.name.clone() });
                }
            }
        }
        if let Some(out) = self.outputs.iter().find(|v| !defined[v.0]) {
            return Err(Error::MissingOutput { value: self.value(*out).name.clone() });
        }
        self.values.iter().try_for_each(check_value)
    }

    /// A copy whose public inputs have the given fixed shapes (in the order of `inputs`), with
    /// shapes inferred anew.
    ///
    /// # Errors
    /// [`Error::BadShape`] if a shape contradicts a fixed dimension of the input; inference
    /// errors.
    pub fn with_input_shapes(&self, shapes: &[Vec<usize>]) -> Result<Self> {
        let mut graph = self.clone();
        for (&id, shape) in self.inputs.iter().zip(shapes) {
            let value = graph.value_mut(id);
            let fits = value.shape.rank() == shape.len()
                && value.shape.0.iter().zip(shape).all(|(d, &n)| d.fixed().is_none_or(|fixed| fixed == n));
            if !fits {
                return Err(Error::BadShape {
                    node: String::new(),
                    op: "input",
                    what: format!("the model declares {}", value.shape),
                    input: value.name.clone(),
                    shape: Shape::fixed(shape),
                });
            }
            value.shape = Shape::fixed(shape);
        }
        graph.infer()?;
        Ok(graph)
    }
}

fn check_value(value: &Value) -> Result<()> {
    let all_fixed = value.shape.0.iter().all(|d| matches!(d, Dim::Fixed(_)));
    let bytes = value.shape.elements().and_then(|n| value.dtype.byte_len(n)).filter(|&n| isize::try_from(n).is_ok());
    if all_fixed && bytes.is_none() {
        return Err(Error::SizeOverflow { value: value.name.clone(), shape: value.shape.clone() });
    }
    if let Some(q) = &value.quant {
        q.check(value.dtype, &value.shape)
            .map_err(|what| Error::BadQuantization { value: value.name.clone(), what })?;
    }
    match &value.data {
        Some(t) if t.dtype() != value.dtype || Shape::fixed(t.shape()) != value.shape => Err(Error::BadConstant {
            value: value.name.clone(),
            what: format!("data is {} {:?}, declared {} {}", t.dtype(), t.shape(), value.dtype, value.shape),
        }),
        _ => Ok(()),
    }
}

/// The elements of a small integer constant.
fn constant_integers(value: &Value) -> Option<Vec<SymInt>> {
    let data = value.data.as_ref().filter(|t| t.elements() <= 64 && value.quant.is_none())?;
    Some(data.to_i64()?.into_iter().map(SymInt::Known).collect())
}

/// Values by name, for readers.
impl Graph {
    /// A map from value names to ids.
    pub fn names(&self) -> HashMap<&str, ValueId> {
        self.values.iter().enumerate().map(|(i, v)| (v.name.as_str(), ValueId(i))).collect()
    }
}
