//! Operators that move elements.

use fewbits_graph::ops::{
    Concat, DepthToSpace, Fill, Gather, GatherNd, OneHot, Pad, PadMode, Range, SpaceToDepth, Split, Squeeze, Tile,
    Unsqueeze,
};
use fewbits_graph::{Activation, Tensor, TensorBytes};

use super::context::Import;
use crate::Result;
use crate::schema::enums::{MIRROR_REFLECT, MIRROR_SYMMETRIC};
use crate::schema::options::{
    ConcatenationOptions, DepthToSpaceOptions, GatherOptions, MirrorPadOptions, OneHotOptions, PackOptions,
    SpaceToDepthOptions, SplitOptions, UnpackOptions,
};

/// Largest block size: its square, the factor of the channels, must not overflow.
const MAX_BLOCK: usize = 1 << 15;

/// `[[before, after], …]` of input 1 as `[before…, after…]`.
fn pads(cx: &mut Import<'_>) -> Result<fewbits_graph::ValueId> {
    let pairs = cx.ints(1)?;
    if pairs.len() != 2 * cx.rank(0)? {
        return Err(cx.fail(format!("{} pads do not fit {} dimensions", pairs.len(), cx.rank(0)?)));
    }
    if pairs.iter().any(|&p| p < 0) {
        return Err(cx.fail("a pad is negative"));
    }
    let of = |side: usize| pairs.iter().skip(side).step_by(2);
    let pads: Vec<i64> = of(0).chain(of(1)).copied().collect();
    Ok(cx.int_constant("pads", &pads))
}

pub(super) fn pad(cx: &mut Import<'_>) -> Result<()> {
    let pads = pads(cx)?;
    let mut inputs = vec![Some(cx.input(0)?), Some(pads)];
    inputs.extend(cx.optional(2).map(Some));
    cx.emit(Pad { mode: PadMode::Constant }, &inputs)
}

pub(super) fn mirror_pad(cx: &mut Import<'_>) -> Result<()> {
    let mode = match cx.options::<MirrorPadOptions>()?.mode {
        MIRROR_REFLECT => PadMode::Reflect,
        MIRROR_SYMMETRIC => PadMode::Symmetric,
        other => return Err(cx.fail(format!("mirror mode {other} is not known"))),
    };
    let pads = pads(cx)?;
    let x = cx.input(0)?;
    cx.emit(Pad { mode }, &[Some(x), Some(pads)])
}

pub(super) fn concatenation(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<ConcatenationOptions>()?;
    let axis = cx.axis(i64::from(o.axis), cx.rank(0)?)?;
    let activation = cx.activation(o.activation)?;
    cx.emit_same(Concat { axis, activation }, cx.site.inputs.len())
}

pub(super) fn split(cx: &mut Import<'_>) -> Result<()> {
    let parts = cx.size("num_splits", cx.options::<SplitOptions>()?.num_splits)?;
    let axis = cx.axis(cx.int(0)?, cx.rank(1)?)?;
    if parts != cx.site.outputs.len() {
        return Err(cx.fail(format!("{parts} parts but {} outputs", cx.site.outputs.len())));
    }
    let total = cx.value(1)?.shape.0[axis].fixed().filter(|n| n % parts == 0);
    let total = total.ok_or_else(|| cx.fail(format!("axis {axis} does not split into {parts} equal parts")))?;
    let x = cx.input(1)?;
    cx.emit(Split { axis, sizes: vec![total / parts; parts] }, &[Some(x)])
}

pub(super) fn split_v(cx: &mut Import<'_>) -> Result<()> {
    let axis = cx.axis(cx.int(2)?, cx.rank(0)?)?;
    let sizes = cx.ints(1)?;
    if sizes.len() != cx.site.outputs.len() {
        return Err(cx.fail(format!("{} sizes but {} outputs", sizes.len(), cx.site.outputs.len())));
    }
    let known: i64 = sizes.iter().filter(|&&s| s >= 0).fold(0, |n, &s| n.saturating_add(s));
    let total = cx.value(0)?.shape.0[axis].fixed().and_then(|n| i64::try_from(n).ok());
    let open = sizes.iter().filter(|&&s| s == -1).count();
    let size = |&s: &i64| match (s, total) {
        (-1, Some(total)) if open == 1 => usize::try_from(total.saturating_sub(known)).ok(),
        (s, _) => usize::try_from(s).ok(),
    };
    let sizes = sizes.iter().map(size).collect::<Option<Vec<_>>>();
    let sizes = sizes.ok_or_else(|| cx.fail("its sizes do not fit the axis"))?;
    cx.emit_same(Split { axis, sizes }, 1)
}

pub(super) fn gather(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<GatherOptions>()?;
    if o.batch_dims != 0 {
        return Err(cx.fail(format!("batch_dims {} is not supported, only 0", o.batch_dims)));
    }
    let axis = cx.axis(i64::from(o.axis), cx.rank(0)?)?;
    cx.emit_same(Gather { axis }, 2)
}

pub(super) fn gather_nd(cx: &mut Import<'_>) -> Result<()> {
    cx.emit_same(GatherNd { batch_dims: 0 }, 2)
}

/// Joins along a new axis: each input gets the axis, then all are concatenated.
pub(super) fn pack(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<PackOptions>()?;
    let axis = cx.axis(i64::from(o.axis), cx.rank(0)? + 1)?;
    let mut parts = Vec::with_capacity(cx.site.inputs.len());
    for i in 0..cx.site.inputs.len() {
        let x = cx.input(i)?;
        parts.push(Some(cx.emit_helper(&format!("part_{i}"), Unsqueeze { axes: vec![axis] }, &[Some(x)], x)));
    }
    cx.emit(Concat { axis, activation: Activation::None }, &parts)
}

/// Splits along an axis, which then goes.
pub(super) fn unpack(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<UnpackOptions>()?;
    let axis = cx.axis(i64::from(o.axis), cx.rank(0)?)?;
    let (x, count) = (cx.input(0)?, cx.site.outputs.len());
    if cx.graph.value(x).shape.0[axis].fixed() != Some(count) {
        return Err(cx.fail(format!("axis {axis} has not {count} elements")));
    }
    let parts = cx.emit_parts(Split { axis, sizes: vec![1; count] }, x, count);
    for (i, part) in parts.into_iter().enumerate() {
        cx.emit_last(&format!("/squeeze_{i}"), Squeeze { axes: vec![axis] }, part, cx.output(i)?);
    }
    Ok(())
}

pub(super) fn tile(cx: &mut Import<'_>) -> Result<()> {
    cx.emit_same(Tile, 2)
}

pub(super) fn fill(cx: &mut Import<'_>) -> Result<()> {
    cx.emit_same(Fill, 2)
}

pub(super) fn range(cx: &mut Import<'_>) -> Result<()> {
    cx.emit_same(Range, 3)
}

/// The graph takes the values of cold and hot elements as one pair.
pub(super) fn one_hot(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<OneHotOptions>()?;
    let axis = cx.axis(i64::from(o.axis), cx.rank(0)? + 1)?;
    let single = |i: usize| -> Result<Tensor> {
        let value = cx.value(i)?;
        let data = value.data.clone().filter(|t| t.elements() == 1);
        data.ok_or_else(|| cx.fail(format!("input `{}` must be a constant of one element", value.name)))
    };
    let (on, off) = (single(2)?, single(3)?);
    let pair = Tensor::from_bytes(on.dtype(), vec![2], TensorBytes::from([off.bytes(), on.bytes()].concat()));
    let pair = pair.ok_or_else(|| cx.fail("its values differ in type"))?;
    let (indices, depth, values) = (cx.input(0)?, cx.input(1)?, cx.constant("values", pair));
    cx.emit(OneHot { axis }, &[Some(indices), Some(depth), Some(values)])
}

fn block(cx: &Import<'_>, size: i32) -> Result<usize> {
    let block = cx.size("block_size", size)?;
    if block > MAX_BLOCK {
        return Err(cx.fail(format!("block_size {block} is too large")));
    }
    Ok(block)
}

pub(super) fn space_to_depth(cx: &mut Import<'_>) -> Result<()> {
    let block = block(cx, cx.options::<SpaceToDepthOptions>()?.block_size)?;
    cx.emit_same(SpaceToDepth { block }, 1)
}

pub(super) fn depth_to_space(cx: &mut Import<'_>) -> Result<()> {
    let block = block(cx, cx.options::<DepthToSpaceOptions>()?.block_size)?;
    cx.emit_same(DepthToSpace { block, channel_first: false }, 1)
}
