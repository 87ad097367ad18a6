//! From a quantized graph to its simulation.

use std::collections::BTreeMap;

use fewbits_graph::ops::{BinaryKind, FakeQuantize, PoolKind, ResizeMode};
use fewbits_graph::{DType, Granularity, Graph, Node, Op, Tensor, Value, ValueId};
use fewbits_quantize::{Constraint, Format, constraint};

use super::layers::{Bias, Layer};
use super::{EdgeGroup, Simulation, real};
use crate::Result;

/// Weights start at least this far, in steps, from where they would round to another integer.
const MARGIN: f64 = 0.01;

pub(super) struct Builder<'a> {
    quantized: &'a Graph,
    /// The float graph's nodes by name.
    float: BTreeMap<&'a str, (&'a Graph, &'a Node)>,
    largest: &'a dyn Fn(&Node) -> i32,
    out: Graph,
    /// What simulates each value of the quantized graph.
    of: Vec<Option<ValueId>>,
    /// The group of each value of the quantized graph.
    group: Vec<Option<usize>>,
    groups: Vec<EdgeGroup>,
    layers: Vec<Layer>,
    /// What was quantized into a value of the simulation.
    before: BTreeMap<ValueId, ValueId>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(float: &'a Graph, quantized: &'a Graph, largest: &'a dyn Fn(&Node) -> i32) -> Self {
        Builder {
            quantized,
            float: float.nodes.iter().map(|n| (n.name.as_str(), (float, n))).collect(),
            largest,
            out: Graph { name: quantized.name.clone(), ..Graph::default() },
            of: vec![None; quantized.values.len()],
            group: vec![None; quantized.values.len()],
            groups: Vec::new(),
            layers: Vec::new(),
            before: BTreeMap::new(),
        }
    }

    pub(super) fn build(mut self) -> Result<Simulation> {
        self.share();
        for &id in &self.quantized.inputs {
            let value = self.quantized.value(id);
            let dtype = if value.quant.is_some() { DType::F32 } else { value.dtype };
            let input = self.out.add_input(value.name.clone(), dtype, value.shape.clone());
            // An integer input holds what was quantized before it came.
            self.of[id.0] = Some(if value.dtype == DType::I8 { self.fake(id, input) } else { input });
        }
        for node in &self.quantized.nodes {
            self.node(node);
        }
        self.out.outputs = self.quantized.outputs.iter().map(|&v| self.simulated(v)).collect();
        let Builder { mut out, groups, layers, .. } = self;
        out.infer()?;
        out.validate()?;
        Ok(Simulation { graph: out, layers, groups })
    }

    /// Finds the edges that share parameters: those of operators that keep their inputs', as long as
    /// they are equal.
    fn share(&mut self) {
        let g = self.quantized;
        let mut parent: Vec<usize> = (0..g.values.len()).collect();
        fn root(parent: &[usize], mut v: usize) -> usize {
            while parent[v] != v {
                v = parent[v];
            }
            v
        }
        let edge = |v: ValueId| Some(g.value(v)).filter(|v| v.dtype == DType::I8)?.quant.as_ref()?.as_per_tensor();
        // Constants keep the numbers they stand for; only bounds follow the scale.
        let mut fixed: Vec<bool> = g.values.iter().map(|v| v.data.is_some()).collect();
        for node in &g.nodes {
            if let Op::Binary(op) = &node.op
                && matches!(op.kind, BinaryKind::Max | BinaryKind::Min)
            {
                node.inputs.iter().flatten().filter(|v| g.value(**v).data.is_some()).for_each(|v| fixed[v.0] = false);
            }
            match constraint(&node.op, Format::Onnx) {
                Some(Constraint::SameAsInputs) => {
                    for &out in &node.outputs {
                        for &v in node.inputs.iter().flatten().filter(|v| edge(**v).is_some() && edge(**v) == edge(out))
                        {
                            let (a, b) = (root(&parent, v.0), root(&parent, out.0));
                            parent[a.max(b)] = a.min(b);
                        }
                    }
                }
                Some(Constraint::Fixed(_)) => node.outputs.iter().for_each(|v| fixed[v.0] = true),
                _ => {}
            }
        }
        let mut index: BTreeMap<usize, usize> = BTreeMap::new();
        for id in g.value_ids() {
            let Some((scale, zero_point)) = edge(id) else { continue };
            let root = root(&parent, id.0);
            let at = *index.entry(root).or_insert_with(|| {
                let name = &g.values[root].name;
                let scale = self.out.add_constant(format!("{name}/scale"), Tensor::scalar(scale));
                let zero_point = self.out.add_constant(format!("{name}/zero_point"), Tensor::scalar(zero_point as f32));
                let (low, high) = (i32::from(i8::MIN), i32::from(i8::MAX));
                let group = EdgeGroup { scale, zero_point, low, high, fixed: false, elements: 1, edges: Vec::new() };
                self.groups.push(group);
                self.groups.len() - 1
            });
            let group = &mut self.groups[at];
            group.fixed |= fixed[id.0];
            group.elements = group.elements.max(elements(g.value(id)));
            group.edges.push(id);
            self.group[id.0] = Some(at);
        }
    }

    fn simulated(&self, id: ValueId) -> ValueId {
        // Nodes stand in execution order, so that what they read was simulated.
        self.of[id.0].unwrap_or(ValueId(0))
    }

    /// Quantizes `x` as the edge `id` of the quantized graph does.
    fn fake(&mut self, id: ValueId, x: ValueId) -> ValueId {
        let group = self.group[id.0].map(|g| &self.groups[g]);
        let Some(&EdgeGroup { scale, zero_point, low, high, .. }) = group else { return x };
        self.fake_between(id, x, [scale, zero_point], low, high)
    }

    fn fake_between(&mut self, id: ValueId, x: ValueId, params: [ValueId; 2], low: i32, high: i32) -> ValueId {
        let value = self.quantized.value(id);
        let out = self.out.add_value(value.name.clone(), DType::F32, value.shape.clone());
        let [scale, zero_point] = params;
        self.out.nodes.push(Node {
            name: format!("{}/fake_quantize", value.name),
            op: FakeQuantize { low, high }.into(),
            inputs: vec![Some(x), Some(scale), Some(zero_point)],
            outputs: vec![out],
        });
        self.before.insert(out, x);
        out
    }

    fn node(&mut self, node: &Node) {
        match &node.op {
            Op::Quantize(_) | Op::Requantize(_) => {
                let (Some(Some(x)), out) = (node.inputs.first(), node.outputs[0]) else { return };
                let x = self.operand(*x);
                self.of[out.0] = Some(self.fake(out, x));
            }
            Op::Dequantize(_) => {
                let (Some(Some(x)), out) = (node.inputs.first(), node.outputs[0]) else { return };
                let x = self.operand(*x);
                self.of[out.0] = Some(x);
                self.rename_output(out, x);
            }
            _ if self.holds(node) => {}
            _ => self.compute(node),
        }
    }

    /// A public output takes its own name with it.
    fn rename_output(&mut self, out: ValueId, simulated: ValueId) {
        if self.quantized.outputs.contains(&out) && self.out.value(simulated).data.is_none() {
            self.out.value_mut(simulated).name = self.quantized.value(out).name.clone();
        }
    }

    /// A comparison of a quantized edge with a constant of its own parameters only narrows the grid,
    /// whatever the scale will be.
    fn holds(&mut self, node: &Node) -> bool {
        let Op::Binary(op) = &node.op else { return false };
        let (Some(Some(x)), Some(Some(bound)), out) = (node.inputs.first(), node.inputs.get(1), node.outputs[0]) else {
            return false;
        };
        let group = self.group[x.0];
        let bound = self.quantized.value(*bound);
        let same = bound.quant == self.quantized.value(*x).quant && self.group[out.0] == group;
        let level = bound.data.as_ref().filter(|d| d.elements() == 1 && d.dtype() == DType::I8 && same);
        let level = level.and_then(|d| d.as_slice::<i8>().map(|s| i32::from(s[0])));
        let Some(((level, group), &before)) = level.zip(group).zip(self.before.get(&self.simulated(*x))) else {
            return false;
        };
        let group = &mut self.groups[group];
        match op.kind {
            BinaryKind::Max => group.low = level,
            BinaryKind::Min => group.high = level,
            _ => return false,
        }
        let (params, low, high) = ([group.scale, group.zero_point], group.low, group.high);
        self.of[out.0] = Some(self.fake_between(out, before, params, low, high));
        true
    }

    fn compute(&mut self, node: &Node) {
        let layer = self.layer(node);
        let inputs: Vec<Option<ValueId>> = match &layer {
            Some(layer) => {
                let mut inputs = vec![node.inputs[0].map(|v| self.operand(v)), Some(layer.weights)];
                inputs.extend(layer.bias.map(|b| Some(b.simulated)));
                inputs
            }
            None => node.inputs.iter().map(|v| v.map(|v| self.operand(v))).collect(),
        };
        self.layers.extend(layer);
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for &id in &node.outputs {
            let value = self.quantized.value(id);
            let integer = value.dtype == DType::I8 && value.quant.is_some();
            let fake = integer && !self.on_the_grid(node, id);
            let name = if fake { format!("{}/float", value.name) } else { value.name.clone() };
            let dtype = if integer { DType::F32 } else { value.dtype };
            let out = self.out.add_value(name, dtype, value.shape.clone());
            outputs.push((id, out, fake));
        }
        let ids = outputs.iter().map(|o| o.1).collect();
        self.out.nodes.push(Node { name: node.name.clone(), op: node.op.clone(), inputs, outputs: ids });
        for (id, out, fake) in outputs {
            self.of[id.0] = Some(if fake { self.fake(id, out) } else { out });
        }
    }

    /// Whether the operator's results are elements of its inputs' grid already.
    fn on_the_grid(&self, node: &Node, out: ValueId) -> bool {
        let computes = match &node.op {
            Op::Pool2d(p) => p.kind != PoolKind::Max,
            Op::Resize(r) => !matches!(r.mode, ResizeMode::Nearest(_)),
            Op::Reduce(_) => true,
            _ => false,
        };
        let keeps = constraint(&node.op, Format::Onnx) == Some(Constraint::SameAsInputs);
        let inputs = node.inputs.iter().flatten().filter(|v| self.quantized.value(**v).quant.is_some());
        keeps && !computes && inputs.into_iter().all(|v| self.group[v.0] == self.group[out.0])
    }

    /// What a node reads: a simulated value, or a constant in float.
    fn operand(&mut self, id: ValueId) -> ValueId {
        if let Some(done) = self.of[id.0] {
            return done;
        }
        let value = self.quantized.value(id);
        let new = match &value.data {
            Some(data) => {
                let floats = value.quant.is_some() || data.dtype() == DType::F16;
                let real = if floats { real(value) } else { None };
                let data = real.map_or_else(|| data.clone(), |real| Tensor::new(data.shape().to_vec(), real));
                self.out.add_constant(value.name.clone(), data)
            }
            None => self.out.add_value(value.name.clone(), value.dtype, value.shape.clone()),
        };
        self.of[id.0] = Some(new);
        new
    }

    /// The layer that `node` is, if it has integer weights that are trained.
    fn layer(&mut self, node: &Node) -> Option<Layer> {
        let has_weights = matches!(
            node.op,
            Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) | Op::MatMul(_)
        );
        let id = node.inputs.get(1).copied().flatten().filter(|_| has_weights)?;
        let value = self.quantized.value(id);
        let quant = value.quant.as_ref().filter(|q| q.is_symmetric())?;
        let integers = value.data.as_ref().filter(|d| matches!(d.dtype(), DType::I8 | DType::I4))?;
        let axis = match quant.granularity {
            Granularity::PerTensor => None,
            Granularity::PerChannel { axis } => Some(axis),
            Granularity::Blocked { .. } => return None,
        };
        // Two layers that share weights would need two gradients of one constant.
        if self.layers.iter().any(|l| l.quantized_weights == id) {
            return None;
        }
        let shape = integers.shape().to_vec();
        let scales = Tensor::new(vec![quant.scales.len()], quant.scales.clone());
        let largest = (self.largest)(node);
        let start = self.starting_weights(node, value, largest)?;
        let weights = self.out.add_constant(value.name.clone(), Tensor::new(shape.clone(), start));
        let scales = self.out.add_constant(format!("{}/scale", value.name), scales);
        let bias = node.inputs.get(2).copied().flatten().and_then(|b| {
            let value = self.quantized.value(b);
            let real = real(value)?;
            let simulated = self.out.add_constant(value.name.clone(), Tensor::new(vec![real.len()], real));
            Some(Bias { simulated, quantized: b })
        });
        let input = node.inputs[0].and_then(|x| self.group[x.0]);
        let node = node.name.clone();
        Some(Layer { node, weights, scales, bias, input, largest, shape, axis, quantized_weights: id })
    }

    /// The float weights, moved into the intervals that round to the integers of `value`.
    fn starting_weights(&self, node: &Node, value: &Value, largest: i32) -> Option<Vec<f32>> {
        let quant = value.quant.as_ref()?;
        let integers = value.data.as_ref()?.to_i64()?;
        let shape = value.data.as_ref()?.shape();
        let float = self.float.get(node.name.as_str()).and_then(|(graph, node)| {
            let data = graph.value(node.inputs.get(1).copied().flatten()?).data.as_ref()?;
            (data.shape() == shape).then(|| data.to_f32())
        });
        let (parameter, end) = (quant.parameter_of(shape), i64::from(largest));
        let start = |(i, &q): (usize, &i64)| {
            let scale = f64::from(quant.scales[parameter(i)]);
            let Some(float) = &float else { return (q as f64 * scale) as f32 };
            let below = if q <= -end { f64::NEG_INFINITY } else { q as f64 - 0.5 + MARGIN };
            let above = if q >= end { f64::INFINITY } else { q as f64 + 0.5 - MARGIN };
            ((f64::from(float[i]) / scale).clamp(below, above) * scale) as f32
        };
        Some(integers.iter().enumerate().map(start).collect())
    }
}

/// Elements of a value, the first axis left out.
fn elements(value: &Value) -> usize {
    value.shape.0.iter().skip(1).map(|d| d.fixed().unwrap_or(1)).product::<usize>().max(1)
}
