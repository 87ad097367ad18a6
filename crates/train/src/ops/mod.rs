//! The derivatives, one file an operator family.

mod binary;
mod concat;
mod conv;
mod conv_transpose;
mod depthwise;
mod fake_quantize;
mod gather;
mod l2_norm;
mod linear;
mod matmul;
mod movement;
mod norm;
mod pool;
mod reduce;
mod resize;
mod select;
mod softmax;
mod unary;

use fewbits_graph::{Activation, Op};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::shape::ConvShape;

use crate::site::{Derivation, Site};

/// The interval of a fused activation.
fn clamp(activation: Activation) -> Clamp {
    let (min, max) = activation.range();
    Clamp { min, max }
}

/// Stride, dilation, leading padding and groups of a window.
struct Window {
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    groups: usize,
}

/// Geometry of a window of `kernel` that slides over input 0.
fn geometry(site: &Site, kernel: [usize; 2], window: &Window) -> Result<ConvShape, String> {
    let [batch, in_h, in_w, in_c] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, out_c] = site.output()?.nhwc()?;
    Ok(ConvShape {
        batch,
        in_h,
        in_w,
        in_c,
        out_h,
        out_w,
        out_c,
        kernel_h: kernel[0],
        kernel_w: kernel[1],
        stride_h: window.stride[0],
        stride_w: window.stride[1],
        dilation_h: window.dilation[0],
        dilation_w: window.dilation[1],
        pad_top: window.padding[0],
        pad_left: window.padding[1],
        groups: window.groups,
    })
}

/// The derivative of `op` on these edges; the error says what is not supported.
pub(crate) fn derive(op: &Op, site: &Site) -> Derivation {
    let floats = site.inputs.iter().flatten().filter(|e| e.wanted).chain(&site.outputs);
    if let Some(odd) = floats.map(|e| e.dtype).find(|d| *d != fewbits_graph::DType::F32) {
        return Err(format!("a {odd} edge depends on what is trained"));
    }
    match op {
        Op::Conv2d(op) => conv::conv2d(op, site),
        Op::DepthwiseConv2d(op) => depthwise::depthwise(op, site),
        Op::ConvTranspose2d(op) => conv_transpose::conv_transpose(op, site),
        Op::FullyConnected(op) => linear::fully_connected(op, site),
        Op::MatMul(op) => matmul::matmul(op, site),
        Op::Binary(op) => binary::binary(op, site),
        Op::Unary(op) => unary::unary(op, site),
        Op::PRelu(_) => select::prelu(site),
        Op::Where(_) => select::select(site),
        Op::Pool2d(op) => pool::pool2d(op, site),
        Op::Reduce(op) => reduce::reduce(op, site),
        Op::Softmax(op) => softmax::softmax(op.axis, op.beta, false, site),
        Op::LogSoftmax(op) => softmax::softmax(op.axis, 1.0, true, site),
        Op::BatchNorm(op) => norm::batch_norm(op, site),
        Op::LayerNorm(op) => norm::layer_norm(op, site),
        Op::GroupNorm(op) => norm::group_norm(op, site),
        Op::L2Norm(op) => l2_norm::l2_norm(op, site),
        Op::Concat(op) => concat::concat(op, site),
        Op::Gather(op) => gather::gather(op, site),
        Op::Resize(op) => resize::resize(op, site),
        Op::FakeQuantize(op) => fake_quantize::fake_quantize(op, site),
        Op::Pad(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::GatherElements(_)
        | Op::GatherNd(_)
        | Op::Tile(_)
        | Op::SpaceToDepth(_)
        | Op::DepthToSpace(_)
        | Op::Expand(_)
        | Op::Transpose(_) => movement::movement(op, site),
        _ => Err("the operator has no derivative".to_owned()),
    }
}
