//! Depthwise 2-D convolution, NHWC input, 1HWC weights.

use super::Clamp;
use super::conv::interior;
use super::dispatch::avx2;
use super::parallel;
use crate::isa::Avx2;
use crate::shape::ConvShape;

/// Output pixels that share one load of a weight.
const PIXELS: usize = 4;

/// Depthwise convolution of `input` `[batch, in_h, in_w, in_c]` with `weights` `[1, kernel_h,
/// kernel_w, out_c]`, `out_c = in_c * multiplier`: output channel `o` reads input channel
/// `o / multiplier`. `bias` is `[out_c]`; `out` is `[batch, out_h, out_w, out_c]`.
///
/// # Panics
/// If `shape` is not depthwise or a slice does not fit it.
pub fn depthwise_conv2d(
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    clamp: Clamp,
) {
    run(avx2(), shape, input, weights, bias, out, clamp);
}

fn run(
    isa: Option<Avx2>,
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    clamp: Clamp,
) {
    assert!(shape.is_depthwise(), "not a depthwise convolution");
    assert_eq!(input.len(), shape.input_len());
    assert_eq!(out.len(), shape.output_len());
    assert_eq!(weights.len(), shape.kernel_h * shape.kernel_w * shape.out_c);
    assert!(bias.is_none_or(|b| b.len() == shape.out_c));
    if out.is_empty() {
        return;
    }
    let fast = isa.filter(|_| shape.out_c == shape.in_c);
    let parallel = parallel::worthwhile(shape.macs() as usize / 8);
    parallel::chunks_mut(out, shape.out_w * shape.out_c, parallel, |row, line| {
        let job = Row { shape, weights, bias, clamp };
        let (n, oy) = (row / shape.out_h, row % shape.out_h);
        let size = shape.in_h * shape.in_w * shape.in_c;
        let image = &input[n * size..(n + 1) * size];
        match fast {
            #[cfg(target_arch = "x86_64")]
            Some(isa) => job.vector(isa, image, oy, line),
            _ => job.scalar(image, oy, 0..shape.out_w, line),
        }
    });
}

/// What one output row needs besides its input.
struct Row<'a> {
    shape: &'a ConvShape,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    clamp: Clamp,
}

impl Row<'_> {
    fn scalar(&self, image: &[f32], oy: usize, columns: std::ops::Range<usize>, line: &mut [f32]) {
        let s = self.shape;
        let multiplier = s.out_c / s.in_c;
        let rows = s.taps_h(oy);
        for ox in columns {
            let cols = s.taps_w(ox);
            let pixel = &mut line[ox * s.out_c..(ox + 1) * s.out_c];
            match self.bias {
                Some(bias) => pixel.copy_from_slice(bias),
                None => pixel.fill(0.0),
            }
            for ky in rows.taps.clone() {
                let iy = (rows.origin + (ky * s.dilation_h) as isize) as usize;
                for kx in cols.taps.clone() {
                    let ix = (cols.origin + (kx * s.dilation_w) as isize) as usize;
                    let x = &image[(iy * s.in_w + ix) * s.in_c..][..s.in_c];
                    let w = &self.weights[(ky * s.kernel_w + kx) * s.out_c..][..s.out_c];
                    for (o, y) in pixel.iter_mut().enumerate() {
                        *y += x[o / multiplier] * w[o];
                    }
                }
            }
            for y in pixel {
                *y = self.clamp.apply(*y);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn vector(&self, _isa: Avx2, image: &[f32], oy: usize, line: &mut [f32]) {
        let s = self.shape;
        let rows = s.taps_h(oy);
        let inner = interior(s);
        let mut ox = 0;
        while ox < s.out_w {
            let group = if inner.contains(&ox) { PIXELS.min(inner.end - ox) } else { 1 };
            let cols = s.taps_w(ox);
            let tile = x86::Tile {
                row: self,
                ky: rows.taps.clone(),
                kx: cols.taps.clone(),
                // May lie before the image where the first taps are padding; those are skipped.
                origin: (rows.origin * s.in_w as isize + cols.origin) * s.in_c as isize,
            };
            let out = &mut line[ox * s.out_c..(ox + group) * s.out_c];
            // SAFETY: the token proves AVX2 and FMA; the tap ranges are those inside the image
            // for pixel `ox`, and for all of the group since it lies in the interior.
            unsafe {
                match group {
                    1 => tile.run::<1>(image, out),
                    2 => tile.run::<2>(image, out),
                    3 => tile.run::<3>(image, out),
                    _ => tile.run::<PIXELS>(image, out),
                }
            }
            ox += group;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Row;
    use std::arch::x86_64::*;
    use std::ops::Range;

    /// Neighbouring output pixels with the same taps.
    pub(super) struct Tile<'a> {
        pub(super) row: &'a Row<'a>,
        pub(super) ky: Range<usize>,
        pub(super) kx: Range<usize>,
        pub(super) origin: isize,
    }

    impl Tile<'_> {
        /// `f32_dwconv_{P}px_avx2`: sixteen, then eight, then the last channels.
        ///
        /// # Safety
        /// For each of the `P` pixels, every tap of `ky` x `kx` lies inside `image`; `out` holds
        /// the `P` pixels; channel multiplier 1.
        #[target_feature(enable = "avx2,fma")]
        pub(super) unsafe fn run<const P: usize>(&self, image: &[f32], out: &mut [f32]) {
            let channels = self.row.shape.in_c;
            let mut c = 0;
            // SAFETY: each call handles channels c.. up to the channel count, so the caller's
            // promise covers it.
            unsafe {
                while c + 16 <= channels {
                    self.channels::<P, 2, false>(image, out, c, 8);
                    c += 16;
                }
                while c + 8 <= channels {
                    self.channels::<P, 1, false>(image, out, c, 8);
                    c += 8;
                }
                if c < channels {
                    self.channels::<P, 1, true>(image, out, c, channels - c);
                }
            }
        }

        /// # Safety
        /// As [`run`](Self::run), for channels `c .. c + 8 * V`, or `c .. c + last` if `MASKED`.
        #[inline]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn channels<const P: usize, const V: usize, const MASKED: bool>(
            &self,
            image: &[f32],
            out: &mut [f32],
            c: usize,
            last: usize,
        ) {
            let s = self.row.shape;
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(last as i32), lanes);
            let load = |p: *const f32| {
                // SAFETY: every call passes a pointer to 8 floats, or to `last` if MASKED.
                unsafe { if MASKED { _mm256_maskload_ps(p, mask) } else { _mm256_loadu_ps(p) } }
            };
            let step = s.stride_w * s.in_c;
            let down = (s.dilation_h * s.in_w * s.in_c) as isize;
            let right = (s.dilation_w * s.in_c) as isize;
            let mut acc = [[_mm256_setzero_ps(); V]; P];
            if let Some(bias) = self.row.bias {
                for v in 0..V {
                    let b = load(bias[c + 8 * v..].as_ptr());
                    for acc in &mut acc {
                        acc[v] = b;
                    }
                }
            }
            for ky in self.ky.clone() {
                // Pointer arithmetic wraps: before the first tap of `kx` it may be outside.
                let x_row = image.as_ptr().wrapping_offset(self.origin + ky as isize * down + c as isize);
                let w_row = self.row.weights[ky * s.kernel_w * s.out_c + c..].as_ptr();
                for kx in self.kx.clone() {
                    let x = x_row.wrapping_offset(kx as isize * right);
                    for v in 0..V {
                        let w = load(w_row.wrapping_add(kx * s.out_c + 8 * v));
                        for (p, acc) in acc.iter_mut().enumerate() {
                            let x = load(x.wrapping_add(p * step + 8 * v));
                            acc[v] = _mm256_fmadd_ps(x, w, acc[v]);
                        }
                    }
                }
            }
            let lo = _mm256_set1_ps(self.row.clamp.min);
            let hi = _mm256_set1_ps(self.row.clamp.max);
            for p in 0..P {
                for v in 0..V {
                    let y = _mm256_min_ps(hi, _mm256_max_ps(lo, acc[p][v]));
                    let at = out[p * s.out_c + c + 8 * v..].as_mut_ptr();
                    // SAFETY: `at` is followed by 8 (or `last`) channels of the pixel.
                    unsafe { if MASKED { _mm256_maskstore_ps(at, mask, y) } else { _mm256_storeu_ps(at, y) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_and_avx2_agree() {
        for (c, k, stride, width, dilation) in
            [(35, 3, 1, 9, 1), (8, 3, 2, 12, 1), (17, 5, 1, 7, 1), (24, 5, 2, 4, 1), (3, 3, 1, 2, 2), (16, 3, 1, 11, 2)]
        {
            let out = usize::div_ceil(width, stride);
            let s = ConvShape {
                batch: 2,
                in_h: width,
                in_w: width,
                in_c: c,
                out_h: out,
                out_w: out,
                out_c: c,
                kernel_h: k,
                kernel_w: k,
                stride_h: stride,
                stride_w: stride,
                dilation_h: dilation,
                dilation_w: dilation,
                pad_top: k / 2 * dilation,
                pad_left: k / 2 * dilation,
                groups: c,
            };
            let x: Vec<f32> = (0..s.input_len()).map(|i| (i * 31 % 61) as f32 / 30.0 - 1.0).collect();
            let w: Vec<f32> = (0..k * k * c).map(|i| (i * 17 % 41) as f32 / 20.0 - 1.0).collect();
            let b: Vec<f32> = (0..c).map(|i| i as f32).collect();
            let clamp = Clamp { min: -1.0, max: 20.0 };
            let mut plain = vec![f32::NAN; s.output_len()];
            let mut fast = plain.clone();
            run(None, &s, &x, &w, Some(&b), &mut plain, clamp);
            run(Avx2::new(), &s, &x, &w, Some(&b), &mut fast, clamp);
            for (p, f) in plain.iter().zip(&fast) {
                assert!((p - f).abs() < 1e-5, "{p} {f} for {s:?}");
            }
        }
    }
}
