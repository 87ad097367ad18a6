//! The operators, one file a family.

mod conv;
mod elementwise;
mod int_elementwise;
mod int_layer;
mod linear;
mod movement;
mod norm;
mod numeric;
mod pool;
mod quantize;
mod reduce;
mod resize;
mod select;
mod unary_real;

use fewbits_graph::ops::FullyConnected;
use fewbits_graph::{Activation, Op};
use fewbits_kernels::float::Clamp;

use crate::convert::through_float;
use crate::site::{Lowering, Site};

pub use int_elementwise::activation_limits;

/// The interval of a fused activation.
fn clamp(activation: Activation) -> Clamp {
    let (min, max) = activation.range();
    Clamp { min, max }
}

/// `op` on the element types as they are.
pub(crate) fn native(op: &Op, site: &Site<'_>) -> Lowering {
    match op {
        Op::Conv2d(op) => conv::conv2d(op, site),
        Op::DepthwiseConv2d(op) => conv::depthwise(op, site),
        Op::ConvTranspose2d(op) => conv::transpose(op, site),
        Op::FullyConnected(op) => linear::fully_connected(op, site),
        Op::MatMul(op) => linear::matmul(op, site),
        Op::Binary(op) => elementwise::binary(op, site),
        Op::Compare(op) => elementwise::compare(op, site),
        Op::Logical(op) => elementwise::logical(op, site),
        Op::Unary(op) => elementwise::unary(op, site),
        Op::PRelu(_) => elementwise::prelu(site),
        Op::Cast(_) => numeric::cast(site),
        Op::Where(_) => select::select(site),
        Op::Pool2d(op) => pool::pool2d(op, site),
        Op::Reduce(op) => reduce::reduce(op, site),
        Op::ArgReduce(op) => reduce::arg_reduce(op, site),
        Op::TopK(op) => reduce::top_k(op, site),
        Op::Softmax(op) => norm::softmax(op.axis, op.beta, false, site),
        Op::LogSoftmax(op) => norm::softmax(op.axis, 1.0, true, site),
        Op::BatchNorm(op) => norm::batch_norm(op, site),
        Op::LayerNorm(op) => norm::layer_norm(op, site),
        Op::GroupNorm(op) => norm::group_norm(op, site),
        Op::L2Norm(op) => norm::l2_norm(op, site),
        Op::Pad(op) => movement::pad(op, site),
        Op::Concat(op) => movement::concat(op, site),
        Op::Split(op) => movement::split(op, site),
        Op::Slice(_) => movement::slice(site),
        Op::Gather(op) => select::gather(op, site),
        Op::GatherElements(op) => select::gather_elements(op, site),
        Op::GatherNd(op) => select::gather_nd(op, site),
        Op::ScatterNd(_) => select::scatter_nd(site),
        Op::Tile(_) => movement::tile(site),
        Op::SpaceToDepth(op) => movement::space_to_depth(op, site),
        Op::DepthToSpace(op) => movement::depth_to_space(op, site),
        Op::OneHot(op) => select::one_hot(op, site),
        Op::CumSum(op) => reduce::cum_sum(op, site),
        Op::Range(_) => movement::range(site),
        Op::Fill(_) => movement::fill(site),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_) => {
            movement::identity(site)
        }
        Op::Expand(_) => movement::expand(site),
        Op::Transpose(op) => movement::transpose(op, site),
        Op::ShapeOf(op) => movement::shape_of(op, site),
        Op::Resize(op) => resize::resize(op, site),
        Op::Quantize(_) => quantize::quantize(site),
        Op::Dequantize(_) => quantize::dequantize(site),
        Op::Requantize(_) => quantize::requantize(site),
        Op::DynamicQuantize(_) => quantize::dynamic_quantize(site),
        Op::MatMulInteger(_) => quantize::matmul_integer(site),
        Op::ConvInteger(op) => quantize::conv_integer(op, site),
        Op::FakeQuantize(op) => quantize::fake_quantize(op, site),
    }
}

/// `op` on `int8` edges.
pub(crate) fn integer(op: &Op, site: &Site<'_>) -> Lowering {
    match op {
        Op::Conv2d(op) => int_layer::conv2d(op, site),
        Op::DepthwiseConv2d(op) => int_layer::depthwise(op, site),
        Op::ConvTranspose2d(op) => int_layer::transpose(op, site),
        Op::FullyConnected(op) => int_layer::fully_connected(op, site),
        Op::MatMul(op) => int_layer::matmul(op, site),
        Op::Binary(op) => int_elementwise::binary(op, site),
        Op::Unary(op) => int_elementwise::unary(op, site),
        Op::PRelu(_) => int_elementwise::prelu(site),
        Op::Softmax(op) => int_elementwise::softmax(op, site),
        Op::LogSoftmax(op) => int_elementwise::log_softmax(op, site),
        Op::Pool2d(op) => int_elementwise::pool2d(op, site),
        Op::Reduce(op) => int_elementwise::reduce(op, site),
        Op::Concat(op) => int_elementwise::concat(op, site),
        Op::Resize(op) => resize::bilinear_int8(op, site),
        _ => through_float(op, site),
    }
}

/// A fully-connected layer on floats, its weights integers that are dequantized as they are read.
pub(crate) fn weight_only(op: &FullyConnected, site: &Site<'_>) -> Lowering {
    linear::weight_only(op, site)
}

/// `op` on float activations with `int8` weights.
pub(crate) fn dynamic(op: &Op, site: &Site<'_>) -> Lowering {
    match op {
        Op::Conv2d(op) => int_layer::dynamic_conv2d(op, site),
        Op::FullyConnected(op) => int_layer::dynamic_fully_connected(op, site),
        Op::MatMul(op) => int_layer::dynamic_matmul(op, site),
        Op::Gather(op) => select::gather_quantized(op, site),
        _ => through_float(op, site),
    }
}
