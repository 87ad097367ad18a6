//! Operators that move elements.

use fewbits_graph::ops::{
    Concat, DepthToSpace, Gather, GatherElements, GatherNd, Pad, PadMode, ScatterNd, Slice, SpaceToDepth, Split, Tile,
};
use fewbits_graph::{Activation, Tensor, ValueId};

use super::elementwise::operand;
use super::node::NodeReader;
use crate::Result;
use crate::layout::{Layout, to_last};

pub(super) fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Concat.
pub(super) fn concat(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let axis = node.axis(node.int_or("axis", 1), rank)?;
    for i in 1..node.proto.input.len() {
        if node.rank(i)? != rank {
            return Err(node.error("the inputs differ in their number of dimensions"));
        }
    }
    let count = node.proto.input.len();
    let last = rank > 2 && (0..count).any(|i| node.layout(i) == Layout::ChannelsLast);
    let layout = if last { Layout::ChannelsLast } else { Layout::Plain };
    let values: Vec<Option<ValueId>> = (0..count).map(|i| node.value(i, layout).map(Some)).collect::<Result<_>>()?;
    let op = Concat { axis: layout.stored_axis(axis, rank), activation: Activation::None };
    node.emit(op, &values, layout)?;
    Ok(())
}

/// Split into given sizes (attribute before opset 13, then input 1), or into equal parts.
pub(super) fn split(node: &mut NodeReader<'_>) -> Result<()> {
    let shape = node.shape(0)?;
    let axis = node.axis(node.int_or("axis", 0), shape.rank())?;
    let count = node.proto.output.len();
    let given = match (node.ints("split"), node.has(1)) {
        (Some(sizes), _) => Some(sizes),
        (None, true) => Some(node.constant_ints(1)?),
        (None, false) => None,
    };
    let sizes = match given {
        Some(sizes) => sizes.iter().map(|&s| usize::try_from(s).ok()).collect::<Option<Vec<_>>>(),
        None => shape.0[axis].fixed().filter(|_| count > 0).map(|total| {
            let part = total.div_ceil(count);
            (0..count).map(|i| part.min(total.saturating_sub(i.saturating_mul(part)))).collect()
        }),
    };
    let sizes = sizes.ok_or_else(|| node.error("the sizes of the parts must be fixed and not negative"))?;
    if sizes.len() != count {
        return Err(node.error(format!("{} sizes for {count} outputs", sizes.len())));
    }
    let (x, layout) = operand(node)?;
    let op = Split { axis: layout.stored_axis(axis, shape.rank()), sizes };
    node.emit_many(op, &[Some(x)], layout, count)
}

/// Slice, with attributes before opset 10, then with inputs.
pub(super) fn slice(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let (starts, ends, axes, steps);
    if node.opset < 10 {
        let (s, e) = (node.ints("starts").unwrap_or_default(), node.ints("ends").unwrap_or_default());
        axes = node.ints("axes").unwrap_or_else(|| (0..signed(s.len())).collect());
        steps = None;
        (starts, ends) =
            (node.new_constant("starts", Tensor::from_ints(&s)), node.new_constant("ends", Tensor::from_ints(&e)));
    } else {
        axes = match node.has(3) {
            true => node.constant_ints(3)?,
            false => {
                // A value that only the run provides can have any declared length.
                let count = node.shape(1)?.elements().filter(|&n| n <= rank);
                let count = count.ok_or_else(|| node.error(format!("at most {rank} starts fit, in a fixed number")))?;
                (0..signed(count)).collect()
            }
        };
        steps = match node.has(4) {
            true => Some(node.constant_ints(4)?),
            false => None,
        };
        (starts, ends) = (node.plain(1)?, node.plain(2)?);
    }
    let (x, layout) = operand(node)?;
    let stored = node.axes(&axes, rank)?.into_iter().map(|a| signed(layout.stored_axis(a, rank)));
    let stored = Tensor::from_ints(&stored.collect::<Vec<_>>());
    let stored = node.new_constant("axes", stored);
    let steps = node.new_constant("steps", Tensor::from_ints(&steps.unwrap_or_else(|| vec![1; axes.len()])));
    node.emit(Slice, &[Some(x), Some(starts), Some(ends), Some(stored), Some(steps)], layout)?;
    Ok(())
}

/// Pad, with attributes before opset 11, then with inputs.
pub(super) fn pad(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let mode = match node.text("mode", "constant") {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(node.error(format!("unknown mode `{other}`"))),
    };
    let (pads, fill) = match node.opset < 11 {
        true => {
            let fill = node.float_or("value", 0.0);
            let fill = (fill != 0.0).then(|| node.new_constant("fill", Tensor::scalar(fill)));
            (node.ints("pads").or_else(|| node.ints("paddings")), fill)
        }
        false => (node.known_ints(1), node.optional(2)?),
    };
    let Some(pads) = pads else {
        // Amounts known only at run time stay as they are, for a value stored as in ONNX.
        if node.has(3) {
            return Err(node.error("run-time pads with an axes input are not supported"));
        }
        let inputs = [Some(node.plain(0)?), Some(node.plain(1)?), fill];
        node.emit(Pad { mode }, &inputs, Layout::Plain)?;
        return Ok(());
    };
    let axes = match node.has(3) {
        true => node.constant_ints(3)?,
        false => (0..signed(rank)).collect(),
    };
    let axes = node.axes(&axes, rank)?;
    if pads.len() != 2 * axes.len() {
        return Err(node.error(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let (x, layout) = operand(node)?;
    let mut stored = vec![0; 2 * rank];
    for (i, &axis) in axes.iter().enumerate() {
        let at = layout.stored_axis(axis, rank);
        (stored[at], stored[at + rank]) = (pads[i], pads[i + axes.len()]);
    }
    let pads = node.new_constant("pads", Tensor::from_ints(&stored));
    node.emit(Pad { mode }, &[Some(x), Some(pads), fill], layout)?;
    Ok(())
}

/// Gather.
pub(super) fn gather(node: &mut NodeReader<'_>) -> Result<()> {
    let axis = node.axis(node.int_or("axis", 0), node.rank(0)?)?;
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?)];
    node.emit(Gather { axis }, &inputs, Layout::Plain)?;
    Ok(())
}

/// GatherElements.
pub(super) fn gather_elements(node: &mut NodeReader<'_>) -> Result<()> {
    let axis = node.axis(node.int_or("axis", 0), node.rank(0)?)?;
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?)];
    node.emit(GatherElements { axis }, &inputs, Layout::Plain)?;
    Ok(())
}

/// GatherND.
pub(super) fn gather_nd(node: &mut NodeReader<'_>) -> Result<()> {
    let batch_dims = node.int_or("batch_dims", 0);
    let batch_dims = usize::try_from(batch_dims).ok().filter(|&b| b <= node.rank(0).unwrap_or(0));
    let batch_dims = batch_dims.ok_or_else(|| node.error("batch_dims is out of range"))?;
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?)];
    node.emit(GatherNd { batch_dims }, &inputs, Layout::Plain)?;
    Ok(())
}

/// ScatterND without a reduction.
pub(super) fn scatter_nd(node: &mut NodeReader<'_>) -> Result<()> {
    if node.text("reduction", "none") != "none" {
        return Err(node.error("a reduction is not supported"));
    }
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?), Some(node.plain(2)?)];
    node.emit(ScatterNd, &inputs, Layout::Plain)?;
    Ok(())
}

/// Tile.
pub(super) fn tile(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let repeats = node.known_ints(1).filter(|r| r.len() == rank);
    if let (Layout::ChannelsLast, Some(repeats)) = (node.layout(0), repeats) {
        let repeats: Vec<i64> = to_last(rank).iter().map(|&p| repeats[p]).collect();
        let repeats = node.new_constant("repeats", Tensor::from_ints(&repeats));
        let x = node.last(0)?;
        node.emit(Tile, &[Some(x), Some(repeats)], Layout::ChannelsLast)?;
        return Ok(());
    }
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?)];
    node.emit(Tile, &inputs, Layout::Plain)?;
    Ok(())
}

fn block(node: &NodeReader<'_>) -> Result<usize> {
    let block = usize::try_from(node.int_or("blocksize", 0)).ok().filter(|b| (1..=1 << 15).contains(b));
    block.ok_or_else(|| node.error("blocksize is out of range"))
}

/// DepthToSpace.
pub(super) fn depth_to_space(node: &mut NodeReader<'_>) -> Result<()> {
    let op = DepthToSpace { block: block(node)?, channel_first: node.text("mode", "DCR") == "CRD" };
    let x = node.last(0)?;
    node.emit(op, &[Some(x)], Layout::ChannelsLast)?;
    Ok(())
}

/// SpaceToDepth.
pub(super) fn space_to_depth(node: &mut NodeReader<'_>) -> Result<()> {
    let op = SpaceToDepth { block: block(node)? };
    let x = node.last(0)?;
    node.emit(op, &[Some(x)], Layout::ChannelsLast)?;
    Ok(())
}
