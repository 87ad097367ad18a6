//! AVX2 building blocks shared by the integer kernels: widening, rounding and narrowing.
//!
//! Functions marked `#[target_feature]` are safe to call from one another; the crossing from
//! ordinary code takes an [`Avx2`] token, which is the proof that the CPU has the instructions.

use std::arch::x86_64::*;

use super::epilogue::Tile;
use super::requant::{FLOAT_LIMIT, Requant, Rounding};
use crate::isa::Avx2;

/// Loads 8 i32.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i32(src: &[i32; 8]) -> __m256i {
    // SAFETY: `src` is 32 readable bytes; the load has no alignment requirement.
    unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
}

/// Stores 8 i32.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_i32(dst: &mut [i32; 8], value: __m256i) {
    // SAFETY: `dst` is 32 writable bytes; the store has no alignment requirement.
    unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
}

/// Loads 8 f32.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_f32(src: &[f32; 8]) -> __m256 {
    // SAFETY: `src` is 32 readable bytes; the load has no alignment requirement.
    unsafe { _mm256_loadu_ps(src.as_ptr()) }
}

/// Loads 16 i8.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i8x16(src: &[i8; 16]) -> __m128i {
    // SAFETY: `src` is 16 readable bytes; the load has no alignment requirement.
    unsafe { _mm_loadu_si128(src.as_ptr().cast()) }
}

/// Stores 16 i8.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store_i8x16(dst: &mut [i8; 16], value: __m128i) {
    // SAFETY: `dst` is 16 writable bytes; the store has no alignment requirement.
    unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), value) }
}

/// The first `N` elements at `at` as an array; panics outside the slice.
#[inline(always)]
pub(super) fn array<T, const N: usize>(slice: &[T], at: usize) -> &[T; N] {
    slice[at..at + N].first_chunk().expect("N elements were sliced")
}

/// The first `N` elements at `at` as a mutable array; panics outside the slice.
#[inline(always)]
pub(super) fn array_mut<T, const N: usize>(slice: &mut [T], at: usize) -> &mut [T; N] {
    slice[at..at + N].first_chunk_mut().expect("N elements were sliced")
}

/// `round(x)` half to even. Equal to the scalar `round_even` up to 65536 in magnitude; beyond, a
/// large value of the same sign, which every int8 output then saturates.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn round_even(x: __m256) -> __m256i {
    let limit = _mm256_set1_ps(FLOAT_LIMIT);
    // A value too negative converts to i32::MIN by itself; one too large would as well.
    _mm256_cvtps_epi32(_mm256_min_ps(x, limit))
}

/// Eight lanes of `FixedMultiplier::apply`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn fixed_multiply(x: __m256i, multiplier: __m256i, shift: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    let left = _mm256_max_epi32(shift, zero);
    let right = _mm256_max_epi32(_mm256_sub_epi32(zero, shift), zero);
    let x = _mm256_sllv_epi32(x, left);
    // Products of the even lanes and of the odd lanes, rounded; the multiplier is never negative,
    // so the saturating case of the high multiply (both i32::MIN) cannot occur.
    let half = _mm256_set1_epi64x(1 << 30);
    let even = _mm256_add_epi64(_mm256_mul_epi32(x, multiplier), half);
    let odd = _mm256_mul_epi32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(multiplier, 32));
    let odd = _mm256_add_epi64(odd, half);
    // Bits 31..63 of each: shifted down for the even lanes, up by one for the odd lanes.
    let even = _mm256_srli_epi64(even, 31);
    let odd = _mm256_slli_epi64(odd, 1);
    let high = _mm256_blend_epi32(even, odd, 0b1010_1010);
    // Rounding shift right, half away from zero.
    let one = _mm256_set1_epi32(1);
    let mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
    let negative = _mm256_srli_epi32(high, 31);
    let threshold = _mm256_add_epi32(_mm256_srli_epi32(mask, 1), negative);
    let round_up = _mm256_cmpgt_epi32(_mm256_and_si256(high, mask), threshold);
    _mm256_sub_epi32(_mm256_srav_epi32(high, right), round_up)
}

/// Eight lanes of `FixedMultiplier::apply_once`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn fixed_multiply_once(x: __m256i, multiplier: __m256i, shift: __m256i) -> __m256i {
    let one = _mm256_set1_epi64x(1);
    // There is no arithmetic shift of 64 bits: the product, under 2^62 in magnitude, is lifted
    // above 0 by a number that the shift divides, and lowered again behind it.
    let lift = _mm256_set1_epi64x(1 << 62);
    let scale = |x: __m256i, multiplier: __m256i, right: __m256i| {
        let half = _mm256_sllv_epi64(one, _mm256_sub_epi64(right, one));
        let lifted = _mm256_add_epi64(_mm256_add_epi64(_mm256_mul_epi32(x, multiplier), half), lift);
        _mm256_sub_epi64(_mm256_srlv_epi64(lifted, right), _mm256_srlv_epi64(lift, right))
    };
    let right = _mm256_sub_epi32(_mm256_set1_epi32(31), shift);
    let even = scale(x, multiplier, _mm256_and_si256(right, _mm256_set1_epi64x(0xffff_ffff)));
    let up = |x| _mm256_srli_epi64(x, 32);
    let odd = scale(up(x), up(multiplier), up(right));
    _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0b1010_1010)
}

/// 16 i32 (two vectors, in order) narrowed to i8 with saturation, plus a zero point, clamped.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn narrow(lo: __m256i, hi: __m256i, out: &Narrow) -> __m128i {
    let packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(lo, hi), 0b1101_1000);
    let shifted = _mm256_adds_epi16(packed, out.zero_point);
    let bytes = _mm_packs_epi16(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
    _mm_min_epi8(_mm_max_epi8(bytes, out.min), out.max)
}

/// Zero point and clamp of an int8 output, broadcast once for a whole row.
pub(super) struct Narrow {
    zero_point: __m256i,
    min: __m128i,
    max: __m128i,
}

impl Narrow {
    /// Broadcasts an output's zero point and clamp.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(zero_point: i32, min: i8, max: i8) -> Self {
        Self { zero_point: _mm256_set1_epi16(zero_point as i16), min: _mm_set1_epi8(min), max: _mm_set1_epi8(max) }
    }
}

/// Copies sums out of registers.
#[inline(always)]
pub(super) fn spill<const M: usize, const V: usize>(_: Avx2, sums: &[[__m256i; V]; M]) -> [[[i32; 8]; V]; M] {
    let mut acc = [[[0i32; 8]; V]; M];
    for (acc, sum) in acc.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
        // SAFETY: the token proves that this CPU has AVX2.
        unsafe { store_i32(acc, *sum) }
    }
    acc
}

/// Requantizes a full tile of sums that are still in registers, by the float rounding: `sums[r][v]`
/// has columns `8 * v..` of row `r` and channels `channel + 8 * v..`; `V` is 1 or 2.
#[inline(always)]
pub(super) fn requant_sums<const M: usize, const V: usize>(
    _: Avx2,
    r: &Requant,
    sums: &[[__m256i; V]; M],
    channel: usize,
    out: &mut [i8],
    stride: usize,
) {
    // SAFETY: the token proves that this CPU has AVX2.
    unsafe {
        if r.needs_limit() {
            requant_sums_avx2(r, sums, channel, out, stride, |x| round_even(x));
        } else {
            requant_sums_avx2(r, sums, channel, out, stride, |x| _mm256_cvtps_epi32(x));
        }
    }
}

/// Four vectors of sums at a time, so that every narrowing works on whole registers.
#[inline]
#[target_feature(enable = "avx2")]
fn requant_sums_avx2<const M: usize, const V: usize>(
    r: &Requant,
    sums: &[[__m256i; V]; M],
    channel: usize,
    out: &mut [i8],
    stride: usize,
    round: impl Fn(__m256) -> __m256i,
) {
    const { assert!(V == 1 || V == 2) }
    assert!(out.len() >= (M - 1) * stride + 8 * V, "a tile of {M} rows {stride} apart");
    let (min, max) = r.clamp();
    let to = Narrow::new(r.zero_point(), min, max);
    // The per-channel arrays have slack, so 16 factors can be loaded at any channel.
    let scales = array::<f32, 16>(&r.scale, channel);
    let scales = [load_f32(array(scales, 0)), load_f32(array(scales, 8))];
    let vectors = sums.as_flattened();
    for first in (0..M * V).step_by(4) {
        let mut scaled = [_mm256_setzero_si256(); 4];
        for (i, scaled) in scaled.iter_mut().enumerate() {
            // Past the end the last vector once more; its copy is dropped.
            let at = (first + i).min(M * V - 1);
            *scaled = round(_mm256_mul_ps(_mm256_cvtepi32_ps(vectors[at]), scales[at % V]));
        }
        let bytes = narrow4(scaled, &to);
        for (half, bytes) in [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)].into_iter().enumerate()
        {
            let row = (first + 2 * half) / V;
            // SAFETY: rows `row` and, for one vector a row, `row + 1` are only stored if they are
            // under `M`, and the assert proves that `8 * V` bytes of `M` rows are inside `out`.
            unsafe {
                let dst = out.as_mut_ptr().wrapping_add(row * stride);
                if V == 2 && row < M {
                    _mm_storeu_si128(dst.cast(), bytes);
                }
                if V == 1 && row < M {
                    _mm_storel_epi64(dst.cast(), bytes);
                }
                if V == 1 && row + 1 < M {
                    _mm_storeh_pd(dst.wrapping_add(stride).cast(), _mm_castsi128_pd(bytes));
                }
            }
        }
    }
}

/// Four vectors of 8 i32 narrowed to i8 with saturation, plus a zero point, clamped: 8 bytes of
/// each, in order.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow4(x: [__m256i; 4], out: &Narrow) -> __m256i {
    let ab = _mm256_adds_epi16(_mm256_packs_epi32(x[0], x[1]), out.zero_point);
    let cd = _mm256_adds_epi16(_mm256_packs_epi32(x[2], x[3]), out.zero_point);
    let bytes = _mm256_packs_epi16(ab, cd);
    let min = _mm256_broadcastsi128_si256(out.min);
    let max = _mm256_broadcastsi128_si256(out.max);
    let bytes = _mm256_min_epi8(_mm256_max_epi8(bytes, min), max);
    // The packs work within halves: fours of a, b, c, d from the low ones, then from the high ones.
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}

/// Requantizes a row of accumulators of channels `c0..`.
pub(super) fn requant_row(token: Avx2, r: &Requant, acc: &[i32], c0: usize, out: &mut [i8]) {
    let tile = Tile { acc, acc_stride: acc.len(), row: 0, rows: 1, channel: c0, cols: acc.len() };
    requant_tile(token, r, &tile, out, acc.len());
}

/// Requantizes a tile of sums into int8 rows `stride` apart.
pub(super) fn requant_tile(_: Avx2, r: &Requant, tile: &Tile<'_>, out: &mut [i8], stride: usize) {
    // SAFETY: the token proves that this CPU has AVX2.
    unsafe { requant_tile_avx2(r, tile, out, stride) }
}

#[target_feature(enable = "avx2")]
fn requant_tile_avx2(r: &Requant, tile: &Tile<'_>, out: &mut [i8], stride: usize) {
    let (min, max) = r.clamp();
    let to = Narrow::new(r.zero_point(), min, max);
    for col in (0..tile.cols).step_by(16) {
        // The per-channel arrays have slack, so 16 factors can be loaded at any channel.
        let c = tile.channel + col;
        match r.rounding() {
            Rounding::Float => {
                let scale = array::<f32, 16>(&r.scale, c);
                let (s0, s1) = (load_f32(array(scale, 0)), load_f32(array(scale, 8)));
                requant_columns(tile, col, out, stride, |lo, hi| {
                    let lo = round_even(_mm256_mul_ps(_mm256_cvtepi32_ps(lo), s0));
                    let hi = round_even(_mm256_mul_ps(_mm256_cvtepi32_ps(hi), s1));
                    narrow(lo, hi, &to)
                });
            }
            Rounding::Fixed => {
                let (m, s) = (array::<i32, 16>(&r.multiplier, c), array::<i32, 16>(&r.shift, c));
                let (m0, m1) = (load_i32(array(m, 0)), load_i32(array(m, 8)));
                let (s0, s1) = (load_i32(array(s, 0)), load_i32(array(s, 8)));
                if r.rounds_once() {
                    requant_columns(tile, col, out, stride, |lo, hi| {
                        narrow(fixed_multiply_once(lo, m0, s0), fixed_multiply_once(hi, m1, s1), &to)
                    });
                } else {
                    requant_columns(tile, col, out, stride, |lo, hi| {
                        narrow(fixed_multiply(lo, m0, s0), fixed_multiply(hi, m1, s1), &to)
                    });
                }
            }
        }
    }
}

/// Requantizes up to 16 columns from `col` on, in every row of the tile.
#[inline]
#[target_feature(enable = "avx2")]
fn requant_columns(
    tile: &Tile<'_>,
    col: usize,
    out: &mut [i8],
    stride: usize,
    requant: impl Fn(__m256i, __m256i) -> __m128i,
) {
    let width = (tile.cols - col).min(16);
    for row in 0..tile.rows {
        let (from, to) = (row * tile.acc_stride + col, row * stride + col);
        if width == 16 {
            let acc = array::<i32, 16>(tile.acc, from);
            let bytes = requant(load_i32(array(acc, 0)), load_i32(array(acc, 8)));
            store_i8x16(array_mut(out, to), bytes);
        } else if width == 8 {
            let sums = load_i32(array(tile.acc, from));
            let dst = array_mut::<i8, 8>(out, to);
            // SAFETY: `dst` is 8 writable bytes; the store has no alignment requirement.
            unsafe { _mm_storel_epi64(dst.as_mut_ptr().cast(), requant(sums, sums)) }
        } else {
            let mut padded = [0i32; 16];
            padded[..width].copy_from_slice(&tile.acc[from..from + width]);
            let mut bytes = [0i8; 16];
            let (lo, hi) = (load_i32(array(&padded, 0)), load_i32(array(&padded, 8)));
            store_i8x16(&mut bytes, requant(lo, hi));
            out[to..to + width].copy_from_slice(&bytes[..width]);
        }
    }
}

/// Widens int8 to int16 and subtracts a zero point.
pub(super) fn widen_sub(_: Avx2, src: &[i8], zero_point: i16, dst: &mut [i16]) {
    assert_eq!(src.len(), dst.len());
    // SAFETY: the token proves that this CPU has AVX2.
    unsafe { widen_sub_avx2(src, zero_point, dst) }
}

#[target_feature(enable = "avx2")]
fn widen_sub_avx2(src: &[i8], zero_point: i16, dst: &mut [i16]) {
    let zp = _mm256_set1_epi16(zero_point);
    let len = src.len();
    if len >= 16 {
        // A ragged end is covered by one more vector that overlaps the one before it.
        for at in (0..len - 15).step_by(16).chain((!len.is_multiple_of(16)).then(|| len - 16)) {
            let wide = _mm256_cvtepi8_epi16(load_i8x16(array(src, at)));
            let dst = array_mut::<i16, 16>(dst, at);
            // SAFETY: `dst` is 32 writable bytes; unaligned stores are allowed.
            unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), _mm256_sub_epi16(wide, zp)) }
        }
    } else if len >= 8 {
        for at in [0, len - 8] {
            let (src, dst) = (array::<i8, 8>(src, at), array_mut::<i16, 8>(dst, at));
            // SAFETY: `src` is 8 readable and `dst` 16 writable bytes; both accesses are unaligned.
            unsafe {
                let wide = _mm_cvtepi8_epi16(_mm_loadl_epi64(src.as_ptr().cast()));
                let wide = _mm_sub_epi16(wide, _mm256_castsi256_si128(zp));
                _mm_storeu_si128(dst.as_mut_ptr().cast(), wide);
            }
        }
    } else {
        for (src, dst) in src.iter().zip(dst) {
            *dst = i16::from(*src) - zero_point;
        }
    }
}

/// Looks 32 values at a time up in a table of 256.
pub(super) fn lookup(_: Avx2, table: &[i8; 256], x: &[i8], out: &mut [i8]) {
    assert!(x.len() == out.len() && x.len().is_multiple_of(32));
    // SAFETY: the token proves that this CPU has AVX2.
    unsafe { lookup_avx2(table, x, out) }
}

/// Sixteen byte shuffles, one for every 16 entries of the table. Before shuffle `i` the index is
/// reduced by `16 * i`; a saturating add of 112 then leaves the low four bits of an index in
/// 0..16 and sets the top bit of any other, for which the shuffle yields zero.
#[target_feature(enable = "avx2")]
fn lookup_avx2(table: &[i8; 256], x: &[i8], out: &mut [i8]) {
    let mut parts = [_mm256_setzero_si256(); 16];
    for (i, part) in parts.iter_mut().enumerate() {
        *part = _mm256_broadcastsi128_si256(load_i8x16(array(table, 16 * i)));
    }
    let (bias, step) = (_mm256_set1_epi8(112), _mm256_set1_epi8(16));
    for (x, out) in x.chunks_exact(32).zip(out.chunks_exact_mut(32)) {
        // SAFETY: `x` is a chunk of 32 readable bytes; the load is unaligned.
        let mut index = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        let mut found = _mm256_setzero_si256();
        for part in parts {
            let shuffled = _mm256_shuffle_epi8(part, _mm256_adds_epu8(index, bias));
            found = _mm256_or_si256(found, shuffled);
            index = _mm256_sub_epi8(index, step);
        }
        // SAFETY: `out` is a chunk of 32 writable bytes; the store is unaligned.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_requantize_as_the_scalar_does(
            acc in prop::collection::vec(prop_oneof![any::<i32>(), -70_000i32..70_000], 1..70),
            base in 1e-7f64..1.5,
            zero_point in any::<i8>(),
            c0 in 0usize..20,
        ) {
            for rounding in [Rounding::Float, Rounding::Fixed] {
                // Right shifts only: a left shift would wrap for the extreme accumulators.
                let top = if rounding == Rounding::Fixed { 0.4 } else { 1.0 };
                let multipliers: Vec<f64> =
                    (0..c0 + acc.len()).map(|c| base.min(top) * (1.0 + c as f64 / 80.0)).collect();
                let twice = Requant::new(rounding, &multipliers, zero_point).with_clamp(-120, 119);
                for r in [twice.clone(), twice.rounded_once()] {
                    for isa in Isa::available() {
                        let mut out = vec![0i8; acc.len()];
                        r.apply_row(isa, &acc, c0, &mut out);
                        for (i, &got) in out.iter().enumerate() {
                            prop_assert_eq!(got, r.apply(acc[i], c0 + i));
                        }
                    }
                }
            }
        }
    }
}
