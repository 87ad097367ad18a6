//! AVX2 tiles: `vpmaddwd` on int16 pairs, up to 6 rows by 16 columns.
//!
//! A product of two int8 values less their zero points is at most 255 * 255 in magnitude, so the
//! sum of two fits int32 with room to spare: nothing saturates. 12 accumulators, 2 weight vectors,
//! a broadcast and a product fill the 16 registers. Int8 output is requantized before the sums leave
//! their registers.

use std::arch::x86_64::*;

use super::Wide;
use crate::int8::epilogue::{Epilogue, Place};
use crate::isa::{Avx2, Isa};

/// Rows of a full tile.
const ROWS: usize = 6;

/// `i8_gemm_6x16_avx2` / `i8_gemm_6x8_avx2`: all rows of `left` with one panel of weights, summed as
/// in `scalar::sum_tile_pairs`; `out` starts at the first element of `place`.
pub(super) fn multiply_panel<E: Epilogue>(
    token: Avx2,
    isa: Isa,
    left: Wide<'_>,
    right: &[i16],
    bias: &[i32],
    epilogue: &E,
    place: Place,
    out: &mut [E::Out],
) {
    let (segments, len) = (left.offsets(), left.segment_len());
    assert!(len.is_multiple_of(2) && right.len() == bias.len() * segments.len() * len);
    let panel = Panel { token, isa, data: left.checked(place.rows), left, right, bias, epilogue };
    // SAFETY: the token proves AVX2. The asserts, and the check inside `Wide::checked`, prove that
    // every row has its segments inside `data` and that `right` has `bias.len()` columns of as many
    // values.
    unsafe {
        match bias.len() {
            16 => panel.rows::<2>(place, out),
            8 => panel.rows::<1>(place, out),
            width => unreachable!("no tile of {width} columns"),
        }
    }
}

/// One panel of weights and the rows that it is multiplied with.
struct Panel<'a, E> {
    token: Avx2,
    isa: Isa,
    /// The values that `left` describes.
    data: &'a [i16],
    left: Wide<'a>,
    right: &'a [i16],
    bias: &'a [i32],
    epilogue: &'a E,
}

impl<E: Epilogue> Panel<'_, E> {
    /// All rows of `place`, `8 * V` columns.
    ///
    /// # Safety
    /// The CPU has AVX2, every segment of every row of `place` lies in `data`, `bias` has `8 * V`
    /// values and `right` as many for every value of a row, whose segments are even.
    #[target_feature(enable = "avx2")]
    unsafe fn rows<const V: usize>(&self, place: Place, out: &mut [E::Out]) {
        for tile in place.tiles(ROWS) {
            let first = tile.row - place.row;
            let out = &mut out[first * place.stride..];
            // SAFETY: a tile is a part of the rows that the caller vouches for.
            unsafe {
                match tile.rows {
                    6 => self.tile::<6, V>(first, tile, out),
                    5 => self.tile::<5, V>(first, tile, out),
                    4 => self.tile::<4, V>(first, tile, out),
                    3 => self.tile::<3, V>(first, tile, out),
                    2 => self.tile::<2, V>(first, tile, out),
                    _ => self.tile::<1, V>(first, tile, out),
                }
            }
        }
    }

    /// `M` rows from `first` on, by `8 * V` columns.
    ///
    /// # Safety
    /// As [`Panel::rows`], for these rows.
    #[target_feature(enable = "avx2")]
    unsafe fn tile<const M: usize, const V: usize>(&self, first: usize, place: Place, out: &mut [E::Out]) {
        let (stride, pairs) = (self.left.row_stride(), self.left.segment_len() / 2);
        let mut sums = [[_mm256_setzero_si256(); V]; M];
        // SAFETY: every access is inside the ranges the caller vouches for: `m < M`, `v < V`,
        // `pair < segment_len / 2`, and `right` moves on by a segment's weights after every
        // segment; unaligned loads are used throughout.
        unsafe {
            for v in 0..V {
                let start = _mm256_loadu_si256(self.bias.as_ptr().add(8 * v).cast());
                for row in &mut sums {
                    row[v] = start;
                }
            }
            let mut right = self.right.as_ptr();
            for offset in self.left.offsets() {
                // Two pointers, three rows from each: the rows are then base + {0, 1, 2} * stride,
                // which are addressing modes, and the loop computes no addresses.
                let mut near = self.data.as_ptr().add(first * stride + offset);
                let mut far = near.wrapping_add(3 * stride);
                for _ in 0..pairs {
                    let mut weights = [_mm256_setzero_si256(); V];
                    for (v, weight) in weights.iter_mut().enumerate() {
                        *weight = _mm256_loadu_si256(right.add(v * 16).cast());
                    }
                    right = right.add(16 * V);
                    for (m, row) in sums.iter_mut().enumerate() {
                        let inputs = if m < 3 { near.add(m * stride) } else { far.add((m - 3) * stride) };
                        let inputs = _mm256_set1_epi32(inputs.cast::<i32>().read_unaligned());
                        for (sum, weight) in row.iter_mut().zip(weights) {
                            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(inputs, weight));
                        }
                    }
                    near = near.add(2);
                    far = far.wrapping_add(2);
                }
            }
        }
        self.epilogue.store_sums(self.token, self.isa, &sums, place, out);
    }
}
