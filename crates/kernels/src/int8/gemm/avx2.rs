//! AVX2 tiles: `vpmaddwd` on int16 pairs, up to 6 rows by 16 columns.
//!
//! A product of two int8 values less their zero points is at most 255 * 255 in magnitude, so the
//! sum of two fits int32 with room to spare: nothing saturates. 12 accumulators, 2 weight vectors,
//! a broadcast and a product fill the 16 registers. Int8 output is requantized before the sums leave
//! their registers.

use std::arch::asm;
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
                let mut left = pairs;
                if M == 6 && V == 2 {
                    let full: &mut [[__m256i; V]; M] = &mut sums;
                    two_pairs_at_a_time(full.as_flattened_mut(), near, stride, right, pairs / 2);
                    let done = pairs - pairs % 2;
                    (near, far) = (near.add(2 * done), far.wrapping_add(2 * done));
                    right = right.add(32 * done);
                    left = pairs % 2;
                }
                for _ in 0..left {
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

/// Adds `twos` times two pairs of 6 rows by 16 columns to `sums`. In assembly, because the compiler
/// spends five instructions a pair on addresses where the loop has none to spare: it is the number
/// of instructions that bounds it, not the multiplications.
///
/// # Safety
/// The CPU has AVX2, `sums` has 12 vectors, and `4 * twos` values are readable at each of 6 rows
/// `stride` values apart from `left` on, `64 * twos` at `right`.
#[target_feature(enable = "avx2")]
unsafe fn two_pairs_at_a_time(sums: &mut [__m256i], left: *const i16, stride: usize, right: *const i16, twos: usize) {
    if twos == 0 {
        return;
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = sums else { unreachable!("12 vectors of sums") };
    macro_rules! row {
        ($input:literal, $a:literal, $b:literal) => {
            concat!(
                "vpbroadcastd {x}, dword ptr [",
                $input,
                "]\n",
                "vpmaddwd {y}, {x}, {w0}\n",
                "vpmaddwd {x}, {x}, {w1}\n",
                "vpaddd {",
                $a,
                "}, {",
                $a,
                "}, {y}\n",
                "vpaddd {",
                $b,
                "}, {",
                $b,
                "}, {x}\n",
            )
        };
    }
    // SAFETY: the loop reads 8 bytes a round at each row and 128 at `right`, as the caller allows,
    // writes no memory, and leaves the flags as the only other trace.
    unsafe {
        asm!(
            "2:",
            "vmovdqu {w0}, ymmword ptr [{right}]",
            "vmovdqu {w1}, ymmword ptr [{right} + 32]",
            row!("{near}", "s0", "s1"),
            row!("{near} + {stride}", "s2", "s3"),
            row!("{near} + 2*{stride}", "s4", "s5"),
            row!("{far}", "s6", "s7"),
            row!("{far} + {stride}", "s8", "s9"),
            row!("{far} + 2*{stride}", "s10", "s11"),
            "vmovdqu {w0}, ymmword ptr [{right} + 64]",
            "vmovdqu {w1}, ymmword ptr [{right} + 96]",
            row!("{near} + 4", "s0", "s1"),
            row!("{near} + {stride} + 4", "s2", "s3"),
            row!("{near} + 2*{stride} + 4", "s4", "s5"),
            row!("{far} + 4", "s6", "s7"),
            row!("{far} + {stride} + 4", "s8", "s9"),
            row!("{far} + 2*{stride} + 4", "s10", "s11"),
            "add {near}, 8",
            "add {far}, 8",
            "sub {right}, -128",
            "dec {twos}",
            "jnz 2b",
            near = inout(reg) left => _,
            far = inout(reg) left.wrapping_add(3 * stride) => _,
            right = inout(reg) right => _,
            stride = in(reg) stride * size_of::<i16>(),
            twos = inout(reg) twos => _,
            s0 = inout(ymm_reg) *s0,
            s1 = inout(ymm_reg) *s1,
            s2 = inout(ymm_reg) *s2,
            s3 = inout(ymm_reg) *s3,
            s4 = inout(ymm_reg) *s4,
            s5 = inout(ymm_reg) *s5,
            s6 = inout(ymm_reg) *s6,
            s7 = inout(ymm_reg) *s7,
            s8 = inout(ymm_reg) *s8,
            s9 = inout(ymm_reg) *s9,
            s10 = inout(ymm_reg) *s10,
            s11 = inout(ymm_reg) *s11,
            w0 = out(ymm_reg) _,
            w1 = out(ymm_reg) _,
            x = out(ymm_reg) _,
            y = out(ymm_reg) _,
            options(nostack, readonly),
        );
    }
}
