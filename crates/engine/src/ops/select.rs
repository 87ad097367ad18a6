//! Operators that choose elements by the values of others.

use fewbits_graph::ops::{Gather, GatherElements, GatherNd, OneHot};
use fewbits_graph::{DType, Granularity};
use fewbits_kernels::float::movement::{self as kernels, View};

use super::numeric::by_width;
use crate::context::{RunContext, carve, carved};
use crate::site::{Lowered, Lowering, Operand, Site};

/// How a kernel gets at its indices as `i64`.
#[derive(Clone, Copy)]
struct Indices {
    input: usize,
    dtype: DType,
    count: usize,
}

impl Indices {
    fn new(site: &Site<'_>, input: usize) -> Result<Self, String> {
        let edge = site.input(input)?;
        if !matches!(edge.dtype, DType::I32 | DType::I64) {
            return Err(format!("indices must be int32 or int64, got {}", edge.dtype));
        }
        Ok(Indices { input, dtype: edge.dtype, count: edge.elements() })
    }

    /// Scratch for the conversion.
    fn scratch(self) -> usize {
        if self.dtype == DType::I64 { 0 } else { carved(self.count * size_of::<i64>()) }
    }

    /// The indices, converted into scratch that is taken from the context.
    fn read<'a>(self, ctx: &mut RunContext<'a>) -> &'a [i64] {
        if self.dtype == DType::I64 {
            return ctx.input(self.input);
        }
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let wide = carve::<i64>(&mut scratch, self.count);
        ctx.scratch = scratch;
        wide.iter_mut().zip(ctx.input::<i32>(self.input)).for_each(|(w, &i)| *w = i64::from(i));
        wide
    }
}

pub(super) fn gather(op: &Gather, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (_, axis, inner) = x.around(op.axis);
    let indices = Indices::new(site, 1)?;
    by_width!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        let at = indices.read(ctx);
        kernels::gather::<T>(ctx.input(0), axis, inner, at, ctx.output(0)).map_err(|e| e.to_string())
    }).scratch(indices.scratch())))
}

/// Rows of a quantized table, made floats as they are fetched.
pub(super) fn gather_quantized(op: &Gather, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let (outer, axis, inner) = x.around(op.axis);
    let quant = x.quant.clone().ok_or("the table is not quantized")?;
    let data = site.constant(0)?.clone();
    let per_row = quant.scales.len() == axis && quant.granularity == Granularity::PerChannel { axis: op.axis };
    if quant.as_per_tensor().is_none() && !per_row {
        // Scales along another axis: the whole table at once.
        let table = crate::convert::constant_to_f32(x, &data)?;
        let edge = Operand { dtype: DType::F32, dims: x.dims.clone(), quant: None, data: Some(table.clone()) };
        let inputs = vec![Some(edge), site.inputs[1].clone()];
        let mut lowered = gather(op, &Site { node: site.node, inputs, outputs: site.outputs.clone(), env: site.env })?;
        lowered.replaced.push((0, table));
        return Ok(lowered);
    }
    let (indices, packed) = (Indices::new(site, 1)?, x.dtype == DType::I4);
    let count = out.elements().checked_div(outer * inner).unwrap_or(0);
    Ok(Lowered::new(move |ctx| {
        let (at, table) = (indices.read(ctx), *ctx.inputs.get(0));
        let integer = |i: usize| match packed {
            true => (table[i / 2] << (4 * (1 - i % 2))).cast_signed() >> 4,
            false => table[i].cast_signed(),
        };
        for (i, out) in ctx.output::<f32>(0).chunks_exact_mut(inner.max(1)).enumerate() {
            let (o, i) = (i / count.max(1), i % count.max(1));
            let wrapped = if at[i] < 0 { at[i] + axis as i64 } else { at[i] };
            let row = usize::try_from(wrapped).ok().filter(|&r| r < axis);
            let row = row.ok_or_else(|| format!("index {} is outside of an axis of {axis}", at[i]))?;
            let which = if per_row { row } else { 0 };
            let (scale, zero) = (quant.scales[which], quant.zero_points[which]);
            let from = ((o * axis + row) * inner..).map(integer);
            out.iter_mut().zip(from).for_each(|(y, q)| *y = (i32::from(q) - zero) as f32 * scale);
        }
        Ok(())
    })
    .scratch(indices.scratch()))
}

pub(super) fn gather_elements(op: &GatherElements, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (axis, dims, index_dims) = (op.axis, x.dims.clone(), site.input(1)?.dims.clone());
    let beyond = |(i, (d, n)): (usize, (&usize, &usize))| i != axis && d > n;
    if index_dims.iter().zip(&dims).enumerate().any(beyond) {
        return Err(format!("indices of shape {index_dims:?} reach beyond {dims:?}"));
    }
    let indices = Indices::new(site, 1)?;
    by_width!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        let at = indices.read(ctx);
        kernels::gather_elements::<T>(ctx.input(0), &dims, axis, at, &index_dims, ctx.output(0))
            .map_err(|e| e.to_string())
    }).scratch(indices.scratch())))
}

pub(super) fn gather_nd(op: &GatherNd, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (dims, index_dims) = (x.dims.clone(), &site.input(1)?.dims);
    let (batch_dims, tuple) = (op.batch_dims, *index_dims.last().ok_or("indices without a dimension")?);
    if index_dims.len() <= batch_dims || dims[..batch_dims] != index_dims[..batch_dims] {
        return Err(format!("{batch_dims} batch dimensions of {dims:?} and {index_dims:?} differ"));
    }
    let indices = Indices::new(site, 1)?;
    by_width!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        let at = indices.read(ctx);
        kernels::gather_nd::<T>(ctx.input(0), &dims, batch_dims, at, tuple, ctx.output(0)).map_err(|e| e.to_string())
    }).scratch(indices.scratch())))
}

pub(super) fn scatter_nd(site: &Site<'_>) -> Lowering {
    let (x, updates) = (site.input(0)?, site.input(2)?);
    let (dims, index_dims) = (x.dims.clone(), &site.input(1)?.dims);
    let tuple = index_dims.last().copied().filter(|&t| t <= dims.len());
    let tuple = tuple.ok_or_else(|| format!("indices of shape {index_dims:?} for {dims:?}"))?;
    let rows: usize = index_dims[..index_dims.len() - 1].iter().product();
    let slice: usize = dims[tuple..].iter().product();
    if updates.elements() != rows * slice {
        return Err(format!("updates of shape {:?} for {rows} slices of {slice} elements", updates.dims));
    }
    let indices = Indices::new(site, 1)?;
    by_width!(x.dtype, T => Ok(Lowered::new(move |ctx| {
        let at = indices.read(ctx);
        if !ctx.in_place {
            let x = ctx.input::<T>(0);
            ctx.output::<T>(0).copy_from_slice(x);
        }
        let updates = ctx.input::<T>(2);
        kernels::scatter_nd(ctx.output::<T>(0), &dims, at, tuple, updates, |_, new| new).map_err(|e| e.to_string())
    }).scratch(indices.scratch()).in_place(0)))
}

pub(super) fn one_hot(op: &OneHot, site: &Site<'_>) -> Lowering {
    let (_, depth, inner) = site.output()?.around(op.axis);
    let indices = Indices::new(site, 0)?;
    by_width!(site.output()?.dtype, T => Ok(Lowered::new(move |ctx| {
        let at = indices.read(ctx);
        let &[off, on] = ctx.input::<T>(2) else { return Err("expected two values, off and on".into()) };
        if inner > 0 {
            kernels::one_hot(at, depth, inner, on, off, ctx.output::<T>(0));
        }
        Ok(())
    }).scratch(indices.scratch())))
}

pub(super) fn select(site: &Site<'_>) -> Lowering {
    let out = &site.output()?.dims;
    let view = |i: usize| {
        let x = site.input(i)?;
        View::dense(&x.dims).expand(out).ok_or_else(|| format!("{:?} does not expand to {out:?}", x.dims))
    };
    let (condition, a, b) = (view(0)?, view(1)?, view(2)?);
    if site.input(0)?.dtype != DType::Bool {
        return Err("the condition must be bool".into());
    }
    by_width!(site.output()?.dtype, T => Ok(Lowered::new(move |ctx| {
        let operands = (ctx.input(0), ctx.input(1), ctx.input(2));
        kernels::select::<T>((operands.0, &condition), (operands.1, &a), (operands.2, &b), ctx.output(0));
        Ok(())
    })))
}
