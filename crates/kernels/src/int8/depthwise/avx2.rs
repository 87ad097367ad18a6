//! AVX2 depthwise convolution, multiplier 1: 16 channels of one output pixel at a time.
//!
//! Taps are taken in pairs: the bytes of two taps are interleaved, widened to int16, and one
//! `vpmaddwd` adds both products of a channel into its int32 sum. Padding taps read a pixel filled
//! with the zero point, and the zero point's share is taken out of the sums' start.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{ACC, Job, PIXELS};
use crate::int8::avx2::{array, array_mut, load_i32, store_i32};
use crate::int8::epilogue::{Epilogue, Tile};
use crate::isa::{Avx2, Isa};
use crate::shape::ConvShape;

/// Channels of a block.
const LANES: usize = 16;
/// Most taps of a kernel that this path takes; their addresses live on the stack.
const MAX_TAPS: usize = 64;

/// Weights in blocks of 16 channels: `[block][tap pair][channel][2]`, an odd last tap paired with
/// zero. When 16 does not divide the channels the last block overlaps the one before it, so that
/// no load leaves a pixel; fewer than 16 channels are one zero-filled block.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    pairs: usize,
    starts: Vec<usize>,
    weights: Vec<i16>,
}

impl Blocks {
    /// Packs `[taps, channels]` weights; `None` for a kernel this path does not take.
    pub(super) fn pack(s: &ConvShape, weights: &[i8]) -> Option<Self> {
        let taps = s.kernel_h * s.kernel_w;
        if s.in_c != s.out_c || taps == 0 || taps > MAX_TAPS {
            return None;
        }
        let pairs = taps.div_ceil(2);
        let last = s.in_c.saturating_sub(LANES);
        let starts: Vec<usize> = (0..s.in_c).step_by(LANES).map(|start| start.min(last)).collect();
        let mut packed = vec![0i16; starts.len() * pairs * 2 * LANES];
        for (&start, block) in starts.iter().zip(packed.chunks_exact_mut(pairs * 2 * LANES)) {
            for tap in 0..taps {
                for (lane, c) in (start..s.in_c.min(start + LANES)).enumerate() {
                    block[(tap / 2 * LANES + lane) * 2 + tap % 2] = i16::from(weights[tap * s.in_c + c]);
                }
            }
        }
        Some(Self { pairs, starts, weights: packed })
    }
}

/// `i8_depthwise_8x16_avx2`: output line `oy` of the job's image.
///
/// `padding` is `PIXELS` pixels, `stride_w` apart, of zero points; `start[c]` is what the sum of
/// channel `c` starts from.
pub(super) fn line<E: Epilogue>(
    token: Avx2,
    isa: Isa,
    blocks: &Blocks,
    job: &Job<'_>,
    padding: &[i8],
    start: &[i32],
    oy: usize,
    epilogue: &E,
    out: &mut [E::Out],
) {
    let s = job.shape;
    let mut acc = [0i32; ACC];
    let interior = interior(s);
    let mut taps: [&[i8]; MAX_TAPS] = [padding; MAX_TAPS];
    let mut ox = 0;
    while ox < s.out_w {
        let count = if interior.contains(&ox) { (interior.end - ox).min(PIXELS) } else { 1 };
        gather(job, padding, oy, ox, count, &mut taps);
        let pixels = Pixels::new(&taps[..2 * blocks.pairs], s, count);
        let row = (job.batch * s.out_h + oy) * s.out_w + ox;
        let out = &mut out[ox * s.out_c..(ox + count) * s.out_c];
        for first in (0..blocks.starts.len()).step_by(TILE_BLOCKS) {
            let range = first..blocks.starts.len().min(first + TILE_BLOCKS);
            let c0 = blocks.starts[first];
            let end = (blocks.starts[range.end - 1] + LANES).min(s.in_c);
            for block in range {
                let at = blocks.starts[block];
                sum_block(token, blocks, block, &pixels, start, &mut acc[at - c0..]);
            }
            let tile =
                Tile { acc: &acc, acc_stride: TILE_BLOCKS * LANES, row, rows: count, channel: c0, cols: end - c0 };
            epilogue.store(isa, &tile, &mut out[c0..], s.out_c);
        }
        ox += count;
    }
}

/// Blocks of channels in a tile of [`PIXELS`] pixels.
const TILE_BLOCKS: usize = ACC / (PIXELS * LANES);

/// Output columns whose taps all lie inside the input.
fn interior(s: &ConvShape) -> Range<usize> {
    let reach = (s.kernel_w - 1) * s.dilation_w;
    let first = s.pad_left.div_ceil(s.stride_w);
    let end = match (s.in_w + s.pad_left).checked_sub(reach + 1) {
        Some(last) => (last / s.stride_w + 1).min(s.out_w),
        None => 0,
    };
    first..end
}

/// Finds the taps of `count` neighbouring pixels: each slice starts at the first pixel's tap and
/// ends with the last one's. Slices past the kernel's taps are left as they are, on padding.
fn gather<'a>(job: &Job<'a>, padding: &'a [i8], oy: usize, ox: usize, count: usize, taps: &mut [&'a [i8]; MAX_TAPS]) {
    let s = job.shape;
    let len = ((count - 1) * s.stride_w + 1) * s.in_c;
    let (vertical, horizontal) = (s.taps_h(oy), s.taps_w(ox));
    for (ky, taps) in taps[..s.kernel_h * s.kernel_w].chunks_exact_mut(s.kernel_w).enumerate() {
        taps.fill(padding);
        if !vertical.taps.contains(&ky) {
            continue;
        }
        let y = (vertical.origin + (ky * s.dilation_h) as isize) as usize;
        let line = (job.batch * s.in_h + y) * s.in_w;
        for kx in horizontal.taps.clone() {
            let x = (horizontal.origin + (kx * s.dilation_w) as isize) as usize;
            let from = (line + x) * s.in_c;
            taps[kx] = &job.input[from..from + len];
        }
    }
}

/// Taps of neighbouring pixels, each proven to hold every channel of every pixel.
struct Pixels<'a> {
    taps: &'a [&'a [i8]],
    count: usize,
    /// Bytes from one pixel to the next.
    step: usize,
}

impl<'a> Pixels<'a> {
    fn new(taps: &'a [&'a [i8]], s: &ConvShape, count: usize) -> Self {
        let step = s.stride_w * s.in_c;
        let len = (count - 1) * step + s.in_c;
        assert!(taps.iter().all(|tap| tap.len() >= len));
        Self { taps, count, step }
    }
}

/// Sums one block of channels of up to [`PIXELS`] pixels into `acc`, `TILE_BLOCKS * LANES` apart.
fn sum_block(_: Avx2, blocks: &Blocks, block: usize, pixels: &Pixels<'_>, start: &[i32], acc: &mut [i32]) {
    let channels = start.len();
    let (at, pairs) = (blocks.starts[block], blocks.pairs);
    assert!(pixels.taps.len() == 2 * pairs && (channels < LANES || at + LANES <= channels));
    let weights = &blocks.weights[block * pairs * 2 * LANES..][..pairs * 2 * LANES];
    let mut padded = [0i32; LANES];
    let from = &start[at..channels.min(at + LANES)];
    padded[..from.len()].copy_from_slice(from);
    // SAFETY: the token proves AVX2. `pixels` proves that every tap holds the `channels` bytes of
    // every pixel, and the assert that 16 bytes from `at` are inside them unless there are fewer
    // channels, for which the narrower loads are chosen.
    unsafe {
        match (channels, pairs) {
            (LANES.., 5) => sum_pixels::<FULL, 5>(pixels, at, weights, &padded, acc),
            (LANES.., 13) => sum_pixels::<FULL, 13>(pixels, at, weights, &padded, acc),
            (LANES.., _) => sum_pixels::<FULL, 0>(pixels, at, weights, &padded, acc),
            (8, 5) => sum_pixels::<8, 5>(pixels, at, weights, &padded, acc),
            (8, _) => sum_pixels::<8, 0>(pixels, at, weights, &padded, acc),
            (few, _) => {
                debug_assert!(few < LANES);
                sum_pixels::<PARTIAL, 0>(pixels, at, weights, &padded, acc);
            }
        }
    }
}

/// Load 16 bytes of a pixel.
const FULL: usize = 16;
/// Load the whole pixel, fewer than 16 bytes; they are the last of their tap slice at the latest.
const PARTIAL: usize = 0;

/// Sums 16 channels of every pixel:
/// `acc[p][c] = start[c] + sum over taps of taps[t][p * step + at + c] * weights[t][c]`.
///
/// `PAIRS` is the number of tap pairs, or 0 to take it from `weights`.
///
/// # Safety
/// For every pixel `p`, `p * step + at + 16` (`LOAD == FULL`) or `+ 8` (`LOAD == 8`) is at most the
/// length of every tap that `weights` reaches.
#[target_feature(enable = "avx2")]
unsafe fn sum_pixels<const LOAD: usize, const PAIRS: usize>(
    pixels: &Pixels<'_>,
    at: usize,
    weights: &[i16],
    start: &[i32; LANES],
    acc: &mut [i32],
) {
    let pairs = if PAIRS == 0 { weights.len() / (2 * LANES) } else { PAIRS };
    let weights = &weights[..pairs * 2 * LANES];
    let taps = &pixels.taps[..2 * pairs];
    let (start_lo, start_hi) = (load_i32(array(start, 0)), load_i32(array(start, 8)));
    let rows = acc.chunks_mut(TILE_BLOCKS * LANES);
    for (p, acc) in rows.take(pixels.count).enumerate() {
        let at = p * pixels.step + at;
        let (mut lo, mut hi) = (start_lo, start_hi);
        for pair in 0..pairs {
            // SAFETY: the loads stay inside the taps by this function's contract, and `weights`
            // holds two vectors a pair.
            unsafe {
                let a = load_tap::<LOAD>(taps[2 * pair], at);
                let b = load_tap::<LOAD>(taps[2 * pair + 1], at);
                let weights = weights.as_ptr().add(pair * 2 * LANES).cast::<__m256i>();
                let first = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
                let first = _mm256_madd_epi16(first, _mm256_loadu_si256(weights));
                lo = _mm256_add_epi32(lo, first);
                if LOAD != 8 {
                    let second = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b));
                    let second = _mm256_madd_epi16(second, _mm256_loadu_si256(weights.add(1)));
                    hi = _mm256_add_epi32(hi, second);
                }
            }
        }
        store_i32(array_mut(acc, 0), lo);
        store_i32(array_mut(acc, 8), hi);
    }
}

/// The channels of one tap from byte `at` on.
///
/// # Safety
/// As for `sum_pixels`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_tap<const LOAD: usize>(tap: &[i8], at: usize) -> __m128i {
    // SAFETY: the caller promises 16 or 8 readable bytes; the partial case copies what there is.
    unsafe {
        match LOAD {
            FULL => _mm_loadu_si128(tap.as_ptr().add(at).cast()),
            8 => _mm_loadl_epi64(tap.as_ptr().add(at).cast()),
            _ => {
                // Bytes of the next pixel meet zero weights.
                let rest = &tap[at..tap.len().min(at + 16)];
                let mut padded = [0i8; 16];
                padded[..rest.len()].copy_from_slice(rest);
                _mm_loadu_si128(padded.as_ptr().cast())
            }
        }
    }
}
