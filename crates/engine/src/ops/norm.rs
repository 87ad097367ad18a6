//! Soft-max and normalisations.

use fewbits_graph::ops::{BatchNorm, GroupNorm, L2Norm, LayerNorm};
use fewbits_kernels::float::binary::{self, BinaryKind, Broadcast};
use fewbits_kernels::float::linear::add_bias_clamp;
use fewbits_kernels::float::norm as kernels;
use fewbits_kernels::float::softmax::softmax_axis;

use super::clamp;
use crate::site::{Lowered, Lowering, Site};

pub(super) fn softmax(axis: usize, beta: f32, log: bool, site: &Site<'_>) -> Lowering {
    let (_, len, inner) = site.input(0)?.around(axis);
    Ok(Lowered::new(move |ctx| {
        softmax_axis(ctx.input(0), len, inner, beta, log, ctx.output(0));
        Ok(())
    }))
}

pub(super) fn batch_norm(op: &BatchNorm, site: &Site<'_>) -> Lowering {
    let floats = |i: usize| site.constant(i).map(fewbits_graph::Tensor::to_f32);
    let (scale, bias, mean, variance) = (floats(1)?, floats(2)?, floats(3)?, floats(4)?);
    let (scale, shift) = kernels::batch_norm_affine(&scale, &bias, &mean, &variance, op.epsilon);
    let clamp = clamp(op.activation);
    Ok(Lowered::new(move |ctx| {
        kernels::batch_norm(ctx.input(0), &scale, &shift, ctx.output(0));
        add_bias_clamp(ctx.output(0), 1, None, clamp);
        Ok(())
    }))
}

pub(super) fn layer_norm(op: &LayerNorm, site: &Site<'_>) -> Lowering {
    let n = site.input(0)?.dims[op.axis..].iter().product();
    let (has_scale, has_bias, epsilon) = (site.optional(1).is_some(), site.optional(2).is_some(), op.epsilon);
    Ok(Lowered::new(move |ctx| {
        let (scale, bias) = (has_scale.then(|| ctx.input(1)), has_bias.then(|| ctx.input(2)));
        kernels::layer_norm(ctx.input(0), n, scale, bias, epsilon, ctx.output(0));
        Ok(())
    }))
}

pub(super) fn group_norm(op: &GroupNorm, site: &Site<'_>) -> Lowering {
    let dims = &site.input(0)?.dims;
    let (Some(&channels), true) = (dims.last(), dims.len() > 1) else { return Err("expected a channel axis".into()) };
    let pixels: usize = dims[1..dims.len() - 1].iter().product();
    let (groups, epsilon) = (op.groups, op.epsilon);
    Ok(Lowered::new(move |ctx| {
        kernels::group_norm(ctx.input(0), pixels, channels, groups, ctx.input(1), ctx.input(2), epsilon, ctx.output(0));
        Ok(())
    }))
}

pub(super) fn l2_norm(op: &L2Norm, site: &Site<'_>) -> Lowering {
    let (_, len, inner) = site.input(0)?.around(op.axis);
    let epsilon = op.epsilon;
    if inner == 1 {
        return Ok(Lowered::new(move |ctx| {
            kernels::lp_normalize(ctx.input(0), len, kernels::LpNorm::L2, epsilon, ctx.output(0));
            Ok(())
        }));
    }
    let columns = Broadcast::new(&[len, inner], &[inner]).ok_or("the axis is too long")?;
    let kernel = Lowered::new(move |ctx| {
        let x = ctx.input::<f32>(0);
        let (out, scratch) = ctx.output_and_scratch::<f32>();
        let norms = &mut crate::view::cast_mut::<f32>(scratch)[..inner];
        let slab = (len * inner).max(1);
        for (x, out) in x.chunks_exact(slab).zip(out.chunks_exact_mut(slab)) {
            for (c, norm) in norms.iter_mut().enumerate() {
                let squares = x[c..].iter().step_by(inner).map(|&v| f64::from(v) * f64::from(v));
                *norm = (squares.sum::<f64>().sqrt() as f32).max(epsilon);
            }
            binary::binary(BinaryKind::Div, &columns, x, norms, out, fewbits_kernels::float::Clamp::NONE);
        }
        Ok(())
    });
    Ok(kernel.scratch(inner * size_of::<f32>()))
}
