//! Weights unpacked in registers: eight columns a vector.

use super::{NR, NarrowBits, PackedNarrow};
use std::arch::x86_64::*;

/// One row against one or two panels: `f32_narrow_1x32_avx2`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn columns(packed: &PackedNarrow, panel: usize, x: &[f32], two: bool, acc: &mut [f32; 2 * NR]) {
    let symmetric = packed.zero_points.is_empty();
    match (packed.bits, two, symmetric) {
        (NarrowBits::Four, true, true) => sums::<4, 2, true>(packed, panel, x, acc),
        (NarrowBits::Four, true, false) => sums::<4, 2, false>(packed, panel, x, acc),
        (NarrowBits::Four, false, true) => sums::<4, 1, true>(packed, panel, x, acc),
        (NarrowBits::Four, false, false) => sums::<4, 1, false>(packed, panel, x, acc),
        (NarrowBits::Eight, true, true) => sums::<8, 2, true>(packed, panel, x, acc),
        (NarrowBits::Eight, true, false) => sums::<8, 2, false>(packed, panel, x, acc),
        (NarrowBits::Eight, false, true) => sums::<8, 1, true>(packed, panel, x, acc),
        (NarrowBits::Eight, false, false) => sums::<8, 1, false>(packed, panel, x, acc),
    }
}

/// Eight columns of a panel's half.
#[derive(Clone, Copy)]
struct Half {
    scale: __m256,
    zero: __m256i,
    sum: __m256,
}

#[target_feature(enable = "avx2,fma")]
fn sums<const BITS: usize, const PANELS: usize, const SYMMETRIC: bool>(
    packed: &PackedNarrow,
    panel: usize,
    x: &[f32],
    acc: &mut [f32; 2 * NR],
) {
    let of_lane = 32 / BITS;
    let bias = &packed.bias[panel * NR..(panel + PANELS) * NR];
    let none = Half { scale: _mm256_setzero_ps(), zero: _mm256_setzero_si256(), sum: _mm256_setzero_ps() };
    let mut halves = [[none; 2]; PANELS];
    for (p, halves) in halves.iter_mut().enumerate() {
        for (h, half) in halves.iter_mut().enumerate() {
            half.sum = load(&bias[p * NR + 8 * h..]);
        }
    }
    for block in 0..packed.blocks() {
        let parts: [_; PANELS] = std::array::from_fn(|p| packed.block(panel + p, block));
        for (halves, (_, scales, zeros)) in halves.iter_mut().zip(&parts) {
            for (h, half) in halves.iter_mut().enumerate() {
                half.scale = load(&scales[8 * h..]);
                if !SYMMETRIC {
                    half.zero = load_ints(&zeros[8 * h..]);
                }
            }
        }
        let x = &x[block * packed.steps_of_block * of_lane..];
        for (step, x) in x.chunks(of_lane).take(parts[0].0.len() / NR).enumerate() {
            let mut lanes = [[_mm256_setzero_si256(); 2]; PANELS];
            for (lanes, (from, ..)) in lanes.iter_mut().zip(&parts) {
                for (h, lanes) in lanes.iter_mut().enumerate() {
                    *lanes = load_lanes(&from[step * NR + 8 * h..]);
                }
            }
            match <&[f32; 8]>::try_from(x) {
                // A known count is unrolled.
                Ok(x) => x.iter().for_each(|&x| add::<BITS, PANELS, SYMMETRIC>(x, &mut lanes, &mut halves)),
                _ => x.iter().for_each(|&x| add::<BITS, PANELS, SYMMETRIC>(x, &mut lanes, &mut halves)),
            }
        }
    }
    for (p, halves) in halves.iter().enumerate() {
        for (h, half) in halves.iter().enumerate() {
            store(half.sum, &mut acc[p * NR + 8 * h..]);
        }
    }
}

/// All weights of a panel as floats: `f32_narrow_unpack_avx2`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn unpack(packed: &PackedNarrow, panel: usize, floats: &mut [f32]) {
    let floats = &mut floats[..packed.k * NR];
    match (packed.bits, packed.zero_points.is_empty()) {
        (NarrowBits::Four, true) => unpack_as::<4, true>(packed, panel, floats),
        (NarrowBits::Four, false) => unpack_as::<4, false>(packed, panel, floats),
        (NarrowBits::Eight, true) => unpack_as::<8, true>(packed, panel, floats),
        (NarrowBits::Eight, false) => unpack_as::<8, false>(packed, panel, floats),
    }
}

#[target_feature(enable = "avx2,fma")]
fn unpack_as<const BITS: usize, const SYMMETRIC: bool>(packed: &PackedNarrow, panel: usize, floats: &mut [f32]) {
    let of_lane = 32 / BITS;
    for block in 0..packed.blocks() {
        let (lanes, scales, zeros) = packed.block(panel, block);
        let start = block * packed.steps_of_block * of_lane * NR;
        for h in 0..2 {
            let scale = load(&scales[8 * h..]);
            let zero = if SYMMETRIC { _mm256_setzero_si256() } else { load_ints(&zeros[8 * h..]) };
            for (lanes, rows) in lanes.chunks_exact(NR).zip(floats[start..].chunks_mut(of_lane * NR)) {
                let mut lane = load_lanes(&lanes[8 * h..]);
                for row in rows.chunks_exact_mut(NR) {
                    let (q, left) = first::<BITS>(lane);
                    let q = if SYMMETRIC { q } else { _mm256_sub_epi32(q, zero) };
                    store(_mm256_mul_ps(_mm256_cvtepi32_ps(q), scale), &mut row[8 * h..]);
                    lane = left;
                }
            }
        }
    }
}

/// The first weight of each lane, and the lanes moved on to the next.
#[inline]
#[target_feature(enable = "avx2")]
fn first<const BITS: usize>(lane: __m256i) -> (__m256i, __m256i) {
    match BITS {
        4 => (_mm256_srai_epi32::<28>(lane), _mm256_slli_epi32::<4>(lane)),
        _ => (_mm256_srai_epi32::<24>(lane), _mm256_slli_epi32::<8>(lane)),
    }
}

/// Adds `x` times the first weight of each lane, and moves the lanes on to the next.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add<const BITS: usize, const PANELS: usize, const SYMMETRIC: bool>(
    x: f32,
    lanes: &mut [[__m256i; 2]; PANELS],
    halves: &mut [[Half; 2]; PANELS],
) {
    let x = _mm256_set1_ps(x);
    for (lanes, halves) in lanes.iter_mut().zip(halves) {
        for (lane, half) in lanes.iter_mut().zip(halves) {
            let (mut q, left) = first::<BITS>(*lane);
            *lane = left;
            if !SYMMETRIC {
                q = _mm256_sub_epi32(q, half.zero);
            }
            let w = _mm256_mul_ps(_mm256_cvtepi32_ps(q), half.scale);
            half.sum = _mm256_fmadd_ps(x, w, half.sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(from: &[f32]) -> __m256 {
    let from: &[f32; 8] = from.first_chunk().expect("eight floats");
    // SAFETY: the array has the 32 bytes that are read.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_ints(from: &[i32]) -> __m256i {
    let from: &[i32; 8] = from.first_chunk().expect("eight integers");
    // SAFETY: the array has the 32 bytes that are read.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_lanes(from: &[u32]) -> __m256i {
    let from: &[u32; 8] = from.first_chunk().expect("eight lanes");
    // SAFETY: the array has the 32 bytes that are read.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(from: __m256, to: &mut [f32]) {
    let to: &mut [f32; 8] = to.first_chunk_mut().expect("eight floats");
    // SAFETY: the array has the 32 bytes that are written.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), from) }
}
