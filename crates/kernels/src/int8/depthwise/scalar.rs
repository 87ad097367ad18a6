//! Reference depthwise convolution, any kernel size and multiplier.

use super::{ACC, Job};
use crate::int8::epilogue::{Epilogue, Tile};
use crate::isa::Isa;

/// `i8_depthwise_1x1_scalar`: output line `oy` of the job's image.
///
/// `weights` is `[taps, out_c]`; only taps inside the input are summed, the others are real zeros.
pub(super) fn line<E: Epilogue>(
    isa: Isa,
    weights: &[i8],
    bias: &[i32],
    job: &Job<'_>,
    oy: usize,
    epilogue: &E,
    out: &mut [E::Out],
) {
    let s = job.shape;
    let multiplier = s.out_c / s.in_c;
    let vertical = s.taps_h(oy);
    let mut acc = [0i32; ACC];
    for (ox, out) in out.chunks_exact_mut(s.out_c).enumerate() {
        let horizontal = s.taps_w(ox);
        for (block, out) in out.chunks_mut(ACC).enumerate() {
            let c0 = block * ACC;
            let acc = &mut acc[..out.len()];
            acc.copy_from_slice(&bias[c0..c0 + out.len()]);
            for ky in vertical.taps.clone() {
                let y = (vertical.origin + (ky * s.dilation_h) as isize) as usize;
                for kx in horizontal.taps.clone() {
                    let x = (horizontal.origin + (kx * s.dilation_w) as isize) as usize;
                    let pixel = ((job.batch * s.in_h + y) * s.in_w + x) * s.in_c;
                    let tap = (ky * s.kernel_w + kx) * s.out_c + c0;
                    let weights = &weights[tap..tap + out.len()];
                    add_tap(acc, &job.input[pixel..pixel + s.in_c], weights, c0, multiplier, job);
                }
            }
            let tile = Tile {
                acc,
                acc_stride: acc.len(),
                row: (job.batch * s.out_h + oy) * s.out_w + ox,
                rows: 1,
                channel: c0,
                cols: out.len(),
            };
            epilogue.store(isa, &tile, out, s.out_c);
        }
    }
}

/// Adds one tap to the sums of channels `c0..`.
fn add_tap(acc: &mut [i32], pixel: &[i8], weights: &[i8], c0: usize, multiplier: usize, job: &Job<'_>) {
    let zero_point = i32::from(job.zero_point);
    if multiplier == 1 {
        for ((acc, &x), &w) in acc.iter_mut().zip(&pixel[c0..]).zip(weights) {
            *acc += (i32::from(x) - zero_point) * i32::from(w);
        }
    } else {
        for (i, (acc, &w)) in acc.iter_mut().zip(weights).enumerate() {
            let x = i32::from(pixel[(c0 + i) / multiplier]);
            *acc += (x - zero_point) * i32::from(w);
        }
    }
}
