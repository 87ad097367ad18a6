//! Operators that move elements.

use crate::infer::{Ctx, TensorType};
use crate::symbolic::bounded;
use crate::{Activation, DType, Dim, Result, Shape, SymInt};

/// What [`Pad`] fills with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PadMode {
    /// Input 2 (a scalar), 0 if absent; the zero point when quantized.
    Constant,
    /// Mirrored without repeating the border.
    Reflect,
    /// The border repeated.
    Edge,
    /// Mirrored with the border repeated.
    Symmetric,
    /// From the other end.
    Wrap,
}

/// Inputs: `x`; `pads`, integers `[before…, after…]`, one each for every axis of the stored
/// layout, negative to crop; optional fill value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pad {
    /// What to fill with.
    pub mode: PadMode,
}

/// Joins any number of inputs along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concat {
    /// Axis of the stored layout.
    pub axis: usize,
    /// Fused activation.
    pub activation: Activation,
}

/// Cuts along an axis; one output for each size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Axis of the stored layout.
    pub axis: usize,
    /// Sizes of the parts.
    pub sizes: Vec<usize>,
}

/// Inputs: `x`; `starts`; `ends`; `axes`; `steps`: integer vectors of one length, in the sense of
/// NumPy (negative positions count from the end, out-of-range ones are clamped, steps may be
/// negative).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice;

/// Inputs: `x`; integer `indices`. Output: `x.shape[..axis] + indices.shape + x.shape[axis + 1..]`.
/// Negative indices count from the end.
///
/// The output has the type of `x`, except that of an embedding stored as `I8` or `F16` rows declared
/// `F32` are read as real numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Axis of the stored layout.
    pub axis: usize,
}

/// Inputs: `x`; integer `indices` of the same rank; output of the shape of `indices`:
/// `x` with the coordinate of `axis` replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherElements {
    /// Axis of the stored layout.
    pub axis: usize,
}

/// Inputs: `x`; integer `indices` `[…, k]`, each row a position in the first `k` axes of `x`
/// (after `batch_dims` shared axes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherNd {
    /// Leading axes that `x` and `indices` share.
    pub batch_dims: usize,
}

/// Inputs: `x`; integer `indices` `[…, k]`; `updates`. Output: `x` with the slices at `indices`
/// replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScatterNd;

/// Inputs: `x`; `repeats`, one integer an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile;

/// Moves `block × block` spatial positions into channels; `[N, H, W, C]` to
/// `[N, H / b, W / b, b·b·C]`, channel order `(row, column, C)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceToDepth {
    /// Block size.
    pub block: usize,
}

/// Moves channels into `block × block` spatial positions; `[N, H, W, b·b·C]` to `[N, H·b, W·b, C]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepthToSpace {
    /// Block size.
    pub block: usize,
    /// Channel order is `(C, row, column)` (ONNX mode `CRD`) instead of `(row, column, C)`.
    pub channel_first: bool,
}

/// Inputs: `indices`; `depth` (integer scalar); `values` `[off, on]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneHot {
    /// Where the new axis stands in the output.
    pub axis: usize,
}

/// Running sum along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CumSum {
    /// Axis of the stored layout.
    pub axis: usize,
    /// An element's own value is not in its sum.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

/// Inputs: `start`, `limit`, `delta`, scalars. Output `[start, start + delta, …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range;

/// Inputs: `shape` (integer vector); `value` (scalar). Output: that shape filled with the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill;

/// `size + amount`, which must not be negative.
fn grown(ctx: &Ctx<'_>, dim: &Dim, amount: &SymInt) -> Result<Dim> {
    let dim = SymInt::from(dim).add(amount).to_dim();
    dim.ok_or_else(|| ctx.bad_attribute("a dimension of the result is negative"))
}

impl Pad {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, pads) = (ctx.input(0)?, ctx.ints(1)?);
        let rank = x.shape.rank();
        if pads.len() != 2 * rank {
            return Err(ctx.bad_attribute(format!("expected {} pads, got {}", 2 * rank, pads.len())));
        }
        let dims = x.shape.0.iter().enumerate().map(|(i, d)| grown(ctx, d, &pads[i].add(&pads[i + rank])));
        ctx.like_input(Shape(dims.collect::<Result<_>>()?))
    }
}

impl Concat {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let first = ctx.input(0)?;
        let rank = first.shape.rank();
        ctx.check_axis(self.axis, rank)?;
        let mut dims = first.shape.0.clone();
        for i in 1..ctx.inputs.len() {
            let x = ctx.ranked(i, rank)?;
            for (axis, d) in x.shape.0.iter().enumerate() {
                if axis == self.axis {
                    dims[axis] = grown(ctx, &dims[axis], &SymInt::from(d))?;
                } else if dims[axis].fixed().is_none() {
                    dims[axis] = d.clone();
                } else if d.fixed().is_some() && *d != dims[axis] {
                    return Err(ctx.bad_shape(x, format!("dimension {axis} should be {}", dims[axis])));
                }
            }
        }
        ctx.like_input(Shape(dims))
    }
}

impl Split {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank())?;
        let total = self.sizes.iter().try_fold(0usize, |n, &s| n.checked_add(s));
        if x.shape.0[self.axis].fixed().is_some() && x.shape.0[self.axis].fixed() != total {
            return Err(ctx.bad_shape(x, format!("axis {} does not split into {:?}", self.axis, self.sizes)));
        }
        let part = |&size: &usize| {
            let mut shape = x.shape.clone();
            shape.0[self.axis] = Dim::Fixed(size);
            TensorType::new(x.dtype, shape)
        };
        Ok(self.sizes.iter().map(part).collect())
    }
}

impl Slice {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        let (starts, ends) = (ctx.ints(1)?, ctx.ints(2)?);
        let (axes, steps) = (ctx.known_ints(3)?, ctx.known_ints(4)?);
        if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
            return Err(ctx.bad_attribute("starts, ends, axes and steps differ in length"));
        }
        let mut dims = x.shape.0.clone();
        for (i, (&axis, &step)) in axes.iter().zip(&steps).enumerate() {
            let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).unwrap_or(usize::MAX);
            ctx.check_axis(axis, dims.len())?;
            if step == 0 {
                return Err(ctx.bad_attribute("a step is 0"));
            }
            dims[axis] = sliced(ctx, &dims[axis], &starts[i], &ends[i], step)?;
        }
        ctx.like_input(Shape(dims))
    }
}

/// Size of a sliced dimension.
fn sliced(ctx: &Ctx<'_>, dim: &Dim, start: &SymInt, end: &SymInt, step: i64) -> Result<Dim> {
    if let (Some(size), Some(start), Some(end)) = (dim.fixed(), start.known(), end.known()) {
        return Ok(Dim::Fixed(slice_indices(size, start, end, step).1));
    }
    if step < 0 {
        return Ok(reversed(dim, start, end, step));
    }
    let whole = SymInt::from(dim);
    // Of a symbolic dimension: everything from a known start, or a symbolic prefix.
    let end = match end.known() {
        Some(e) if e > i64::from(i32::MAX) - 1 => whole.clone(),
        Some(e) if e < 0 => whole.add(&SymInt::Known(e)),
        _ => end.clone(),
    };
    let start = match start.known() {
        Some(s) if s < 0 => whole.add(&SymInt::Known(s)),
        _ => start.clone(),
    };
    let length = end.sub(&start);
    let length = if step == 1 { length } else { length.add(&SymInt::Known(step - 1)).div(&SymInt::Known(step)) };
    length.to_dim().ok_or_else(|| ctx.bad_attribute("a sliced dimension is negative"))
}

/// Size of a dimension sliced backwards where a number is missing: all of it for `[::-1]`, else a
/// symbol of its own.
fn reversed(dim: &Dim, start: &SymInt, end: &SymInt, step: i64) -> Dim {
    let far = i64::from(i32::MAX);
    let from_last = start.known().is_some_and(|s| s == -1 || s >= far - 1);
    if step == -1 && from_last && end.known().is_some_and(|e| e < -far) {
        return dim.clone();
    }
    Dim::Symbol(bounded(format!("{dim}[{start}:{end}:{step}]")))
}

/// First index and number of elements of the NumPy slice `start:end:step` of an axis of `size`
/// elements. `step` is not 0.
pub fn slice_indices(size: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    // A size beyond i64 is that of a value that validation will refuse.
    let n = i64::try_from(size).unwrap_or(i64::MAX);
    let resolve = |at: i64, low: i64, high: i64| if at < 0 { at.saturating_add(n) } else { at }.clamp(low, high);
    let (first, count) = if step > 0 {
        let (s, e) = (resolve(start, 0, n), resolve(end, 0, n));
        (s, (e - s).max(0).saturating_add(step - 1) / step)
    } else {
        let (s, e) = (resolve(start, -1, n - 1), resolve(end, -1, n - 1));
        let span = (s - e).max(0);
        (s, if span == 0 { 0 } else { (span - 1) / step.saturating_neg() + 1 })
    };
    (usize::try_from(first).unwrap_or(0), usize::try_from(count).unwrap_or(0))
}

impl Gather {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>, declared: DType) -> Result<Vec<TensorType>> {
        let (x, indices) = (ctx.input(0)?, ctx.input(1)?);
        ctx.check_axis(self.axis, x.shape.rank())?;
        let mut dims = x.shape.0[..self.axis].to_vec();
        dims.extend_from_slice(&indices.shape.0);
        dims.extend_from_slice(&x.shape.0[self.axis + 1..]);
        let widens = declared == DType::F32 && matches!(x.dtype, DType::I8 | DType::I4 | DType::F16);
        Ok(vec![TensorType::new(if widens { declared } else { x.dtype }, Shape(dims))])
    }
}

impl GatherElements {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank())?;
        ctx.like_input(ctx.ranked(1, x.shape.rank())?.shape.clone())
    }
}

impl GatherNd {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, indices) = (ctx.input(0)?, ctx.input(1)?);
        let Some((last, rows)) = indices.shape.0.split_last() else {
            return Err(ctx.bad_shape(indices, "expected at least one dimension"));
        };
        let depth = last.fixed().ok_or_else(|| ctx.bad_shape(indices, "the last dimension must be a fixed size"))?;
        let first_kept = self.batch_dims.checked_add(depth).filter(|&n| n <= x.shape.rank());
        let first_kept = first_kept.ok_or_else(|| ctx.bad_shape(indices, format!("too deep for {}", x.shape)))?;
        let mut dims = rows.to_vec();
        dims.extend_from_slice(&x.shape.0[first_kept..]);
        ctx.like_input(Shape(dims))
    }
}

impl ScatterNd {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.input(2)?;
        ctx.like_input(ctx.input(0)?.shape.clone())
    }
}

impl Tile {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, repeats) = (ctx.input(0)?, ctx.ints(1)?);
        if repeats.len() != x.shape.rank() {
            return Err(ctx.bad_shape(x, format!("expected {} dimensions", repeats.len())));
        }
        let dims = x.shape.0.iter().zip(repeats).map(|(d, r)| SymInt::from(d).mul(r).to_dim());
        let dims: Option<Vec<Dim>> = dims.collect();
        ctx.like_input(Shape(dims.ok_or_else(|| ctx.bad_attribute("a repeat is negative"))?))
    }
}

impl SpaceToDepth {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.ranked(0, 4)?;
        let divided = |d: &Dim| match d.fixed() {
            Some(n) if self.block == 0 || !n.is_multiple_of(self.block) => {
                Err(ctx.bad_shape(x, format!("not divisible into blocks of {}", self.block)))
            }
            Some(n) => Ok(Dim::Fixed(n / self.block)),
            None => grown(ctx, &Dim::Fixed(0), &SymInt::from(d).div(&SymInt::from(&Dim::Fixed(self.block)))),
        };
        let d = &x.shape.0;
        let square = self.block.checked_mul(self.block).ok_or_else(|| ctx.bad_attribute("the block is too large"))?;
        let channels = SymInt::from(&d[3]).mul(&SymInt::from(&Dim::Fixed(square)));
        let channels = grown(ctx, &Dim::Fixed(0), &channels)?;
        ctx.like_input(Shape(vec![d[0].clone(), divided(&d[1])?, divided(&d[2])?, channels]))
    }
}

impl DepthToSpace {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.ranked(0, 4)?;
        let channels = ctx.fixed_dim(x, 3)?;
        let square = self.block.checked_mul(self.block).filter(|&s| s > 0 && channels.is_multiple_of(s));
        let square = square.ok_or_else(|| ctx.bad_shape(x, format!("channels do not divide by {}²", self.block)))?;
        let times = |d: &Dim| grown(ctx, &Dim::Fixed(0), &SymInt::from(d).mul(&SymInt::from(&Dim::Fixed(self.block))));
        let d = &x.shape.0;
        ctx.like_input(Shape(vec![d[0].clone(), times(&d[1])?, times(&d[2])?, Dim::Fixed(channels / square)]))
    }
}

impl OneHot {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (indices, depth, values) = (ctx.input(0)?, ctx.ints(1)?, ctx.input(2)?);
        ctx.check_axis(self.axis, indices.shape.rank() + 1)?;
        let depth = depth.first().and_then(SymInt::to_dim);
        let mut dims = indices.shape.0.clone();
        dims.insert(self.axis, depth.ok_or_else(|| ctx.bad_attribute("the depth is not a positive number"))?);
        Ok(vec![TensorType::new(values.dtype, Shape(dims))])
    }
}

impl CumSum {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.check_axis(self.axis, ctx.input(0)?.shape.rank())?;
        ctx.like_input(ctx.input(0)?.shape.clone())
    }
}

impl Range {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let one =
            |i: usize| ctx.ints(i)?.first().ok_or_else(|| ctx.bad_attribute("start, limit and delta must be scalars"));
        let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
        let count = match (start.known(), limit.known(), delta.known()) {
            (_, _, Some(0)) => return Err(ctx.bad_attribute("the step is 0")),
            (Some(s), Some(l), Some(d)) => {
                let (span, d) = (i128::from(l) - i128::from(s), i128::from(d));
                let count = (span + d - d.signum()) / d;
                Dim::Fixed(usize::try_from(count.max(0)).map_err(|_| ctx.bad_attribute("the range is too long"))?)
            }
            _ => grown(ctx, &Dim::Fixed(0), &limit.sub(start).div(delta))?,
        };
        ctx.like_input(Shape(vec![count]))
    }
}

impl Fill {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let dims: Option<Vec<Dim>> = ctx.ints(0)?.iter().map(SymInt::to_dim).collect();
        let shape = Shape(dims.ok_or_else(|| ctx.bad_attribute("the shape has a negative size"))?);
        Ok(vec![TensorType::new(ctx.input(1)?.dtype, shape)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::slice_indices;

    /// NumPy's rule, position by position.
    fn naive(size: usize, start: i64, end: i64, step: i64) -> Vec<i128> {
        let n = size as i128;
        let resolve = |at: i64| if at < 0 { i128::from(at) + n } else { i128::from(at) };
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let (start, end) = (resolve(start).clamp(low, high), resolve(end).clamp(low, high));
        let mut at = start;
        let mut found = Vec::new();
        while if step > 0 { at < end } else { at > end } {
            found.push(at);
            at += i128::from(step);
        }
        found
    }

    fn check(size: usize, start: i64, end: i64, step: i64) {
        let (first, count) = slice_indices(size, start, end, step);
        let expected = naive(size, start, end, step);
        assert_eq!(count, expected.len(), "[{start}:{end}:{step}] of {size}");
        if let Some(&at) = expected.first() {
            assert_eq!(first as i128, at, "[{start}:{end}:{step}] of {size}");
        }
    }

    #[test]
    fn extreme_positions_and_steps_are_as_in_numpy() {
        let ends = [i64::MIN, i64::MIN + 1, -7, -1, 0, 1, 6, i64::MAX - 1, i64::MAX];
        for size in [0, 1, 5] {
            for start in ends {
                for end in ends {
                    ends.into_iter().filter(|&s| s != 0).for_each(|step| check(size, start, end, step));
                }
            }
        }
        // Inferred sizes are not checked yet when they are sliced.
        assert_eq!(slice_indices(usize::MAX, 2, i64::MAX, 1), (2, (i64::MAX - 2) as usize));
    }

    proptest! {
        #[test]
        fn slices_are_as_in_numpy(size in 0usize..9, start in -12i64..12, end in -12i64..12, step in -4i64..4) {
            prop_assume!(step != 0);
            check(size, start, end, step);
        }
    }
}
