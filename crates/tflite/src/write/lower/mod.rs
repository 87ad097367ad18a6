//! Rewrites nodes that TFLite has no operator for into nodes that it has one for.

mod activation;
mod axis;
mod blocks;
mod conv;
mod linear;
mod movement;
mod norm;
mod pool;
mod reduce;

use std::collections::HashMap;

pub(super) use conv::transposed_padding_code;

use fewbits_graph::ops::{Binary, BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Dim, Graph, Node, Op, Quantization, Shape, Tensor, ValueId};

use crate::{Error, Result};

/// The graph with every node expressible as a TFLite operator.
pub(super) fn lower(mut graph: Graph) -> Result<Graph> {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut lower = Lower { graph, done: Vec::with_capacity(nodes.len()), aliases: HashMap::new() };
    for mut node in nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = lower.aliases.get(input).copied().unwrap_or(*input);
        }
        lower.node(node)?;
    }
    lower.graph.nodes = lower.done;
    Ok(lower.graph)
}

/// The graph being rewritten.
pub(super) struct Lower {
    graph: Graph,
    done: Vec<Node>,
    /// Values that stand for others: outputs of identities.
    aliases: HashMap<ValueId, ValueId>,
}

impl Lower {
    /// Adds `node`, or what expresses it.
    fn node(&mut self, node: Node) -> Result<()> {
        match node.op.clone() {
            Op::Conv2d(op) => self.conv(node, op),
            Op::DepthwiseConv2d(op) => self.depthwise(node, op),
            Op::ConvTranspose2d(op) => self.conv_transpose(node, op),
            Op::Pool2d(op) => self.pool(node, op),
            Op::MatMul(op) => self.matmul(node, &op),
            Op::Binary(op) => self.binary_node(node, op),
            Op::Unary(op) => self.unary_node(node, op.kind),
            Op::Logical(op) => self.logical(node, &op),
            Op::Concat(op) => self.concat(node, op),
            Op::BatchNorm(op) => self.batch_norm(node, &op),
            Op::LayerNorm(op) => self.layer_norm(node, &op),
            Op::GroupNorm(op) => self.group_norm(node, &op),
            Op::L2Norm(op) => self.l2_norm(node, &op),
            Op::Reduce(op) => self.reduce(node, &op),
            Op::ArgReduce(op) => self.arg_reduce(node, op),
            Op::Softmax(op) => self.softmax(node, op),
            Op::LogSoftmax(op) => self.log_softmax(node, op),
            Op::TopK(op) => self.topk(node, op),
            Op::Gather(op) => self.gather(node, op),
            Op::DepthToSpace(op) => self.depth_to_space(node, op),
            Op::Identity(_) => self.identity(node),
            Op::Dequantize(_) => self.dequantize(node),
            _ => {
                self.done.push(node);
                Ok(())
            }
        }
    }

    /// An identity goes, unless its output is public and must exist under its own name.
    fn identity(&mut self, node: Node) -> Result<()> {
        let (x, out) = (input(&node, 0)?, output(&node)?);
        if self.graph.outputs.contains(&out) {
            self.done.push(node);
        } else {
            self.aliases.insert(out, x);
        }
        Ok(())
    }

    fn shape(&self, id: ValueId) -> &Shape {
        &self.graph.value(id).shape
    }

    /// A new value.
    fn value(&mut self, node: &Node, suffix: &str, dtype: DType, shape: Shape, quant: Option<Quantization>) -> ValueId {
        let id = self.graph.add_value(format!("{}/{suffix}", node.name), dtype, shape);
        self.graph.value_mut(id).quant = quant;
        id
    }

    /// A new value of the type and quantization of `like`, with another shape.
    fn value_like(&mut self, node: &Node, suffix: &str, like: ValueId, shape: Shape) -> ValueId {
        let (dtype, quant) = (self.graph.value(like).dtype, self.graph.value(like).quant.clone());
        self.value(node, suffix, dtype, shape, quant)
    }

    /// A new constant.
    fn constant(&mut self, node: &Node, suffix: &str, data: Tensor) -> ValueId {
        self.graph.add_constant(format!("{}/{suffix}", node.name), data)
    }

    /// A new float constant without axes.
    fn scalar(&mut self, node: &Node, suffix: &str, value: f32) -> ValueId {
        self.constant(node, suffix, Tensor::scalar(value))
    }

    /// Adds a node that computes `out`.
    fn push(&mut self, node: &Node, suffix: &str, op: impl Into<Op>, inputs: &[ValueId], out: ValueId) {
        let name = if suffix.is_empty() { node.name.clone() } else { format!("{}/{suffix}", node.name) };
        let inputs = inputs.iter().copied().map(Some).collect();
        self.done.push(Node { name, op: op.into(), inputs, outputs: vec![out] });
    }

    /// A function of the elements of `x`.
    fn unary(&mut self, node: &Node, suffix: &str, kind: UnaryKind, x: ValueId) -> ValueId {
        let out = self.value_like(node, suffix, x, self.shape(x).clone());
        self.push(node, suffix, Unary { kind }, &[x], out);
        out
    }

    /// Arithmetic on `a` and `b` whose result has the shape of `like`.
    fn binary(&mut self, node: &Node, suffix: &str, kind: BinaryKind, [a, b]: [ValueId; 2], like: ValueId) -> ValueId {
        let out = self.value_like(node, suffix, like, self.shape(like).clone());
        self.push(node, suffix, plain(kind), &[a, b], out);
        out
    }

    /// Refuses what is only exact in float arithmetic.
    fn float_only(&self, node: &Node) -> Result<()> {
        match node.outputs.iter().all(|&v| self.graph.value(v).dtype.is_float()) {
            true => Ok(()),
            false => Err(unwritable(
                node,
                "TFLite has no integer operator for it; leave the node in float when quantizing, or write .onnx instead",
            )),
        }
    }
}

/// Arithmetic without a fused activation.
fn plain(kind: BinaryKind) -> Binary {
    Binary { kind, activation: Activation::None }
}

/// The shape with `axis` set to `dim`.
fn with_dim(shape: &Shape, axis: usize, dim: Dim) -> Shape {
    let mut shape = shape.clone();
    shape.0[axis] = dim;
    shape
}

/// Input `i` of `node`.
pub(super) fn input(node: &Node, i: usize) -> Result<ValueId> {
    node.inputs.get(i).copied().flatten().ok_or_else(|| unwritable(node, format!("its input {i} is missing")))
}

/// The first output of `node`.
pub(super) fn output(node: &Node) -> Result<ValueId> {
    node.outputs.first().copied().ok_or_else(|| unwritable(node, "it has no output"))
}

/// An error at `node`.
pub(super) fn unwritable(node: &Node, what: impl Into<String>) -> Error {
    Error::Unwritable { node: node.name.clone(), op: node.op.name(), what: what.into() }
}
