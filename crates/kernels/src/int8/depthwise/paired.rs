//! AVX2 depthwise convolution, multiplier 1: 8 channels of up to 8 neighbouring output pixels at a
//! time, on input lines interleaved two by two.
//!
//! Input lines `2j` and `2j + 1` (counted from the top of the padding) are widened to int16 and
//! interleaved once: `[column][channel][2]`. One `vpmaddwd` then adds two vertical taps of 8
//! channels, and an output line reads the few line pairs that its kernel touches. Where its first
//! tap falls on the odd line of a pair, weights shifted down by one line are used. Padding is the
//! zero point, whose share is taken out of the sums' start.
//!
//! Line pairs live in a ring, for as many channels at a time as keep the ring in the L1 cache.

use std::arch::x86_64::*;
use std::ops::Range;

use super::Job;
use crate::int8::avx2::{array, array_mut, load_i8x16, load_i32};
use crate::int8::epilogue::{Epilogue, Place};
use crate::isa::{Avx2, Isa};
use crate::shape::ConvShape;

/// Channels of a block.
const LANES: usize = 8;
/// Values of one column of a line pair.
const COLUMN: usize = 2 * LANES;
/// Output pixels of the largest tile.
const PIXELS: usize = 8;
/// Most line pairs of a kernel; where they are in the ring is kept on the stack.
const MAX_PAIRS: usize = 8;
/// Bytes that the ring should not exceed by much.
const RING_BYTES: usize = 32 * 1024;
/// Channel blocks are taken in multiples of this: 32 channels, half a cache line of a pixel.
const BLOCKS: usize = 4;

/// Weights for line pairs: `[block][odd start][line pair][kx][channel][2]`.
///
/// When 8 does not divide the channels the last block overlaps the one before it.
#[derive(Clone, Debug)]
pub(super) struct Paired {
    /// First channel of every block.
    starts: Vec<usize>,
    /// Line pairs that an output line reads.
    pairs: usize,
    weights: Vec<i16>,
    /// Output pixels of a tile: a line is cut as evenly as can be.
    tile: usize,
    /// Columns of a line pair, with slack for the pixels past the line's end in its last tile.
    columns: usize,
    /// Blocks whose line pairs are in the ring together.
    group: usize,
}

impl Paired {
    /// Packs `[taps, channels]` weights; `None` for a geometry this path does not take.
    pub(super) fn pack(s: &ConvShape, weights: &[i8]) -> Option<Self> {
        let dense = s.dilation_h == 1 && s.dilation_w == 1;
        if s.in_c != s.out_c || s.in_c < LANES || !dense || !(1..=2).contains(&s.stride_w) || weights.is_empty() {
            return None;
        }
        let pairs = s.kernel_h / 2 + 1;
        if pairs > MAX_PAIRS || s.out_w == 0 {
            return None;
        }
        let starts: Vec<usize> = (0..s.in_c).step_by(LANES).map(|start| start.min(s.in_c - LANES)).collect();
        let mut packed = vec![0i16; starts.len() * 2 * pairs * s.kernel_w * COLUMN];
        for (i, column) in packed.chunks_exact_mut(COLUMN).enumerate() {
            let (rest, kx) = (i / s.kernel_w, i % s.kernel_w);
            let (rest, pair) = (rest / pairs, rest % pairs);
            let (block, odd) = (rest / 2, rest % 2);
            for (at, value) in column.iter_mut().enumerate() {
                let (channel, line) = (starts[block] + at / 2, 2 * pair + at % 2);
                if (odd..odd + s.kernel_h).contains(&line) {
                    *value = i16::from(weights[((line - odd) * s.kernel_w + kx) * s.in_c + channel]);
                }
            }
        }
        let columns = (s.out_w + PIXELS) * s.stride_w + s.kernel_w;
        let block_bytes = pairs * columns * COLUMN * size_of::<i16>();
        let group = (RING_BYTES / block_bytes / BLOCKS).max(1) * BLOCKS;
        let tile = s.out_w.div_ceil(s.out_w.div_ceil(PIXELS));
        Some(Self { group: group.min(starts.len()), starts, pairs, weights: packed, tile, columns })
    }

    /// Values of the ring.
    pub(super) fn ring_len(&self) -> usize {
        self.group * self.block_len()
    }

    /// Values of one block in the ring.
    fn block_len(&self) -> usize {
        self.pairs * self.line_len()
    }

    /// Values of one line pair of a block.
    fn line_len(&self) -> usize {
        self.columns * COLUMN
    }
}

/// `i8_depthwise_8x8_avx2`: output lines `lines` of the job's image.
///
/// `start[c]` is what the sum of channel `c` starts from; `ring` has [`Paired::ring_len`] values,
/// best aligned to 32 bytes.
pub(super) fn lines<E: Epilogue>(
    token: Avx2,
    isa: Isa,
    paired: &Paired,
    job: &Job<'_>,
    start: &[i32],
    ring: &mut [i16],
    lines: Range<usize>,
    epilogue: &E,
    out: &mut [E::Out],
) {
    let s = job.shape;
    for first in (0..paired.starts.len()).step_by(paired.group) {
        let blocks = first..paired.starts.len().min(first + paired.group);
        let mut filled = 0;
        for (oy, out) in lines.clone().zip(out.chunks_exact_mut(s.out_w * s.out_c)) {
            let top = oy * s.stride_h;
            let needed = top / 2..top / 2 + paired.pairs;
            for pair in filled.max(needed.start)..needed.end {
                fill(token, paired, job, pair, blocks.clone(), ring);
            }
            filled = needed.end;
            let mut offsets = [0; MAX_PAIRS];
            for (offset, pair) in offsets.iter_mut().zip(needed) {
                *offset = pair % paired.pairs * paired.line_len();
            }
            let line = Line { token, isa, paired, job, start, ring, offsets: &offsets[..paired.pairs], oy, epilogue };
            // SAFETY: the token proves that this CPU has AVX2.
            unsafe {
                match (s.stride_w, paired.tile) {
                    (1, ..=4) => line.blocks::<1, 4>(blocks.clone(), out),
                    (1, ..=7) => line.blocks::<1, 7>(blocks.clone(), out),
                    (1, _) => line.blocks::<1, 8>(blocks.clone(), out),
                    (_, ..=4) => line.blocks::<2, 4>(blocks.clone(), out),
                    (_, ..=7) => line.blocks::<2, 7>(blocks.clone(), out),
                    _ => line.blocks::<2, 8>(blocks.clone(), out),
                }
            }
        }
    }
}

/// Interleaves line pair `pair` of the channels of `blocks` into the ring.
fn fill(_: Avx2, paired: &Paired, job: &Job<'_>, pair: usize, blocks: Range<usize>, ring: &mut [i16]) {
    let s = job.shape;
    let padding = [job.zero_point; 2 * LANES];
    // Lines outside the image are one padding pixel over and over.
    let line = |at: usize, channel: usize| match (2 * pair + at).checked_sub(s.pad_top).filter(|&y| y < s.in_h) {
        Some(y) => (&job.input[(job.batch * s.in_h + y) * s.in_w * s.in_c + channel..], s.in_c),
        None => (&padding[..], 0),
    };
    let used = (s.out_w - 1) * s.stride_w + s.kernel_w;
    let left = s.pad_left.min(used);
    let inside = s.in_w.min(used - left);
    let slot = pair % paired.pairs * paired.line_len();
    let mut block = blocks.start;
    while block < blocks.end {
        let channel = paired.starts[block];
        let double = block + 1 < blocks.end && paired.starts[block + 1] == channel + LANES;
        let (first, second) = ring[(block - blocks.start) * paired.block_len()..].split_at_mut(paired.block_len());
        let first = &mut first[slot..slot + used * COLUMN];
        let zero_point = i16::from(job.zero_point);
        let pad = |line: &mut [i16]| {
            line[..left * COLUMN].fill(zero_point);
            line[(left + inside) * COLUMN..].fill(zero_point);
        };
        let middle = left * COLUMN..(left + inside) * COLUMN;
        let sources = [line(0, channel), line(1, channel)];
        // SAFETY: the token proves that this CPU has AVX2.
        unsafe {
            if double {
                let second = &mut second[slot..slot + used * COLUMN];
                interleave16(sources, &mut first[middle.clone()], &mut second[middle]);
                pad(second);
            } else {
                interleave8(sources, &mut first[middle]);
            }
        }
        pad(first);
        block += 1 + usize::from(double);
    }
}

/// Widens and interleaves 16 channels of two lines, column by column. A source is a line from its
/// first channel on and the distance of its pixels.
#[target_feature(enable = "avx2")]
fn interleave16(sources: [(&[i8], usize); 2], low: &mut [i16], high: &mut [i16]) {
    let [(a, a_step), (b, b_step)] = sources;
    let columns = low.chunks_exact_mut(COLUMN).zip(high.chunks_exact_mut(COLUMN));
    for (x, (low, high)) in columns.enumerate() {
        let a = load_i8x16(array(a, x * a_step));
        let b = load_i8x16(array(b, x * b_step));
        store_i16(array_mut(low, 0), _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
        store_i16(array_mut(high, 0), _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
    }
}

/// As [`interleave16`] for 8 channels.
#[target_feature(enable = "avx2")]
fn interleave8(sources: [(&[i8], usize); 2], low: &mut [i16]) {
    let [(a, a_step), (b, b_step)] = sources;
    for (x, low) in low.chunks_exact_mut(COLUMN).enumerate() {
        let (a, b) = (load_i8x8(array(a, x * a_step)), load_i8x8(array(b, x * b_step)));
        store_i16(array_mut(low, 0), _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
    }
}

/// Loads 8 i8 into the low half of a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn load_i8x8(src: &[i8; 8]) -> __m128i {
    // SAFETY: `src` is 8 readable bytes; the load has no alignment requirement.
    unsafe { _mm_loadl_epi64(src.as_ptr().cast()) }
}

/// Stores 16 i16.
#[inline]
#[target_feature(enable = "avx2")]
fn store_i16(dst: &mut [i16; COLUMN], value: __m256i) {
    // SAFETY: `dst` is 32 writable bytes; the store has no alignment requirement.
    unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
}

/// One output line whose line pairs are in the ring.
struct Line<'a, E> {
    token: Avx2,
    isa: Isa,
    paired: &'a Paired,
    job: &'a Job<'a>,
    start: &'a [i32],
    ring: &'a [i16],
    /// Where the line pairs of the kernel are in a block of the ring, from the top.
    offsets: &'a [usize],
    oy: usize,
    epilogue: &'a E,
}

impl<E: Epilogue> Line<'_, E> {
    /// All pixels of the blocks in the ring, in tiles of at most `P`, for horizontal stride `S`.
    #[target_feature(enable = "avx2")]
    fn blocks<const S: usize, const P: usize>(&self, blocks: Range<usize>, out: &mut [E::Out]) {
        let (s, paired) = (self.job.shape, self.paired);
        let odd = self.oy * s.stride_h % 2;
        let share = s.kernel_w * COLUMN;
        // The last pixels of a tile may lie past the line: there is slack for them in the ring.
        assert!((s.out_w + P - 1) * S + s.kernel_w <= paired.columns && paired.tile <= P);
        let row = (self.job.batch * s.out_h + self.oy) * s.out_w;
        for (block, ring) in blocks.zip(self.ring.chunks_exact(paired.block_len())) {
            let weights = &paired.weights[(2 * block + odd) * paired.pairs * share..][..paired.pairs * share];
            let channel = paired.starts[block];
            let start = load_i32(array(self.start, channel));
            for ox in (0..s.out_w).step_by(paired.tile) {
                let mut sums = [[start]; P];
                for (weights, offset) in weights.chunks_exact(share).zip(self.offsets) {
                    let line = &ring[offset + ox * S * COLUMN..];
                    // SAFETY: the assert above proves that every column of every tap of `P` pixels
                    // from `ox` on is among the `columns` of the line pair at `offset`.
                    unsafe { add_line_pair::<S, P>(line, weights, &mut sums) }
                }
                let rows = paired.tile.min(s.out_w - ox);
                let place = Place { row: row + ox, rows, channel, cols: LANES, stride: s.out_c };
                self.epilogue.store_sums(self.token, self.isa, &sums, place, &mut out[ox * s.out_c + channel..]);
            }
        }
    }
}

/// Adds the taps of one line pair to the sums of `P` pixels, `S` columns apart.
///
/// # Safety
/// `line` has at least `(P - 1) * S + weights.len() / COLUMN` columns.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add_line_pair<const S: usize, const P: usize>(line: &[i16], weights: &[i16], sums: &mut [[__m256i; 1]; P]) {
    debug_assert!(line.len() >= (P - 1) * S * COLUMN + weights.len());
    for (kx, weight) in weights.chunks_exact(COLUMN).enumerate() {
        // SAFETY: column `p * S + kx` is inside `line` by this function's contract, and `weight` is
        // 32 bytes; the loads have no alignment requirement.
        unsafe {
            let weight = _mm256_loadu_si256(weight.as_ptr().cast());
            let columns = line.as_ptr().add(kx * COLUMN);
            for (p, sum) in sums.iter_mut().enumerate() {
                let values = _mm256_loadu_si256(columns.add(p * S * COLUMN).cast());
                sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(values, weight));
            }
        }
    }
}
