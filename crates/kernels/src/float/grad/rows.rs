//! Gradients of soft-max and of the normalisations.

use crate::float::dispatch::{avx2, multiversion};
use crate::float::grad::columns::reduce_partials;
use crate::float::parallel::{self, CHUNK};
use crate::float::vmath;
use rayon::prelude::*;

/// Gradient of `y = softmax(beta x)`, or of log-softmax if `log`, over the middle axis of `[outer,
/// axis, inner]`, from the output `y`: `dx = beta (dy - Σ dy y) y`, or `dx = beta (dy - e^y Σ dy)`;
/// added to `dx` if `accumulate`.
///
/// # Panics
/// If the lengths do not fit.
pub fn softmax_gradient(
    y: &[f32],
    dy: &[f32],
    [axis, inner]: [usize; 2],
    beta: f32,
    log: bool,
    dx: &mut [f32],
    accumulate: bool,
) {
    assert!(y.len() == dx.len() && dy.len() == dx.len());
    let slab = axis * inner;
    if slab == 0 {
        return;
    }
    assert!(dx.len().is_multiple_of(slab));
    let isa = avx2();
    let chunk = (CHUNK / slab).max(1) * slab;
    parallel::chunks_mut(dx, chunk, parallel::worthwhile(dx.len() * 4), |i, dx| {
        let span = i * chunk..i * chunk + dx.len();
        softmax_piece(isa, &y[span.clone()], &dy[span], [axis, inner], beta, log, dx, accumulate);
    });
}

multiversion! {
    fn softmax_piece(
        y: &[f32],
        dy: &[f32],
        sizes: [usize; 2],
        beta: f32,
        log: bool,
        dx: &mut [f32],
        accumulate: bool,
    ) = softmax_piece_body
}

#[inline(always)]
fn softmax_piece_body(
    y: &[f32],
    dy: &[f32],
    [axis, inner]: [usize; 2],
    beta: f32,
    log: bool,
    dx: &mut [f32],
    accumulate: bool,
) {
    let slab = axis * inner;
    for start in (0..dx.len()).step_by(slab) {
        let (y, dy) = (&y[start..start + slab], &dy[start..start + slab]);
        let dx = &mut dx[start..start + slab];
        for c in 0..inner {
            let mut sum = 0.0f64;
            for i in (c..slab).step_by(inner) {
                sum += f64::from(dy[i]) * if log { 1.0 } else { f64::from(y[i]) };
            }
            let sum = sum as f32;
            for i in (c..slab).step_by(inner) {
                let g = beta * if log { dy[i] - vmath::exp(y[i]) * sum } else { (dy[i] - sum) * y[i] };
                dx[i] = if accumulate { dx[i] + g } else { g };
            }
        }
    }
}

/// Where the elements of a normalised set stand: sets are contiguous rows, or in the channels of a
/// group at every pixel of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormShape {
    /// Pixels that share statistics; 1 for layer normalisation.
    pub pixels: usize,
    /// Channels of a pixel, each with its own scale and bias.
    pub channels: usize,
    /// Groups of channels, each with its own statistics.
    pub groups: usize,
}

/// Gradient of layer, group and instance normalisation: built once for a shape, with its partial
/// sums.
#[derive(Clone, Debug)]
pub struct NormGradient {
    shape: NormShape,
    epsilon: f32,
    images: usize,
    partial: Vec<f32>,
    totals: Vec<f32>,
}

/// Where gradients go; each is written, or added if its flag is set.
#[derive(Debug, Default)]
pub struct NormTargets<'a> {
    /// Of the input.
    pub x: Option<(&'a mut [f32], bool)>,
    /// Of the scale, `[channels]`.
    pub scale: Option<(&'a mut [f32], bool)>,
    /// Of the bias, `[channels]`.
    pub bias: Option<(&'a mut [f32], bool)>,
}

impl NormGradient {
    /// For inputs of `len` elements: images of `pixels * channels`.
    ///
    /// # Panics
    /// If `len` is not whole images or `groups` does not divide `channels`.
    pub fn new(len: usize, shape: NormShape, epsilon: f32) -> Self {
        let image = (shape.pixels * shape.channels).max(1);
        assert!(len.is_multiple_of(image) && shape.groups > 0 && shape.channels.is_multiple_of(shape.groups));
        let images = (CHUNK / image).max(1);
        let pieces = (len / image).div_ceil(images);
        let sums = 2 * shape.channels;
        Self { shape, epsilon, images, partial: vec![0.0; pieces * sums], totals: vec![0.0; sums] }
    }

    /// Computes what `targets` asks for from the input `x`, the gradient `dy` of the output and
    /// the `scale`, 1 if absent. `scratch` holds as many floats as `x`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn run(&mut self, x: &[f32], dy: &[f32], scale: Option<&[f32]>, scratch: &mut [f32], targets: NormTargets<'_>) {
        let (shape, epsilon) = (self.shape, self.epsilon);
        assert!(x.len() == dy.len() && scratch.len() == x.len());
        assert!(scale.is_none_or(|s| s.len() == shape.channels));
        let piece = self.images * shape.pixels * shape.channels;
        if x.is_empty() {
            return;
        }
        let isa = avx2();
        let each = |x: &[f32], dy: &[f32], dx: &mut [f32], sums: &mut [f32]| {
            sums.fill(0.0);
            norm_images(isa, shape, epsilon, x, dy, scale, dx, sums);
        };
        let sums = 2 * shape.channels;
        if parallel::worthwhile(x.len() * 4) {
            let pieces = x.par_chunks(piece).zip(dy.par_chunks(piece)).zip(scratch.par_chunks_mut(piece));
            let pieces = pieces.zip(self.partial.par_chunks_mut(sums));
            pieces.for_each(|(((x, dy), dx), sums)| each(x, dy, dx, sums));
        } else {
            let pieces = x.chunks(piece).zip(dy.chunks(piece)).zip(scratch.chunks_mut(piece));
            let pieces = pieces.zip(self.partial.chunks_mut(sums));
            pieces.for_each(|(((x, dy), dx), sums)| each(x, dy, dx, sums));
        }
        match targets.x {
            Some((dx, true)) => super::columns::add(scratch, dx),
            Some((dx, false)) => dx.copy_from_slice(scratch),
            None => {}
        }
        reduce_partials(&self.partial, &mut self.totals, false);
        let (scales, biases) = self.totals.split_at(shape.channels);
        for (target, totals) in [(targets.scale, scales), (targets.bias, biases)] {
            match target {
                Some((out, true)) => out.iter_mut().zip(totals).for_each(|(o, t)| *o += t),
                Some((out, false)) => out.copy_from_slice(totals),
                None => {}
            }
        }
    }
}

multiversion! {
    fn norm_images(
        shape: NormShape,
        epsilon: f32,
        x: &[f32],
        dy: &[f32],
        scale: Option<&[f32]>,
        dx: &mut [f32],
        sums: &mut [f32],
    ) = norm_images_body
}

#[inline(always)]
fn norm_images_body(
    shape: NormShape,
    epsilon: f32,
    x: &[f32],
    dy: &[f32],
    scale: Option<&[f32]>,
    dx: &mut [f32],
    sums: &mut [f32],
) {
    let NormShape { pixels, channels, groups } = shape;
    let (image, width) = (pixels * channels, channels / groups);
    let (scale_sums, bias_sums) = sums.split_at_mut(channels);
    for at in (0..x.len()).step_by(image) {
        for first in (0..channels).step_by(width) {
            let pixel = |p: usize| at + p * channels + first..at + p * channels + first + width;
            let scale = scale.map(|s| &s[first..first + width]);
            let count = (pixels * width) as f64;
            let pixels = || (0..pixels).map(pixel);
            let mean = sum(pixels(), |_, i| x[i]) / count;
            let variance = sum(pixels(), |_, i| (f64::from(x[i]) - mean).powi(2)) / count;
            let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
            let (mean, inverse) = (mean as f32, inverse as f32);
            let inner = |c: usize, i: usize| dy[i] * scale.map_or(1.0, |s| s[c]);
            let of_ones = (sum(pixels(), inner) / count) as f32;
            let of_x = (sum(pixels(), |c, i| inner(c, i) * ((x[i] - mean) * inverse)) / count) as f32;
            for pixel in pixels() {
                for (c, i) in pixel.enumerate() {
                    let normal = (x[i] - mean) * inverse;
                    dx[i] = inverse * (inner(c, i) - of_ones - normal * of_x);
                    scale_sums[first + c] += dy[i] * normal;
                    bias_sums[first + c] += dy[i];
                }
            }
        }
    }
}

/// Sum of `f(place in the run, index)` over runs of indices.
#[inline(always)]
fn sum<T: Into<f64>>(runs: impl Iterator<Item = std::ops::Range<usize>>, f: impl Fn(usize, usize) -> T) -> f64 {
    let mut total = 0.0;
    for run in runs {
        for (c, i) in run.enumerate() {
            total += f(c, i).into();
        }
    }
    total
}
