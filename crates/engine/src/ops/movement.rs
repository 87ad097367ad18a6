//! Operators that move elements, whatever their type.

use fewbits_graph::ops::{Concat, DepthToSpace, Pad, PadMode, ShapeOf, SpaceToDepth, Split, Transpose, slice_indices};
use fewbits_graph::{DType, Tensor};
use fewbits_kernels::float::linear::add_bias_clamp;
use fewbits_kernels::float::movement::{CopyPlan, View, range_f32};

use super::clamp;
use super::numeric::{Whole, by_integer, by_width};
use crate::site::{Lowered, Lowering, Operand, Site};

/// A copy of input 0 in another order.
fn copy(view: &View, site: &Site<'_>) -> Lowering {
    copies(vec![view.plan()], site)
}

/// One copy of input 0 for each output.
fn copies(plans: Vec<CopyPlan>, site: &Site<'_>) -> Lowering {
    by_width!(site.input(0)?.dtype, T => Ok(Lowered::new(move |ctx| {
        let x = ctx.input::<T>(0);
        for (i, plan) in plans.iter().enumerate() {
            plan.run(x, ctx.output::<T>(i));
        }
        Ok(())
    })))
}

pub(super) fn transpose(op: &Transpose, site: &Site<'_>) -> Lowering {
    copy(&View::dense(&site.input(0)?.dims).permute(&op.perm), site)
}

pub(super) fn expand(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let view = View::dense(&x.dims).expand(&out.dims);
    copy(&view.ok_or_else(|| format!("{:?} does not expand to {:?}", x.dims, out.dims))?, site)
}

pub(super) fn tile(site: &Site<'_>) -> Lowering {
    let repeats = site.integers(1)?.iter().map(|&r| usize::try_from(r)).collect::<Result<Vec<_>, _>>();
    copy(&View::dense(&site.input(0)?.dims).tile(&repeats.map_err(|_| "a repeat is negative")?), site)
}

pub(super) fn slice(site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (starts, ends, steps) = (site.integers(1)?, site.integers(2)?, site.integers(4)?);
    let mut view = View::dense(&x.dims);
    for (i, &axis) in site.integers(3)?.iter().enumerate() {
        let axis = if axis < 0 { axis + x.dims.len() as i64 } else { axis };
        let axis = usize::try_from(axis).ok().filter(|&a| a < x.dims.len()).ok_or("an axis is out of range")?;
        let (first, count) = slice_indices(view.dims()[axis], starts[i], ends[i], steps[i]);
        let step = isize::try_from(steps[i]).map_err(|_| "a step is out of range")?;
        // A step beyond the axis takes one element; its size no longer matters.
        view = view.slice(axis, first, if count > 1 { step } else { 1 }, count);
    }
    copy(&view, site)
}

pub(super) fn split(op: &Split, site: &Site<'_>) -> Lowering {
    let dense = View::dense(&site.input(0)?.dims);
    let mut first = 0;
    let plans = op.sizes.iter().map(|&size| {
        let plan = dense.clone().slice(op.axis, first, 1, size).plan();
        first += size;
        plan
    });
    copies(plans.collect(), site)
}

pub(super) fn space_to_depth(op: &SpaceToDepth, site: &Site<'_>) -> Lowering {
    copy(&View::space_to_depth(site.input(0)?.nhwc()?, op.block), site)
}

pub(super) fn depth_to_space(op: &DepthToSpace, site: &Site<'_>) -> Lowering {
    copy(&View::depth_to_space(site.input(0)?.nhwc()?, op.block, op.channel_first), site)
}

pub(super) fn identity(site: &Site<'_>) -> Lowering {
    site.input(0)?;
    Ok(Lowered::new(|ctx| {
        let x = ctx.input::<u8>(0);
        ctx.output::<u8>(0).copy_from_slice(x);
        Ok(())
    }))
}

/// For each input of a concatenation, the bytes that it gives in a row.
pub(super) fn concat_runs(axis: usize, site: &Site<'_>) -> Result<Vec<usize>, String> {
    let run = |o: &Option<Operand>| {
        let o = o.as_ref().ok_or("an input is missing")?;
        let (_, len, inner) = o.around(axis);
        o.dtype.byte_len(len * inner).ok_or_else(|| "an input is too large".to_owned())
    };
    site.inputs.iter().map(run).collect()
}

pub(super) fn concat(op: &Concat, site: &Site<'_>) -> Lowering {
    let runs = concat_runs(op.axis, site)?;
    let total: usize = runs.iter().sum();
    let clamp = clamp(op.activation);
    Ok(Lowered::new(move |ctx| {
        let mut first = 0;
        for (i, &run) in runs.iter().enumerate().filter(|(_, run)| **run > 0) {
            let x = ctx.input::<u8>(i);
            for (x, out) in x.chunks_exact(run).zip(ctx.output::<u8>(0).chunks_exact_mut(total)) {
                out[first..first + run].copy_from_slice(x);
            }
            first += run;
        }
        if !clamp.is_none() {
            add_bias_clamp(ctx.output(0), 1, None, clamp);
        }
        Ok(())
    }))
}

pub(super) fn shape_of(op: &ShapeOf, site: &Site<'_>) -> Lowering {
    let dims = site.input(0)?.dims[op.start..op.end].to_vec();
    by_integer!(op.dtype, T => Ok(Lowered::new(move |ctx| {
        for (y, &d) in ctx.output::<T>(0).iter_mut().zip(&dims) {
            *y = <T as Whole>::narrow(d as i64);
        }
        Ok(())
    })))
}

pub(super) fn fill(site: &Site<'_>) -> Lowering {
    by_width!(site.output()?.dtype, T => Ok(Lowered::new(|ctx| {
        let value = *ctx.input::<T>(1).first().ok_or("the fill value is empty")?;
        ctx.output::<T>(0).fill(value);
        Ok(())
    })))
}

pub(super) fn range(site: &Site<'_>) -> Lowering {
    let dtype = site.output()?.dtype;
    if dtype == DType::F32 {
        return Ok(Lowered::new(|ctx| {
            let (start, delta) = (ctx.input::<f32>(0), ctx.input::<f32>(2));
            let (start, delta) = (start.first().ok_or("no start")?, delta.first().ok_or("no step")?);
            range_f32(*start, *delta, ctx.output(0));
            Ok(())
        }));
    }
    by_integer!(dtype, T => Ok(Lowered::new(|ctx| {
        let (start, delta) = (ctx.input::<T>(0), ctx.input::<T>(2));
        let mut value = start.first().ok_or("no start")?.wide();
        let delta = delta.first().ok_or("no step")?.wide();
        for y in ctx.output::<T>(0) {
            *y = T::narrow(value);
            value = value.wrapping_add(delta);
        }
        Ok(())
    })))
}

/// For each position along a padded axis, the position it is taken from; `None` is the fill.
fn pad_map(mode: PadMode, size: usize, before: i64, out: usize) -> Result<Vec<Option<usize>>, String> {
    let n = i64::try_from(size).map_err(|_| "the axis is too long")?;
    let source = |i: usize| {
        let at = i as i64 - before;
        let inside = match mode {
            _ if n == 0 => return None,
            PadMode::Constant => at,
            PadMode::Edge => at.clamp(0, n - 1),
            PadMode::Wrap => at.rem_euclid(n),
            PadMode::Symmetric => {
                let folded = at.rem_euclid(2 * n);
                folded.min(2 * n - 1 - folded)
            }
            PadMode::Reflect if n == 1 => 0,
            PadMode::Reflect => {
                let folded = at.rem_euclid(2 * n - 2);
                folded.min(2 * n - 2 - folded)
            }
        };
        usize::try_from(inside).ok().filter(|&s| s < size)
    };
    if n == 0 && out > 0 && mode != PadMode::Constant {
        return Err("an empty axis has nothing to repeat".into());
    }
    Ok((0..out).map(source).collect())
}

/// Copies one axis and those after it: `x` is the source's part, `None` where all is fill.
fn pad_axis<T: Copy>(maps: &[(Vec<Option<usize>>, usize)], x: Option<&[T]>, fill: T, out: &mut [T]) {
    let Some(((map, inner), rest)) = maps.split_first() else {
        match x {
            Some(x) => out.copy_from_slice(x),
            None => out.fill(fill),
        }
        return;
    };
    let piece = out.len() / map.len().max(1);
    for (source, out) in map.iter().zip(out.chunks_exact_mut(piece.max(1))) {
        let x = source.and_then(|s| x.map(|x| &x[s * inner..(s + 1) * inner]));
        pad_axis(rest, x, fill, out);
    }
}

pub(super) fn pad(op: &Pad, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let pads = site.integers(1)?;
    let rank = x.dims.len();
    // Trailing axes without padding are copied as runs.
    let padded = (0..rank).rev().find(|&i| pads[i] != 0 || pads[i + rank] != 0).map_or(0, |i| i + 1);
    let mut maps = Vec::with_capacity(padded);
    for axis in 0..padded {
        let inner: usize = x.dims[axis + 1..].iter().product();
        maps.push((pad_map(op.mode, x.dims[axis], pads[axis], out.dims[axis])?, inner));
    }
    let zero = zero_element(x)?;
    let has_value = op.mode == PadMode::Constant && site.optional(2).is_some();
    by_width!(x.dtype, T => {
        let zero = *crate::view::cast::<T>(zero.bytes()).first().ok_or("no fill value")?;
        Ok(Lowered::new(move |ctx| {
            let fill = if has_value { *ctx.input::<T>(2).first().ok_or("the fill value is empty")? } else { zero };
            let x = ctx.input::<T>(0);
            let out = ctx.output::<T>(0);
            if !out.is_empty() {
                pad_axis(&maps, Some(x), fill, out);
            }
            Ok(())
        }))
    })
}

/// The element that stands for zero on an edge, as a tensor of one.
fn zero_element(edge: &Operand) -> Result<Tensor, String> {
    let zero_point = match &edge.quant {
        Some(_) => edge.affine()?.1,
        None => 0,
    };
    match edge.dtype {
        DType::F32 => Ok(Tensor::scalar(0f32)),
        DType::F64 => Ok(Tensor::scalar(0f64)),
        DType::F16 => Ok(Tensor::scalar(0i16)),
        dtype => by_integer!(dtype, T => Ok(Tensor::scalar(T::narrow(i64::from(zero_point))))),
    }
}
