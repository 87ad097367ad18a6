//! Normalisations: layer, group and instance, batch (folded to scale and shift), and Lp.
//!
//! Statistics are two-pass and accumulated in f64.

use super::dispatch::{avx2, multiversion};
use super::parallel;

/// Channels whose statistics are gathered together.
const BLOCK: usize = 64;
const LANES: usize = 8;

/// Layer normalisation of each row of `x` `[rows, n]`: `(x - mean) / sqrt(var + epsilon)`, times
/// `scale` `[n]`, plus `bias` `[n]`; the variance is the biased one (ONNX `LayerNormalization`).
///
/// # Panics
/// If a length does not fit.
pub fn layer_norm(x: &[f32], n: usize, scale: Option<&[f32]>, bias: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    assert!(scale.is_none_or(|s| s.len() == n) && bias.is_none_or(|b| b.len() == n));
    if n == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(n));
    let isa = avx2();
    let parallel = parallel::worthwhile(x.len() * 4);
    let chunk = (parallel::CHUNK / n).max(1) * n;
    parallel::chunks_mut(out, chunk, parallel, |i, out| {
        let x = &x[i * chunk..i * chunk + out.len()];
        for (x, y) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            layer_row(isa, x, scale, bias, epsilon, y);
        }
    });
}

multiversion! {
    fn layer_row(x: &[f32], scale: Option<&[f32]>, bias: Option<&[f32]>, epsilon: f32, out: &mut [f32]) = layer_row_body
}

#[inline(always)]
fn layer_row_body(x: &[f32], scale: Option<&[f32]>, bias: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
    let n = x.len() as f64;
    let mean = sum_lanes(x, f64::from) / n;
    let variance = sum_lanes(x, |x| (f64::from(x) - mean) * (f64::from(x) - mean)) / n;
    let inverse = (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32;
    let mean = mean as f32;
    for (y, x) in out.iter_mut().zip(x) {
        *y = (x - mean) * inverse;
    }
    if let Some(scale) = scale {
        out.iter_mut().zip(scale).for_each(|(y, s)| *y *= s);
    }
    if let Some(bias) = bias {
        out.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
    }
}

#[inline(always)]
fn sum_lanes(x: &[f32], map: impl Fn(f32) -> f64) -> f64 {
    let mut acc = [0.0; LANES];
    let (main, rest) = x.as_chunks::<LANES>();
    for x in main {
        for i in 0..LANES {
            acc[i] += map(x[i]);
        }
    }
    for (acc, x) in acc.iter_mut().zip(rest) {
        *acc += map(*x);
    }
    ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]))
}

/// Group normalisation of `x` `[batch, pixels, channels]` (NHWC): each image and group of
/// `channels / groups` channels is normalised over its pixels and channels, then multiplied by
/// `scale` `[channels]`, plus `bias` `[channels]`. With as many groups as channels it is instance
/// normalisation.
///
/// # Panics
/// If a length does not fit or `groups` does not divide `channels`.
pub fn group_norm(
    x: &[f32],
    pixels: usize,
    channels: usize,
    groups: usize,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len());
    assert!(scale.len() == channels && bias.len() == channels);
    let image = pixels * channels;
    if image == 0 {
        return;
    }
    assert!(groups > 0 && channels.is_multiple_of(groups) && x.len().is_multiple_of(image));
    let isa = avx2();
    let parallel = parallel::worthwhile(x.len() * 4);
    parallel::chunks_mut(out, image, parallel, |i, out| {
        let x = &x[i * image..(i + 1) * image];
        group_image(isa, x, channels, channels / groups, scale, bias, epsilon, out);
    });
}

/// Instance normalisation of `x` `[batch, pixels, channels]` (NHWC): [`group_norm`] with a group
/// a channel.
///
/// # Panics
/// If a length does not fit.
pub fn instance_norm(
    x: &[f32],
    pixels: usize,
    channels: usize,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    group_norm(x, pixels, channels, channels, scale, bias, epsilon, out);
}

multiversion! {
    fn group_image(x: &[f32], channels: usize, per_group: usize, scale: &[f32], bias: &[f32], epsilon: f32, out: &mut [f32]) = group_image_body
}

#[inline(always)]
fn group_image_body(
    x: &[f32],
    channels: usize,
    per_group: usize,
    scale: &[f32],
    bias: &[f32],
    epsilon: f32,
    out: &mut [f32],
) {
    let pixels = x.len() / channels;
    let count = (pixels * per_group) as f64;
    // A step is as many whole groups as fit a block, or one group larger than it.
    let step = (BLOCK / per_group).max(1) * per_group;
    for first in (0..channels).step_by(step) {
        let end = channels.min(first + step);
        let mut means = [0.0; BLOCK];
        let mut inverses = [0.0; BLOCK];
        let none = [0.0; BLOCK];
        group_sums(x, channels, first..end, per_group, &none, |x, _| x, &mut means);
        means.iter_mut().for_each(|m| *m /= count);
        group_sums(x, channels, first..end, per_group, &means, |x, m| (x - m) * (x - m), &mut inverses);
        for v in &mut inverses {
            *v = 1.0 / (*v / count + f64::from(epsilon)).sqrt();
        }
        for c in first..end {
            let g = (c - first) / per_group;
            let factor = inverses[g] * f64::from(scale[c]);
            let shift = (f64::from(bias[c]) - means[g] * factor) as f32;
            let factor = factor as f32;
            for (y, x) in out[c..].iter_mut().step_by(channels).zip(x[c..].iter().step_by(channels)) {
                *y = x.mul_add(factor, shift);
            }
        }
    }
}

/// `sums[g] += map(x, shift[g])` over the pixels and channels of the groups in `range`.
#[inline(always)]
fn group_sums(
    x: &[f32],
    channels: usize,
    range: std::ops::Range<usize>,
    per_group: usize,
    shift: &[f64; BLOCK],
    map: impl Fn(f64, f64) -> f64,
    sums: &mut [f64; BLOCK],
) {
    for first in range.clone().step_by(BLOCK) {
        let width = BLOCK.min(range.end - first);
        let group = |j: usize| (first - range.start + j) / per_group;
        let mut local = [0.0; BLOCK];
        let mut at = [0.0; BLOCK];
        for (j, at) in at[..width].iter_mut().enumerate() {
            *at = shift[group(j)];
        }
        for pixel in x.chunks_exact(channels) {
            for (j, x) in pixel[first..first + width].iter().enumerate() {
                local[j] += map(f64::from(*x), at[j]);
            }
        }
        for (j, sum) in local[..width].iter().enumerate() {
            sums[group(j)] += sum;
        }
    }
}

/// Batch normalisation at inference: `out = x * scale + shift` with one pair a channel, `x`
/// `[.., channels]`.
///
/// # Panics
/// If a length does not fit.
pub fn batch_norm(x: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let channels = scale.len();
    assert_eq!(shift.len(), channels);
    assert_eq!(x.len(), out.len());
    if channels == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(channels));
    let isa = avx2();
    let parallel = parallel::worthwhile(x.len());
    let chunk = (parallel::CHUNK / channels).max(1) * channels;
    parallel::chunks_mut(out, chunk, parallel, |i, out| {
        affine(isa, &x[i * chunk..i * chunk + out.len()], scale, shift, out);
    });
}

/// Folds batch-norm statistics to the pair that [`batch_norm`] takes: `scale / sqrt(var +
/// epsilon)` and `bias - mean * that`, computed in f64.
///
/// # Panics
/// If the lengths differ.
pub fn batch_norm_affine(
    scale: &[f32],
    bias: &[f32],
    mean: &[f32],
    variance: &[f32],
    epsilon: f32,
) -> (Vec<f32>, Vec<f32>) {
    assert!([bias.len(), mean.len(), variance.len()] == [scale.len(); 3]);
    (0..scale.len())
        .map(|c| {
            let deviation = (f64::from(variance[c]) + f64::from(epsilon)).sqrt();
            let factor = f64::from(scale[c]) / deviation;
            (factor as f32, (f64::from(bias[c]) - f64::from(mean[c]) * factor) as f32)
        })
        .unzip()
}

multiversion! {
    fn affine(x: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) = affine_body
}

#[inline(always)]
fn affine_body(x: &[f32], scale: &[f32], shift: &[f32], out: &mut [f32]) {
    let n = scale.len();
    for (x, y) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let channels = scale.iter().zip(shift);
        for ((y, x), (scale, shift)) in y.iter_mut().zip(x).zip(channels) {
            *y = x.mul_add(*scale, *shift);
        }
    }
}

/// The norm by which [`lp_normalize`] divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LpNorm {
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
}

/// Divides each row of `x` `[rows, n]` by its norm, or by `floor` where the norm is smaller
/// (TFLite's `L2_NORMALIZATION` uses 1e-6; ONNX's `LpNormalization` leaves zero rows zero, which
/// any positive `floor` does).
///
/// # Panics
/// If a length does not fit.
pub fn lp_normalize(x: &[f32], n: usize, norm: LpNorm, floor: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    if n == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(n));
    for (x, y) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let length = match norm {
            LpNorm::L1 => sum_lanes(x, |x| f64::from(x.abs())),
            LpNorm::L2 => sum_lanes(x, |x| f64::from(x) * f64::from(x)).sqrt(),
        };
        let inverse = (1.0 / length.max(f64::from(floor))) as f32;
        for (y, x) in y.iter_mut().zip(x) {
            *y = x * inverse;
        }
    }
}
