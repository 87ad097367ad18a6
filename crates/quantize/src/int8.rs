//! Full-integer quantization: int8 weights and activations, int32 biases (Jacob et al. 2018;
//! TFLite 8-bit quantization specification).

use std::collections::BTreeMap;

use fewbits_graph::ops::{Binary, BinaryKind, Dequantize, Quantize, Requantize};
use fewbits_graph::{Activation, DType, Graph, Node, Op, Quantization, Shape, Tensor, Value, ValueId};

use crate::bias::{dequantized, mean_shift, quantized_bias, smallest_scale};
use crate::domain::{Constraint, IntegerForm};
use crate::dynamic::narrow_weights;
use crate::plan::{Plan, excluded_nodes};
use crate::rounding::Filters;
use crate::tables::quantize_tables;
use crate::weights::quantize_layer_weights;
use crate::{ActivationParams, Error, Format, IoType, Recipe, Result, Statistics};

/// Rewrites a simplified float graph so that every operator with an integer form stands on int8
/// edges; the others stay float behind `Dequantize` and `Quantize` nodes.
///
/// Public inputs and outputs keep names, order, shapes and layouts; their element type is as
/// `recipe.io` says.
///
/// # Errors
/// If `recipe.exclude` names a node that does not exist, or integer inputs and outputs are asked
/// for and an operator has no integer form.
pub fn quantize_int8(graph: &Graph, statistics: &Statistics, recipe: &Recipe, format: Format) -> Result<Graph> {
    let plan = Plan::new(graph, statistics, recipe, format)?;
    if recipe.io != IoType::Float {
        refuse_float_nodes(graph, &plan)?;
    }
    let mut rewriter = Rewriter::new(graph, plan, recipe, statistics);
    rewriter.inputs();
    for index in 0..graph.nodes.len() {
        rewriter.node(index);
    }
    rewriter.outputs();
    let (mut out, hybrid) = (rewriter.out, rewriter.plan.hybrid);
    // The statistics are those of the other graph's values.
    narrow_weights(&mut out, |node| hybrid.contains(&node.name), None, recipe);
    if recipe.io == IoType::Float {
        quantize_tables(&mut out, &excluded_nodes(graph, recipe)?);
    }
    out.prune();
    out.infer()?;
    out.validate()?;
    Ok(out)
}

/// All nodes that read or write floats must have an integer form.
fn refuse_float_nodes(graph: &Graph, plan: &Plan) -> Result<()> {
    let touches_float = |node: &Node| {
        let activations = node.inputs.iter().flatten().filter(|v| graph.value(**v).data.is_none());
        activations.chain(&node.outputs).any(|v| graph.value(*v).dtype.is_float())
    };
    let left: Vec<String> = graph
        .nodes
        .iter()
        .zip(&plan.forms)
        .filter(|(node, form)| form.is_none() && touches_float(node))
        .map(|(node, _)| format!("`{}` ({})", node.name, node.op.name()))
        .collect();
    if left.is_empty() { Ok(()) } else { Err(Error::FloatLeft { nodes: left.join(", ") }) }
}

/// An int8 edge: the source value, and its parameters in an order that sorts.
type EdgeKey = (ValueId, u32, i32);

/// Builds the integer graph beside the float one.
struct Rewriter<'a> {
    source: &'a Graph,
    plan: Plan,
    recipe: &'a Recipe,
    statistics: &'a Statistics,
    out: Graph,
    /// The float form of a source value (or the value itself, where it is no float).
    float: Vec<Option<ValueId>>,
    /// Integer forms of source values.
    integer: BTreeMap<EdgeKey, ValueId>,
    /// What layers read of source values whose narrow form must be held at its lower end.
    held: BTreeMap<ValueId, ValueId>,
}

impl<'a> Rewriter<'a> {
    fn new(source: &'a Graph, plan: Plan, recipe: &'a Recipe, statistics: &'a Statistics) -> Self {
        let out = Graph { name: source.name.clone(), ..Graph::default() };
        Rewriter {
            source,
            plan,
            recipe,
            statistics,
            out,
            float: vec![None; source.values.len()],
            integer: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    fn inputs(&mut self) {
        for &id in &self.source.inputs {
            let value = self.source.value(id);
            let params = self.plan.params[id.0].filter(|_| value.dtype == DType::F32);
            match (self.recipe.io, params) {
                (IoType::Int8, Some(params)) => {
                    let new = self.integer_value(&value.name, &value.shape, params);
                    self.out.inputs.push(new);
                    self.integer.insert(key(id, params), new);
                }
                (IoType::Uint8, Some(params)) => {
                    let public = self.out.add_input(value.name.clone(), DType::U8, value.shape.clone());
                    self.out.value_mut(public).quant = Some(shifted(params));
                    let inner = self.integer_value(&format!("{}_int8", value.name), &value.shape, params);
                    self.push(format!("{}_int8", value.name), Requantize.into(), vec![Some(public)], vec![inner]);
                    self.integer.insert(key(id, params), inner);
                }
                _ => {
                    let new = self.out.add_input(value.name.clone(), value.dtype, value.shape.clone());
                    self.out.value_mut(new).quant = value.quant.clone();
                    self.float[id.0] = Some(new);
                }
            }
        }
    }

    fn node(&mut self, index: usize) {
        let source = self.source;
        let node = &source.nodes[index];
        match self.plan.forms[index].clone() {
            Some(form) => self.integer_node(node, &form),
            None => {
                let inputs = node.inputs.iter().map(|v| v.map(|v| self.float_form(v))).collect();
                let outputs = node.outputs.iter().map(|&v| self.copy_float(v)).collect();
                self.push(node.name.clone(), node.op.clone(), inputs, outputs);
            }
        }
    }

    fn integer_node(&mut self, node: &Node, form: &IntegerForm) {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        // The plan gives every edge of an integer form its parameters.
        let output_params = self.plan.params[node.outputs[0].0];
        for (i, &input) in node.inputs.iter().enumerate() {
            let new = input.map(|v| match (form.data.contains(&i), form.constraint) {
                (true, _) if form.weights.is_some() => self.layer_input(v),
                (true, Constraint::SameAsInputs) => self.integer_form(v, output_params),
                (true, _) => self.integer_form(v, self.plan.params[v.0]),
                // What a pad fills with stands in the domain of what it pads.
                (false, _) if i == 2 && matches!(node.op, Op::Pad(_)) => self.integer_form(v, output_params),
                // Weights and biases follow once the data inputs are known.
                (false, _) if form.weights.is_some() && matches!(i, 1 | 2) => v,
                (false, _) => self.float_form(v),
            });
            inputs.push(new);
        }
        if let Some((position, axis)) = form.weights {
            self.constants(node, form, position, axis, &mut inputs);
        }
        let outputs = node.outputs.clone();
        let outputs = outputs.iter().filter_map(|&v| {
            let params = self.plan.params[v.0]?;
            let value = self.source.value(v);
            let name = match self.source.outputs.contains(&v) && self.recipe.io != IoType::Int8 {
                true => format!("{}_quantized", value.name),
                false => value.name.clone(),
            };
            let new = self.integer_value(&name, &value.shape, params);
            self.integer.insert(key(v, params), new);
            Some(new)
        });
        let outputs = outputs.collect();
        self.push(node.name.clone(), node.op.clone(), inputs, outputs);
    }

    /// Quantizes weights and bias of a node whose data input is already integer.
    fn constants(
        &mut self,
        node: &Node,
        form: &IntegerForm,
        position: usize,
        axis: usize,
        inputs: &mut Vec<Option<ValueId>>,
    ) {
        let (Some(weights), Some(Some(x))) = (node.inputs[position], node.inputs.first()) else { return };
        let read = self.plan.narrow[x.0].map(|n| n.params).or(self.plan.params[x.0]);
        let input_scale = read.map_or(1.0, |p| p.scale);
        let source = self.source.value(weights);
        let Some(data) = &source.data else { return };
        let mut bias: Option<(String, Vec<f32>)> = form.bias.and_then(|i| {
            let value = self.source.value(node.inputs[i]?);
            Some((value.name.clone(), value.data.as_ref()?.to_f32()))
        });
        let axis = (!self.recipe.per_tensor).then_some(axis);
        let largest = |c: usize| match (&bias, axis) {
            (Some((_, b)), Some(_)) => b[c].abs(),
            (Some((_, b)), None) => b.iter().fold(0.0f32, |m, x| m.max(x.abs())),
            (None, _) => 0.0,
        };
        let smallest = |c: usize| smallest_scale(largest(c), input_scale);
        let Some(filters) = Filters::of(&node.op, data.shape()) else { return };
        let (tensor, quant) =
            quantize_layer_weights(data, filters, self.recipe, self.recipe.weight_bits(node), smallest);
        let means = self.statistics.channel_means(*x).filter(|_| self.recipe.bias_correction);
        if let Some(shift) = means.and_then(|means| mean_shift(node, data, &dequantized(&tensor, &quant), &means)) {
            let zeros = || (format!("{}_bias", source.name), vec![0.0; shift.len()]);
            let (_, bias) = bias.get_or_insert_with(zeros);
            bias.iter_mut().zip(shift).for_each(|(b, s)| *b -= s as f32);
        }
        let scales: Vec<f32> = quant.scales.iter().map(|w| w * input_scale).collect();
        inputs[position] = Some(self.quantized_constant(&source.name, tensor, quant));
        if let Some((name, data)) = bias {
            inputs.resize(inputs.len().max(position + 2), None);
            inputs[position + 1] = Some(self.bias(&name, &data, scales));
        }
    }

    fn bias(&mut self, name: &str, data: &[f32], scales: Vec<f32>) -> ValueId {
        let data: Vec<f64> = data.iter().copied().map(f64::from).collect();
        let (tensor, quant) = quantized_bias(&data, scales);
        self.quantized_constant(name, tensor, quant)
    }

    fn quantized_constant(&mut self, name: &str, tensor: Tensor, quant: Quantization) -> ValueId {
        let id = self.out.add_constant(name, tensor);
        self.out.value_mut(id).quant = Some(quant);
        id
    }

    fn outputs(&mut self) {
        for &id in &self.source.outputs {
            let value = self.source.value(id);
            let params = self.plan.params[id.0].filter(|_| value.dtype == DType::F32);
            let new = match (self.recipe.io, params) {
                (IoType::Int8, Some(params)) => self.integer_form(id, Some(params)),
                (IoType::Uint8, Some(params)) => {
                    let inner = self.integer_form(id, Some(params));
                    let public = self.out.add_value(value.name.clone(), DType::U8, value.shape.clone());
                    self.out.value_mut(public).quant = Some(shifted(params));
                    self.push(format!("{}_uint8", value.name), Requantize.into(), vec![Some(inner)], vec![public]);
                    public
                }
                _ => self.float_form(id),
            };
            self.out.outputs.push(new);
        }
    }

    /// The source value as float (or as the non-quantized type it has).
    fn float_form(&mut self, id: ValueId) -> ValueId {
        if let Some(new) = self.float[id.0] {
            return new;
        }
        let source = self.source.value(id);
        let native = self.plan.params[id.0].and_then(|p| self.integer.get(&key(id, p)).copied());
        let Some(integer) = native else {
            return self.copy_float(id);
        };
        // The public output keeps its name; an inner one is told apart from its integer form.
        let name = match self.source.outputs.contains(&id) {
            true => source.name.clone(),
            false => format!("{}_dequantized", source.name),
        };
        let out = self.out.add_value(name.clone(), DType::F32, source.shape.clone());
        self.push(format!("{}_dequantize", source.name), Dequantize.into(), vec![Some(integer)], vec![out]);
        self.float[id.0] = Some(out);
        out
    }

    /// The source value itself in the new graph.
    fn copy_float(&mut self, id: ValueId) -> ValueId {
        let Value { name, dtype, shape, quant, data } = self.source.value(id).clone();
        let new = self.out.add_value(name, dtype, shape);
        let value = self.out.value_mut(new);
        (value.quant, value.data) = (quant, data);
        self.float[id.0] = Some(new);
        new
    }

    /// The source value as an int8 edge with the given parameters (its own where `None`).
    fn integer_form(&mut self, id: ValueId, params: Option<ActivationParams>) -> ValueId {
        let Some(params) = params.or(self.plan.params[id.0]) else {
            return self.float_form(id);
        };
        if let Some(&new) = self.integer.get(&key(id, params)) {
            return new;
        }
        let source = self.source.value(id);
        let native = self.plan.params[id.0].and_then(|p| self.integer.get(&key(id, p)).copied());
        let new = if let Some(data) = &source.data {
            let quantized = quantize_constant(data, params);
            self.quantized_constant(&source.name, quantized, params.into())
        } else if let Some(native) = native {
            let out = self.integer_value(&format!("{}_requantized", source.name), &source.shape, params);
            self.push(format!("{}_requantize", source.name), Requantize.into(), vec![Some(native)], vec![out]);
            out
        } else {
            let float = self.float_form(id);
            let out = self.integer_value(&format!("{}_quantized", source.name), &source.shape, params);
            self.push(format!("{}_quantize", source.name), Quantize.into(), vec![Some(float)], vec![out]);
            out
        };
        self.integer.insert(key(id, params), new);
        new
    }

    /// The int8 edge that a layer with weights reads the source value from.
    fn layer_input(&mut self, id: ValueId) -> ValueId {
        let Some(narrow) = self.plan.narrow[id.0] else { return self.integer_form(id, None) };
        let wide = self.integer_form(id, Some(narrow.params));
        if !narrow.held {
            return wide;
        }
        if let Some(&held) = self.held.get(&id) {
            return held;
        }
        let (name, shape) = (self.out.value(wide).name.clone(), self.source.value(id).shape.clone());
        let low = Tensor::new(Vec::new(), vec![narrow.low as i8]);
        let low = self.quantized_constant(&format!("{name}_low"), low, narrow.params.into());
        let held = self.integer_value(&format!("{name}_held"), &shape, narrow.params);
        let max = Binary { kind: BinaryKind::Max, activation: Activation::None };
        self.push(format!("{name}_hold"), max.into(), vec![Some(wide), Some(low)], vec![held]);
        self.held.insert(id, held);
        held
    }

    fn integer_value(&mut self, name: &str, shape: &Shape, params: ActivationParams) -> ValueId {
        let id = self.out.add_value(name, DType::I8, shape.clone());
        self.out.value_mut(id).quant = Some(params.into());
        id
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<Option<ValueId>>, outputs: Vec<ValueId>) {
        self.out.nodes.push(Node { name, op, inputs, outputs });
    }
}

fn key(id: ValueId, params: ActivationParams) -> EdgeKey {
    (id, params.scale.to_bits(), params.zero_point)
}

/// The uint8 parameters of the same real range.
fn shifted(params: ActivationParams) -> Quantization {
    Quantization::per_tensor(params.scale, params.zero_point + 128)
}

/// A float constant on an int8 edge.
fn quantize_constant(data: &Tensor, params: ActivationParams) -> Tensor {
    let quantize = |x: f32| {
        let q = (f64::from(x) / f64::from(params.scale)).round_ties_even() + f64::from(params.zero_point);
        q.clamp(-128.0, 127.0) as i8
    };
    Tensor::new(data.shape().to_vec(), data.to_f32().into_iter().map(quantize).collect::<Vec<i8>>())
}
