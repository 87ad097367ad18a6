//! The matrix core shared by convolution, fully-connected, matmul and transposed convolution.
//!
//! The right-hand operand (weights) is packed once into panels of columns. The left-hand operand
//! is never materialised as a whole: a small block of rows at a time is widened into the caller's
//! scratch by a [`Rows`] source, which knows how an output pixel finds its inputs, or for a
//! convolution in pairs, a band of input lines is (see `lines.rs`). Each tile of int32 sums goes
//! straight to an [`Epilogue`], on AVX2 without leaving its registers.
//!
//! Every sum is exact in int32, so neither tiling nor threads can change a bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512vnni;
mod left;
mod pack;
mod rows;
mod scalar;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

pub(crate) use left::Wide;
pub(crate) use pack::{Layout, Packed, PackedView, Panels, pack_runtime, packed_len};
pub(crate) use rows::{ConvRows, DenseRows, Rows, Run, ZeroPoints, widen};

use super::epilogue::{Epilogue, Place, Tile};
use crate::isa::Isa;

/// Largest tile of sums of any kernel: 8 rows of 32 columns.
const MAX_TILE: usize = 256;
/// Bytes of left-hand rows kept at a time: they and a weight panel should stay in the L2 cache.
pub(crate) const BLOCK_BYTES: usize = 128 * 1024;
/// No more rows than this in a block, however short they are.
pub(crate) const BLOCK_ROWS: usize = 96;
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
    // Equal blocks rather than full ones and a thin last one, which would pay for a whole pass over
    // the weights.
    let most = block_rows(layout, padded);
    let block = rows.len().div_ceil(rows.len().div_ceil(most).max(1)).next_multiple_of(layout.rows());
    let mut start = rows.start;
    while start < rows.end {
        let end = rows.end.min(start + block.min(most));
        let left = Block::fill(isa, layout, source, start..end, padded, scratch);
        let out = &mut out[(start - rows.start) * target.stride..];
        for panel in panels.clone() {
            let place = Place {
                row: start,
                rows: end - start,
                channel: target.col0 + panel * layout.width(),
                cols: layout.width().min(weights.n - panel * layout.width()),
                stride: target.stride,
            };
            let out = &mut out[place.channel - out_col..];
            match left {
                Block::Wide(left) => multiply_wide(isa, weights, panel, left, epilogue, place, out),
                Block::Offset(left) => multiply_offset(isa, weights, panel, left, source, epilogue, place, out),
            }
        }
        start = end;
    }
}

/// Multiplies rows of int16 pairs with one panel; `out` starts at the first element of `place`.
pub(crate) fn multiply_wide<E: Epilogue>(
    isa: Isa,
    weights: PackedView<'_>,
    panel: usize,
    left: Wide<'_>,
    epilogue: &E,
    place: Place,
    out: &mut [E::Out],
) {
    let Panels::Wide(data) = weights.data else { unreachable!("wide rows meet wide weights") };
    let (right, bias) = (&data[weights.panel_values(panel)], &weights.bias[weights.panel_columns(panel)]);
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = isa.avx2() {
        return avx2::multiply_panel(token, isa, left, right, bias, epilogue, place, out);
    }
    let mut acc = [0i32; MAX_TILE];
    for tile in place.tiles(Layout::Pairs.rows()) {
        let first = tile.row - place.row;
        scalar::sum_tile_pairs(left.skip_rows(first), right, bias, tile.rows, &mut acc);
        epilogue.store(isa, &Tile::new(&acc, bias.len(), tile), &mut out[first * place.stride..], place.stride);
    }
}

/// Multiplies rows of offset bytes with one panel; `out` starts at the first element of `place`.
fn multiply_offset<S: Rows, E: Epilogue>(
    isa: Isa,
    weights: PackedView<'_>,
    panel: usize,
    left: &[u8],
    source: &S,
    epilogue: &E,
    place: Place,
    out: &mut [E::Out],
) {
    let Panels::Narrow(data) = weights.data else { unreachable!("offset rows meet narrow weights") };
    let columns = weights.panel_columns(panel);
    let (right, bias, sums) =
        (&data[weights.panel_values(panel)], &weights.bias[columns.clone()], &weights.col_sums[columns]);
    let padded = weights.layout().padded_k(weights.k);
    let mut acc = [0i32; MAX_TILE];
    for tile in place.tiles(Layout::Quads.rows()) {
        let first = tile.row - place.row;
        let left = &left[first * padded..(first + tile.rows) * padded];
        let mut offsets = [0i32; 8];
        for (i, offset) in offsets[..tile.rows].iter_mut().enumerate() {
            *offset = source.zero_point(tile.row + i) + 128;
        }
        sum_tile_quads(isa, left, right, bias, sums, &offsets, tile.rows, padded, &mut acc);
        epilogue.store(isa, &Tile::new(&acc, bias.len(), tile), &mut out[first * place.stride..], place.stride);
    }
}

/// Sums one tile of the offset layout.
fn sum_tile_quads(
    isa: Isa,
    left: &[u8],
    right: &[i8],
    bias: &[i32],
    sums: &[i32],
    offsets: &[i32; 8],
    rows: usize,
    padded: usize,
    acc: &mut [i32; MAX_TILE],
) {
    #[cfg(target_arch = "x86_64")]
    if let Isa::Avx512Vnni(token) = isa {
        return avx512vnni::sum_tile(token, left, right, bias, sums, offsets, rows, padded, acc);
    }
    let _ = isa;
    scalar::sum_tile_quads(left, right, bias, sums, offsets, rows, padded, acc);
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
    split_rows(layout.rows(), rows, weights.n, weights.k, out, one_task, scratch, |range, out, scratch| {
        multiply(isa, weights, source, epilogue, range, 0..panels, target, 0, out, scratch);
    });
}

/// Splits `rows` output rows of `stride` elements over the thread pool, multiples of `unit` rows and
/// `one_task` bytes of scratch each. `k` multiply-adds make an element.
pub(crate) fn split_rows<T: Send>(
    unit: usize,
    rows: usize,
    stride: usize,
    k: usize,
    out: &mut [T],
    one_task: usize,
    scratch: &mut [u8],
    work: impl Fn(Range<usize>, &mut [T], &mut [u8]) + Sync,
) {
    let tasks = rayon::current_num_threads().min(rows.div_ceil(unit)).min(scratch.len() / one_task).max(1);
    if tasks == 1 || rows * stride * k < PARALLEL_MACS {
        return work(0..rows, out, scratch);
    }
    let share = rows.div_ceil(tasks).next_multiple_of(unit);
    out.par_chunks_mut(share * stride).zip(scratch.par_chunks_mut(one_task)).enumerate().for_each(
        |(i, (out, scratch))| {
            let start = i * share;
            work(start..rows.min(start + share), out, scratch);
        },
    );
}

/// A block of left-hand rows, widened for the layout.
#[derive(Clone, Copy)]
enum Block<'a> {
    Wide(Wide<'a>),
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
                rows::fill_wide(isa, source, rows, padded, block);
                Block::Wide(Wide::rows(block, padded))
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
