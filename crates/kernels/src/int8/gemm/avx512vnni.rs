//! AVX-512 VNNI tiles: `vpdpbusd` on fours of u8 inputs and i8 weights, up to 8 rows by 32 columns.
//!
//! `vpdpbusd` (not its saturating sibling) adds four exact products to each int32 lane. Inputs are
//! offset by 128 to become unsigned; `offsets[row] * col_sums[col]` takes the offset and the zero
//! point back out.

use std::arch::x86_64::*;

use super::MAX_TILE;
use crate::isa::Avx512Vnni;

/// `i8_gemm_8x32_avx512vnni` / `i8_gemm_8x16_avx512vnni`: as `scalar::sum_tile_quads`.
pub(super) fn sum_tile(
    _: Avx512Vnni,
    left: &[u8],
    right: &[i8],
    bias: &[i32],
    col_sums: &[i32],
    offsets: &[i32; 8],
    rows: usize,
    padded: usize,
    acc: &mut [i32; MAX_TILE],
) {
    assert!(padded.is_multiple_of(4) && left.len() == rows * padded && rows <= 8);
    assert!(right.len() == bias.len() * padded && col_sums.len() == bias.len());
    let (l, r, b, s) = (left.as_ptr(), right.as_ptr(), bias.as_ptr(), col_sums.as_ptr());
    let (o, a) = (offsets, acc.as_mut_ptr());
    // SAFETY: the token proves AVX-512 F and VNNI. The asserts give `tile` what it asks for:
    // `rows` rows of `padded` inputs, `padded` by width weights, width biases and sums; and `acc`
    // has room for 8 rows of 32.
    unsafe {
        match (bias.len(), rows) {
            (32, 8) => tile::<8, 2>(l, r, b, s, o, padded, a),
            (32, 7) => tile::<7, 2>(l, r, b, s, o, padded, a),
            (32, 6) => tile::<6, 2>(l, r, b, s, o, padded, a),
            (32, 5) => tile::<5, 2>(l, r, b, s, o, padded, a),
            (32, 4) => tile::<4, 2>(l, r, b, s, o, padded, a),
            (32, 3) => tile::<3, 2>(l, r, b, s, o, padded, a),
            (32, 2) => tile::<2, 2>(l, r, b, s, o, padded, a),
            (32, 1) => tile::<1, 2>(l, r, b, s, o, padded, a),
            (16, 8) => tile::<8, 1>(l, r, b, s, o, padded, a),
            (16, 7) => tile::<7, 1>(l, r, b, s, o, padded, a),
            (16, 6) => tile::<6, 1>(l, r, b, s, o, padded, a),
            (16, 5) => tile::<5, 1>(l, r, b, s, o, padded, a),
            (16, 4) => tile::<4, 1>(l, r, b, s, o, padded, a),
            (16, 3) => tile::<3, 1>(l, r, b, s, o, padded, a),
            (16, 2) => tile::<2, 1>(l, r, b, s, o, padded, a),
            (16, 1) => tile::<1, 1>(l, r, b, s, o, padded, a),
            (width, rows) => unreachable!("no tile of {rows} rows and {width} columns"),
        }
    }
}

/// `M` rows by `16 * V` columns.
///
/// # Safety
/// `left` points to `M * depth` values, `right` to `depth * 16 * V`, `bias` and `col_sums` to
/// `16 * V`, `acc` to room for `M * 16 * V`; `depth` is a multiple of 4.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tile<const M: usize, const V: usize>(
    left: *const u8,
    right: *const i8,
    bias: *const i32,
    col_sums: *const i32,
    offsets: &[i32; 8],
    depth: usize,
    acc: *mut i32,
) {
    // SAFETY: every access is inside the ranges the caller promises: `quad < depth / 4`,
    // `v < V`, `m < M <= 8`; unaligned loads and stores are used throughout.
    unsafe {
        let mut sums = [[_mm512_setzero_si512(); V]; M];
        for (v, _) in [(); V].iter().enumerate() {
            let start = _mm512_loadu_si512(bias.add(16 * v).cast());
            let total = _mm512_loadu_si512(col_sums.add(16 * v).cast());
            for (row, &offset) in sums.iter_mut().zip(offsets) {
                let excess = _mm512_mullo_epi32(total, _mm512_set1_epi32(offset));
                row[v] = _mm512_sub_epi32(start, excess);
            }
        }
        for quad in 0..depth / 4 {
            let mut weights = [_mm512_setzero_si512(); V];
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = _mm512_loadu_si512(right.add((quad * V + v) * 64).cast());
            }
            for (m, row) in sums.iter_mut().enumerate() {
                let inputs = left.add(m * depth + quad * 4).cast::<i32>();
                let inputs = _mm512_set1_epi32(inputs.read_unaligned());
                for (sum, weight) in row.iter_mut().zip(weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, inputs, weight);
                }
            }
        }
        for (m, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                _mm512_storeu_si512(acc.add((m * V + v) * 16).cast(), *sum);
            }
        }
    }
}
