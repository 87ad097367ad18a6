//! Operators into ONNX nodes, one file an operator family.

mod attribute;
mod conv;
mod elementwise;
pub(crate) mod emitter;
mod linear;
mod movement;
mod norm;
mod quantize;
mod reduce;
mod reshape;
mod resize;
mod spatial;

use fewbits_graph::{Node, Op, ValueId};

use self::emitter::Emitter;
use crate::{Error, Result};

fn error(node: &Node, what: impl Into<String>) -> Error {
    Error::Export { node: node.name.clone(), operator: node.op.name(), what: what.into() }
}

/// Input `i`, which must be present.
fn input(node: &Node, i: usize) -> Result<ValueId> {
    optional(node, i).ok_or_else(|| error(node, format!("input {i} is missing")))
}

/// Input `i`, if present.
fn optional(node: &Node, i: usize) -> Option<ValueId> {
    node.inputs.get(i).copied().flatten()
}

/// Writes one node of the graph.
pub(crate) fn write(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    match &node.op {
        Op::Conv2d(op) => conv::conv(w, node, op),
        Op::DepthwiseConv2d(op) => conv::depthwise(w, node, op),
        Op::ConvTranspose2d(op) => conv::transpose(w, node, op),
        Op::ConvInteger(op) => conv::conv_integer(w, node, op),
        Op::Pool2d(op) => conv::pool(w, node, op),
        Op::FullyConnected(op) => linear::fully_connected(w, node, op),
        Op::MatMul(op) => linear::matmul(w, node, op),
        Op::MatMulInteger(_) => linear::matmul_integer(w, node),
        Op::Binary(op) => elementwise::binary(w, node, op),
        Op::Compare(op) => elementwise::compare(w, node, op),
        Op::Logical(op) => elementwise::logical(w, node, op),
        Op::Unary(op) => elementwise::unary(w, node, op),
        Op::PRelu(_) => elementwise::prelu(w, node),
        Op::Cast(op) => elementwise::cast(w, node, op),
        Op::Where(_) => elementwise::select(w, node),
        Op::Identity(_) => elementwise::identity(w, node),
        Op::Reduce(op) => reduce::reduce(w, node, op),
        Op::ArgReduce(op) => reduce::arg(w, node, op),
        Op::TopK(op) => reduce::top_k(w, node, op),
        Op::Softmax(op) => reduce::softmax(w, node, op),
        Op::LogSoftmax(op) => reduce::log_softmax(w, node, op),
        Op::CumSum(op) => reduce::cumulative_sum(w, node, op),
        Op::BatchNorm(op) => norm::batch(w, node, op),
        Op::LayerNorm(op) => norm::layer(w, node, op),
        Op::GroupNorm(op) => norm::group(w, node, op),
        Op::L2Norm(op) => norm::l2(w, node, op),
        Op::Pad(op) => movement::pad(w, node, op),
        Op::Concat(op) => movement::concat(w, node, op),
        Op::Split(op) => movement::split(w, node, op),
        Op::Slice(_) => movement::slice(w, node),
        Op::Gather(op) => movement::gather(w, node, "Gather", op.axis),
        Op::GatherElements(op) => movement::gather(w, node, "GatherElements", op.axis),
        Op::GatherNd(op) => movement::gather_nd(w, node, op),
        Op::ScatterNd(_) => movement::scatter_nd(w, node),
        Op::Tile(_) => movement::tile(w, node),
        Op::SpaceToDepth(op) => movement::space_to_depth(w, node, op),
        Op::DepthToSpace(op) => movement::depth_to_space(w, node, op),
        Op::OneHot(op) => movement::one_hot(w, node, op),
        Op::Range(_) => movement::range(w, node),
        Op::Fill(_) => movement::fill(w, node),
        Op::Reshape(op) => reshape::reshape(w, node, op),
        Op::Flatten(op) => reshape::flatten(w, node, op),
        Op::Squeeze(op) => reshape::squeeze(w, node, op),
        Op::Unsqueeze(op) => reshape::unsqueeze(w, node, op),
        Op::Expand(_) => reshape::expand(w, node),
        Op::Transpose(op) => reshape::transpose(w, node, op),
        Op::ShapeOf(op) => reshape::shape_of(w, node, op),
        Op::Resize(op) => resize::resize(w, node, op),
        Op::Quantize(_) => quantize::quantize(w, node),
        Op::Dequantize(_) => quantize::dequantize(w, node),
        Op::Requantize(_) => quantize::requantize(w, node),
        Op::DynamicQuantize(_) => quantize::dynamic(w, node),
        Op::FakeQuantize(_) => Err(error(node, "fake quantization is for simulations: quantize the graph to write it")),
    }?;
    w.flush();
    Ok(())
}
