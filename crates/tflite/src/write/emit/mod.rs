//! One operator of the file for each node.

mod conv;
mod elementwise;
mod movement;
mod parts;
mod quantize;
mod reduce;
mod reshape;
mod site;
mod slice;

use fewbits_graph::{Graph, Op};

use parts::Emit;
pub(super) use parts::{Parts, TensorInfo};
use site::Site;

use super::lower::unwritable;
use crate::Result;

/// Tensors, constants and operators of the lowered graph.
pub(super) fn emit(graph: &Graph) -> Result<Parts> {
    let mut emit = Emit::new(graph);
    for &id in &graph.inputs {
        emit.tensor(id)?;
    }
    for node in &graph.nodes {
        node_of(&mut Site { emit: &mut emit, node })?;
    }
    for &id in &graph.outputs {
        emit.tensor(id)?;
    }
    Ok(emit.finish())
}

fn node_of(at: &mut Site<'_, '_>) -> Result<()> {
    let node = at.node;
    match &node.op {
        Op::Conv2d(op) => conv::conv_2d(at, op),
        Op::DepthwiseConv2d(op) => conv::depthwise_conv_2d(at, op),
        Op::ConvTranspose2d(op) => conv::transpose_conv(at, op),
        Op::Pool2d(op) => conv::pool(at, op),
        Op::FullyConnected(op) => conv::fully_connected(at, op),
        Op::MatMul(op) => conv::batch_matmul(at, op),
        Op::Binary(op) => elementwise::binary(at, op),
        Op::Compare(op) => elementwise::compare(at, op),
        Op::Logical(op) => elementwise::logical(at, op),
        Op::Unary(op) => elementwise::unary(at, op.kind),
        Op::PRelu(_) => elementwise::prelu(at),
        Op::Cast(op) => elementwise::cast(at, op),
        Op::Where(_) => elementwise::select(at),
        Op::Reduce(op) => reduce::reduce(at, op),
        Op::ArgReduce(op) => reduce::arg_reduce(at, op),
        Op::TopK(op) => reduce::topk(at, op),
        Op::Softmax(op) => reduce::softmax(at, op),
        Op::LogSoftmax(_) => reduce::log_softmax(at),
        Op::L2Norm(_) => reduce::l2_normalization(at),
        Op::CumSum(op) => reduce::cumsum(at, op),
        Op::Pad(op) => movement::pad(at, op),
        Op::Concat(op) => movement::concatenation(at, op),
        Op::Split(op) => movement::split(at, op),
        Op::Gather(op) => movement::gather(at, op),
        Op::GatherNd(op) => movement::gather_nd(at, op),
        Op::Tile(_) => movement::tile(at),
        Op::SpaceToDepth(op) => movement::space_to_depth(at, op),
        Op::DepthToSpace(op) => movement::depth_to_space(at, op),
        Op::OneHot(op) => movement::one_hot(at, op),
        Op::Range(_) => movement::range(at),
        Op::Fill(_) => movement::fill(at),
        Op::Resize(op) => movement::resize(at, op),
        Op::Slice(_) => slice::slice(at),
        Op::Reshape(_) | Op::Flatten(_) | Op::Identity(_) => reshape::reshape(at),
        Op::Squeeze(op) => reshape::squeeze(at, op),
        Op::Unsqueeze(op) => reshape::unsqueeze(at, op),
        Op::Expand(_) => reshape::broadcast_to(at),
        Op::Transpose(op) => reshape::transpose(at, op),
        Op::ShapeOf(op) => reshape::shape(at, op),
        Op::Quantize(_) | Op::Requantize(_) => quantize::quantize(at),
        Op::Dequantize(_) => quantize::dequantize(at),
        // Lowered before, all of them.
        Op::BatchNorm(_) | Op::LayerNorm(_) | Op::GroupNorm(_) => Err(unwritable(node, "it was not decomposed")),
        Op::GatherElements(_)
        | Op::ScatterNd(_)
        | Op::DynamicQuantize(_)
        | Op::MatMulInteger(_)
        | Op::ConvInteger(_)
        | Op::FakeQuantize(_) => {
            Err(unwritable(node, format!("TFLite has no {}; write .onnx instead", node.op.name())))
        }
    }
}
