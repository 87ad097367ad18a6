//! Pooling.

use fewbits_graph::Activation;
use fewbits_graph::ops::{Pool2d, PoolKind, Reduce, ReduceKind};

use super::conv::{Window, emit_spatial, spatial_dims, spatial_input, window};
use super::node::NodeReader;
use crate::Result;
use crate::layout::Layout;

/// MaxPool and AveragePool.
pub(super) fn pool(node: &mut NodeReader<'_>) -> Result<()> {
    if node.proto.output.get(1).is_some_and(|indices| !indices.is_empty()) {
        return Err(node.error("the indices output is not supported"));
    }
    let kernel = node.sizes("kernel_shape")?.ok_or_else(|| node.error("kernel_shape is missing"))?;
    let window = window(node, &kernel)?;
    let kind = match node.proto.op_type.as_str() {
        "MaxPool" => PoolKind::Max,
        _ => PoolKind::Average { count_include_pad: node.flag("count_include_pad", false) },
    };
    let mut padding = window.padding;
    if node.flag("ceil_mode", false) {
        padding = ceil_padding(node, &window)?;
    }
    let x = spatial_input(node)?;
    let op = Pool2d {
        kind,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        padding,
        counted_padding: [window.padding[2], window.padding[3]],
        activation: Activation::None,
    };
    emit_spatial(node, op, &[Some(x)])
}

/// Padding enlarged at the end so that the output size is rounded up. A window that would start
/// in the padding after the input is left out.
fn ceil_padding(node: &NodeReader<'_>, window: &Window) -> Result<[usize; 4]> {
    let dims = spatial_dims(&node.shape(0)?);
    let mut padding = window.padding;
    for axis in 0..2 {
        let stride = window.stride[axis];
        if stride == 1 {
            continue;
        }
        let size = dims[axis].fixed().ok_or_else(|| node.error("ceil_mode needs fixed height and width"))?;
        let (before, after) = (window.padding[axis], window.padding[axis + 2]);
        let extent = (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]).saturating_add(1);
        let padded = size.saturating_add(before).saturating_add(after);
        let Some(slack) = padded.checked_sub(extent) else { continue };
        let mut last = slack.div_ceil(stride).saturating_mul(stride);
        if last >= size.saturating_add(before) {
            last = last.saturating_sub(stride);
        }
        let needed = last.saturating_add(extent).saturating_sub(size.saturating_add(before));
        padding[axis + 2] = needed.max(after);
    }
    Ok(padding)
}

/// GlobalAveragePool and GlobalMaxPool: reductions over the spatial axes.
pub(super) fn global(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    if rank < 3 {
        return Err(node.error("the input has no spatial axes"));
    }
    let kind = if node.proto.op_type == "GlobalMaxPool" { ReduceKind::Max } else { ReduceKind::Mean };
    let x = node.last(0)?;
    node.emit(Reduce { kind, axes: (1..rank - 1).collect(), keep_dims: true }, &[Some(x)], Layout::ChannelsLast)?;
    Ok(())
}
