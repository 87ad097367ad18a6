//! The matrix core shared by convolution, fully-connected, matmul and transposed convolution.
//!
//! The right-hand operand (weights) is packed once into panels of columns. The left-hand operand
//! is never materialised as a whole: a small block of rows at a time is widened into the caller's
//! scratch by a [`Rows`] source, which knows how an output pixel finds its inputs. Each tile of
//! int32 sums goes straight to an [`Epilogue`].
//!
//! Every sum is exact in int32, so neither tiling nor threads can change a bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod pack;
mod rows;
mod scalar;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

pub(crate) use pack::{Layout, Packed, PackedView, Panels, pack_runtime, packed_len};
pub(crate) use rows::{ConvRows, DenseRows, Rows, Run, ZeroPoints};

use super::epilogue::{Epilogue, Tile};
use crate::isa::Isa;

/// Largest tile of sums of any kernel: 8 rows of 32 columns.
const MAX_TILE: usize = 256;
/// Bytes of left-hand rows kept at a time: they and a weight panel should stay in the L2 cache.
const BLOCK_BYTES: usize = 96 * 1024;
/// No more rows than this in a block, however short they are.
const BLOCK_ROWS: usize = 96;
/// Fewer multiply-adds than this (a few microseconds) are not worth waking another thread.
pub(crate) const PARALLEL_MACS: usize = 1 << 18;
/// Slack in a scratch slice to align it for its element type.
const ALIGN: usize = 64;

/// Rows of the left-hand operand that a block holds.
fn block_rows(layout: Layout, padded_k: usize) -> usize {
    let row_bytes = (padded_k * layout.row_bytes()).max(1);
    let rows = (BLOCK_BYTES / row_bytes).clamp(1, BLOCK_ROWS);
    rows.next_multiple_of(layout.rows())
}

/// Bytes of scratch for one task over operands of depth `k`.
pub(crate) fn task_scratch(layout: Layout, k: usize) -> usize {
    let padded = layout.padded_k(k);
    (block_rows(layout, padded) * padded * layout.row_bytes() + ALIGN).next_multiple_of(ALIGN)
}

/// How many tasks `rows` are split into on the current thread pool.
pub(crate) fn task_count(rows: usize, layout: Layout) -> usize {
    rayon::current_num_threads().min(rows.div_ceil(layout.rows())).max(1)
}

/// Where a product lands: the output of one group inside rows of `stride` elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Elements from one output row to the next.
    pub(crate) stride: usize,
    /// Column of the output (and channel of the epilogue) where the packed columns start.
    pub(crate) col0: usize,
}

/// Multiplies rows `rows` of `source` with panels `panels` of `weights`.
///
/// `out` starts at output row `rows.start` and, when the rows are one alone, may start at any
/// column as long as `target.col0` and `out_col` say so: element `(row, col)` is written at
/// `(row - rows.start) * stride + col0 + col - out_col`.
pub(crate) fn multiply<S: Rows, E: Epilogue>(
    isa: Isa,
    weights: PackedView<'_>,
    source: &S,
    epilogue: &E,
    rows: Range<usize>,
    panels: Range<usize>,
    target: Target,
    out_col: usize,
    out: &mut [E::Out],
    scratch: &mut [u8],
) {
    let layout = weights.layout();
    let padded = layout.padded_k(weights.k);
    let block = block_rows(layout, padded);
    let mut acc = [0i32; MAX_TILE];
    let mut start = rows.start;
    while start < rows.end {
        let end = rows.end.min(start + block);
        let left = Block::fill(isa, layout, source, start..end, padded, scratch);
        for panel in panels.clone() {
            let width = layout.panel_width(weights.n, panel);
            let col = panel * layout.width();
            let cols = width.min(weights.n - col);
            let mut row = start;
            while row < end {
                // Equal tiles rather than full ones and a thin last one.
                let tiles = (end - row).div_ceil(layout.rows());
                let count = (end - row).div_ceil(tiles);
                sum_tile(isa, weights, source, &left, panel, row, start, count, &mut acc);
                let tile = Tile { acc: &acc, acc_stride: width, row, rows: count, channel: target.col0 + col, cols };
                let at = (row - rows.start) * target.stride + target.col0 + col - out_col;
                epilogue.store(isa, &tile, &mut out[at..], target.stride);
                row += count;
            }
        }
        start = end;
    }
}

/// Multiplies all `rows` and columns, split over the current thread pool.
///
/// `scratch` holds [`task_scratch`] bytes for every task.
pub(crate) fn multiply_parallel<S: Rows, E: Epilogue>(
    isa: Isa,
    weights: PackedView<'_>,
    source: &S,
    epilogue: &E,
    rows: usize,
    out: &mut [E::Out],
    scratch: &mut [u8],
) {
    let layout = weights.layout();
    let panels = layout.panel_count(weights.n);
    let target = Target { stride: weights.n, col0: 0 };
    let one_task = task_scratch(layout, weights.k);
    let threads = (scratch.len() / one_task).min(rayon::current_num_threads());
    if rows == 1 && threads > 1 && panels > 1 && weights.k * weights.n >= PARALLEL_MACS {
        let share = panels.div_ceil(threads);
        return out.par_chunks_mut(share * layout.width()).zip(scratch.par_chunks_mut(one_task)).enumerate().for_each(
            |(i, (out, scratch))| {
                let mine = i * share..panels.min((i + 1) * share);
                let first = mine.start * layout.width();
                multiply(isa, weights, source, epilogue, 0..1, mine, target, first, out, scratch);
            },
        );
    }
    split_rows(layout, rows, weights.n, weights.k, out, scratch, |range, out, scratch| {
        multiply(isa, weights, source, epilogue, range, 0..panels, target, 0, out, scratch);
    });
}

/// Splits `rows` output rows of `stride` elements over the thread pool, a piece of scratch each.
pub(crate) fn split_rows<T: Send>(
    layout: Layout,
    rows: usize,
    stride: usize,
    k: usize,
    out: &mut [T],
    scratch: &mut [u8],
    work: impl Fn(Range<usize>, &mut [T], &mut [u8]) + Sync,
) {
    let one_task = task_scratch(layout, k);
    let tasks = task_count(rows, layout).min(scratch.len() / one_task).max(1);
    if tasks == 1 || rows * stride * k < PARALLEL_MACS {
        return work(0..rows, out, scratch);
    }
    let share = rows.div_ceil(tasks).next_multiple_of(layout.rows());
    out.par_chunks_mut(share * stride).zip(scratch.par_chunks_mut(one_task)).enumerate().for_each(
        |(i, (out, scratch))| {
            let start = i * share;
            work(start..rows.min(start + share), out, scratch);
        },
    );
}

/// A block of left-hand rows, widened for the layout.
enum Block<'a> {
    Wide(&'a [i16]),
    Offset(&'a [u8]),
}

impl<'a> Block<'a> {
    fn fill<S: Rows>(
        isa: Isa,
        layout: Layout,
        source: &S,
        rows: Range<usize>,
        padded: usize,
        scratch: &'a mut [u8],
    ) -> Self {
        let len = rows.len() * padded;
        match layout {
            Layout::Pairs => {
                let (_, aligned, _) = bytemuck::pod_align_to_mut::<u8, i16>(scratch);
                let block = &mut aligned[..len];
                for (row, dst) in rows.zip(block.chunks_exact_mut(padded.max(1))) {
                    rows::fill_wide(isa, source, row, dst);
                }
                Block::Wide(block)
            }
            Layout::Quads => {
                let block = &mut scratch[..len];
                for (row, dst) in rows.zip(block.chunks_exact_mut(padded.max(1))) {
                    rows::fill_offset(source, row, dst);
                }
                Block::Offset(block)
            }
        }
    }
}

/// Sums one tile: `count` rows from `row` with all columns of `panel`.
fn sum_tile<S: Rows>(
    isa: Isa,
    weights: PackedView<'_>,
    source: &S,
    left: &Block<'_>,
    panel: usize,
    row: usize,
    block_start: usize,
    count: usize,
    acc: &mut [i32; MAX_TILE],
) {
    let layout = weights.layout();
    let padded = layout.padded_k(weights.k);
    let width = layout.panel_width(weights.n, panel);
    let col = panel * layout.width();
    let range = col * padded..(col + width) * padded;
    let bias = &weights.bias[col..col + width];
    let at = (row - block_start) * padded;
    match (left, weights.data) {
        (Block::Wide(left), Panels::Wide(data)) => {
            let left = &left[at..at + count * padded];
            let right = &data[range];
            #[cfg(target_arch = "x86_64")]
            if let Some(token) = isa.avx2() {
                return avx2::sum_tile(token, left, right, bias, count, padded, acc);
            }
            scalar::sum_tile_pairs(left, right, bias, count, padded, acc);
        }
        (Block::Offset(left), Panels::Narrow(data)) => {
            let left = &left[at..at + count * padded];
            let right = &data[range];
            let mut offsets = [0i32; 8];
            for (i, offset) in offsets[..count].iter_mut().enumerate() {
                *offset = source.zero_point(row + i) + 128;
            }
            let sums = &weights.col_sums[col..col + width];
            #[cfg(target_arch = "x86_64")]
            if let Isa::Avx512Vnni(token) = isa {
                return avx512vnni::sum_tile(token, left, right, bias, sums, &offsets, count, padded, acc);
            }
            scalar::sum_tile_quads(left, right, bias, sums, &offsets, count, padded, acc);
        }
        _ => unreachable!("a block is filled for the layout of its weights"),
    }
}
