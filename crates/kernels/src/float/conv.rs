//! 2-D convolution, NHWC input, OHWI weights: lowering to a matrix product a block of output
//! pixels at a time.
//!
//! A 1x1, stride 1 convolution is the product itself and copies nothing. Any other one gathers
//! the patches of a block of output pixels (im2col, Chellapilla et al. 2006) into a scratch slice
//! small enough to stay in the second-level cache while the packed weights pass over it.

use super::Clamp;
use super::gemm::{MR, PackedMatrix, Segments};
use super::parallel;
use crate::shape::ConvShape;
use rayon::prelude::*;

/// Floats of one block of patches.
const PATCH_FLOATS: usize = 1 << 15;

/// Floats of packed weights up to which patches are not gathered: they stay in cache while the
/// product goes over one output row at a time, straight from the image.
const DIRECT_WEIGHTS: usize = 1 << 15;

/// A convolution whose weights are packed: build once, run many.
#[derive(Clone, Debug)]
pub struct PackedConvF32 {
    kernel_h: usize,
    kernel_w: usize,
    in_c: usize,
    out_c: usize,
    groups: Vec<PackedMatrix>,
}

impl PackedConvF32 {
    /// Packs `weights` `[out_c, kernel_h, kernel_w, in_c / groups]` and `bias` `[out_c]`.
    ///
    /// Only the kernel, channel and group sizes of `shape` matter here.
    ///
    /// # Panics
    /// If a length does not fit, or `groups` does not divide both channel counts.
    pub fn new(shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>) -> Self {
        let groups = shape.groups;
        assert!(groups > 0 && shape.in_c.is_multiple_of(groups) && shape.out_c.is_multiple_of(groups));
        let k = shape.kernel_h * shape.kernel_w * (shape.in_c / groups);
        let n = shape.out_c / groups;
        assert_eq!(weights.len(), shape.out_c * k, "weights are OHWI");
        let groups = (0..groups)
            .map(|g| {
                let bias = bias.map(|b| &b[g * n..(g + 1) * n]);
                PackedMatrix::new(&weights[g * n * k..(g + 1) * n * k], n, k, bias)
            })
            .collect();
        Self { kernel_h: shape.kernel_h, kernel_w: shape.kernel_w, in_c: shape.in_c, out_c: shape.out_c, groups }
    }

    /// Floats of scratch that [`run`](Self::run) wants to use `threads` threads; zero where it
    /// needs none. It depends on the kernel, not on the size of the image.
    pub fn scratch_len(&self, shape: &ConvShape, threads: usize) -> usize {
        if shape.is_pointwise() {
            return 0;
        }
        self.patch_rows() * self.groups[0].k() * threads.max(1)
    }

    fn patch_rows(&self) -> usize {
        (PATCH_FLOATS / self.groups[0].k().max(1) / MR).clamp(1, 32) * MR
    }

    /// Convolves `input` `[batch, in_h, in_w, in_c]` into `out` `[batch, out_h, out_w, out_c]`,
    /// adds the bias and applies `clamp`.
    ///
    /// # Panics
    /// If a slice does not fit `shape`, `shape` is not that of the weights, or `scratch` is
    /// shorter than [`scratch_len`](Self::scratch_len) for one thread.
    pub fn run(&self, shape: &ConvShape, input: &[f32], out: &mut [f32], scratch: &mut [f32], clamp: Clamp) {
        assert_eq!(input.len(), shape.input_len());
        assert_eq!(out.len(), shape.output_len());
        assert_eq!(
            (self.kernel_h, self.kernel_w, self.in_c, self.out_c, self.groups.len()),
            (shape.kernel_h, shape.kernel_w, shape.in_c, shape.out_c, shape.groups)
        );
        if shape.is_pointwise() {
            let pixels = shape.out_pixels();
            return self.groups[0].run(input, self.in_c, pixels, out, self.out_c, clamp);
        }
        let one = self.scratch_len(shape, 1);
        assert!(scratch.len() >= one, "scratch too short");
        if out.is_empty() {
            return;
        }
        let work = shape.macs() as usize / 8;
        let parts = match one {
            0 => 1,
            _ if parallel::worthwhile(work) => (scratch.len() / one).min(rayon::current_num_threads()),
            _ => 1,
        };
        let span = shape.out_pixels().div_ceil(parts);
        if parts == 1 {
            return self.span(shape, input, 0, out, &mut scratch[..one], clamp);
        }
        out.par_chunks_mut(span * self.out_c).zip(scratch.par_chunks_mut(one)).enumerate().for_each(
            |(i, (out, patches))| {
                self.span(shape, input, i * span, out, patches, clamp);
            },
        );
    }

    /// The output pixels that `out` holds, `first` being the index of the first.
    fn span(&self, shape: &ConvShape, input: &[f32], first: usize, out: &mut [f32], patches: &mut [f32], clamp: Clamp) {
        let contiguous = shape.groups == 1 && shape.dilation_w <= 1;
        if contiguous && self.groups[0].k() * self.out_c <= DIRECT_WEIGHTS {
            return self.span_direct(shape, input, first, out, patches, clamp);
        }
        let rows = self.patch_rows();
        for (b, block) in out.chunks_mut(rows * self.out_c).enumerate() {
            let pixels = block.len() / self.out_c;
            for (g, weights) in self.groups.iter().enumerate() {
                let patches = &mut patches[..pixels * weights.k()];
                im2col(shape, input, first + b * rows, g, patches);
                let out = &mut block[g * weights.n()..];
                weights.run_single(patches, weights.k(), pixels, out, self.out_c, clamp);
            }
        }
    }
}

impl PackedConvF32 {
    /// As [`span`](Self::span), for kernels whose taps of a row are contiguous in the input: only
    /// the columns next to the padding are gathered, the others are multiplied where they lie.
    fn span_direct(
        &self,
        shape: &ConvShape,
        input: &[f32],
        first: usize,
        out: &mut [f32],
        patches: &mut [f32],
        clamp: Clamp,
    ) {
        let inner = interior(shape);
        let mut done = 0;
        let pixels = out.len() / self.out_c;
        while done < pixels {
            let (ox, row) = ((first + done) % shape.out_w, (first + done) / shape.out_w);
            let edge = if ox < inner.start { inner.start } else { shape.out_w };
            let end = if inner.contains(&ox) { inner.end } else { edge };
            let count = (end - ox).min(pixels - done);
            let out = &mut out[done * self.out_c..(done + count) * self.out_c];
            if inner.contains(&ox) {
                self.interior_run(shape, input, row, ox, out, clamp);
            } else {
                self.gathered_run(shape, input, first + done, out, patches, clamp);
            }
            done += count;
        }
    }

    /// Neighbouring output pixels of output row `row` (counted over the batch) from column `ox`
    /// on, all their horizontal taps inside the input.
    fn interior_run(&self, shape: &ConvShape, input: &[f32], row: usize, ox: usize, out: &mut [f32], clamp: Clamp) {
        let (n, oy) = (row / shape.out_h, row % shape.out_h);
        let rows = shape.taps_h(oy);
        let line = shape.in_w * shape.in_c;
        let len = shape.kernel_w * shape.in_c;
        let segments = Segments {
            rows: rows.taps.start * len..rows.taps.end * len,
            count: rows.taps.len(),
            len,
            stride: shape.dilation_h * line,
        };
        let iy = rows.origin + (rows.taps.start * shape.dilation_h) as isize;
        let ix = shape.taps_w(ox).origin;
        // A window wholly in the vertical padding has no segments: its origin is not used.
        let at = if rows.taps.is_empty() { 0 } else { iy as usize * line + ix as usize * shape.in_c };
        let a = &input[n * shape.in_h * line + at..];
        let m = out.len() / self.out_c;
        let lda = shape.stride_w * shape.in_c;
        self.groups[0].run_segments(a, lda, &segments, m, out, self.out_c, clamp);
    }

    fn gathered_run(
        &self,
        shape: &ConvShape,
        input: &[f32],
        first: usize,
        out: &mut [f32],
        patches: &mut [f32],
        clamp: Clamp,
    ) {
        let (weights, rows) = (&self.groups[0], self.patch_rows());
        for (b, block) in out.chunks_mut(rows * self.out_c).enumerate() {
            let pixels = block.len() / self.out_c;
            let patches = &mut patches[..pixels * weights.k()];
            im2col(shape, input, first + b * rows, 0, patches);
            weights.run_single(patches, weights.k(), pixels, block, self.out_c, clamp);
        }
    }
}

/// Output columns all of whose taps are inside the input.
pub(crate) fn interior(s: &ConvShape) -> std::ops::Range<usize> {
    let full = |ox: usize| s.taps_w(ox).taps.len() == s.kernel_w;
    let first = (0..s.out_w).find(|&ox| full(ox)).unwrap_or(s.out_w);
    let last = (first..s.out_w).rev().find(|&ox| full(ox));
    first..last.map_or(first, |l| l + 1)
}

/// Gathers the patches of consecutive output pixels, starting with pixel `first` (counted over
/// batch, rows and columns), for one group: `patches` is `[pixels, kernel_h, kernel_w, in_c /
/// groups]`, zero where a tap falls outside the input.
///
/// # Panics
/// If `input` does not fit `shape` or a pixel is beyond the output.
pub fn im2col(shape: &ConvShape, input: &[f32], first: usize, group: usize, patches: &mut [f32]) {
    let depth = shape.in_c / shape.groups;
    let k = shape.kernel_h * shape.kernel_w * depth;
    let (mut ox, rest) = (first % shape.out_w, first / shape.out_w);
    let (mut oy, mut n) = (rest % shape.out_h, rest / shape.out_h);
    for patch in patches.chunks_exact_mut(k.max(1)) {
        let image = &input[n * shape.in_h * shape.in_w * shape.in_c..];
        gather_patch(shape, image, oy, ox, group * depth, patch);
        ox += 1;
        if ox == shape.out_w {
            ox = 0;
            oy += 1;
            if oy == shape.out_h {
                oy = 0;
                n += 1;
            }
        }
    }
}

fn gather_patch(shape: &ConvShape, image: &[f32], oy: usize, ox: usize, channel: usize, patch: &mut [f32]) {
    let depth = shape.in_c / shape.groups;
    let line = shape.kernel_w * depth;
    let (rows, cols) = (shape.taps_h(oy), shape.taps_w(ox));
    let complete = cols.taps.len() == shape.kernel_w;
    // Without groups or dilation the taps of a row are one contiguous run of the input.
    let contiguous = shape.dilation_w <= 1 && shape.groups == 1;
    for ky in 0..shape.kernel_h {
        let dst = &mut patch[ky * line..(ky + 1) * line];
        if !rows.taps.contains(&ky) || cols.taps.is_empty() {
            dst.fill(0.0);
            continue;
        }
        let iy = (rows.origin + (ky * shape.dilation_h) as isize) as usize;
        let source = |kx: usize| {
            let ix = (cols.origin + (kx * shape.dilation_w) as isize) as usize;
            (iy * shape.in_w + ix) * shape.in_c + channel
        };
        if !complete {
            dst[..cols.taps.start * depth].fill(0.0);
            dst[cols.taps.end * depth..].fill(0.0);
        }
        if contiguous {
            let from = source(cols.taps.start);
            let len = cols.taps.len() * depth;
            copy_run(&mut dst[cols.taps.start * depth..][..len], &image[from..from + len]);
        } else {
            for kx in cols.taps.clone() {
                let from = source(kx);
                copy_run(&mut dst[kx * depth..(kx + 1) * depth], &image[from..from + depth]);
            }
        }
    }
}

/// `copy_from_slice` without the call for the runs of a few floats that first layers have.
#[inline(always)]
fn copy_run(dst: &mut [f32], src: &[f32]) {
    if dst.len() > 32 {
        dst.copy_from_slice(src);
        return;
    }
    let (d, d_rest) = dst.as_chunks_mut::<4>();
    let (s, s_rest) = src.as_chunks::<4>();
    for (d, s) in d.iter_mut().zip(s) {
        *d = *s;
    }
    for (d, s) in d_rest.iter_mut().zip(s_rest) {
        *d = *s;
    }
}

/// Textbook convolution, for tests and for shapes nobody would optimise: same arguments and
/// result as [`PackedConvF32`], no packing, no scratch.
///
/// # Panics
/// If a slice does not fit `shape`.
pub fn conv2d_reference(
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    clamp: Clamp,
) {
    let depth = shape.in_c / shape.groups;
    let filters = shape.out_c / shape.groups;
    for (pixel, row) in out.chunks_exact_mut(shape.out_c).enumerate() {
        let (ox, rest) = (pixel % shape.out_w, pixel / shape.out_w);
        let (oy, n) = (rest % shape.out_h, rest / shape.out_h);
        let (rows, cols) = (shape.taps_h(oy), shape.taps_w(ox));
        for (o, y) in row.iter_mut().enumerate() {
            let mut sum = bias.map_or(0.0, |b| b[o]);
            for ky in rows.taps.clone() {
                let iy = (rows.origin + (ky * shape.dilation_h) as isize) as usize;
                for kx in cols.taps.clone() {
                    let ix = (cols.origin + (kx * shape.dilation_w) as isize) as usize;
                    let x = ((n * shape.in_h + iy) * shape.in_w + ix) * shape.in_c + o / filters * depth;
                    let w = ((o * shape.kernel_h + ky) * shape.kernel_w + kx) * depth;
                    for c in 0..depth {
                        sum += input[x + c] * weights[w + c];
                    }
                }
            }
            *y = clamp.apply(sum);
        }
    }
}
