//! Convolution straight from widened input lines, without gathering patches.
//!
//! A block of output pixels reads a band of input lines. The band is widened to int16 once, less
//! the zero point and with zeros for padding; each output pixel's patch is then a number of
//! equally long segments of the band, at the same offsets from every pixel's own start, which is
//! how [`Wide`] describes the left-hand rows of a product. Compared with gathered patches (im2col)
//! every input is widened once and not once a tap, and no pixel is special.

use std::ops::Range;

use super::epilogue::{Epilogue, Place};
use super::gemm::{self, BLOCK_BYTES, BLOCK_ROWS, Layout, Packed, Wide, ZeroPoints};
use crate::isa::Isa;
use crate::shape::ConvShape;

/// Slack to align a band.
const ALIGN: usize = 64;
/// Most output pixels of a block that is a piece of one line: more than the pixels of a block of
/// whole lines, so that lines a little longer than that are not cut.
const BLOCK_LINE: usize = BLOCK_ROWS + BLOCK_ROWS / 2;

/// The bands of one convolution: how large they are and where a patch lies in them.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// Output lines of a block; 1 unless a block has whole lines.
    block_h: usize,
    /// Output pixels of a line of a block.
    block_w: usize,
    /// Values of a line of the band.
    pitch: usize,
    /// Lines of the band.
    count: usize,
    /// Where the segments of a patch start.
    offsets: Vec<usize>,
    /// Values of a segment.
    segment: usize,
}

impl Lines {
    /// Plans the bands for a shape.
    pub(super) fn new(s: &ConvShape) -> Self {
        let channels = s.in_c / s.groups;
        // The taps of a kernel line are one segment where they are neighbours.
        let dense = s.groups == 1 && s.dilation_w == 1;
        let (across, segment) = if dense { (1, s.kernel_w * channels) } else { (s.kernel_w, channels) };
        let reach_h = s.kernel_h.saturating_sub(1) * s.dilation_h;
        let reach_w = s.kernel_w.saturating_sub(1) * s.dilation_w;
        let block_w = even_share(s.out_w, BLOCK_LINE);
        let pitch = (block_w.saturating_sub(1) * s.stride_w + reach_w + 1) * s.in_c;
        let lines = |block_h: usize| (block_h - 1) * s.stride_h + reach_h + 1;
        let mut block_h = if block_w == s.out_w { even_share(s.out_h, BLOCK_ROWS / block_w.max(1)) } else { 1 };
        while block_h > 1 && lines(block_h) * pitch * size_of::<i16>() > BLOCK_BYTES {
            block_h -= 1;
        }
        let offset = |i: usize| i / across * s.dilation_h * pitch + i % across * s.dilation_w * s.in_c;
        let offsets = (0..s.kernel_h * across).map(offset).collect();
        Self { block_h, block_w, pitch, count: lines(block_h), offsets, segment }
    }

    /// Packs the `[out_c, kernel_h, kernel_w, in_c / groups]` weights of one group, whose first
    /// output channel is `first`, every segment padded to whole pairs.
    pub(super) fn pack(&self, s: &ConvShape, first: usize, weights: &[i8], bias: Option<&[i32]>) -> Packed {
        let (padded, values) = (self.padded_segment(), self.offsets.len() * self.segment);
        Packed::new(Layout::Pairs, self.offsets.len() * padded, s.out_c / s.groups, bias, |k, col| {
            let (segment, at) = (k / padded, k % padded);
            if at < self.segment { weights[(first + col) * values + segment * self.segment + at] } else { 0 }
        })
    }

    fn padded_segment(&self) -> usize {
        Layout::Pairs.padded_k(self.segment)
    }

    /// Values of a band: its lines, and what the padding of the very last segment reads.
    fn band_len(&self) -> usize {
        self.count * self.pitch + Layout::Pairs.group()
    }

    /// Bytes of scratch for one task.
    pub(super) fn task_scratch(&self) -> usize {
        (self.band_len() * size_of::<i16>() + ALIGN).next_multiple_of(ALIGN)
    }
}

/// Output pixels by which `rows` of them are best split over `tasks` tasks: whole lines if there are
/// enough.
pub(super) fn split_unit(s: &ConvShape, rows: usize, tasks: usize) -> usize {
    if rows >= tasks * s.out_w { s.out_w } else { Layout::Pairs.rows() }
}

/// The share of `len` when it is cut evenly into pieces of at most `most` (at least 1).
fn even_share(len: usize, most: usize) -> usize {
    len.div_ceil(len.div_ceil(most.max(1)).max(1)).max(1)
}

/// One run of a convolution.
pub(super) struct LineConv<'a, E> {
    pub(super) isa: Isa,
    pub(super) lines: &'a Lines,
    pub(super) shape: &'a ConvShape,
    pub(super) groups: &'a [Packed],
    pub(super) input: &'a [i8],
    pub(super) zero_points: ZeroPoints<'a>,
    pub(super) epilogue: &'a E,
}

impl<E: Epilogue> LineConv<'_, E> {
    /// Output pixels `rows`, counted over the whole batch; `out` starts with the first of them.
    pub(super) fn run(&self, rows: Range<usize>, out: &mut [E::Out], scratch: &mut [u8]) {
        let (s, lines) = (self.shape, self.lines);
        let aligned = scratch.as_ptr().align_offset(ALIGN);
        let (_, band, _) = bytemuck::pod_align_to_mut::<u8, i16>(&mut scratch[aligned..]);
        let band = &mut band[..lines.band_len()];
        let mut row = rows.start;
        while row < rows.end {
            let (line, ox) = (row / s.out_w, row % s.out_w);
            let whole = ((rows.end - row) / s.out_w).min(s.out_h - line % s.out_h).min(lines.block_h);
            let (height, width) = if ox == 0 && lines.block_w == s.out_w && whole > 0 {
                (whole, s.out_w)
            } else {
                (1, lines.block_w.min(s.out_w - ox).min(rows.end - row))
            };
            let out = &mut out[(row - rows.start) * s.out_c..];
            self.widen_band(line, height, ox, width, band);
            self.multiply_block(row, height, width, band, out);
            row += height * width;
        }
    }

    /// Widens the band of `height` output lines from `line` on, `width` pixels from `ox` on.
    fn widen_band(&self, line: usize, height: usize, ox: usize, width: usize, band: &mut [i16]) {
        let (s, pitch) = (self.shape, self.lines.pitch);
        let (batch, oy) = (line / s.out_h, line % s.out_h);
        let zero_point = i16::from(self.zero_points.get(batch));
        let reach_h = s.kernel_h.saturating_sub(1) * s.dilation_h;
        let used = (width - 1) * s.stride_w + s.kernel_w.saturating_sub(1) * s.dilation_w + 1;
        // Columns of the band before the image, and after that those inside it.
        let before = s.pad_left.saturating_sub(ox * s.stride_w).min(used);
        let x = (ox * s.stride_w + before).saturating_sub(s.pad_left);
        let inside = s.in_w.saturating_sub(x).min(used - before);
        for at in 0..(height - 1) * s.stride_h + reach_h + 1 {
            if !self.reads_line(at, height) {
                continue;
            }
            let dst = &mut band[at * pitch..at * pitch + used * s.in_c];
            match (oy * s.stride_h + at).checked_sub(s.pad_top).filter(|&y| y < s.in_h) {
                Some(y) => {
                    let from = ((batch * s.in_h + y) * s.in_w + x) * s.in_c;
                    let (padding, rest) = dst.split_at_mut(before * s.in_c);
                    let (middle, after) = rest.split_at_mut(inside * s.in_c);
                    padding.fill(0);
                    if inside > 0 {
                        gemm::widen(self.isa, &self.input[from..from + middle.len()], zero_point, middle);
                    }
                    after.fill(0);
                }
                None => dst.fill(0),
            }
        }
    }

    /// Whether any tap of `height` output lines reads line `at` of the band: with large strides or
    /// dilations some lines lie between the taps.
    fn reads_line(&self, at: usize, height: usize) -> bool {
        let s = self.shape;
        (0..s.kernel_h).any(|ky| {
            let start = ky * s.dilation_h;
            at >= start && (at - start).is_multiple_of(s.stride_h) && (at - start) / s.stride_h < height
        })
    }

    /// Multiplies a widened block with all weights; `row` is its first output pixel.
    fn multiply_block(&self, row: usize, height: usize, width: usize, band: &[i16], out: &mut [E::Out]) {
        let (s, lines) = (self.shape, self.lines);
        let (channels, n) = (s.in_c / s.groups, s.out_c / s.groups);
        for (g, packed) in self.groups.iter().enumerate() {
            let weights = packed.view();
            for panel in 0..Layout::Pairs.panel_count(n) {
                let col = panel * Layout::Pairs.width();
                let (channel, cols) = (g * n + col, Layout::Pairs.width().min(n - col));
                for line in 0..height {
                    let pixel = line * s.out_w;
                    let band = &band[line * s.stride_h * lines.pitch + g * channels..];
                    let left = Wide::segmented(band, s.stride_w * s.in_c, &lines.offsets, lines.padded_segment());
                    let place = Place { row: row + pixel, rows: width, channel, cols, stride: s.out_c };
                    let out = &mut out[pixel * s.out_c + channel..];
                    gemm::multiply_wide(self.isa, weights, panel, left, self.epilogue, place, out);
                }
            }
        }
    }
}
