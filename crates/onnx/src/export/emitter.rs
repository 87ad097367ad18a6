//! The ONNX graph under construction, and for every value the tensors that hold it.
//!
//! A value has up to two forms: its stored axes, and, for spatial values, channels first. An
//! operator asks for the form that it works on; a `Transpose` is written only where the other
//! form is all there is.

mod constants;

use std::collections::{HashMap, HashSet};

use fewbits_graph::ops::Transpose;
use fewbits_graph::{Activation, DType, Granularity, Graph, Node, Op, Quantization, Tensor, ValueId};

use super::attribute::{int, ints};
use super::spatial::wants_first;
use crate::import::constant::Relay;
use crate::layout::{is_identity, to_first, to_last};
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::{Error, Result, tensor};

pub(crate) use constants::zero_points;

/// How a tensor of the file holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Axes as stored in the graph.
    Stored,
    /// Stored channels-last, written channels-first.
    First,
}

impl Form {
    /// The ONNX axis of stored axis `axis`.
    pub(crate) fn axis(self, axis: usize, rank: usize) -> usize {
        match self {
            Form::First if rank > 2 => to_first(rank).iter().position(|&p| p == axis).unwrap_or(axis),
            _ => axis,
        }
    }

    /// The stored axis at position `axis` of the ONNX tensor.
    pub(crate) fn stored(self, axis: usize, rank: usize) -> usize {
        match self {
            Form::First if rank > 2 => to_first(rank)[axis],
            _ => axis,
        }
    }
}

/// Writes nodes.
pub(crate) struct Emitter<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) opset: i64,
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) initializers: Vec<TensorProto>,
    forms: Vec<[Option<String>; 2]>,
    /// Names of channels-first forms that a public output of the graph is.
    output_names: HashMap<ValueId, String>,
    /// Names of the nodes whose output is so far only an alias of another tensor.
    aliases: HashMap<ValueId, String>,
    constants: HashMap<String, String>,
    dynamic: HashMap<(ValueId, bool), [String; 3]>,
    /// Names of values belong to the values; invented ones must differ from all of them.
    value_names: HashSet<&'g str>,
    invented: usize,
    /// Real numbers of integer edges, one `DequantizeLinear` for all readers.
    dequantized: HashMap<(ValueId, bool), String>,
    tail: Vec<NodeProto>,
    wants_first: Vec<bool>,
    /// Values that are the real numbers of a stored constant, with that constant.
    converted: HashMap<ValueId, ValueId>,
}

impl<'g> Emitter<'g> {
    pub(crate) fn new(graph: &'g Graph, opset: i64) -> Self {
        let mut forms = vec![[None, None]; graph.values.len()];
        for &input in &graph.inputs {
            forms[input.0][0] = Some(graph.value(input).name.clone());
        }
        let public = |v: &ValueId| graph.outputs.contains(v) || graph.inputs.contains(v);
        let output_names = graph.nodes.iter().filter_map(|node| match (&node.op, node.inputs.as_slice()) {
            (Op::Transpose(Transpose { perm }), &[Some(x)])
                if *perm == to_first(perm.len()) && graph.outputs.contains(&node.outputs[0]) && !public(&x) =>
            {
                Some((x, graph.value(node.outputs[0]).name.clone()))
            }
            _ => None,
        });
        Emitter {
            output_names: output_names.collect(),
            graph,
            opset,
            nodes: Vec::new(),
            initializers: Vec::new(),
            forms,
            aliases: HashMap::new(),
            constants: HashMap::new(),
            dynamic: HashMap::new(),
            value_names: graph.values.iter().map(|v| v.name.as_str()).collect(),
            invented: 0,
            dequantized: HashMap::new(),
            tail: Vec::new(),
            wants_first: wants_first(graph),
            converted: HashMap::new(),
        }
    }

    /// Whether a value had best be written channels-first.
    pub(crate) fn wants_first(&self, id: ValueId) -> bool {
        self.wants_first[id.0]
    }

    /// A tensor name that no value has. It is short, for what the source does not have is named
    /// many times over in a file that is to be small.
    pub(crate) fn fresh(&mut self) -> String {
        loop {
            let name = format!("t{}", self.invented);
            self.invented += 1;
            if !self.value_names.contains(name.as_str()) {
                return name;
            }
        }
    }

    /// Appends the node that bears a graph node's name.
    pub(crate) fn node(
        &mut self,
        node: &Node,
        operator: &str,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        self.push(node.name.clone(), operator, inputs, outputs, attributes);
    }

    /// Appends a node that is one step of a graph node, and returns its output's name. Names of
    /// nodes are optional: steps have none.
    pub(crate) fn step(&mut self, operator: &str, inputs: Vec<String>, attributes: Vec<AttributeProto>) -> String {
        let out = self.fresh();
        self.extra(operator, inputs, out.clone(), attributes);
        out
    }

    /// The step of a graph node that bears its name.
    pub(crate) fn main_step(
        &mut self,
        node: &Node,
        operator: &str,
        inputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let out = self.fresh();
        self.node(node, operator, inputs, vec![out.clone()], attributes);
        out
    }

    /// Appends a node without a name.
    pub(crate) fn extra(
        &mut self,
        operator: &str,
        inputs: Vec<String>,
        output: String,
        attributes: Vec<AttributeProto>,
    ) {
        self.push(String::new(), operator, inputs, vec![output], attributes);
    }

    fn push(
        &mut self,
        name: String,
        operator: &str,
        inputs: Vec<String>,
        outputs: Vec<String>,
        attributes: Vec<AttributeProto>,
    ) {
        self.nodes.push(make(name, operator, inputs, outputs, attributes));
    }

    /// Writes what follows a node: its activation, and the quantization of its outputs.
    pub(crate) fn flush(&mut self) {
        self.nodes.append(&mut self.tail);
    }
}

fn make(
    name: String,
    operator: &str,
    mut inputs: Vec<String>,
    outputs: Vec<String>,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    while inputs.last().is_some_and(String::is_empty) {
        inputs.pop();
    }
    NodeProto { name, op_type: operator.to_owned(), input: inputs, output: outputs, attribute, ..NodeProto::default() }
}

/// Values.
impl Emitter<'_> {
    pub(crate) fn rank(&self, id: ValueId) -> usize {
        self.graph.value(id).shape.rank()
    }

    pub(crate) fn is_constant(&self, id: ValueId) -> bool {
        self.graph.value(id).data.is_some() || self.converted.contains_key(&id)
    }

    /// Says that `id` is the real numbers of the constant `stored`. Its conversion is written in
    /// the layouts that readers ask for.
    pub(crate) fn convert(&mut self, id: ValueId, stored: ValueId) {
        self.converted.insert(id, stored);
    }

    /// Whether `id` is a constant of 4 bits or in blocks, or its real numbers.
    pub(crate) fn is_narrow(&self, id: ValueId) -> bool {
        let value = self.graph.value(self.converted.get(&id).copied().unwrap_or(id));
        let blocked = |q: &Quantization| matches!(q.granularity, Granularity::Blocked { .. });
        value.data.is_some() && (value.dtype == DType::I4 || value.quant.as_ref().is_some_and(blocked))
    }

    /// The elements of a constant, or of what a conversion starts from.
    fn constant_data(&self, id: ValueId) -> Option<&Tensor> {
        let id = self.converted.get(&id).copied().unwrap_or(id);
        self.graph.value(id).data.as_ref()
    }

    fn form_of(&self, id: ValueId, form: Form) -> Option<&String> {
        let forms = &self.forms[id.0];
        // Without spatial axes there is one form.
        if self.rank(id) < 3 { forms[0].as_ref().or(forms[1].as_ref()) } else { forms[form as usize].as_ref() }
    }

    /// Whether a value exists channels-first only, so that work on it had best be done so.
    pub(crate) fn prefers_first(&self, id: ValueId) -> bool {
        self.rank(id) > 2 && self.forms[id.0][1].is_some() && self.forms[id.0][0].is_none()
    }

    /// The form in which a value exists already.
    pub(crate) fn own_form(&self, id: ValueId) -> Form {
        if self.prefers_first(id) { Form::First } else { Form::Stored }
    }

    /// The tensor that holds a value in a form, without dequantization.
    pub(crate) fn raw(&mut self, id: ValueId, form: Form) -> Result<String> {
        if self.is_constant(id) {
            let rank = self.rank(id);
            let relay = match form {
                Form::First if rank > 2 => Relay::permute(to_first(rank)),
                _ => Relay::none(),
            };
            if self.converted.contains_key(&id) {
                return self.constant(id, &relay);
            }
            return Ok(self.raw_constant(id, &relay)?.0);
        }
        if let Some(name) = self.form_of(id, form) {
            return Ok(name.clone());
        }
        let (other, perm): (_, fn(usize) -> Vec<usize>) = match form {
            Form::Stored => (Form::First, to_last),
            Form::First => (Form::Stored, to_first),
        };
        let source = self.form_of(id, other).cloned();
        let source =
            source.ok_or_else(|| Error::tensor(&self.graph.value(id).name, "is read before it is computed"))?;
        let perm: Vec<i64> = perm(self.rank(id)).iter().map(|&p| i64::try_from(p).unwrap_or(0)).collect();
        let (node, out) = match self.aliases.remove(&id) {
            Some(node) => (node, self.graph.value(id).name.clone()),
            None => {
                let name = self.graph.value(id).name.clone();
                // A public output is the stored form; its name was kept for this moment.
                let public = form == Form::Stored && self.graph.outputs.contains(&id);
                let out = if public { name } else { self.fresh() };
                (String::new(), out)
            }
        };
        self.push(node, "Transpose", vec![source], vec![out.clone()], vec![ints("perm", &perm)]);
        self.forms[id.0][form as usize] = Some(out.clone());
        Ok(out)
    }

    /// The tensor that holds a value's real numbers: integer edges are followed by one
    /// `DequantizeLinear` for all readers (ONNX Runtime gives each its own before it fuses them).
    pub(crate) fn float(&mut self, id: ValueId, form: Form) -> Result<String> {
        let rank = self.rank(id);
        if self.is_constant(id) {
            let relay = match form {
                Form::First if rank > 2 => Relay::permute(to_first(rank)),
                _ => Relay::none(),
            };
            return self.constant(id, &relay);
        }
        let raw = self.raw(id, form)?;
        let value = self.graph.value(id);
        let Some(quant) = self.quant_in(id, form) else { return Ok(raw) };
        let key = (id, form == Form::First && rank > 2);
        if let Some(done) = self.dequantized.get(&key) {
            return Ok(done.clone());
        }
        let out = self.fresh();
        self.dequantize_linear(&raw, out.clone(), value.dtype, &quant)?;
        self.dequantized.insert(key, out.clone());
        Ok(out)
    }

    /// The parameters of a value with axes as in a form.
    pub(crate) fn quant_in(&self, id: ValueId, form: Form) -> Option<Quantization> {
        let mut quant = self.graph.value(id).quant.clone()?;
        if let Granularity::PerChannel { axis } = quant.granularity {
            quant.granularity = Granularity::PerChannel { axis: form.axis(axis, self.rank(id)) };
        }
        Some(quant)
    }

    /// The name for the tensor in which an output is computed.
    pub(crate) fn claim(&mut self, id: ValueId, form: Form) -> String {
        let name = self.graph.value(id).name.clone();
        let public = self.graph.outputs.contains(&id);
        let name = match (form, self.output_names.get(&id)) {
            (Form::First, Some(output)) if self.rank(id) > 2 => output.clone(),
            (Form::First, _) if public && self.rank(id) > 2 => self.fresh(),
            _ => name,
        };
        self.forms[id.0][form as usize] = Some(name.clone());
        name
    }

    /// The name under which a float operator writes its result for the value `id`; activation and
    /// quantization follow at [`Emitter::flush`].
    pub(crate) fn result(&mut self, node: &Node, index: usize, form: Form) -> Result<String> {
        let id = node.outputs[index];
        let mut target = self.claim(id, form);
        let mut tail = Vec::new();
        let value = self.graph.value(id);
        // Integers that are only moved: the parameters were written on the moved ones alone.
        let source = node.inputs.first().copied().flatten().map(|v| self.graph.value(v));
        if source.is_some_and(|v| v.quant.is_none() && v.dtype == value.dtype && !v.dtype.is_float()) {
            return Ok(target);
        }
        if let Some(quant) = self.quant_in(id, form) {
            let float = self.fresh();
            let (scale, zero, attributes) = self.parameters(&target, value.dtype, &quant)?;
            tail.push(make(
                String::new(),
                "QuantizeLinear",
                vec![float.clone(), scale, zero],
                vec![target],
                attributes,
            ));
            target = float;
        }
        let activation = node.op.activation().unwrap_or_default();
        if activation != Activation::None {
            let linear = self.fresh();
            let (operator, mut inputs) = ("Clip", vec![linear.clone()]);
            let operator = if activation == Activation::Relu { "Relu" } else { operator };
            if activation != Activation::Relu {
                let (low, high) = activation.range();
                inputs.extend([self.scalar(low)?, self.scalar(high)?]);
            }
            tail.push(make(String::new(), operator, inputs, vec![target], Vec::new()));
            target = linear;
        }
        tail.reverse();
        self.tail.extend(tail);
        Ok(target)
    }

    /// Makes a form of the output of `node` another name of `tensor`.
    pub(crate) fn alias(&mut self, node: &Node, form: Form, tensor: String) {
        self.forms[node.outputs[0].0][form as usize] = Some(tensor);
        self.aliases.insert(node.outputs[0], node.name.clone());
    }

    /// Integers as int64.
    pub(crate) fn int64(&mut self, id: ValueId) -> Result<String> {
        let value = self.graph.value(id);
        if let Some(data) = &value.data {
            if data.dtype() == DType::I64 {
                return self.raw(id, Form::Stored);
            }
            let ints = data.to_i64().ok_or_else(|| Error::tensor(&value.name, "expected integers"))?;
            return self.literal(&Tensor::new(data.shape().to_vec(), ints));
        }
        let raw = self.raw(id, Form::Stored)?;
        match value.dtype {
            DType::I64 => Ok(raw),
            _ => Ok(self.step("Cast", vec![raw], vec![int("to", tensor::code(DType::I64).into())])),
        }
    }

    /// `uint8` numbers, scale and zero point of a float value, quantized as it runs.
    pub(crate) fn dynamic(&mut self, id: ValueId, form: Form) -> Result<[String; 3]> {
        let key = (id, form == Form::First);
        if let Some(done) = self.dynamic.get(&key) {
            return Ok(done.clone());
        }
        let x = self.float(id, form)?;
        let outputs = [self.fresh(), self.fresh(), self.fresh()];
        self.push(String::new(), "DynamicQuantizeLinear", vec![x], outputs.to_vec(), Vec::new());
        self.dynamic.insert(key, outputs.clone());
        Ok(outputs)
    }

    /// Operands of an operator that broadcasts, in one form that suits them all.
    pub(crate) fn broadcast(&mut self, ids: &[ValueId]) -> Result<(Vec<String>, Form)> {
        let rank = ids.iter().map(|&v| self.rank(v)).max().unwrap_or(0);
        let first = ids.iter().any(|&v| self.rank(v) == rank && self.prefers_first(v));
        let form = if first { Form::First } else { Form::Stored };
        let names = ids.iter().map(|&v| match form {
            Form::Stored => self.float(v, form),
            Form::First => self.aligned(v, rank),
        });
        Ok((names.collect::<Result<_>>()?, form))
    }

    /// A value as it broadcasts against channels-first tensors of `rank` dimensions.
    fn aligned(&mut self, id: ValueId, rank: usize) -> Result<String> {
        let shape = &self.graph.value(id).shape;
        if shape.elements() == Some(1) && shape.rank() < rank {
            return self.float(id, Form::Stored);
        }
        if shape.rank() == rank && !self.is_constant(id) {
            return self.float(id, Form::First);
        }
        let perm = to_first(rank);
        if let Some(data) = self.constant_data(id) {
            let relay = Relay::broadcast(data.shape(), &perm);
            return self.constant(id, &relay);
        }
        let missing = i64::try_from(rank - shape.rank()).unwrap_or(0);
        let x = self.float(id, Form::Stored)?;
        let axes = self.int_vector(&(0..missing).collect::<Vec<_>>())?;
        let x = self.step("Unsqueeze", vec![x, axes], Vec::new());
        let perm: Vec<i64> = perm.iter().map(|&p| i64::try_from(p).unwrap_or(0)).collect();
        Ok(self.step("Transpose", vec![x], vec![ints("perm", &perm)]))
    }

    /// Weights with their axes permuted, as real numbers.
    pub(crate) fn weights(&mut self, id: ValueId, perm: &[usize]) -> Result<String> {
        if self.is_constant(id) {
            return self.constant(id, &Relay::permute(perm.to_vec()));
        }
        let w = self.float(id, Form::Stored)?;
        if is_identity(perm) {
            return Ok(w);
        }
        if *perm == to_first(4) && self.form_of(id, Form::First).is_some() {
            return self.float(id, Form::First);
        }
        let perm: Vec<i64> = perm.iter().map(|&p| i64::try_from(p).unwrap_or(0)).collect();
        Ok(self.step("Transpose", vec![w], vec![ints("perm", &perm)]))
    }
}
