//! What an importer of one operator sees: the node's inputs, attributes and outputs.

use fewbits_graph::ops::{Transpose, Unsqueeze};
use fewbits_graph::{DType, Dim, Op, Quantization, Shape, Tensor, ValueId};

use super::constant::{Constant, Relay};
use super::importer::{Importer, Output};
use crate::layout::{Layout, to_last};
use crate::proto::{AttributeProto, NodeProto};
use crate::{Error, Result};

/// A node on its way into the graph.
pub(crate) struct NodeReader<'a> {
    pub(crate) importer: &'a mut Importer,
    pub(crate) proto: &'a NodeProto,
    pub(crate) name: String,
    pub(crate) opset: i64,
    /// Type and parameters of the outputs, where the node says them itself (`QLinear…`).
    pub(crate) quant: Option<(DType, Quantization)>,
}

/// Attributes.
impl<'a> NodeReader<'a> {
    /// An error about this node.
    pub(crate) fn error(&self, what: impl Into<String>) -> Error {
        Error::Node { node: self.name.clone(), operator: self.proto.op_type.clone(), what: what.into() }
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|a| a.i.unwrap_or(0))
    }

    pub(crate) fn int_or(&self, name: &str, default: i64) -> i64 {
        self.int(name).unwrap_or(default)
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name).map_or(default, |i| i != 0)
    }

    pub(crate) fn float_or(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |a| a.f.unwrap_or(0.0))
    }

    pub(crate) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    pub(crate) fn text(&self, name: &str, default: &'static str) -> &'a str {
        let text = self.attribute(name).and_then(|a| a.s.as_ref());
        text.and_then(|s| std::str::from_utf8(s).ok()).unwrap_or(default)
    }

    /// A list of sizes, each of which must not be negative.
    pub(crate) fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>> {
        let Some(ints) = self.ints(name) else { return Ok(None) };
        let sizes = ints.iter().map(|&i| usize::try_from(i).ok().filter(|&n| n <= i32::MAX as usize));
        let sizes: Option<Vec<usize>> = sizes.collect();
        sizes.map(Some).ok_or_else(|| self.error(format!("attribute {name} = {ints:?} has a size out of range")))
    }

    /// An axis of a tensor with `rank` dimensions; negative ones count from the end.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let signed = i64::try_from(rank).unwrap_or(i64::MAX);
        let at = if axis < 0 { axis.saturating_add(signed) } else { axis };
        let at = usize::try_from(at).ok().filter(|&a| a < rank);
        at.ok_or_else(|| self.error(format!("axis {axis} is outside of a tensor with {rank} dimensions")))
    }

    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        axes.iter().map(|&a| self.axis(a, rank)).collect()
    }
}

/// Inputs.
impl NodeReader<'_> {
    /// Whether input `i` is given.
    pub(crate) fn has(&self, i: usize) -> bool {
        self.proto.input.get(i).is_some_and(|n| !n.is_empty())
    }

    /// Name of input `i`.
    pub(crate) fn input(&self, i: usize) -> Result<&str> {
        match self.proto.input.get(i) {
            Some(name) if !name.is_empty() => Ok(name),
            _ => Err(self.error(format!("input {i} is missing"))),
        }
    }

    fn owned_input(&self, i: usize) -> Result<String> {
        self.input(i).map(str::to_owned)
    }

    /// Input `i` in a layout.
    pub(crate) fn value(&mut self, i: usize, layout: Layout) -> Result<ValueId> {
        let name = self.owned_input(i)?;
        self.importer.value(&name, layout)
    }

    /// Input `i` with axes as in ONNX.
    pub(crate) fn plain(&mut self, i: usize) -> Result<ValueId> {
        self.value(i, Layout::Plain)
    }

    /// Input `i` with channels last.
    pub(crate) fn last(&mut self, i: usize) -> Result<ValueId> {
        self.value(i, Layout::ChannelsLast)
    }

    /// Input `i`, if given, with axes as in ONNX.
    pub(crate) fn optional(&mut self, i: usize) -> Result<Option<ValueId>> {
        if self.has(i) { self.plain(i).map(Some) } else { Ok(None) }
    }

    /// Optional constant weights (a bias): half-precision data stays half-precision.
    pub(crate) fn optional_weights(&mut self, i: usize) -> Result<Option<ValueId>> {
        if !self.has(i) {
            return Ok(None);
        }
        match self.constant(i).is_some() {
            true => self.weights(i, &Relay::none()).map(Some),
            false => self.plain(i).map(Some),
        }
    }

    /// Constant input `i` relaid, as weights: half-precision data stays half-precision.
    pub(crate) fn weights(&mut self, i: usize, relay: &Relay) -> Result<ValueId> {
        let name = self.owned_input(i)?;
        self.importer.materialize_weights(&name, relay)
    }

    /// Input `i`, if it is a constant of any kind.
    pub(crate) fn constant(&self, i: usize) -> Option<&Constant> {
        self.importer.constant(self.proto.input.get(i)?)
    }

    /// Input `i`, if it is a constant that is not quantized.
    pub(crate) fn tensor(&self, i: usize) -> Option<&Tensor> {
        self.constant(i).filter(|c| c.quant.is_none()).map(|c| &c.tensor)
    }

    /// The single element of constant input `i`.
    pub(crate) fn scalar(&self, i: usize) -> Option<f32> {
        self.tensor(i).filter(|t| t.elements() == 1).and_then(|t| t.to_f32().first().copied())
    }

    /// The integers of input `i`, if they are known.
    pub(crate) fn known_ints(&mut self, i: usize) -> Option<Vec<i64>> {
        let name = self.proto.input.get(i)?;
        self.importer.known_ints(name)
    }

    /// The integers of input `i`, `None` for those that are sizes of symbolic dimensions; `None` if
    /// nothing is known of them.
    pub(crate) fn partly_known_ints(&mut self, i: usize) -> Option<Vec<Option<i64>>> {
        let name = self.proto.input.get(i)?;
        self.importer.partly_known_ints(name)
    }

    /// The integers of input `i`, which must be known.
    pub(crate) fn constant_ints(&mut self, i: usize) -> Result<Vec<i64>> {
        let name = self.owned_input(i)?;
        self.importer.known_ints(&name).ok_or_else(|| {
            self.error(format!("`{name}` must be constant; fold the model's constants before reading it"))
        })
    }

    /// Shape of input `i`, axes as in ONNX.
    pub(crate) fn shape(&self, i: usize) -> Result<Shape> {
        self.importer.shape(self.input(i)?)
    }

    /// Number of dimensions of input `i`.
    pub(crate) fn rank(&self, i: usize) -> Result<usize> {
        Ok(self.shape(i)?.rank())
    }

    /// Element type of input `i`.
    pub(crate) fn dtype(&self, i: usize) -> Result<DType> {
        self.importer.dtype(self.input(i)?)
    }

    /// The layout in which input `i` was produced.
    pub(crate) fn layout(&self, i: usize) -> Layout {
        self.proto.input.get(i).map_or(Layout::Plain, |n| self.importer.layout(n))
    }

    /// Whether both layouts of input `i` have the same elements in the same order.
    pub(crate) fn order_is_same(&self, i: usize) -> bool {
        self.shape(i).is_ok_and(|s| same_order(&s))
    }

    /// Inputs `indices` of an operator that broadcasts, in one layout that suits them all.
    pub(crate) fn broadcast(&mut self, indices: &[usize]) -> Result<(Vec<ValueId>, Layout)> {
        let mut rank = 0;
        for &i in indices {
            rank = rank.max(self.rank(i)?);
        }
        let layout = self.common_layout(indices, rank)?;
        let values = indices.iter().map(|&i| match layout {
            Layout::Plain => self.plain(i),
            Layout::ChannelsLast => self.aligned(i, rank),
        });
        Ok((values.collect::<Result<_>>()?, layout))
    }

    fn common_layout(&self, indices: &[usize], rank: usize) -> Result<Layout> {
        let wanted = self.proto.output.first().is_some_and(|o| self.importer.wants_last(o));
        for &i in indices {
            let activation = self.constant(i).is_none() && self.rank(i)? == rank && rank > 2;
            if activation && (wanted || self.layout(i) == Layout::ChannelsLast) {
                return Ok(Layout::ChannelsLast);
            }
        }
        Ok(Layout::Plain)
    }

    /// Input `i` as it broadcasts against channels-last values of `rank` dimensions.
    fn aligned(&mut self, i: usize, rank: usize) -> Result<ValueId> {
        let shape = self.shape(i)?;
        if shape.elements() == Some(1) {
            return self.plain(i);
        }
        if shape.rank() == rank {
            return self.last(i);
        }
        let perm = to_last(rank);
        if self.constant(i).is_some() {
            let name = self.owned_input(i)?;
            let relay = Relay::broadcast(&shape.to_fixed().unwrap_or_default(), &perm);
            return self.importer.materialize(&name, &relay);
        }
        let x = self.plain(i)?;
        let x = self.inner(Unsqueeze { axes: (0..rank - shape.rank()).collect() }, &[Some(x)], "unsqueeze")?;
        self.inner(Transpose { perm }, &[Some(x)], "nhwc")
    }
}

/// Whether channels-first and channels-last order of a value of this (ONNX) shape are the same.
pub(crate) fn same_order(shape: &Shape) -> bool {
    let one = |d: &Dim| *d == Dim::Fixed(1);
    shape.rank() < 3 || shape.0[2..].iter().all(one) || one(&shape.0[1])
}

/// Outputs.
impl NodeReader<'_> {
    /// Adds a node that stands for an intermediate step.
    pub(crate) fn inner(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>], step: &str) -> Result<ValueId> {
        self.inner_quantized(op, inputs, step, None)
    }

    /// As [`NodeReader::inner`], with type and parameters of the output.
    pub(crate) fn inner_quantized(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        step: &str,
        quant: Option<(DType, Quantization)>,
    ) -> Result<ValueId> {
        let node = self.importer.fresh_node(&format!("{}_{step}", self.name));
        let out = self.proto.output.first().map_or("", String::as_str);
        let name = self.importer.fresh_value(&format!("{out}_{step}"));
        Ok(self.importer.push(node, op.into(), inputs.to_vec(), vec![Output { name, quant }])?[0])
    }

    /// Adds the step that bears the node's own name, though its output is an intermediate value.
    pub(crate) fn main_step(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>], step: &str) -> Result<ValueId> {
        let node = self.importer.fresh_node(&self.name.clone());
        let out = self.proto.output.first().map_or("", String::as_str);
        let name = self.importer.fresh_value(&format!("{out}_{step}"));
        let quant = self.quant.clone();
        Ok(self.importer.push(node, op.into(), inputs.to_vec(), vec![Output { name, quant }])?[0])
    }

    /// Adds the node itself: its output is output 0 of the ONNX node, stored in `layout`.
    pub(crate) fn emit(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>], layout: Layout) -> Result<ValueId> {
        self.emit_quantized(op, inputs, layout, self.quant.clone())
    }

    /// As [`NodeReader::emit`], with type and parameters of the output.
    pub(crate) fn emit_quantized(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        layout: Layout,
        quant: Option<(DType, Quantization)>,
    ) -> Result<ValueId> {
        let out = self.output(0)?;
        let node = self.importer.fresh_node(&self.name.clone());
        let name = self.importer.claim(&out, layout);
        let id = self.importer.push(node, op.into(), inputs.to_vec(), vec![Output { name, quant }])?[0];
        self.importer.bind(&out, layout, id);
        Ok(id)
    }

    /// Adds the node with `count` outputs, all in `layout`.
    pub(crate) fn emit_many(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        layout: Layout,
        count: usize,
    ) -> Result<()> {
        let node = self.importer.fresh_node(&self.name.clone());
        let mut outputs = Vec::new();
        for i in 0..count {
            let name = match self.output(i) {
                Ok(out) => self.importer.claim(&out, layout),
                // The operator has the output, but nobody reads it.
                Err(_) => self.importer.fresh_value(&format!("{}_unused_{i}", self.name)),
            };
            outputs.push(Output { name, quant: None });
        }
        let ids = self.importer.push(node, op.into(), inputs.to_vec(), outputs)?;
        for (i, id) in ids.into_iter().enumerate() {
            if let Ok(out) = self.output(i) {
                self.importer.bind(&out, layout, id);
            }
        }
        Ok(())
    }

    /// Name of output `i`.
    pub(crate) fn output(&self, i: usize) -> Result<String> {
        match self.proto.output.get(i) {
            Some(name) if !name.is_empty() => Ok(name.clone()),
            _ => Err(self.error(format!("output {i} is missing"))),
        }
    }

    /// Makes output 0 another name of an existing value.
    pub(crate) fn alias(&mut self, id: ValueId, layout: Layout) -> Result<()> {
        let out = self.output(0)?;
        self.importer.bind(&out, layout, id);
        Ok(())
    }

    /// Makes output 0 a constant.
    pub(crate) fn fold(&mut self, tensor: Tensor) -> Result<()> {
        let out = self.output(0)?;
        let constant = Constant::plain(&out, tensor);
        self.importer.add_constant(&out, constant);
        Ok(())
    }

    /// A new constant named after the node.
    pub(crate) fn new_constant(&mut self, what: &str, data: Tensor) -> ValueId {
        let name = format!("{}_{what}", self.name);
        self.importer.new_constant(&name, data)
    }
}
