//! Shape arithmetic through operators that move elements of tensors of any rank (exporters pad by
//! way of a reversed and transposed matrix).

use crate::SymInt;
use crate::infer::Ctx;
use crate::ops::slice_indices;

/// Row-major strides of `shape`.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// The elements of `x` at `first + Σ index × step` for every index below `shape`, in row-major
/// order.
fn walk(x: &[SymInt], first: i64, shape: &[usize], steps: &[i64]) -> Option<Vec<SymInt>> {
    let count = shape.iter().product();
    let mut index = vec![0usize; shape.len()];
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let offset: i64 = index.iter().zip(steps).map(|(&i, &s)| i as i64 * s).sum();
        out.push(x.get(usize::try_from(first + offset).ok()?)?.clone());
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Some(out)
}

/// Elements of a transposed integer tensor.
pub(crate) fn transpose(ctx: &Ctx<'_>, perm: &[usize]) -> Option<Vec<SymInt>> {
    let input = ctx.optional(0)?;
    let shape = input.shape.to_fixed()?;
    let strides = strides(&shape);
    let out: Vec<usize> = perm.iter().map(|&p| shape.get(p).copied()).collect::<Option<_>>()?;
    let steps: Vec<i64> = perm.iter().map(|&p| i64::try_from(strides[p]).ok()).collect::<Option<_>>()?;
    walk(input.ints?, 0, &out, &steps)
}

/// Elements of a sliced integer tensor.
pub(crate) fn slice(ctx: &Ctx<'_>) -> Option<Vec<SymInt>> {
    let input = ctx.optional(0)?;
    let known = |i: usize| -> Option<Vec<i64>> { ctx.optional(i)?.ints?.iter().map(SymInt::known).collect() };
    let (starts, ends, axes, given) = (known(1)?, known(2)?, known(3)?, known(4)?);
    let mut shape = input.shape.to_fixed()?;
    let rank = i64::try_from(shape.len()).ok()?;
    let mut steps: Vec<i64> = strides(&shape).into_iter().map(i64::try_from).collect::<Result<_, _>>().ok()?;
    let mut first = 0i64;
    for i in 0..starts.len() {
        let axis = *axes.get(i)?;
        let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
        let (at, count) = slice_indices(*shape.get(axis)?, starts[i], *ends.get(i)?, *given.get(i)?);
        first += i64::try_from(at).ok()? * steps[axis];
        steps[axis] = steps[axis].checked_mul(*given.get(i)?)?;
        shape[axis] = count;
    }
    walk(input.ints?, first, &shape, &steps)
}
