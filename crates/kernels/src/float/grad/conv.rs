//! Gradients of a 2-D convolution, NHWC input and OHWI weights.
//!
//! With respect to the weights: for each tap, the outer products of output-gradient pixels with
//! the input pixels under the tap, summed over the pixels. Both stand in memory as rows of
//! channels, so blocks of 6 x 16 sums stay in registers while the pixels pass by and nothing is
//! copied; inputs with few channels are gathered into patches first.
//!
//! With respect to the input: the transposed convolution, which for stride 1 is a convolution with
//! the taps turned round.

use crate::float::conv::{PackedConvF32, im2col};
use crate::float::conv_transpose::PackedConvTransposeF32;
use crate::float::dispatch::{avx2, multiversion};
use crate::float::grad::columns::reduce_partials;
use crate::float::{Clamp, parallel};
use crate::shape::ConvShape;
use rayon::prelude::*;

/// Output channels of a register block.
const MR: usize = 6;
/// Input channels of a register block: two AVX2 registers.
const NR: usize = 16;
/// Narrower block for what is left of the channels.
const NARROW: usize = 8;
/// Pixels whose channels stay in the first-level cache while the blocks of a tap pass by.
const PIXELS: usize = 128;

/// Gradient of a convolution's weights: built once for a shape, with its partial sums.
#[derive(Clone, Debug)]
pub struct ConvWeightGradient {
    shape: ConvShape,
    /// Weights of a filter.
    k: usize,
    /// Distance between filters in a partial sum, `k` rounded up to whole blocks.
    stride: usize,
    /// Input pixels are read where they lie.
    direct: bool,
    /// Output rows (over the batch) of a part.
    rows: usize,
    partial: Vec<f32>,
    patches: Vec<f32>,
}

impl ConvWeightGradient {
    /// For convolutions of that shape.
    ///
    /// # Panics
    /// If `groups` does not divide both channel counts.
    pub fn new(shape: &ConvShape) -> Self {
        let groups = shape.groups;
        assert!(groups > 0 && shape.in_c.is_multiple_of(groups) && shape.out_c.is_multiple_of(groups));
        let depth = shape.in_c / groups;
        let k = shape.kernel_h * shape.kernel_w * depth;
        let direct = depth.is_multiple_of(NARROW);
        let stride = k.next_multiple_of(NARROW);
        let total = shape.batch * shape.out_h;
        // Few parts for large weights, where adding up is dear; never a matter of the threads.
        let wanted: usize = if shape.out_c * k > 1 << 14 { 4 } else { 8 };
        let rows = total.div_ceil(wanted).max(1);
        let parts = total.div_ceil(rows);
        let patches = if direct { 0 } else { PIXELS * k + NR };
        Self {
            shape: *shape,
            k,
            stride,
            direct,
            rows,
            partial: vec![0.0; parts * shape.out_c * stride],
            patches: vec![0.0; parts * patches],
        }
    }

    /// `dw = gradient` `[out_c, kernel_h, kernel_w, in_c / groups]` (or `dw += gradient` if
    /// `accumulate`) for the input `x` and the gradient `dy` of the output.
    ///
    /// # Panics
    /// If a slice does not fit the shape.
    pub fn run(&mut self, x: &[f32], dy: &[f32], dw: &mut [f32], accumulate: bool) {
        let Self { shape, k, stride, direct, rows, partial, patches } = self;
        let (shape, k, stride, direct, rows) = (&*shape, *k, *stride, *direct, *rows);
        assert_eq!(x.len(), shape.input_len());
        assert_eq!(dy.len(), shape.output_len());
        assert_eq!(dw.len(), shape.out_c * k);
        if dw.is_empty() {
            return;
        }
        let total = shape.batch * shape.out_h;
        let isa = avx2();
        let size = shape.out_c * stride;
        let patch_len = patches.len() / (partial.len() / size).max(1);
        let part = |i: usize, partial: &mut [f32], patches: &mut [f32]| {
            partial.fill(0.0);
            let span = i * rows..((i + 1) * rows).min(total);
            let job = Job { shape, x, dy, k, stride };
            if direct {
                direct_part(isa, &job, span, partial);
            } else {
                gathered_part(isa, &job, span, patches, partial);
            }
        };
        let parallel = parallel::worthwhile(shape.macs() as usize / 8);
        let empty = patch_len == 0;
        match (parallel, empty) {
            (true, true) => partial.par_chunks_mut(size).enumerate().for_each(|(i, p)| part(i, p, &mut [])),
            (true, false) => {
                let pieces = partial.par_chunks_mut(size).zip(patches.par_chunks_mut(patch_len));
                pieces.enumerate().for_each(|(i, (p, patches))| part(i, p, patches));
            }
            (false, true) => partial.chunks_mut(size).enumerate().for_each(|(i, p)| part(i, p, &mut [])),
            (false, false) => {
                let pieces = partial.chunks_mut(size).zip(patches.chunks_mut(patch_len));
                pieces.enumerate().for_each(|(i, (p, patches))| part(i, p, patches));
            }
        }
        if stride == k {
            return reduce_partials(partial, dw, accumulate);
        }
        for (o, dw) in dw.chunks_exact_mut(k).enumerate() {
            if !accumulate {
                dw.fill(0.0);
            }
            for partial in partial.chunks_exact(size) {
                dw.iter_mut().zip(&partial[o * stride..]).for_each(|(d, p)| *d += p);
            }
        }
    }
}

/// The operands, and the layout of a partial sum.
struct Job<'a> {
    shape: &'a ConvShape,
    x: &'a [f32],
    dy: &'a [f32],
    k: usize,
    stride: usize,
}

/// Pixels of the two operands that meet: `rows` runs of `count`.
#[derive(Clone, Copy)]
struct Walk {
    rows: usize,
    count: usize,
    /// First floats, distances between rows and between pixels.
    x: [usize; 3],
    dy: [usize; 3],
}

multiversion! {
    fn direct_part(job: &Job<'_>, span: std::ops::Range<usize>, partial: &mut [f32]) = direct_part_body
}

#[inline(always)]
fn direct_part_body(job: &Job<'_>, span: std::ops::Range<usize>, partial: &mut [f32]) {
    let s = job.shape;
    let depth = s.in_c / s.groups;
    let block = (PIXELS / s.out_w.max(1)).max(1);
    let mut row = span.start;
    while row < span.end {
        let (n, oy) = (row / s.out_h, row % s.out_h);
        let height = block.min(s.out_h - oy).min(span.end - row);
        for ky in 0..s.kernel_h {
            let ys = valid(oy..oy + height, ky * s.dilation_h, s.stride_h, s.pad_top, s.in_h);
            for kx in 0..s.kernel_w {
                let xs = valid(0..s.out_w, kx * s.dilation_w, s.stride_w, s.pad_left, s.in_w);
                if ys.is_empty() || xs.is_empty() {
                    continue;
                }
                let iy = ys.start * s.stride_h + ky * s.dilation_h - s.pad_top;
                let ix = xs.start * s.stride_w + kx * s.dilation_w - s.pad_left;
                for g in 0..s.groups {
                    let walk = Walk {
                        rows: ys.len(),
                        count: xs.len(),
                        x: [
                            ((n * s.in_h + iy) * s.in_w + ix) * s.in_c + g * depth,
                            s.stride_h * s.in_w * s.in_c,
                            s.stride_w * s.in_c,
                        ],
                        dy: [((n * s.out_h + ys.start) * s.out_w + xs.start) * s.out_c, s.out_w * s.out_c, s.out_c],
                    };
                    blocks(job, g, walk, job.x, depth, (ky * s.kernel_w + kx) * depth, partial);
                }
            }
        }
        row += height;
    }
}

/// The output coordinates of `span` whose tap, `tap` elements after the window's first, is inside
/// an input of `len`.
fn valid(span: std::ops::Range<usize>, tap: usize, stride: usize, pad: usize, len: usize) -> std::ops::Range<usize> {
    let first = pad.saturating_sub(tap).div_ceil(stride);
    let end = (len + pad).saturating_sub(tap).div_ceil(stride);
    let start = span.start.max(first);
    start..span.end.min(end).max(start)
}

multiversion! {
    fn gathered_part(
        job: &Job<'_>,
        span: std::ops::Range<usize>,
        patches: &mut [f32],
        partial: &mut [f32],
    ) = gathered_part_body
}

#[inline(always)]
fn gathered_part_body(job: &Job<'_>, span: std::ops::Range<usize>, patches: &mut [f32], partial: &mut [f32]) {
    let s = job.shape;
    let (mut first, end) = (span.start * s.out_w, span.end * s.out_w);
    while first < end {
        let count = PIXELS.min(end - first);
        for g in 0..s.groups {
            im2col(s, job.x, first, g, &mut patches[..count * job.k]);
            let walk = Walk { rows: 1, count, x: [0, 0, job.k], dy: [first * s.out_c, 0, s.out_c] };
            // A block may reach into the next patch or the slack: columns beyond k are dropped.
            blocks(job, g, walk, patches, job.stride, 0, partial);
        }
        first += count;
    }
}

/// Adds the products of one walk to columns `column..column + width` of the filters of group `g`.
#[inline(always)]
fn blocks(job: &Job<'_>, g: usize, walk: Walk, x: &[f32], width: usize, column: usize, partial: &mut [f32]) {
    let filters = job.shape.out_c / job.shape.groups;
    let mut c = 0;
    while c < width {
        let wide = c + NR <= width;
        let mut walk = Walk { x: [walk.x[0] + c, walk.x[1], walk.x[2]], ..walk };
        let first = walk.dy[0];
        let mut o = 0;
        while o < filters {
            let m = MR.min(filters - o);
            let filter = g * filters + o;
            walk.dy[0] = first + filter;
            let sums = &mut partial[filter * job.stride + column + c..];
            match (m, wide) {
                (6, true) => tile::<6, NR>(walk, x, job.dy, sums, job.stride),
                (5, true) => tile::<5, NR>(walk, x, job.dy, sums, job.stride),
                (4, true) => tile::<4, NR>(walk, x, job.dy, sums, job.stride),
                (3, true) => tile::<3, NR>(walk, x, job.dy, sums, job.stride),
                (2, true) => tile::<2, NR>(walk, x, job.dy, sums, job.stride),
                (_, true) => tile::<1, NR>(walk, x, job.dy, sums, job.stride),
                (6, false) => tile::<6, NARROW>(walk, x, job.dy, sums, job.stride),
                (5, false) => tile::<5, NARROW>(walk, x, job.dy, sums, job.stride),
                (4, false) => tile::<4, NARROW>(walk, x, job.dy, sums, job.stride),
                (3, false) => tile::<3, NARROW>(walk, x, job.dy, sums, job.stride),
                (2, false) => tile::<2, NARROW>(walk, x, job.dy, sums, job.stride),
                _ => tile::<1, NARROW>(walk, x, job.dy, sums, job.stride),
            }
            o += m;
        }
        c += if wide { NR } else { NARROW };
    }
}

/// `sums[m][c] += the sum over the pixels of dy[m] * x[c]`.
#[inline(always)]
fn tile<const M: usize, const N: usize>(walk: Walk, x: &[f32], dy: &[f32], sums: &mut [f32], stride: usize) {
    let mut acc = [[0.0f32; N]; M];
    for r in 0..walk.rows {
        // One check a row: the chunks below stay inside these slices.
        let x = &x[walk.x[0] + r * walk.x[1]..][..(walk.count - 1) * walk.x[2] + N];
        let dy = &dy[walk.dy[0] + r * walk.dy[1]..][..(walk.count - 1) * walk.dy[2] + M];
        // Windows, not indices: their bounds cost less to check, and patches may overlap.
        for (x, dy) in x.windows(N).step_by(walk.x[2]).zip(dy.windows(M).step_by(walk.dy[2])) {
            let (Some(x), Some(dy)) = (x.first_chunk::<N>(), dy.first_chunk::<M>()) else { break };
            for m in 0..M {
                for c in 0..N {
                    acc[m][c] = dy[m].mul_add(x[c], acc[m][c]);
                }
            }
        }
    }
    for (m, acc) in acc.iter().enumerate() {
        sums[m * stride..][..N].iter_mut().zip(acc).for_each(|(s, a)| *s += a);
    }
}

/// Weights `[out_c, kernel_h, kernel_w, in_c / groups]` with the roles of input and output channels
/// swapped: `[in_c, kernel_h, kernel_w, out_c / groups]`; with `turned` the taps are in opposite
/// order. Swapping twice gives the original.
///
/// # Panics
/// If the length does not fit.
pub fn swap_roles(weights: &[f32], shape: &ConvShape, turned: bool) -> Vec<f32> {
    let (depth, filters) = (shape.in_c / shape.groups, shape.out_c / shape.groups);
    let taps = shape.kernel_h * shape.kernel_w;
    assert_eq!(weights.len(), shape.out_c * taps * depth, "weights are OHWI");
    let mut swapped = vec![0.0; weights.len()];
    for g in 0..shape.groups {
        for f in 0..filters {
            for tap in 0..taps {
                let to = if turned { taps - 1 - tap } else { tap };
                for c in 0..depth {
                    let from = ((g * filters + f) * taps + tap) * depth + c;
                    swapped[((g * depth + c) * taps + to) * filters + f] = weights[from];
                }
            }
        }
    }
    swapped
}

/// The shape with input and output exchanged.
fn exchanged(s: &ConvShape) -> ConvShape {
    ConvShape { in_h: s.out_h, in_w: s.out_w, in_c: s.out_c, out_h: s.in_h, out_w: s.in_w, out_c: s.in_c, ..*s }
}

/// Gradient of a convolution's input: `dx` `[batch, in_h, in_w, in_c]` from `dy` `[batch, out_h,
/// out_w, out_c]` and the `weights`. `scratch` is grown to what the kernels want and may be kept
/// from call to call.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn conv_input_gradient(shape: &ConvShape, weights: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut Vec<f32>) {
    let threads = rayon::current_num_threads();
    let back = exchanged(shape);
    let reach = [shape.dilation_h * (shape.kernel_h - 1), shape.dilation_w * (shape.kernel_w - 1)];
    let dense = shape.stride_h == 1 && shape.stride_w == 1;
    if dense && reach[0] >= shape.pad_top && reach[1] >= shape.pad_left {
        let back = ConvShape { pad_top: reach[0] - shape.pad_top, pad_left: reach[1] - shape.pad_left, ..back };
        let packed = PackedConvF32::new(&back, &swap_roles(weights, shape, true), None);
        let scratch = grown(scratch, packed.scratch_len(&back, threads));
        return packed.run(&back, dy, dx, scratch, Clamp::NONE);
    }
    let packed = PackedConvTransposeF32::new(&back, &swap_roles(weights, shape, false), None);
    let scratch = grown(scratch, packed.scratch_len(&back, threads));
    packed.run(&back, dy, dx, scratch, Clamp::NONE);
}

fn grown(scratch: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    &mut scratch[..len]
}
