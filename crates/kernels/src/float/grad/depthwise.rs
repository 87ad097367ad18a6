//! Gradients of a depthwise 2-D convolution, NHWC input, 1HWC weights.

use crate::float::dispatch::{avx2, multiversion};
use crate::float::grad::columns::reduce_partials;
use crate::float::parallel;
use crate::shape::ConvShape;
use rayon::prelude::*;

/// Parts into which the output rows of a batch are split for the weights' gradient.
const PARTS: usize = 8;

/// Gradient of the weights: built once for a shape, with its partial sums.
#[derive(Clone, Debug)]
pub struct DepthwiseWeightGradient {
    shape: ConvShape,
    rows: usize,
    partial: Vec<f32>,
}

impl DepthwiseWeightGradient {
    /// For convolutions of that shape.
    ///
    /// # Panics
    /// If the shape is not depthwise.
    pub fn new(shape: &ConvShape) -> Self {
        assert!(shape.is_depthwise(), "not a depthwise convolution");
        let total = shape.batch * shape.out_h;
        let rows = total.div_ceil(PARTS).max(1);
        let weights = shape.kernel_h * shape.kernel_w * shape.out_c;
        Self { shape: *shape, rows, partial: vec![0.0; total.div_ceil(rows) * weights] }
    }

    /// `dw = gradient` `[1, kernel_h, kernel_w, out_c]` (or `dw += gradient` if `accumulate`).
    ///
    /// # Panics
    /// If a slice does not fit the shape.
    pub fn run(&mut self, x: &[f32], dy: &[f32], dw: &mut [f32], accumulate: bool) {
        let (s, rows) = (self.shape, self.rows);
        assert_eq!(x.len(), s.input_len());
        assert_eq!(dy.len(), s.output_len());
        assert_eq!(dw.len(), s.kernel_h * s.kernel_w * s.out_c);
        if dw.is_empty() {
            return;
        }
        let isa = avx2();
        let part = |i: usize, partial: &mut [f32]| {
            partial.fill(0.0);
            let span = i * rows..((i + 1) * rows).min(s.batch * s.out_h);
            weight_rows(isa, &s, x, dy, span, partial);
        };
        if parallel::worthwhile(s.macs() as usize / 4) {
            self.partial.par_chunks_mut(dw.len()).enumerate().for_each(|(i, p)| part(i, p));
        } else {
            self.partial.chunks_mut(dw.len()).enumerate().for_each(|(i, p)| part(i, p));
        }
        reduce_partials(&self.partial, dw, accumulate);
    }
}

multiversion! {
    fn weight_rows(
        s: &ConvShape,
        x: &[f32],
        dy: &[f32],
        span: std::ops::Range<usize>,
        dw: &mut [f32],
    ) = weight_rows_body
}

#[inline(always)]
fn weight_rows_body(s: &ConvShape, x: &[f32], dy: &[f32], span: std::ops::Range<usize>, dw: &mut [f32]) {
    for_each_tap(s, span, |input, output, tap| {
        let x = &x[input * s.in_c..][..s.in_c];
        let dy = &dy[output * s.out_c..][..s.out_c];
        let dw = &mut dw[tap * s.out_c..][..s.out_c];
        if s.in_c == s.out_c {
            for ((w, x), dy) in dw.iter_mut().zip(x).zip(dy) {
                *w += x * dy;
            }
        } else {
            let multiplier = s.out_c / s.in_c;
            for ((w, dy), x) in dw.chunks_exact_mut(multiplier).zip(dy.chunks_exact(multiplier)).zip(x) {
                w.iter_mut().zip(dy).for_each(|(w, dy)| *w += x * dy);
            }
        }
    });
}

/// Calls `f(input pixel, output pixel, tap)` for each tap inside the input of the pixels of output
/// rows `span`, counted over the batch.
#[inline(always)]
fn for_each_tap(s: &ConvShape, span: std::ops::Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
    for row in span {
        let (n, oy) = (row / s.out_h, row % s.out_h);
        let rows = s.taps_h(oy);
        for ox in 0..s.out_w {
            let cols = s.taps_w(ox);
            for ky in rows.taps.clone() {
                // Taps of these ranges are inside the input.
                let iy = rows.origin.wrapping_add_unsigned(ky * s.dilation_h).cast_unsigned();
                for kx in cols.taps.clone() {
                    let ix = cols.origin.wrapping_add_unsigned(kx * s.dilation_w).cast_unsigned();
                    f((n * s.in_h + iy) * s.in_w + ix, row * s.out_w + ox, ky * s.kernel_w + kx);
                }
            }
        }
    }
}

/// Gradient of the input: `dx = gradient` `[batch, in_h, in_w, in_c]` (or `dx += gradient` if
/// `accumulate`).
///
/// # Panics
/// If the shape is not depthwise or a slice does not fit it.
pub fn depthwise_input_gradient(shape: &ConvShape, weights: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    assert!(shape.is_depthwise(), "not a depthwise convolution");
    assert_eq!(dx.len(), shape.input_len());
    assert_eq!(dy.len(), shape.output_len());
    assert_eq!(weights.len(), shape.kernel_h * shape.kernel_w * shape.out_c);
    let isa = avx2();
    let parallel = parallel::worthwhile(shape.macs() as usize / 4);
    // Rows of the input are independent: each collects from the outputs that read it.
    parallel::chunks_mut(dx, shape.in_w * shape.in_c, parallel, |row, line| {
        if !accumulate {
            line.fill(0.0);
        }
        input_row(isa, shape, weights, dy, row, line);
    });
}

multiversion! {
    fn input_row(s: &ConvShape, weights: &[f32], dy: &[f32], row: usize, line: &mut [f32]) = input_row_body
}

#[inline(always)]
fn input_row_body(s: &ConvShape, weights: &[f32], dy: &[f32], row: usize, line: &mut [f32]) {
    let (n, iy) = (row / s.in_h, row % s.in_h);
    let multiplier = s.out_c / s.in_c;
    for ky in 0..s.kernel_h {
        let Some(oy) = reader(iy, ky * s.dilation_h, s.pad_top, s.stride_h, s.out_h) else { continue };
        for (ix, pixel) in line.chunks_exact_mut(s.in_c).enumerate() {
            for kx in 0..s.kernel_w {
                let Some(ox) = reader(ix, kx * s.dilation_w, s.pad_left, s.stride_w, s.out_w) else { continue };
                let dy = &dy[((n * s.out_h + oy) * s.out_w + ox) * s.out_c..][..s.out_c];
                let w = &weights[(ky * s.kernel_w + kx) * s.out_c..][..s.out_c];
                if multiplier == 1 {
                    for ((x, dy), w) in pixel.iter_mut().zip(dy).zip(w) {
                        *x += dy * w;
                    }
                } else {
                    for ((x, dy), w) in pixel.iter_mut().zip(dy.chunks(multiplier)).zip(w.chunks(multiplier)) {
                        *x += dy.iter().zip(w).map(|(dy, w)| dy * w).sum::<f32>();
                    }
                }
            }
        }
    }
}

/// The output coordinate whose tap `tap` reads input coordinate `at`, if there is one.
#[inline(always)]
fn reader(at: usize, tap: usize, pad: usize, stride: usize, len: usize) -> Option<usize> {
    let distance = (at + pad).checked_sub(tap)?;
    (distance % stride == 0 && distance / stride < len).then(|| distance / stride)
}
