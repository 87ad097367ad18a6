//! Slices.

use fewbits_graph::Dim;
use fewbits_graph::ops::slice_indices;

use super::parts::Attributes;
use super::site::Site;
use crate::Result;
use crate::schema::enums::Builtin;
use crate::schema::options::StridedSliceOptions;

/// What is taken of one axis; `None` leaves that end open.
#[derive(Clone)]
struct Part {
    begin: Option<i64>,
    end: Option<i64>,
    step: i64,
    /// First element and number of elements, where the axis has a fixed size.
    extent: Option<(usize, usize)>,
}

/// What `start:end:step` takes of an axis.
fn part(dim: &Dim, start: i64, end: i64, step: i64) -> Part {
    let Some(size) = dim.fixed() else {
        // Out-of-range positions leave the end open, as NumPy's do.
        let inside = |v: i64| i32::try_from(v).is_ok().then_some(v);
        return Part { begin: inside(start), end: inside(end), step, extent: None };
    };
    let (first, count) = slice_indices(size, start, end, step);
    let extent = Some((first, count));
    // Positions in allocatable tensors are far below i64's range.
    let (begin, count) = (first as i64, count as i64);
    if count == 0 {
        return Part { begin: Some(0), end: Some(0), step: 1, extent };
    }
    let end = begin + (count - 1) * step + step.signum();
    // Before the first element there is no position to name.
    Part { begin: Some(begin), end: (end >= 0).then_some(end), step, extent }
}

pub(super) fn slice(at: &mut Site<'_, '_>) -> Result<()> {
    let dims = &at.value(0)?.shape.0;
    let (starts, ends, axes, steps) = (at.ints(1)?, at.ints(2)?, at.ints(3)?, at.ints(4)?);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) || steps.contains(&0) {
        return Err(at.fail("its starts, ends, axes and steps do not fit each other"));
    }
    let whole = |d: &Dim| Part { begin: None, end: None, step: 1, extent: d.fixed().map(|n| (0, n)) };
    let mut parts: Vec<Part> = dims.iter().map(whole).collect();
    let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
    for (i, &axis) in axes.iter().enumerate() {
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok().filter(|&a| a < dims.len());
        let axis = axis.ok_or_else(|| at.fail("it slices an axis that does not exist"))?;
        parts[axis] = part(&dims[axis], starts[i], ends[i], steps[i]);
    }
    let simple = parts.iter().all(|p| p.step == 1 && (p.extent.is_some() || (p.begin.is_none() && p.end.is_none())));
    if simple { begin_and_size(at, &parts, dims) } else { strided(at, &parts) }
}

fn begin_and_size(at: &mut Site<'_, '_>, parts: &[Part], dims: &[Dim]) -> Result<()> {
    let begin: Vec<i64> = parts.iter().map(|p| p.begin.unwrap_or(0)).collect();
    let size = |(p, d): (&Part, &Dim)| match (p.extent, d.fixed()) {
        (Some((_, count)), Some(n)) if count < n => i64::try_from(count).unwrap_or(-1),
        // To the end of the axis.
        _ => -1,
    };
    let sizes: Vec<i64> = parts.iter().zip(dims).map(size).collect();
    let (x, begin, sizes) = (at.operand(0)?, at.vector("begin", &begin)?, at.vector("size", &sizes)?);
    at.write(Builtin::SLICE, Attributes::none(), &[x, begin, sizes])
}

fn strided(at: &mut Site<'_, '_>, parts: &[Part]) -> Result<()> {
    let mask = |open: fn(&Part) -> bool| {
        parts.iter().enumerate().filter(|(_, p)| open(p)).fold(0, |mask, (axis, _)| mask | 1 << axis.min(30))
    };
    let options = StridedSliceOptions {
        begin_mask: mask(|p| p.begin.is_none()),
        end_mask: mask(|p| p.end.is_none()),
        ..StridedSliceOptions::default()
    };
    let column = |f: fn(&Part) -> i64| parts.iter().map(f).collect::<Vec<_>>();
    let operands = [
        at.operand(0)?,
        at.vector("begin", &column(|p| p.begin.unwrap_or(0)))?,
        at.vector("end", &column(|p| p.end.unwrap_or(0)))?,
        at.vector("strides", &column(|p| p.step))?,
    ];
    at.write(Builtin::STRIDED_SLICE, Attributes::of(options), &operands)
}
