//! Left-hand rows: how the inputs of one output pixel are found.

use std::ops::Range;

use crate::isa::Isa;
use crate::shape::ConvShape;

/// The zero point of the input: one for all rows, or one for every batch entry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ZeroPoints<'a> {
    /// One value for the whole input.
    All(i8),
    /// One value for every batch entry.
    Batch(&'a [i8]),
}

impl ZeroPoints<'_> {
    /// Zero point of batch entry `batch`.
    pub(crate) fn get(&self, batch: usize) -> i8 {
        match self {
            Self::All(zero_point) => *zero_point,
            Self::Batch(all) => all[batch],
        }
    }
}

/// A piece of a left-hand row.
pub(crate) enum Run<'a> {
    /// Consecutive input values.
    Data(&'a [i8]),
    /// This many values of padding: the input's zero point.
    Padding(usize),
}

/// A left-hand operand that is read row by row.
pub(crate) trait Rows: Sync {
    /// Emits the row in order of depth, as pieces that add up to the depth.
    fn runs<'s>(&'s self, row: usize, emit: impl FnMut(Run<'s>));

    /// Zero point of the row.
    fn zero_point(&self, row: usize) -> i32;

    /// The values of `rows` if they lie one after another and share a zero point.
    fn contiguous(&self, _rows: Range<usize>) -> Option<&[i8]> {
        None
    }
}

/// Rows that lie one after another: fully-connected and matmul.
pub(crate) struct DenseRows<'a> {
    pub(crate) input: &'a [i8],
    pub(crate) k: usize,
    pub(crate) zero_points: ZeroPoints<'a>,
}

impl Rows for DenseRows<'_> {
    fn runs<'s>(&'s self, row: usize, mut emit: impl FnMut(Run<'s>)) {
        emit(Run::Data(&self.input[row * self.k..(row + 1) * self.k]));
    }

    fn zero_point(&self, row: usize) -> i32 {
        i32::from(self.zero_points.get(row))
    }

    fn contiguous(&self, rows: Range<usize>) -> Option<&[i8]> {
        let shared = matches!(self.zero_points, ZeroPoints::All(_));
        shared.then(|| &self.input[rows.start * self.k..rows.end * self.k])
    }
}

/// One row for every output pixel of one group of a convolution, depth in order `ky, kx, channel`.
pub(crate) struct ConvRows<'a> {
    pub(crate) input: &'a [i8],
    pub(crate) shape: &'a ConvShape,
    pub(crate) group: usize,
    pub(crate) zero_points: ZeroPoints<'a>,
}

impl Rows for ConvRows<'_> {
    fn runs<'s>(&'s self, row: usize, mut emit: impl FnMut(Run<'s>)) {
        let s = self.shape;
        if s.is_pointwise() {
            return emit(Run::Data(&self.input[row * s.in_c..(row + 1) * s.in_c]));
        }
        let (line, ox) = (row / s.out_w, row % s.out_w);
        let (batch, oy) = (line / s.out_h, line % s.out_h);
        let channels = s.in_c / s.groups;
        let (vertical, horizontal) = (s.taps_h(oy), s.taps_w(ox));
        let taps = horizontal.taps;
        let dense = s.groups == 1 && s.dilation_w == 1;
        for ky in 0..s.kernel_h {
            if !vertical.taps.contains(&ky) {
                emit(Run::Padding(s.kernel_w * channels));
                continue;
            }
            let y = (vertical.origin + (ky * s.dilation_h) as isize) as usize;
            let line = (batch * s.in_h + y) * s.in_w;
            let at = |kx: usize| {
                let x = (horizontal.origin + (kx * s.dilation_w) as isize) as usize;
                (line + x) * s.in_c + self.group * channels
            };
            if taps.start > 0 {
                emit(Run::Padding(taps.start * channels));
            }
            if dense && !taps.is_empty() {
                // Neighbouring taps are neighbouring pixels: one run.
                let start = at(taps.start);
                emit(Run::Data(&self.input[start..start + taps.len() * channels]));
            } else {
                for kx in taps.clone() {
                    let start = at(kx);
                    emit(Run::Data(&self.input[start..start + channels]));
                }
            }
            if taps.end < s.kernel_w {
                emit(Run::Padding((s.kernel_w - taps.end) * channels));
            }
        }
    }

    fn zero_point(&self, row: usize) -> i32 {
        match self.zero_points {
            ZeroPoints::All(zero_point) => i32::from(zero_point),
            ZeroPoints::Batch(all) => i32::from(all[row / (self.shape.out_h * self.shape.out_w).max(1)]),
        }
    }

    fn contiguous(&self, rows: Range<usize>) -> Option<&[i8]> {
        let shared = self.shape.is_pointwise() && matches!(self.zero_points, ZeroPoints::All(_));
        let k = self.shape.in_c;
        shared.then(|| &self.input[rows.start * k..rows.end * k])
    }
}

/// Fills `dst` with `rows` less their zero points, `padded` values each; padding and the tails
/// become zero.
pub(crate) fn fill_wide<S: Rows>(isa: Isa, source: &S, rows: Range<usize>, padded: usize, dst: &mut [i16]) {
    if let Some(values) = source.contiguous(rows.clone()).filter(|values| values.len() == dst.len()) {
        return widen(isa, values, source.zero_point(rows.start) as i16, dst);
    }
    for (row, dst) in rows.zip(dst.chunks_exact_mut(padded.max(1))) {
        fill_wide_row(isa, source, row, dst);
    }
}

fn fill_wide_row<S: Rows>(isa: Isa, source: &S, row: usize, dst: &mut [i16]) {
    let zero_point = source.zero_point(row) as i16;
    let mut at = 0;
    source.runs(row, |run| match run {
        Run::Data(src) => {
            widen(isa, src, zero_point, &mut dst[at..at + src.len()]);
            at += src.len();
        }
        Run::Padding(len) => {
            dst[at..at + len].fill(0);
            at += len;
        }
    });
    dst[at..].fill(0);
}

/// Fills `dst` with row `row` offset by 128; padding becomes the offset zero point.
pub(crate) fn fill_offset<S: Rows>(source: &S, row: usize, dst: &mut [u8]) {
    let padding = (source.zero_point(row) + 128) as u8;
    let mut at = 0;
    source.runs(row, |run| match run {
        Run::Data(src) => {
            for (dst, &src) in dst[at..at + src.len()].iter_mut().zip(src) {
                *dst = src as u8 ^ 0x80;
            }
            at += src.len();
        }
        Run::Padding(len) => {
            dst[at..at + len].fill(padding);
            at += len;
        }
    });
    // The weights of these depths are zero; any value does.
    dst[at..].fill(0);
}

/// Widens `src` to int16 less `zero_point`.
pub(crate) fn widen(isa: Isa, src: &[i8], zero_point: i16, dst: &mut [i16]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = isa.avx2() {
        return crate::int8::avx2::widen_sub(token, src, zero_point, dst);
    }
    let _ = isa;
    for (dst, &src) in dst.iter_mut().zip(src) {
        *dst = i16::from(src) - zero_point;
    }
}
