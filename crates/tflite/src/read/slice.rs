//! Slices.

use fewbits_graph::ops::{Identity, Slice, Squeeze};

use super::context::Import;
use crate::Result;
use crate::schema::options::StridedSliceOptions;

/// To the end of the axis, whatever its size.
const END: i64 = i64::MAX;
/// Past the first element, when walking backwards.
const BEFORE_START: i64 = i64::MIN;

/// The part of one axis that a slice takes.
struct Part {
    start: i64,
    end: i64,
    step: i64,
}

/// Adds the slice with `parts` of the first axes; axes that are taken whole are left out. With
/// `squeeze` those axes, of one element then, go.
fn emit(cx: &mut Import<'_>, parts: &[Part], squeeze: Vec<usize>) -> Result<()> {
    let x = cx.input(0)?;
    let dims = cx.graph.value(x).shape.clone();
    if parts.len() > dims.rank() {
        return Err(cx.fail(format!("it slices {} axes of {dims}", parts.len())));
    }
    let whole = |axis: usize, p: &Part| {
        let size = dims.0[axis].fixed().and_then(|n| i64::try_from(n).ok());
        p.start == 0 && p.step == 1 && (p.end == END || size.is_some_and(|n| p.end >= n))
    };
    let kept: Vec<(usize, &Part)> = parts.iter().enumerate().filter(|(axis, p)| !whole(*axis, p)).collect();
    let output = cx.output(0)?;
    if kept.is_empty() {
        return match squeeze.is_empty() {
            true => cx.emit(Identity, &[Some(x)]),
            false => cx.emit(Squeeze { axes: squeeze }, &[Some(x)]),
        };
    }
    let axes = kept.iter().map(|(axis, _)| i64::try_from(*axis)).collect::<std::result::Result<Vec<_>, _>>();
    let axes = axes.map_err(|_| cx.fail("it has too many axes"))?;
    let column = |f: fn(&Part) -> i64| kept.iter().map(|(_, p)| f(p)).collect::<Vec<_>>();
    let columns =
        [("starts", column(|p| p.start)), ("ends", column(|p| p.end)), ("axes", axes), ("steps", column(|p| p.step))];
    let mut inputs = vec![Some(x)];
    for (name, values) in columns {
        inputs.push(Some(cx.int_constant(name, &values)));
    }
    if squeeze.is_empty() {
        return cx.emit(Slice, &inputs);
    }
    let sliced = cx.emit_helper("slice", Slice, &inputs, output);
    cx.emit(Squeeze { axes: squeeze }, &[Some(sliced)])
}

pub(super) fn slice(cx: &mut Import<'_>) -> Result<()> {
    let (starts, sizes) = (cx.ints(1)?, cx.ints(2)?);
    if starts.len() != sizes.len() {
        return Err(cx.fail("begin and size differ in length"));
    }
    let part = |(&start, &size): (&i64, &i64)| match size {
        _ if start < 0 => Err(cx.fail("begin is negative")),
        -1 => Ok(Part { start, end: END, step: 1 }),
        0.. => Ok(Part { start, end: start.saturating_add(size), step: 1 }),
        _ => Err(cx.fail(format!("size {size} is negative"))),
    };
    let parts = starts.iter().zip(&sizes).map(part).collect::<Result<Vec<_>>>()?;
    emit(cx, &parts, Vec::new())
}

pub(super) fn strided_slice(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<StridedSliceOptions>()?;
    if o.ellipsis_mask != 0 || o.new_axis_mask != 0 {
        return Err(cx.fail("ellipses and new axes are not supported"));
    }
    let (starts, ends, steps) = (cx.ints(1)?, cx.ints(2)?, cx.ints(3)?);
    if starts.len() != ends.len() || starts.len() != steps.len() || starts.len() > 32 {
        return Err(cx.fail("begin, end and strides differ in length"));
    }
    let (mut parts, mut squeeze) = (Vec::new(), Vec::new());
    for (axis, ((&start, &end), &step)) in starts.iter().zip(&ends).zip(&steps).enumerate() {
        let has = |mask: i32| mask >> axis & 1 != 0;
        let end = if o.offset { start.saturating_add(end) } else { end };
        if step == 0 || step == i64::MIN {
            return Err(cx.fail(format!("stride {step}")));
        }
        parts.push(if has(o.shrink_axis_mask) {
            squeeze.push(axis);
            // −1 is the last element: its end is not 0.
            Part { start, end: if start == -1 { END } else { start.saturating_add(1) }, step: 1 }
        } else {
            let (first, last) = if step > 0 { (0, END) } else { (END, BEFORE_START) };
            Part {
                start: if has(o.begin_mask) { first } else { start },
                end: if has(o.end_mask) { last } else { end },
                step,
            }
        });
    }
    emit(cx, &parts, squeeze)
}

/// Reverses axes: slices with a step of −1.
pub(super) fn reverse_v2(cx: &mut Import<'_>) -> Result<()> {
    let rank = cx.rank(0)?;
    let axes = cx.axes(&cx.ints(1)?, rank)?;
    let part = |axis: usize| match axes.contains(&axis) {
        true => Part { start: END, end: BEFORE_START, step: -1 },
        false => Part { start: 0, end: END, step: 1 },
    };
    let parts: Vec<Part> = (0..rank).map(part).collect();
    emit(cx, &parts, Vec::new())
}
