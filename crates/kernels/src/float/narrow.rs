//! Float rows times integer weights that are dequantized as they are read: weight-only layers.
//!
//! The weights stay in memory as 4-bit or 8-bit integers with a scale (and zero point) for each run of
//! `block` inputs of an output. What is computed is what the float kernel computes on
//! `(q − zero_point) × scale`, bit for bit: one row unpacks weights in registers, so that the packed
//! bytes are all that is read from memory; many rows unpack a panel of 16 columns at a time and hand
//! it to the float tile.

use super::Clamp;
use super::dispatch::avx2;
use super::gemm::{NR, Panel, Segments, block_rows};
use super::parallel;
use crate::isa::Avx2;

/// Bytes of one lane: a column's consecutive weights.
const LANE: usize = 4;

/// Up to this many rows are computed one by one, from the packed weights.
const SINGLE_ROWS: usize = 3;

/// Least rows for which a task unpacks every panel.
const ROWS_OF_TASK: usize = 24;

/// Columns of one task of a single row.
const COLUMNS_OF_TASK: usize = 4 * NR;

/// Bits of a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NarrowBits {
    /// Eight weights in a lane of four bytes.
    Four,
    /// Four weights in a lane of four bytes.
    Eight,
}

impl NarrowBits {
    /// Weights of a lane.
    fn of_lane(self) -> usize {
        match self {
            NarrowBits::Four => 8,
            NarrowBits::Eight => 4,
        }
    }
}

/// Integer weights of a fully-connected layer as the caller has them.
#[derive(Clone, Copy, Debug)]
pub struct NarrowWeights<'a> {
    /// `[n, k]` row-major, one row an output; in [−8, 7] for 4 bits.
    pub values: &'a [i8],
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
    /// Inputs that share a scale: a multiple of 8, or at least `k`.
    pub block: usize,
    /// `[n, ceil(k / block)]`.
    pub scales: &'a [f32],
    /// As the scales; all zero if empty.
    pub zero_points: &'a [i8],
}

/// Packed weights and bias of a weight-only layer.
///
/// Columns lie in panels of 16, each as lanes of 32 bits that hold 8 (or 4) consecutive inputs of one
/// column, the first in the highest bits: shifting them out needs no mask.
#[derive(Clone, Debug)]
pub struct PackedNarrow {
    bits: NarrowBits,
    n: usize,
    k: usize,
    /// Lanes of a column.
    steps: usize,
    /// Lanes of a column that share a scale.
    steps_of_block: usize,
    /// `[panel][step][column]`.
    lanes: Vec<u32>,
    /// `[panel][block][column]`; 0 for columns beyond `n`.
    scales: Vec<f32>,
    /// As the scales; empty if all are 0.
    zero_points: Vec<i32>,
    bias: Vec<f32>,
}

impl PackedNarrow {
    /// Whether blocks of `block` of `k` inputs can be packed.
    pub fn takes(k: usize, block: usize) -> bool {
        block > 0 && (block.is_multiple_of(NarrowBits::Four.of_lane()) || block >= k)
    }

    /// Packs `weights` and a `bias` `[n]`, zero if absent.
    ///
    /// # Panics
    /// If a length does not fit, [`takes`](Self::takes) is false of the block, or a value does not fit
    /// `bits`.
    pub fn new(weights: &NarrowWeights<'_>, bits: NarrowBits, bias: Option<&[f32]>) -> Self {
        let &NarrowWeights { values, n, k, block, scales, zero_points } = weights;
        assert_eq!(values.len(), n * k, "weights are [n, k]");
        assert!(Self::takes(k, block), "blocks of {block} inputs");
        let blocks = k.div_ceil(block);
        assert_eq!(scales.len(), n * blocks, "scales are [n, blocks]");
        assert!(zero_points.is_empty() || zero_points.len() == n * blocks, "zero points are [n, blocks]");
        assert!(bits == NarrowBits::Eight || values.iter().all(|q| (-8..=7).contains(q)), "4-bit values");
        let (panels, steps) = (n.div_ceil(NR), k.div_ceil(bits.of_lane()));
        let mut lanes = vec![0u32; panels * steps * NR];
        for (col, row) in values.chunks_exact(k.max(1)).enumerate() {
            for (step, inputs) in row.chunks(bits.of_lane()).enumerate() {
                lanes[(col / NR * steps + step) * NR + col % NR] = lane(inputs, bits);
            }
        }
        let place = |i: usize| (i / blocks / NR * blocks + i % blocks) * NR + i / blocks % NR;
        let mut laid = vec![0.0; panels * blocks * NR];
        scales.iter().enumerate().for_each(|(i, &s)| laid[place(i)] = s);
        let mut zeros = Vec::new();
        if zero_points.iter().any(|&z| z != 0) {
            zeros = vec![0; panels * blocks * NR];
            zero_points.iter().enumerate().for_each(|(i, &z)| zeros[place(i)] = i32::from(z));
        }
        let mut padded = vec![0.0; panels * NR];
        if let Some(bias) = bias {
            assert_eq!(bias.len(), n, "bias is [n]");
            padded[..n].copy_from_slice(bias);
        }
        let steps_of_block = if block >= k { steps.max(1) } else { block / bits.of_lane() };
        PackedNarrow { bits, n, k, steps, steps_of_block, lanes, scales: laid, zero_points: zeros, bias: padded }
    }

    /// Bytes that a run reads of weights, scales and zero points.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lanes.as_slice())
            + size_of_val(self.scales.as_slice())
            + size_of_val(self.zero_points.as_slice())
    }

    /// Floats of scratch that [`run`](Self::run) of `m` rows wants to use `threads` threads.
    pub fn scratch_len(&self, m: usize, threads: usize) -> usize {
        if m <= SINGLE_ROWS { 0 } else { self.k * NR * tasks(m, threads) }
    }

    /// `out[m, n] = clamp(x[m, k] × weightsᵀ + bias)`, all row-major.
    ///
    /// # Panics
    /// If a slice does not fit, or `scratch` is shorter than [`scratch_len`](Self::scratch_len) for
    /// one thread.
    pub fn run(&self, m: usize, x: &[f32], out: &mut [f32], scratch: &mut [f32], clamp: Clamp) {
        self.run_on(avx2(), m, x, out, scratch, clamp);
    }

    fn run_on(&self, isa: Option<Avx2>, m: usize, x: &[f32], out: &mut [f32], scratch: &mut [f32], clamp: Clamp) {
        assert_eq!(x.len(), m * self.k);
        assert_eq!(out.len(), m * self.n);
        if m == 0 || self.n == 0 {
            return;
        }
        let parallel = parallel::worthwhile(m * self.n * self.k / 8);
        if m <= SINGLE_ROWS {
            let width = if parallel { COLUMNS_OF_TASK } else { self.n };
            for (i, out) in out.chunks_exact_mut(self.n).enumerate() {
                let x = &x[i * self.k..(i + 1) * self.k];
                parallel::chunks_mut(out, width, parallel, |piece, out| row(isa, self, x, piece * width, out, clamp));
            }
            return;
        }
        if self.k == 0 {
            return self.bias_alone(out, clamp);
        }
        let fitting = (scratch.len() / (self.k * NR)).max(1);
        let rows = m.div_ceil(if parallel { tasks(m, rayon::current_num_threads()).min(fitting) } else { 1 });
        parallel::zipped_chunks_mut(out, rows * self.n, scratch, self.k * NR, parallel, |i, out, panel| {
            let m = out.len() / self.n;
            self.rows(isa, &x[i * rows * self.k..][..m * self.k], out, panel, clamp);
        });
    }

    /// The product without inputs.
    fn bias_alone(&self, out: &mut [f32], clamp: Clamp) {
        for row in out.chunks_exact_mut(self.n) {
            row.iter_mut().zip(&self.bias).for_each(|(y, &b)| *y = clamp.apply(b));
        }
    }

    /// Many rows: each panel is unpacked, then met by as many of them as the cache holds.
    fn rows(&self, isa: Option<Avx2>, x: &[f32], out: &mut [f32], floats: &mut [f32], clamp: Clamp) {
        let rows = block_rows(self.k);
        let whole = Segments { rows: 0..self.k, count: 1, len: self.k, stride: 0 };
        for (x, out) in x.chunks(rows * self.k).zip(out.chunks_mut(rows * self.n)) {
            for p in 0..self.n.div_ceil(NR) {
                unpack(isa, self, p, floats);
                let panel = Panel {
                    floats: &floats[..self.k * NR],
                    bias: &self.bias[p * NR..(p + 1) * NR],
                    cols: NR.min(self.n - p * NR),
                };
                panel.run(isa, x, self.k, &whole, x.len() / self.k, &mut out[p * NR..], self.n, clamp);
            }
        }
    }

    /// Lanes, scales and zero points of a block of a panel. Without zero points, none.
    fn block(&self, panel: usize, block: usize) -> (&[u32], &[f32], &[i32]) {
        let steps = block * self.steps_of_block..((block + 1) * self.steps_of_block).min(self.steps);
        let lanes = &self.lanes[(panel * self.steps + steps.start) * NR..(panel * self.steps + steps.end) * NR];
        let at = (panel * self.blocks() + block) * NR;
        let zeros = if self.zero_points.is_empty() { &[] } else { &self.zero_points[at..at + NR] };
        (lanes, &self.scales[at..at + NR], zeros)
    }

    fn blocks(&self) -> usize {
        self.steps.div_ceil(self.steps_of_block)
    }

    /// The number that weight `at` of a lane stands for.
    #[inline(always)]
    fn real(&self, lane: u32, at: usize, scale: f32, zero_point: i32) -> f32 {
        let bits = LANE * 8 / self.bits.of_lane();
        let q = (lane << (bits * at)).cast_signed() >> (32 - bits);
        (q - zero_point) as f32 * scale
    }
}

/// Tasks that share `m` rows.
fn tasks(m: usize, threads: usize) -> usize {
    m.div_ceil(ROWS_OF_TASK).min(threads).max(1)
}

/// Consecutive weights of a column, the first in the highest bits.
fn lane(inputs: &[i8], bits: NarrowBits) -> u32 {
    let width = LANE * 8 / bits.of_lane();
    let mask = (1u64 << width) - 1;
    let at = |(i, &q): (usize, &i8)| ((u64::from(q.cast_unsigned()) & mask) << (32 - width * (i + 1))) as u32;
    inputs.iter().enumerate().map(at).fold(0, |lane, bits| lane | bits)
}

/// `floats[k][16]` = the numbers of a panel.
fn unpack(isa: Option<Avx2>, packed: &PackedNarrow, panel: usize, floats: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if isa.is_some() {
        // SAFETY: the token proves AVX2 and FMA.
        return unsafe { x86::unpack(packed, panel, floats) };
    }
    let _ = isa;
    let of_lane = packed.bits.of_lane();
    for block in 0..packed.blocks() {
        let (lanes, scales, zeros) = packed.block(panel, block);
        let first = block * packed.steps_of_block * of_lane;
        for (step, lanes) in lanes.chunks_exact(NR).enumerate() {
            let start = first + step * of_lane;
            let rows = floats[start * NR..packed.k * NR].chunks_exact_mut(NR).take(of_lane);
            for (at, row) in rows.enumerate() {
                for c in 0..NR {
                    let zero = if zeros.is_empty() { 0 } else { zeros[c] };
                    row[c] = packed.real(lanes[c], at, scales[c], zero);
                }
            }
        }
    }
}

/// `out = clamp(x × weightsᵀ[.., first..first + len] + bias)` of one row; `first` is a multiple of 16.
fn row(isa: Option<Avx2>, packed: &PackedNarrow, x: &[f32], first: usize, out: &mut [f32], clamp: Clamp) {
    assert!(x.len() == packed.k && first.is_multiple_of(NR) && first + out.len() <= packed.n);
    let mut panel = first / NR;
    let mut rest = out;
    while !rest.is_empty() {
        let columns = rest.len().min(2 * NR);
        let (piece, after) = rest.split_at_mut(columns);
        let mut acc = [0.0f32; 2 * NR];
        #[cfg(target_arch = "x86_64")]
        if isa.is_some() {
            // SAFETY: the token proves AVX2 and FMA.
            unsafe { x86::columns(packed, panel, x, columns > NR, &mut acc) };
            piece.iter_mut().zip(acc).for_each(|(y, a)| *y = clamp.apply(a));
            (rest, panel) = (after, panel + 2);
            continue;
        }
        let _ = isa;
        for (half, acc) in acc.chunks_exact_mut(NR).take(columns.div_ceil(NR)).enumerate() {
            scalar_columns(packed, panel + half, x, acc);
        }
        piece.iter_mut().zip(acc).for_each(|(y, a)| *y = clamp.apply(a));
        (rest, panel) = (after, panel + 2);
    }
}

/// One row against one panel.
fn scalar_columns(packed: &PackedNarrow, panel: usize, x: &[f32], acc: &mut [f32]) {
    acc.copy_from_slice(&packed.bias[panel * NR..(panel + 1) * NR]);
    let of_lane = packed.bits.of_lane();
    for block in 0..packed.blocks() {
        let (lanes, scales, zeros) = packed.block(panel, block);
        let x = x[block * packed.steps_of_block * of_lane..].chunks(of_lane);
        for (lanes, x) in lanes.chunks_exact(NR).zip(x) {
            for (at, x) in x.iter().enumerate() {
                for c in 0..NR {
                    acc[c] += x * packed.real(lanes[c], at, scales[c], zeros.get(c).copied().unwrap_or(0));
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
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
}

#[cfg(test)]
mod tests {
    use super::super::gemm::PackedMatrix;
    use super::*;
    use proptest::prelude::*;

    /// A layer and what its weights stand for.
    struct Layer {
        bits: NarrowBits,
        n: usize,
        k: usize,
        block: usize,
        values: Vec<i8>,
        scales: Vec<f32>,
        zero_points: Vec<i8>,
        bias: Vec<f32>,
    }

    impl Layer {
        fn new(bits: NarrowBits, n: usize, k: usize, block: usize, asymmetric: bool) -> Layer {
            let mut state = (n * 31 + k * 7 + block) as u64;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u32
            };
            let wide = bits == NarrowBits::Eight;
            let mut integer = || (next() as i8) >> if wide { 0 } else { 4 };
            let values = (0..n * k).map(|_| integer()).collect();
            let blocks = n * k.div_ceil(block);
            let zero_points = if asymmetric { (0..blocks).map(|_| integer()).collect() } else { Vec::new() };
            let scales = (0..blocks).map(|_| 0.01 + (next() % 100) as f32 / 700.0).collect();
            let bias = (0..n).map(|i| i as f32 / 3.0 - 1.0).collect();
            Layer { bits, n, k, block, values, scales, zero_points, bias }
        }

        fn packed(&self) -> PackedNarrow {
            let &Layer { n, k, block, .. } = self;
            let (values, scales, zero_points) = (&self.values, &self.scales, &self.zero_points);
            PackedNarrow::new(&NarrowWeights { values, n, k, block, scales, zero_points }, self.bits, Some(&self.bias))
        }

        fn floats(&self) -> Vec<f32> {
            let blocks = self.k.div_ceil(self.block);
            let real = |i: usize| {
                let at = i / self.k * blocks + i % self.k / self.block;
                let zero = self.zero_points.get(at).copied().unwrap_or(0);
                (i32::from(self.values[i]) - i32::from(zero)) as f32 * self.scales[at]
            };
            (0..self.n * self.k).map(real).collect()
        }
    }

    fn run(packed: &PackedNarrow, isa: Option<Avx2>, m: usize, x: &[f32], clamp: Clamp) -> Vec<f32> {
        let mut out = vec![f32::NAN; m * packed.n];
        let mut scratch = vec![f32::NAN; packed.scratch_len(m, rayon::current_num_threads())];
        packed.run_on(isa, m, x, &mut out, &mut scratch, clamp);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_path_is_the_product_of_floats(
            n in 1usize..70,
            k in 1usize..90,
            m in 1usize..9,
            block in prop::sample::select(vec![8usize, 16, 24, 32, 90]),
            eight in any::<bool>(),
            asymmetric in any::<bool>(),
        ) {
            let bits = if eight { NarrowBits::Eight } else { NarrowBits::Four };
            let layer = Layer::new(bits, n, k, block, asymmetric);
            let (packed, floats) = (layer.packed(), PackedMatrix::new(&layer.floats(), n, k, Some(&layer.bias)));
            let x: Vec<f32> = (0..m * k).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let clamp = Clamp { min: -6.0, max: 9.0 };
            let mut exact = vec![f32::NAN; m * n];
            floats.run(&x, k, m, &mut exact, n, clamp);
            // One row and many take different ways to the same bits.
            prop_assert_eq!(&run(&packed, avx2(), m, &x, clamp), &exact);
            for (plain, exact) in run(&packed, None, m, &x, clamp).iter().zip(&exact) {
                prop_assert!((plain - exact).abs() <= 1e-4 * exact.abs().max(1.0), "{} {}", plain, exact);
            }
        }
    }

    #[test]
    fn threads_do_not_change_bits() {
        let layer = Layer::new(NarrowBits::Four, 530, 1040, 32, false);
        let packed = layer.packed();
        for m in [1, 2, 5, 131] {
            let x: Vec<f32> = (0..m * layer.k).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run(&packed, avx2(), m, &x, Clamp::NONE))
            };
            assert_eq!(with(1), with(4), "{m} rows");
        }
    }

    #[test]
    fn nothing_in_gives_the_bias() {
        let empty = NarrowWeights { values: &[], n: 3, k: 0, block: 8, scales: &[], zero_points: &[] };
        let packed = PackedNarrow::new(&empty, NarrowBits::Four, Some(&[1.0, -2.0, 3.0]));
        for m in [1, 5] {
            assert_eq!(run(&packed, avx2(), m, &[], Clamp::RELU), [1.0, 0.0, 3.0].repeat(m));
        }
    }

    #[test]
    fn four_bits_take_half_a_byte() {
        let layer = Layer::new(NarrowBits::Four, 64, 128, 32, false);
        assert_eq!(layer.packed().bytes(), 64 * 128 / 2 + 4 * 64 * 128 / 32);
        assert!(!PackedNarrow::takes(128, 12) && PackedNarrow::takes(128, 24) && PackedNarrow::takes(10, 12));
    }
}
