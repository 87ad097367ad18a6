//! Normalisations.

use fewbits_graph::ops::{BatchNorm, GroupNorm, LayerNorm};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::grad::rows::{NormGradient, NormShape, NormTargets};
use fewbits_kernels::float::linear::add_bias_clamp;
use fewbits_kernels::float::norm as kernels;

use super::clamp;
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

/// Layer and group normalisation.
struct Statistics {
    shape: NormShape,
    /// Over rows, not over the channels of a group.
    layer: bool,
    epsilon: f32,
    gradient: NormGradient,
}

pub(super) fn layer_norm(op: &LayerNorm, site: &Site) -> Derivation {
    let x = site.input(0)?;
    let channels = x.dims[op.axis..].iter().product();
    statistics(site, NormShape { pixels: 1, channels, groups: 1 }, true, op.epsilon)
}

pub(super) fn group_norm(op: &GroupNorm, site: &Site) -> Derivation {
    let dims = &site.input(0)?.dims;
    let (Some(&channels), true) = (dims.last(), dims.len() > 1) else {
        return Err("expected a channel axis".to_owned());
    };
    let pixels = dims[1..dims.len() - 1].iter().product();
    statistics(site, NormShape { pixels, channels, groups: op.groups }, false, op.epsilon)
}

fn statistics(site: &Site, shape: NormShape, layer: bool, epsilon: f32) -> Derivation {
    let gradient = NormGradient::new(site.input(0)?.elements(), shape, epsilon);
    Ok(Derived::new(Statistics { shape, layer, epsilon, gradient }).reading(true, &[0, 1]))
}

impl Derivative for Statistics {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let NormShape { pixels, channels, groups } = self.shape;
        let (x, scale, bias) = (run.input(0), run.optional(1), run.optional(2));
        if self.layer {
            kernels::layer_norm(x, channels, scale, bias, self.epsilon, run.output());
            return Ok(());
        }
        let (scale, bias) = (scale.ok_or("the scale is missing")?, bias.ok_or("the bias is missing")?);
        kernels::group_norm(x, pixels, channels, groups, scale, bias, self.epsilon, run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let mut target = |i: usize| run.target(i).map(|t| t.parts());
        let targets = NormTargets { x: target(0), scale: target(1), bias: target(2) };
        let (x, scale) = (run.input(0), run.optional(1));
        let [scratch] = run.scratch.get([dy.len()]);
        self.gradient.run(x, dy, scale, scratch, targets);
    }
}

/// Batch normalisation with frozen statistics; scale and bias may be trained.
struct Frozen {
    epsilon: f32,
    clamp: Clamp,
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// For the gradients of the bias, then of the scale.
    sums: [Epilogue; 2],
    mask: Epilogue,
}

pub(super) fn batch_norm(op: &BatchNorm, site: &Site) -> Derivation {
    site.only(&[0, 1, 2])?;
    let constant = |i: usize| {
        let data = site.input(i)?.data.as_ref().ok_or("the statistics must be constants")?;
        Ok::<_, String>(data.to_f32())
    };
    let len = site.output()?.elements();
    let (mean, variance) = (constant(3)?, constant(4)?);
    let sums = || Epilogue::new(len, mean.len());
    let sums = [sums(), sums()];
    let (clamp, epsilon) = (clamp(op.activation), op.epsilon);
    let derivative = Frozen { epsilon, clamp, mean, variance, sums, mask: Epilogue::new(len, 1) };
    let derived = Derived::new(derivative).reading(site.wants(1), &[0]).reading(site.wants(0), &[1]);
    Ok(derived.reading_outputs(!clamp.is_none()))
}

impl Derivative for Frozen {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let (scale, bias) = (run.input(1), run.input(2));
        let (scale, shift) = kernels::batch_norm_affine(scale, bias, &self.mean, &self.variance, self.epsilon);
        kernels::batch_norm(run.input(0), &scale, &shift, run.output());
        add_bias_clamp(run.output(), 1, None, self.clamp);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        self.mask.run(dy, run.output(), self.clamp, None);
        if let Some(target) = run.target(2) {
            self.sums[0].run(dy, run.output(), Clamp::NONE, Some(target.parts()));
        }
        let channels = self.mean.len();
        let inverse = |c: usize| 1.0 / (self.variance[c] + self.epsilon).sqrt();
        if let Some(target) = run.target(1) {
            let (x, y) = (run.input(0), run.output());
            let [products] = run.scratch.get([dy.len()]);
            for (i, (p, (d, x))) in products.iter_mut().zip(dy.iter().zip(x)).enumerate() {
                let c = i % channels;
                *p = d * (x - self.mean[c]) * inverse(c);
            }
            self.sums[1].run(products, y, Clamp::NONE, Some(target.parts()));
        }
        if let Some(target) = run.target(0) {
            let scale = run.input(1);
            let factors: Vec<f32> = (0..channels).map(|c| scale[c] * inverse(c)).collect();
            let [scratch] = run.scratch.get([target.data.len()]);
            let zeros = vec![0.0; channels];
            target.set(scratch, |dx| kernels::batch_norm(dy, &factors, &zeros, dx));
        }
    }
}
