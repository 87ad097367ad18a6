//! Operators that change shapes.

use fewbits_graph::DType;
use fewbits_graph::ops::{Expand, Reshape, ShapeOf, Squeeze, Transpose, Unsqueeze};

use super::context::Import;
use crate::Result;
use crate::schema::options::{ReshapeOptions, SqueezeOptions};

pub(super) fn reshape(cx: &mut Import<'_>) -> Result<()> {
    let x = cx.input(0)?;
    // The operand wins over the attribute, which old files have alone.
    let shape = match cx.optional(1) {
        Some(shape) => shape,
        None => {
            let dims = cx.options::<ReshapeOptions>()?.new_shape;
            let dims = dims.ok_or_else(|| cx.fail("it has no new shape"))?;
            let dims: Vec<i64> = dims.into_iter().map(i64::from).collect();
            cx.int_constant("shape", &dims)
        }
    };
    // Sizes of 0 are empty dimensions here; nothing is copied.
    cx.emit(Reshape { allow_zero: true }, &[Some(x), Some(shape)])
}

pub(super) fn squeeze(cx: &mut Import<'_>) -> Result<()> {
    let dims = cx.options::<SqueezeOptions>()?.squeeze_dims.unwrap_or_default();
    let dims: Vec<i64> = dims.into_iter().map(i64::from).collect();
    let mut axes = cx.axes(&dims, cx.rank(0)?)?;
    if axes.is_empty() {
        let shape = &cx.value(0)?.shape;
        axes = (0..shape.rank()).filter(|&a| shape.0[a].fixed() == Some(1)).collect();
    }
    cx.emit_same(Squeeze { axes }, 1)
}

pub(super) fn expand_dims(cx: &mut Import<'_>) -> Result<()> {
    let axis = cx.axis(cx.int(1)?, cx.rank(0)? + 1)?;
    cx.emit_same(Unsqueeze { axes: vec![axis] }, 1)
}

pub(super) fn transpose(cx: &mut Import<'_>) -> Result<()> {
    let rank = cx.rank(0)?;
    let perm = cx.ints(1)?.iter().map(|&p| cx.axis(p, rank)).collect::<Result<Vec<_>>>()?;
    cx.emit_same(Transpose { perm }, 1)
}

pub(super) fn broadcast_to(cx: &mut Import<'_>) -> Result<()> {
    cx.emit_same(Expand, 2)
}

pub(super) fn shape(cx: &mut Import<'_>) -> Result<()> {
    let dtype = match cx.graph.value(cx.output(0)?).dtype {
        dtype @ (DType::I32 | DType::I64) => dtype,
        other => return Err(cx.fail(format!("its output is {other}, expected int32 or int64"))),
    };
    let end = cx.rank(0)?;
    cx.emit_same(ShapeOf { start: 0, end, dtype }, 1)
}
