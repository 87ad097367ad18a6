//! Fully-connected layers and matrix products.

use fewbits_graph::DType;
use fewbits_graph::ops::{FullyConnected, MatMul};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::binary::Broadcast;
use fewbits_kernels::float::gemm::PackedMatrix;
use fewbits_kernels::float::linear::{BatchMatmul, fully_connected as unpacked};
use fewbits_kernels::float::narrow::{NarrowBits, NarrowWeights, PackedNarrow};

use super::clamp;
use crate::deferred::block_of;
use crate::site::{Lowered, Lowering, Operand, Site};
use crate::view::cast_mut;

/// Rows, outputs and inputs of a fully-connected layer.
pub(super) fn layer_sizes(site: &Site<'_>) -> Result<(usize, usize, usize), String> {
    let &[n, k] = site.input(1)?.dims.as_slice() else { return Err("weights are not a matrix".into()) };
    let x = &site.input(0)?.dims;
    let m = x[..x.len().saturating_sub(1)].iter().product();
    Ok((m, n, k))
}

pub(super) fn fully_connected(op: &FullyConnected, site: &Site<'_>) -> Lowering {
    let (m, n, k) = layer_sizes(site)?;
    let clamp = clamp(op.activation);
    if site.is_runtime(1) || site.is_runtime(2) {
        let has_bias = site.optional(2).is_some();
        return Ok(Lowered::new(move |ctx| {
            let bias = has_bias.then(|| ctx.input(2));
            unpacked(m, n, k, ctx.input(0), ctx.input(1), bias, ctx.output(0), clamp);
            Ok(())
        }));
    }
    let (weights, bias) = (site.constant(1)?, site.optional_floats(2)?);
    let pack = || PackedMatrix::new(&weights.to_f32(), n, k, bias.as_deref());
    let packed = site.env.packed.get(site.node, pack);
    Ok(Lowered::new(move |ctx| {
        packed.run(ctx.input(0), k, m, ctx.output(0), n, clamp);
        Ok(())
    }))
}

/// As [`fully_connected`], on constant weights that stay integers.
pub(super) fn weight_only(op: &FullyConnected, site: &Site<'_>) -> Lowering {
    let (m, n, k) = layer_sizes(site)?;
    let clamp = clamp(op.activation);
    let (weights, bias) = (site.constant(1)?, site.optional_floats(2)?);
    let bits = if weights.dtype() == DType::I4 { NarrowBits::Four } else { NarrowBits::Eight };
    let quant = site.input(1)?.quant.as_ref().ok_or("the weights have no scale")?;
    let block = block_of(quant, k).filter(|&b| PackedNarrow::takes(k, b)).ok_or("the weights' scales lie otherwise")?;
    let values = weights.signed_bytes().ok_or("the weights are not int8 or int4")?;
    let pack = || {
        // One scale for all is one for each output.
        let each = n * k.div_ceil(block);
        let spread = |count: usize, i: usize| if count == 1 { 0 } else { i };
        let scales: Vec<f32> = (0..each).map(|i| quant.scales[spread(quant.scales.len(), i)]).collect();
        let zero = |i: usize| quant.zero_points[spread(quant.zero_points.len(), i)];
        // Zero points are in the range of their type: the graph was validated.
        let zero_points: Vec<i8> = (0..each).map(|i| zero(i) as i8).collect();
        let (scales, zero_points) = (scales.as_slice(), zero_points.as_slice());
        PackedNarrow::new(&NarrowWeights { values: &values, n, k, block, scales, zero_points }, bits, bias.as_deref())
    };
    let packed = site.env.packed.get(site.node, pack);
    let scratch = packed.scratch_len(m, rayon::current_num_threads()) * size_of::<f32>();
    let kernel = Lowered::new(move |ctx| {
        let x = ctx.input(0);
        let (out, scratch) = ctx.output_and_scratch();
        packed.run(m, x, out, cast_mut(scratch), clamp);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

/// A matrix product in sizes: how the leading dimensions meet, and one product.
pub(super) struct Product {
    pub(super) batch: Broadcast,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
}

impl Product {
    /// Of the node's inputs 0 and 1; operands of rank 1 are a row and a column.
    pub(super) fn new(a: &Operand, b: &Operand, transpose_a: bool, transpose_b: bool) -> Result<Self, String> {
        let matrix = |dims: &[usize], transpose: bool, row: bool| match *dims {
            [] => Err("a matrix product needs at least one dimension".to_owned()),
            [len] => Ok(if row { (vec![], 1, len) } else { (vec![], len, 1) }),
            [ref batch @ .., rows, cols] if transpose => Ok((batch.to_vec(), cols, rows)),
            [ref batch @ .., rows, cols] => Ok((batch.to_vec(), rows, cols)),
        };
        let (batch_a, m, k) = matrix(&a.dims, transpose_a, true)?;
        let (batch_b, _, n) = matrix(&b.dims, transpose_b, false)?;
        let batch = Broadcast::new(&batch_a, &batch_b).ok_or("the leading dimensions do not broadcast")?;
        Ok(Product { batch, m, n, k })
    }
}

pub(super) fn matmul(op: &MatMul, site: &Site<'_>) -> Lowering {
    let (a, b) = (site.input(0)?, site.input(1)?);
    let Product { batch, m, n, k } = Product::new(a, b, op.transpose_a, op.transpose_b)?;
    let plain_a = !op.transpose_a || a.dims.len() < 2;
    if plain_a && b.elements() == k * n && b.data.is_some() {
        let weights = site.constant(1)?;
        let transposed = op.transpose_b && b.dims.len() > 1;
        let pack = || {
            let w = weights.to_f32();
            let at = |col: usize, row: usize| if transposed { w[col * k + row] } else { w[row * n + col] };
            PackedMatrix::from_fn(n, k, None, at)
        };
        let packed = site.env.packed.get(site.node, pack);
        let rows = a.elements().checked_div(k).unwrap_or(0);
        return Ok(Lowered::new(move |ctx| {
            packed.run(ctx.input(0), k, rows, ctx.output(0), n, Clamp::NONE);
            Ok(())
        }));
    }
    let (mut offsets_a, mut offsets_b) = batch.offsets();
    offsets_a.iter_mut().for_each(|o| *o *= m * k);
    offsets_b.iter_mut().for_each(|o| *o *= k * n);
    let transpose_b = op.transpose_b && b.dims.len() > 1;
    let product = BatchMatmul { m, n, k, transpose_a: !plain_a, transpose_b };
    Ok(Lowered::new(move |ctx| {
        product.run(ctx.input(0), &offsets_a, ctx.input(1), &offsets_b, ctx.output(0), Clamp::NONE);
        Ok(())
    }))
}
