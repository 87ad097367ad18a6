//! AVX2 tiles: `vpmaddwd` on int16 pairs, up to 6 rows by 16 columns.
//!
//! A product of two int8 values less their zero points is at most 255 * 255 in magnitude, so the
//! sum of two fits int32 with room to spare: nothing saturates. 12 accumulators, 2 weight vectors,
//! a broadcast and a product fill the 16 registers.

use std::arch::x86_64::*;

use super::MAX_TILE;
use crate::isa::Avx2;

/// `i8_gemm_6x16_avx2` / `i8_gemm_6x8_avx2`: as `scalar::sum_tile_pairs`.
pub(super) fn sum_tile(
    _: Avx2,
    left: &[i16],
    right: &[i16],
    bias: &[i32],
    rows: usize,
    padded: usize,
    acc: &mut [i32; MAX_TILE],
) {
    assert!(padded.is_multiple_of(2) && left.len() == rows * padded && rows <= 6);
    assert!(right.len() == bias.len() * padded);
    let (l, r, b, a) = (left.as_ptr(), right.as_ptr(), bias.as_ptr(), acc.as_mut_ptr());
    // SAFETY: the token proves AVX2. The asserts give `tile` what it asks for: `rows` rows of
    // `padded` left-hand values, `padded` by width right-hand values, width biases; and `acc` has
    // room for 6 rows of 16.
    unsafe {
        match (bias.len(), rows) {
            (16, 6) => tile::<6, 2>(l, r, b, padded, a),
            (16, 5) => tile::<5, 2>(l, r, b, padded, a),
            (16, 4) => tile::<4, 2>(l, r, b, padded, a),
            (16, 3) => tile::<3, 2>(l, r, b, padded, a),
            (16, 2) => tile::<2, 2>(l, r, b, padded, a),
            (16, 1) => tile::<1, 2>(l, r, b, padded, a),
            (8, 6) => tile::<6, 1>(l, r, b, padded, a),
            (8, 5) => tile::<5, 1>(l, r, b, padded, a),
            (8, 4) => tile::<4, 1>(l, r, b, padded, a),
            (8, 3) => tile::<3, 1>(l, r, b, padded, a),
            (8, 2) => tile::<2, 1>(l, r, b, padded, a),
            (8, 1) => tile::<1, 1>(l, r, b, padded, a),
            (width, rows) => unreachable!("no tile of {rows} rows and {width} columns"),
        }
    }
}

/// `M` rows by `8 * V` columns.
///
/// # Safety
/// `left` points to `M * depth` values, `right` to `depth * 8 * V`, `bias` to `8 * V`, `acc` to
/// room for `M * 8 * V`; `depth` is even.
#[target_feature(enable = "avx2")]
unsafe fn tile<const M: usize, const V: usize>(
    left: *const i16,
    right: *const i16,
    bias: *const i32,
    depth: usize,
    acc: *mut i32,
) {
    // SAFETY: every access is inside the ranges the caller promises: `pair < depth / 2`,
    // `v < V`, `m < M`; unaligned loads and stores are used throughout.
    unsafe {
        let mut sums = [[_mm256_setzero_si256(); V]; M];
        for (v, _) in [(); V].iter().enumerate() {
            let start = _mm256_loadu_si256(bias.add(8 * v).cast());
            for row in &mut sums {
                row[v] = start;
            }
        }
        for pair in 0..depth / 2 {
            let mut weights = [_mm256_setzero_si256(); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = _mm256_loadu_si256(right.add((pair * V + v) * 16).cast());
            }
            for (m, row) in sums.iter_mut().enumerate() {
                let inputs = left.add(m * depth + pair * 2).cast::<i32>();
                let inputs = _mm256_set1_epi32(inputs.read_unaligned());
                for (sum, weight) in row.iter_mut().zip(weights) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(inputs, weight));
                }
            }
        }
        for (m, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                _mm256_storeu_si256(acc.add((m * V + v) * 8).cast(), *sum);
            }
        }
    }
}
