//! Max and average pooling, NHWC.

use super::Clamp;
use super::dispatch::{avx2, multiversion};
use super::parallel;
use crate::shape::ConvShape;

/// What a pooling window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest value of the window; NaN is ignored. A window wholly in the padding gives
    /// `-inf`.
    Max,
    /// The mean of the window.
    Average {
        /// Divide by the taps of the whole kernel, padding counting as zeros, instead of by those
        /// inside the input (ONNX `count_include_pad`).
        count_include_pad: bool,
    },
}

/// Pools `input` `[batch, in_h, in_w, in_c]` into `out` `[batch, out_h, out_w, in_c]`; kernel,
/// stride, dilation and leading pads are those of `shape`, whose `out_c` equals `in_c`.
///
/// `trailing` is the explicit `[bottom, right]` padding. With `count_include_pad` a window that,
/// because of ONNX's `ceil_mode`, reaches beyond even that padding is divided by the taps up to
/// it; nothing else reads it.
///
/// # Panics
/// If a slice does not fit `shape`.
pub fn pool2d(kind: PoolKind, shape: &ConvShape, trailing: [usize; 2], input: &[f32], out: &mut [f32], clamp: Clamp) {
    assert_eq!(shape.in_c, shape.out_c);
    assert_eq!(input.len(), shape.input_len());
    assert_eq!(out.len(), shape.output_len());
    if out.is_empty() {
        return;
    }
    let isa = avx2();
    let window = shape.kernel_h * shape.kernel_w;
    let parallel = parallel::worthwhile(out.len() * window / 4);
    parallel::chunks_mut(out, shape.out_w * shape.out_c, parallel, |row, line| {
        pool_row(isa, kind, shape, trailing, input, row, line, clamp);
    });
}

multiversion! {
    fn pool_row(
        kind: PoolKind,
        shape: &ConvShape,
        trailing: [usize; 2],
        input: &[f32],
        row: usize,
        line: &mut [f32],
        clamp: Clamp,
    ) = pool_row_body
}

#[inline(always)]
fn pool_row_body(
    kind: PoolKind,
    s: &ConvShape,
    trailing: [usize; 2],
    input: &[f32],
    row: usize,
    line: &mut [f32],
    clamp: Clamp,
) {
    let (n, oy) = (row / s.out_h, row % s.out_h);
    let rows = s.taps_h(oy);
    let c = s.in_c;
    for (ox, pixel) in line.chunks_exact_mut(c).enumerate() {
        let cols = s.taps_w(ox);
        pixel.fill(match kind {
            PoolKind::Max => f32::NEG_INFINITY,
            PoolKind::Average { .. } => 0.0,
        });
        for ky in rows.taps.clone() {
            let iy = (rows.origin + (ky * s.dilation_h) as isize) as usize;
            for kx in cols.taps.clone() {
                let ix = (cols.origin + (kx * s.dilation_w) as isize) as usize;
                let x = &input[((n * s.in_h + iy) * s.in_w + ix) * c..][..c];
                match kind {
                    PoolKind::Max => accumulate(pixel, x, |y, x| if x > y { x } else { y }),
                    PoolKind::Average { .. } => accumulate(pixel, x, |y, x| y + x),
                }
            }
        }
        let count = match kind {
            PoolKind::Max => 1,
            PoolKind::Average { count_include_pad: false } => rows.taps.len() * cols.taps.len(),
            PoolKind::Average { count_include_pad: true } => {
                padded_taps(rows.origin, s.kernel_h, s.dilation_h, s.in_h + trailing[0])
                    * padded_taps(cols.origin, s.kernel_w, s.dilation_w, s.in_w + trailing[1])
            }
        };
        let divisor = count.max(1) as f32;
        for y in pixel {
            *y = clamp.apply(*y / divisor);
        }
    }
}

#[inline(always)]
fn accumulate(pixel: &mut [f32], x: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (y, x) in pixel.iter_mut().zip(x) {
        *y = f(*y, *x);
    }
}

/// Taps before coordinate `end`; those in the leading padding count.
#[inline(always)]
fn padded_taps(origin: isize, kernel: usize, dilation: usize, end: usize) -> usize {
    let room = (end as isize - origin).max(0) as usize;
    room.div_ceil(dilation.max(1)).min(kernel)
}
