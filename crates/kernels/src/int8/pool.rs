//! Int8 average and max pooling. Input and output share one quantization.

use super::vectorize::vectorized;
use crate::isa::Isa;
use crate::shape::{ConvShape, TapRange};

/// Channels whose sums are kept on the stack.
const CHANNELS: usize = 128;

/// Average over the taps inside the input; padding is not counted.
///
/// Rounds half away from zero on the int8 sum, as TFLite's AVERAGE_POOL_2D does. `shape` has
/// `in_c == out_c`; its `batch` is binding. A window without a tap inside gives `min` or 0,
/// whichever is larger. The result is clamped to `[min, max]`.
///
/// # Panics
/// If a slice does not fit the shape, or the channels differ.
pub fn average_pool(isa: Isa, shape: &ConvShape, input: &[i8], (min, max): (i8, i8), out: &mut [i8]) {
    for_each_window(shape, input, out, |window, out| {
        average_window(isa, &window, input, (min, max), out);
    });
}

/// Largest of the taps inside the input, clamped to `[min, max]`.
///
/// `shape` has `in_c == out_c`; its `batch` is binding. A window without a tap inside gives `min`.
///
/// # Panics
/// If a slice does not fit the shape, or the channels differ.
pub fn max_pool(isa: Isa, shape: &ConvShape, input: &[i8], (min, max): (i8, i8), out: &mut [i8]) {
    for_each_window(shape, input, out, |window, out| {
        max_window(isa, &window, input, (min, max), out);
    });
}

/// The taps of one output pixel.
struct Window<'a> {
    shape: &'a ConvShape,
    image: usize,
    vertical: TapRange,
    horizontal: TapRange,
}

impl Window<'_> {
    /// Visits where each tap's pixel starts in the input.
    #[inline(always)]
    fn pixels(&self, mut visit: impl FnMut(usize)) {
        let s = self.shape;
        for ky in self.vertical.taps.clone() {
            let y = (self.vertical.origin + (ky * s.dilation_h) as isize) as usize;
            for kx in self.horizontal.taps.clone() {
                let x = (self.horizontal.origin + (kx * s.dilation_w) as isize) as usize;
                visit(self.image + (y * s.in_w + x) * s.in_c);
            }
        }
    }

    fn count(&self) -> i32 {
        (self.vertical.taps.len() * self.horizontal.taps.len()) as i32
    }
}

fn for_each_window(s: &ConvShape, input: &[i8], out: &mut [i8], mut work: impl FnMut(Window<'_>, &mut [i8])) {
    assert_eq!(s.in_c, s.out_c, "channels");
    assert_eq!(input.len(), s.input_len(), "input");
    assert_eq!(out.len(), s.output_len(), "output");
    for (i, out) in out.chunks_exact_mut(s.out_c.max(1)).enumerate() {
        let (line, ox) = (i / s.out_w, i % s.out_w);
        let (batch, oy) = (line / s.out_h, line % s.out_h);
        let window = Window {
            shape: s,
            image: batch * s.in_h * s.in_w * s.in_c,
            vertical: s.taps_h(oy),
            horizontal: s.taps_w(ox),
        };
        work(window, out);
    }
}

vectorized! {
    /// `i8_average_pool_1x8_*`.
    fn average_window<'a>(window: &'a Window<'a>, input: &'a [i8], clamp: (i8, i8), out: &'a mut [i8]) {
        let count = window.count().max(1);
        let mut sums = [0i32; CHANNELS];
        for (block, out) in out.chunks_mut(CHANNELS).enumerate() {
            let sums = &mut sums[..out.len()];
            sums.fill(0);
            window.pixels(|at| {
                let from = at + block * CHANNELS;
                for (sum, &q) in sums.iter_mut().zip(&input[from..from + out.len()]) {
                    *sum += i32::from(q);
                }
            });
            for (out, &sum) in out.iter_mut().zip(&*sums) {
                let half = if sum > 0 { count / 2 } else { -(count / 2) };
                let mean = divide(sum + half, count);
                *out = mean.max(i32::from(clamp.0)).min(i32::from(clamp.1)) as i8;
            }
        }
    }
}

/// `sum / count` towards zero, for a sum of `count` int8 values and a half more.
///
/// There is no vector integer division. Up to 2^16 values the sum is exact in f32, and the quotient
/// (at most 128.5) is wrong by at most 2^-17, while one that is not a whole number is at least
/// 2^-16 away from the next: truncation cannot go astray.
#[inline(always)]
fn divide(sum: i32, count: i32) -> i32 {
    if count <= 1 << 16 { (sum as f32 / count as f32) as i32 } else { sum / count }
}

vectorized! {
    /// `i8_max_pool_1x32_*`.
    fn max_window<'a>(window: &'a Window<'a>, input: &'a [i8], clamp: (i8, i8), out: &'a mut [i8]) {
        out.fill(clamp.0);
        window.pixels(|at| {
            for (out, &q) in out.iter_mut().zip(&input[at..at + window.shape.in_c]) {
                *out = q.max(*out);
            }
        });
        for out in out {
            *out = (*out).min(clamp.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::divide;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn division_truncates_exactly(count in 1i32..=1 << 16, whole in -128i32..=128, off in -1i32..=1) {
            let sum = whole * count + off;
            prop_assert_eq!(divide(sum, count), sum / count);
        }
    }
}
