//! Reductions, extremes and running sums along axes.

use std::num::Wrapping;

use fewbits_graph::DType;
use fewbits_graph::ops::{ArgReduce, CumSum, Reduce, ReduceKind, TopK};
use fewbits_kernels::float::movement as kernels;
use fewbits_kernels::float::reduce::{self, Reduction};

use super::numeric::{Whole, by_integer, by_type};
use crate::context::{RunContext, carve, carved};
use crate::site::{Lowered, Lowering, Site};

pub(super) fn reduce(op: &Reduce, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    if x.dtype != DType::F32 {
        let offsets = Offsets::new(&x.dims, &op.axes);
        let kind = op.kind;
        return by_integer!(x.dtype, T => Ok(Lowered::new(move |ctx| {
            let x = ctx.input::<T>(0);
            for (y, &from) in ctx.output::<T>(0).iter_mut().zip(&offsets.kept) {
                *y = T::narrow(whole_reduce(kind, offsets.inner.iter().map(|at| x[from + at].wide())));
            }
            Ok(())
        })));
    }
    let kind = match op.kind {
        ReduceKind::Sum => reduce::ReduceKind::Sum,
        ReduceKind::Mean => reduce::ReduceKind::Mean,
        ReduceKind::Max => reduce::ReduceKind::Max,
        ReduceKind::Min => reduce::ReduceKind::Min,
        ReduceKind::Prod => reduce::ReduceKind::Prod,
        ReduceKind::L1 => reduce::ReduceKind::L1,
        ReduceKind::L2 => reduce::ReduceKind::L2,
        ReduceKind::SumSquare => reduce::ReduceKind::SumSquare,
        ReduceKind::LogSum => reduce::ReduceKind::LogSum,
        ReduceKind::LogSumExp => reduce::ReduceKind::LogSumExp,
    };
    let reduction = Reduction::new(&x.dims, &op.axes).ok_or("too many axes")?;
    Ok(Lowered::new(move |ctx| {
        reduction.run(kind, ctx.input(0), ctx.output(0));
        Ok(())
    }))
}

/// Where the elements of a reduction stand: those of output `i` at `kept[i] + inner[..]`.
pub(super) struct Offsets {
    pub(super) kept: Vec<usize>,
    pub(super) inner: Vec<usize>,
}

impl Offsets {
    pub(super) fn new(dims: &[usize], axes: &[usize]) -> Self {
        let elements: usize = dims.iter().product();
        let list = |reduced: bool| {
            // Without elements, the other axes may be of any length: their product is not.
            let mut lengths = dims.iter().enumerate().filter(|(axis, _)| axes.contains(axis) == reduced);
            if lengths.any(|(_, &len)| len == 0) || (reduced && elements == 0) {
                return Vec::new();
            }
            let mut offsets = vec![0];
            let mut stride = elements;
            for (axis, &len) in dims.iter().enumerate() {
                stride = stride.checked_div(len).unwrap_or(0);
                if axes.contains(&axis) == reduced {
                    offsets = offsets.iter().flat_map(|o| (0..len).map(move |i| o + i * stride)).collect();
                }
            }
            offsets
        };
        Offsets { kept: list(false), inner: list(true) }
    }
}

fn whole_reduce(kind: ReduceKind, mut x: impl ExactSizeIterator<Item = i64>) -> i64 {
    let count = i64::try_from(x.len()).unwrap_or(i64::MAX);
    match kind {
        ReduceKind::Max => x.max().unwrap_or(i64::MIN),
        ReduceKind::Min => x.min().unwrap_or(i64::MAX),
        ReduceKind::Prod => x.fold(1, i64::wrapping_mul),
        ReduceKind::L1 => x.fold(0, |sum, v| sum.wrapping_add(v.wrapping_abs())),
        ReduceKind::SumSquare => x.fold(0, |sum, v| sum.wrapping_add(v.wrapping_mul(v))),
        ReduceKind::Mean => x.fold(0, i64::wrapping_add).checked_div(count).unwrap_or(0),
        ReduceKind::Sum => x.fold(0, i64::wrapping_add),
        // Routing sends these to floats; the first element stands for a single one.
        ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp => x.next().unwrap_or(0),
    }
}

/// Positions as the output's index type, computed as `i64` in scratch unless that is the type.
fn write_positions(
    ctx: &mut RunContext<'_>,
    output: usize,
    dtype: DType,
    count: usize,
    compute: impl FnOnce(&mut RunContext<'_>, &mut [i64]),
) {
    if dtype == DType::I64 {
        let out = std::mem::take(ctx.outputs.get_mut(output));
        compute(ctx, crate::view::cast_mut(out));
        return;
    }
    let mut scratch = std::mem::take(&mut ctx.scratch);
    let wide = carve::<i64>(&mut scratch, count);
    compute(ctx, wide);
    // Positions are below the length of an axis; casts of larger ones wrap as everywhere.
    ctx.output::<i32>(output).iter_mut().zip(wide).for_each(|(y, w)| *y = *w as i32);
}

fn position_scratch(dtype: DType, count: usize) -> Result<usize, String> {
    match dtype {
        DType::I64 => Ok(0),
        DType::I32 => Ok(carved(count * size_of::<i64>())),
        other => Err(format!("positions must be int32 or int64, not {other}")),
    }
}

pub(super) fn arg_reduce(op: &ArgReduce, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let (_, len, inner) = x.around(op.axis);
    if len == 0 {
        return Err("an empty axis has no largest element".into());
    }
    let order = kernels::ArgOrder { largest: op.largest, last: op.select_last };
    let (dtype, count) = (op.dtype, out.elements());
    let scratch = position_scratch(dtype, count)?;
    by_type!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        write_positions(ctx, 0, dtype, count, |ctx, out| {
            kernels::arg_extreme::<T>(ctx.input(0), len, inner, order, out);
        });
        Ok(())
    }).scratch(scratch)))
}

pub(super) fn top_k(op: &TopK, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (_, len, inner) = x.around(op.axis);
    let selection = kernels::TopK { k: op.k, largest: op.largest, sorted: true };
    let (dtype, count) = (op.dtype, site.output()?.elements());
    if site.outputs.len() != 2 {
        return Err("expected two outputs, values and indices".into());
    }
    let scratch = position_scratch(dtype, count)?;
    by_type!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        write_positions(ctx, 1, dtype, count, |ctx, indices| {
            kernels::top_k::<T>(ctx.input(0), len, inner, selection, ctx.output(0), indices);
        });
        Ok(())
    }).scratch(scratch)))
}

pub(super) fn cum_sum(op: &CumSum, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (_, len, inner) = x.around(op.axis);
    let (exclusive, reverse) = (op.exclusive, op.reverse);
    if x.dtype == DType::F32 {
        return Ok(Lowered::new(move |ctx| {
            kernels::cumsum::<f32>(ctx.input(0), len, inner, exclusive, reverse, ctx.output(0));
            Ok(())
        }));
    }
    by_integer!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        kernels::cumsum::<Wrapping<T>>(ctx.input(0), len, inner, exclusive, reverse, ctx.output(0));
        Ok(())
    })))
}
