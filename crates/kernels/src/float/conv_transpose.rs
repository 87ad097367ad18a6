//! 2-D transposed convolution (the gradient of a convolution with respect to its input), NHWC.
//!
//! Output row `oy` is the sum, over the input rows `iy` and taps `ky` with `oy = iy * stride -
//! pad + ky * dilation`, of a matrix product of that input row with the weights of that tap row,
//! shifted by `kx`. Each product goes to exactly one output row, so nothing is computed twice and
//! rows are independent.

use super::Clamp;
use super::gemm::PackedMatrix;
use super::parallel;
use crate::shape::ConvShape;
use rayon::prelude::*;

/// A transposed convolution whose weights are packed: build once, run many.
///
/// In its [`ConvShape`], `in_*` is the (small) input and `out_*` the (large) output; `pad_top`
/// and `pad_left` are the rows and columns cut off before the output, and the output size, given
/// explicitly, decides what is cut off (or left at the bias) after it.
#[derive(Clone, Debug)]
pub struct PackedConvTransposeF32 {
    /// `[groups][kernel_h]`, each `kernel_w * out_c / groups` columns.
    taps: Vec<PackedMatrix>,
    bias: Vec<f32>,
    kernel: [usize; 2],
    channels: [usize; 2],
    groups: usize,
}

impl PackedConvTransposeF32 {
    /// Packs `weights` `[out_c, kernel_h, kernel_w, in_c / groups]` and `bias` `[out_c]`. Output
    /// channel `o` belongs to group `o / (out_c / groups)` and reads that group's input channels.
    ///
    /// # Panics
    /// If a length does not fit, or `groups` does not divide both channel counts.
    pub fn new(shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>) -> Self {
        let groups = shape.groups;
        assert!(groups > 0 && shape.in_c.is_multiple_of(groups) && shape.out_c.is_multiple_of(groups));
        let (depth, filters) = (shape.in_c / groups, shape.out_c / groups);
        let (kh, kw) = (shape.kernel_h, shape.kernel_w);
        assert_eq!(weights.len(), shape.out_c * kh * kw * depth, "weights are OHWI");
        assert!(bias.is_none_or(|b| b.len() == shape.out_c), "bias is [out_c]");
        let mut taps = Vec::with_capacity(groups * kh);
        for g in 0..groups {
            for ky in 0..kh {
                taps.push(PackedMatrix::from_fn(kw * filters, depth, None, |col, c| {
                    let (kx, o) = (col / filters, g * filters + col % filters);
                    weights[((o * kh + ky) * kw + kx) * depth + c]
                }));
            }
        }
        Self {
            taps,
            bias: bias.map_or_else(|| vec![0.0; shape.out_c], <[f32]>::to_vec),
            kernel: [kh, kw],
            channels: [shape.in_c, shape.out_c],
            groups,
        }
    }

    /// Floats of scratch that [`run`](Self::run) wants to use `threads` threads.
    pub fn scratch_len(&self, shape: &ConvShape, threads: usize) -> usize {
        shape.in_w * self.kernel[1] * (self.channels[1] / self.groups) * threads.max(1)
    }

    /// Computes `out` `[batch, out_h, out_w, out_c]` from `input` `[batch, in_h, in_w, in_c]`,
    /// bias and clamp included.
    ///
    /// # Panics
    /// If a slice does not fit `shape`, `shape` is not that of the weights, or `scratch` is
    /// shorter than [`scratch_len`](Self::scratch_len) for one thread.
    pub fn run(&self, shape: &ConvShape, input: &[f32], out: &mut [f32], scratch: &mut [f32], clamp: Clamp) {
        assert_eq!(input.len(), shape.input_len());
        assert_eq!(out.len(), shape.output_len());
        assert_eq!(self.kernel, [shape.kernel_h, shape.kernel_w]);
        assert_eq!(self.channels, [shape.in_c, shape.out_c]);
        assert_eq!(self.groups, shape.groups);
        let one = self.scratch_len(shape, 1);
        assert!(scratch.len() >= one, "scratch too short");
        if out.is_empty() {
            return;
        }
        let line = shape.out_w * shape.out_c;
        let work = input.len() * shape.kernel_h * shape.kernel_w * (shape.out_c / shape.groups);
        let parts = if one > 0 && parallel::worthwhile(work / 8) {
            (scratch.len() / one).min(rayon::current_num_threads())
        } else {
            1
        };
        let rows = (shape.batch * shape.out_h).div_ceil(parts);
        if parts == 1 {
            return self.rows(shape, input, 0, out, &mut scratch[..one], clamp);
        }
        out.par_chunks_mut(rows * line).zip(scratch.par_chunks_mut(one)).enumerate().for_each(
            |(i, (out, products))| {
                self.rows(shape, input, i * rows, out, products, clamp);
            },
        );
    }

    fn rows(
        &self,
        shape: &ConvShape,
        input: &[f32],
        first: usize,
        out: &mut [f32],
        products: &mut [f32],
        clamp: Clamp,
    ) {
        for (i, line) in out.chunks_exact_mut(shape.out_w * shape.out_c).enumerate() {
            let (n, oy) = ((first + i) / shape.out_h, (first + i) % shape.out_h);
            for pixel in line.chunks_exact_mut(shape.out_c) {
                pixel.copy_from_slice(&self.bias);
            }
            for ky in 0..shape.kernel_h {
                let Some(iy) = source(oy + shape.pad_top, ky * shape.dilation_h, shape.stride_h, shape.in_h) else {
                    continue;
                };
                let row = &input[(n * shape.in_h + iy) * shape.in_w * shape.in_c..];
                for g in 0..self.groups {
                    self.add_row(shape, row, g, ky, line, products);
                }
            }
            if !clamp.is_none() {
                for y in line {
                    *y = clamp.apply(*y);
                }
            }
        }
    }

    /// Adds what one input row contributes through tap row `ky` of group `g` to an output row.
    fn add_row(&self, shape: &ConvShape, row: &[f32], g: usize, ky: usize, line: &mut [f32], products: &mut [f32]) {
        let (depth, filters) = (shape.in_c / self.groups, shape.out_c / self.groups);
        let weights = &self.taps[g * shape.kernel_h + ky];
        let n = weights.n();
        weights.run_single(&row[g * depth..], shape.in_c, shape.in_w, products, n, Clamp::NONE);
        for (ix, product) in products.chunks_exact(n.max(1)).take(shape.in_w).enumerate() {
            for (kx, values) in product.chunks_exact(filters).enumerate() {
                let ox = (ix * shape.stride_w + kx * shape.dilation_w).wrapping_sub(shape.pad_left);
                if ox < shape.out_w {
                    let pixel = &mut line[ox * shape.out_c + g * filters..][..filters];
                    for (y, v) in pixel.iter_mut().zip(values) {
                        *y += v;
                    }
                }
            }
        }
    }
}

/// The input coordinate `i` with `i * stride + tap == out`, if there is one inside the input.
fn source(out: usize, tap: usize, stride: usize, len: usize) -> Option<usize> {
    let distance = out.checked_sub(tap)?;
    (distance % stride == 0 && distance / stride < len).then_some(distance / stride)
}
