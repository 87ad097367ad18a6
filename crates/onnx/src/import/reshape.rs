//! Operators that change a tensor's shape, not its elements.

use fewbits_graph::Tensor;
use fewbits_graph::ops::{Expand, Flatten, Reshape, Squeeze, Transpose, Unsqueeze};

use super::constant::Then;
use super::elementwise::operand;
use super::movement::signed;
use super::node::NodeReader;
use crate::Result;
use crate::layout::{Layout, is_identity, to_last};

/// Input 0, if it is a constant that can be folded into another.
fn foldable(node: &NodeReader<'_>) -> Option<Tensor> {
    node.constant(0).filter(|c| c.quant.is_none() && matches!(c.then, Then::Nothing)).map(|c| c.tensor.clone())
}

/// Reshape. Where height and width are 1, a channels-last value has its elements in the same
/// order and is reshaped as it is.
pub(super) fn reshape(node: &mut NodeReader<'_>) -> Result<()> {
    let allow_zero = node.flag("allowzero", false);
    let sizes = node.known_ints(1);
    if let (Some(tensor), Some(sizes)) = (foldable(node), &sizes)
        && let Some(folded) = reshaped(&tensor, sizes, allow_zero)
    {
        return node.fold(folded);
    }
    let copies_axis = match node.partly_known_ints(1) {
        Some(sizes) => !allow_zero && sizes.iter().skip(1).any(|&d| d == Some(0)),
        None => true,
    };
    let layout = if node.order_is_same(0) && !copies_axis { node.layout(0) } else { Layout::Plain };
    let inputs = [Some(node.value(0, layout)?), Some(node.plain(1)?)];
    node.emit(Reshape { allow_zero }, &inputs, Layout::Plain)?;
    Ok(())
}

fn reshaped(tensor: &Tensor, sizes: &[i64], allow_zero: bool) -> Option<Tensor> {
    let mut shape = Vec::with_capacity(sizes.len());
    let mut rest = None;
    for (i, &size) in sizes.iter().enumerate() {
        shape.push(match size {
            -1 if rest.is_none() => {
                rest = Some(i);
                1
            }
            0 if !allow_zero => *tensor.shape().get(i)?,
            n => usize::try_from(n).ok()?,
        });
    }
    if let Some(at) = rest {
        let known = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0)?;
        shape[at] = tensor.elements() / known;
    }
    tensor.reshaped(shape)
}

/// Flatten.
pub(super) fn flatten(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let axis = node.int_or("axis", 1);
    // The rank itself is an axis here, but negative ones count from the rank.
    let axis = if axis < 0 { node.axis(axis, rank)? } else { node.axis(axis, rank + 1)? };
    let layout = if node.order_is_same(0) && axis <= 1 { node.layout(0) } else { Layout::Plain };
    let x = node.value(0, layout)?;
    node.emit(Flatten { axis }, &[Some(x)], Layout::Plain)?;
    Ok(())
}

/// The layout of a value of `kept.len()` dimensions whose stored axes are the ONNX axes `kept` of
/// another value: the rest of those that a reduction or a squeeze removed. `None` if it is neither
/// layout.
pub(super) fn layout_of_rest(kept: &[usize]) -> Option<Layout> {
    let ascending = |axes: &[usize]| axes.windows(2).all(|w| w[0] < w[1]);
    if ascending(kept) {
        return Some(Layout::Plain);
    }
    let mut first = kept.to_vec();
    if first.len() > 2 {
        first[1..].rotate_right(1);
    }
    ascending(&first).then_some(Layout::ChannelsLast)
}

/// The layout of what is left of a value in `layout` without the ONNX axes `removed`.
pub(super) fn rest(layout: Layout, rank: usize, removed: &[usize]) -> Option<Layout> {
    let kept = (0..rank).map(|s| layout.onnx_axis(s, rank)).filter(|a| !removed.contains(a));
    layout_of_rest(&kept.collect::<Vec<_>>())
}

/// Axes of attribute `axes` (before opset 13) or input 1.
fn axes_argument(node: &mut NodeReader<'_>) -> Result<Option<Vec<i64>>> {
    match (node.ints("axes"), node.has(1)) {
        (Some(axes), _) => Ok(Some(axes)),
        (None, true) => node.constant_ints(1).map(Some),
        (None, false) => Ok(None),
    }
}

/// Squeeze. Without axes all of size 1 go.
pub(super) fn squeeze(node: &mut NodeReader<'_>) -> Result<()> {
    let shape = node.shape(0)?;
    let rank = shape.rank();
    let axes = match axes_argument(node)? {
        Some(axes) => node.axes(&axes, rank)?,
        None => (0..rank).filter(|&a| shape.0[a].fixed() == Some(1)).collect(),
    };
    if let Some(tensor) = foldable(node) {
        let kept = (0..rank).filter(|a| !axes.contains(a)).map(|a| tensor.shape()[a]);
        if let Some(folded) = tensor.reshaped(kept.collect()) {
            return node.fold(folded);
        }
    }
    let (source, out) = match rest(node.layout(0), rank, &axes) {
        Some(out) => (node.layout(0), out),
        None => (Layout::Plain, Layout::Plain),
    };
    let x = node.value(0, source)?;
    let mut stored: Vec<usize> = axes.iter().map(|&a| source.stored_axis(a, rank)).collect();
    stored.sort_unstable();
    node.emit(Squeeze { axes: stored }, &[Some(x)], out)?;
    Ok(())
}

/// Unsqueeze.
pub(super) fn unsqueeze(node: &mut NodeReader<'_>) -> Result<()> {
    let axes = axes_argument(node)?.ok_or_else(|| node.error("axes are missing"))?;
    let rank = node.rank(0)? + axes.len();
    let mut axes = node.axes(&axes, rank)?;
    axes.sort_unstable();
    if let Some(tensor) = foldable(node) {
        let mut shape = tensor.shape().to_vec();
        for &axis in &axes {
            if axis > shape.len() {
                return Err(node.error(format!("bad axes {axes:?}")));
            }
            shape.insert(axis, 1);
        }
        if let Some(folded) = tensor.reshaped(shape) {
            return node.fold(folded);
        }
    }
    // [N, C] to [N, C, 1, 1] on the way to a convolution: the same elements as [N, 1, 1, C].
    let spatial = rank > 2 && axes.iter().copied().eq(2..rank);
    if spatial && node.importer.wants_last(&node.output(0)?) {
        let x = node.plain(0)?;
        node.emit(Unsqueeze { axes: (1..rank - 1).collect() }, &[Some(x)], Layout::ChannelsLast)?;
        return Ok(());
    }
    let x = node.plain(0)?;
    node.emit(Unsqueeze { axes }, &[Some(x)], Layout::Plain)?;
    Ok(())
}

/// Expand.
pub(super) fn expand(node: &mut NodeReader<'_>) -> Result<()> {
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?)];
    node.emit(Expand, &inputs, Layout::Plain)?;
    Ok(())
}

/// Transpose. One that only undoes or does the change of layout is another name of its input.
pub(super) fn transpose(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let perm = match node.ints("perm") {
        Some(perm) => node.axes(&perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !is_identity(&sorted) || perm.len() != rank {
        return Err(node.error(format!("{perm:?} is not a permutation of {rank} axes")));
    }
    if let Some(folded) = foldable(node).and_then(|t| t.transposed(&perm)) {
        return node.fold(folded);
    }
    let layout = node.layout(0);
    let (x, layout) = match node.constant(0) {
        Some(_) => (node.plain(0)?, Layout::Plain),
        None => (operand_as_is(node, layout)?, layout),
    };
    // Stored axes of the output, if it is plain: output axis i is the input's ONNX axis perm[i].
    let plain: Vec<usize> = perm.iter().map(|&p| layout.stored_axis(p, rank)).collect();
    if is_identity(&plain) {
        return node.alias(x, Layout::Plain);
    }
    let last: Vec<usize> = to_last(rank).iter().map(|&o| plain[o]).collect();
    if rank > 2 && is_identity(&last) {
        return node.alias(x, Layout::ChannelsLast);
    }
    node.emit(Transpose { perm: plain }, &[Some(x)], Layout::Plain)?;
    Ok(())
}

fn operand_as_is(node: &mut NodeReader<'_>, layout: Layout) -> Result<fewbits_graph::ValueId> {
    match layout {
        Layout::Plain => node.plain(0),
        Layout::ChannelsLast => operand(node).map(|(x, _)| x),
    }
}

/// A vector constant of sizes.
pub(super) fn sizes(node: &mut NodeReader<'_>, what: &str, sizes: &[usize]) -> fewbits_graph::ValueId {
    let sizes: Vec<i64> = sizes.iter().map(|&s| signed(s)).collect();
    node.new_constant(what, Tensor::from_ints(&sizes))
}
