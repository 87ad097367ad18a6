//! Float rows times integer weights that are dequantized as they are read: weight-only layers.
//!
//! The weights stay in memory as 4-bit or 8-bit integers with a scale (and zero point) for each run of
//! `block` inputs of an output. What is computed is what the float kernel computes on
//! `(q − zero_point) × scale`, bit for bit: one row unpacks weights in registers, so that the packed
//! bytes are all that is read from memory; many rows unpack a panel of 16 columns at a time and hand
//! it to the float tile.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(test)]
mod tests;

use super::Clamp;
use super::dispatch;
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
        self.run_on(dispatch::avx2(), m, x, out, scratch, clamp);
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
        return unsafe { avx2::unpack(packed, panel, floats) };
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
            unsafe { avx2::columns(packed, panel, x, columns > NR, &mut acc) };
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
