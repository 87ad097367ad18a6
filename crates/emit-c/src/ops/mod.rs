//! The operators, one file a family; the same names as in the other crates.

mod bilinear;
mod conv;
mod depthwise;
mod elementwise;
mod layer;
mod linear;
mod movement;
mod pool;
mod reduce;
mod select;
mod softmax;
mod table;
mod transpose_conv;

use fewbits_graph::{DType, Op};

use crate::kernel::{Lowered, Lowering};
use crate::site::{Site, left_float};

/// `site`'s node as C; the error says why there is none.
pub(crate) fn lower(site: &Site<'_>) -> Lowering {
    match &site.node.op {
        Op::Conv2d(op) => conv::conv2d(op, site),
        Op::DepthwiseConv2d(op) => depthwise::depthwise(op, site),
        Op::ConvTranspose2d(op) => transpose_conv::transpose_conv(op, site),
        Op::FullyConnected(op) => linear::fully_connected(op, site),
        Op::MatMul(op) => linear::matmul(op, site),
        Op::Binary(op) => elementwise::binary(op, site),
        Op::Unary(_) => table::unary(site),
        Op::Requantize(_) => table::requantize(site),
        Op::Softmax(op) => softmax::softmax(op, site),
        Op::Pool2d(op) => pool::pool2d(op, site),
        Op::Reduce(op) => reduce::reduce(op, site),
        Op::Concat(op) => movement::concat(op, site),
        Op::Split(op) => movement::split(op, site),
        Op::Slice(_) => movement::slice(site),
        Op::Pad(op) => movement::pad(op, site),
        Op::Transpose(op) => movement::transpose(op, site),
        Op::SpaceToDepth(op) => movement::space_to_depth(op, site),
        Op::DepthToSpace(op) => movement::depth_to_space(op, site),
        Op::Tile(_) | Op::Expand(_) => movement::repeat(site),
        Op::Gather(op) => select::gather(op, site),
        Op::Resize(op) => select::resize(op, site),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_) => renamed(site),
        Op::Quantize(_) | Op::Dequantize(_) => Err("it changes between float and integer inside of the model; \
             quantize the operators around it, too"
            .into()),
        _ => Err(unsupported(site)),
    }
}

/// The same bytes under another shape.
fn renamed(site: &Site<'_>) -> Lowering {
    site.bytes_only(1)?;
    Ok(Lowered::Alias)
}

fn unsupported(site: &Site<'_>) -> String {
    let edges = site.inputs.iter().flatten().chain(&site.outputs);
    let float = edges.map(|e| e.dtype).find(|d| d.is_float());
    match float {
        Some(dtype) => left_float(dtype),
        None if site.outputs.iter().all(|o| o.dtype != DType::I8) => "its output is not int8".into(),
        None => "there is no C for this operator".into(),
    }
}
