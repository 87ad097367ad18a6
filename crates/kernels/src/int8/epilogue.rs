//! What happens to an int32 sum on its way out: int8, float or as it is.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m256i;

use super::requant::Requant;
#[cfg(target_arch = "x86_64")]
use super::requant::Rounding;
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx2;
use crate::isa::Isa;

/// Gives a packed layer its three kinds of output. It has `run_with(input, zero_points, epilogue, out,
/// scratch)`; `channels` counts its outputs, and `rows` the output rows that share an input scale.
macro_rules! output_kinds {
    ($layer:ty, channels: $channels:expr, rows: $rows:expr) => {
        impl $layer {
            /// Int8 output. `requant` has a factor for every output channel; its clamp is the fused
            /// activation.
            ///
            /// # Panics
            /// If a slice does not fit the layer, or `scratch` is under one task's worth.
            pub fn run(
                &self,
                input: &[i8],
                input_zero_point: i8,
                requant: &Requant,
                out: &mut [i8],
                scratch: &mut [u8],
            ) {
                assert_eq!(requant.channels(), $channels(self), "requantization");
                let epilogue = $crate::int8::epilogue::ToI8(requant);
                self.run_with(input, ZeroPoints::All(input_zero_point), &epilogue, out, scratch);
            }

            /// Float output of an input whose parts (the images of a batch, the rows of a matrix)
            /// were quantized one by one: `input_zero_points` has one value for each.
            ///
            /// # Panics
            /// As [`Self::run`].
            pub fn run_f32(
                &self,
                input: &[i8],
                input_zero_points: &[i8],
                output: &FloatOutput<'_>,
                out: &mut [f32],
                scratch: &mut [u8],
            ) {
                output.check(input_zero_points.len(), $channels(self));
                let epilogue = $crate::int8::epilogue::ToF32 { output, rows_per_scale: $rows(self) };
                self.run_with(input, ZeroPoints::Batch(input_zero_points), &epilogue, out, scratch);
            }

            /// The int32 sums themselves (ONNX ConvInteger, MatMulInteger).
            ///
            /// # Panics
            /// As [`Self::run`].
            pub fn run_i32(&self, input: &[i8], input_zero_point: i8, out: &mut [i32], scratch: &mut [u8]) {
                let epilogue = $crate::int8::epilogue::ToI32;
                self.run_with(input, ZeroPoints::All(input_zero_point), &epilogue, out, scratch);
            }
        }
    };
}
pub(crate) use output_kinds;

/// Where sums land in the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// First row, counted over the whole output.
    pub(crate) row: usize,
    pub(crate) rows: usize,
    /// First output channel.
    pub(crate) channel: usize,
    pub(crate) cols: usize,
    /// Elements from one output row to the next.
    pub(crate) stride: usize,
}

impl Place {
    /// Cuts the rows into pieces of at most `most` rows, as equal as can be: full pieces and a thin
    /// last one would waste more of the tiles.
    #[inline]
    pub(crate) fn tiles(self, most: usize) -> impl Iterator<Item = Self> {
        let tiles = self.rows.div_ceil(most);
        let (rows, longer) = (self.rows / tiles.max(1), self.rows % tiles.max(1));
        let mut row = self.row;
        (0..tiles).map(move |tile| {
            let rows = rows + usize::from(tile < longer);
            row += rows;
            Self { row: row - rows, rows, ..self }
        })
    }
}

/// A tile of sums, row-major with `acc_stride` sums a row.
pub(crate) struct Tile<'a> {
    pub(crate) acc: &'a [i32],
    pub(crate) acc_stride: usize,
    /// First row, counted over the whole output.
    pub(crate) row: usize,
    pub(crate) rows: usize,
    /// First output channel.
    pub(crate) channel: usize,
    pub(crate) cols: usize,
}

impl<'a> Tile<'a> {
    /// Sums `acc_stride` a row that belong at `place`.
    pub(crate) fn new(acc: &'a [i32], acc_stride: usize, place: Place) -> Self {
        let Place { row, rows, channel, cols, stride: _ } = place;
        Self { acc, acc_stride, row, rows, channel, cols }
    }

    /// Sums of row `r` of the tile.
    fn sums(&self, r: usize) -> &[i32] {
        &self.acc[r * self.acc_stride..][..self.cols]
    }
}

/// Writes sums as output values.
pub(crate) trait Epilogue: Sync {
    /// Element type of the output.
    type Out: Copy + Send;

    /// Writes a tile; `out[0]` is its first element, rows are `stride` elements apart.
    fn store(&self, isa: Isa, tile: &Tile<'_>, out: &mut [Self::Out], stride: usize);

    /// Writes sums that are still in registers: `sums[r][v]` has columns `8 * v..` of row `r` of
    /// `place`, and `out[0]` is the first element of `place`. Rows and columns past those of
    /// `place` are dropped.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn store_sums<const M: usize, const V: usize>(
        &self,
        token: Avx2,
        isa: Isa,
        sums: &[[__m256i; V]; M],
        place: Place,
        out: &mut [Self::Out],
    ) {
        let acc = super::avx2::spill(token, sums);
        self.store(isa, &Tile::new(acc.as_flattened().as_flattened(), 8 * V, place), out, place.stride);
    }
}

/// Int8 output.
pub(crate) struct ToI8<'a>(pub(crate) &'a Requant);

impl Epilogue for ToI8<'_> {
    type Out = i8;

    fn store(&self, isa: Isa, tile: &Tile<'_>, out: &mut [i8], stride: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = isa.avx2() {
            return super::avx2::requant_tile(token, self.0, tile, out, stride);
        }
        for r in 0..tile.rows {
            let out = &mut out[r * stride..][..tile.cols];
            self.0.apply_row(isa, tile.sums(r), tile.channel, out);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn store_sums<const M: usize, const V: usize>(
        &self,
        token: Avx2,
        _isa: Isa,
        sums: &[[__m256i; V]; M],
        place: Place,
        out: &mut [i8],
    ) {
        let full = place.rows == M && place.cols == 8 * V;
        if full && self.0.rounding() == Rounding::Float {
            super::avx2::requant_sums(token, self.0, sums, place.channel, out, place.stride);
        } else {
            let acc = super::avx2::spill(token, sums);
            let tile = Tile::new(acc.as_flattened().as_flattened(), 8 * V, place);
            super::avx2::requant_tile(token, self.0, &tile, out, place.stride);
        }
    }
}

/// Raw int32 output.
pub(crate) struct ToI32;

impl Epilogue for ToI32 {
    type Out = i32;

    fn store(&self, _isa: Isa, tile: &Tile<'_>, out: &mut [i32], stride: usize) {
        for r in 0..tile.rows {
            out[r * stride..][..tile.cols].copy_from_slice(tile.sums(r));
        }
    }
}

/// Float output of an integer product: `acc * (input_scale * weight_scale[c]) + bias[c]`, clamped.
///
/// The three operations are rounded one by one (no fused multiply-add), in this order, on every
/// instruction set.
#[derive(Clone, Copy, Debug)]
pub struct FloatOutput<'a> {
    /// One scale for every batch entry (convolution) or row (fully-connected, matmul), or one for
    /// all of them.
    pub input_scales: &'a [f32],
    /// One scale for every output channel, or one for all.
    pub weight_scales: &'a [f32],
    /// One float bias for every output channel, if any.
    pub bias: Option<&'a [f32]>,
    /// Lower clamp; `f32::NEG_INFINITY` for none.
    pub min: f32,
    /// Upper clamp; `f32::INFINITY` for none.
    pub max: f32,
}

impl<'a> FloatOutput<'a> {
    /// No bias and no clamp.
    pub fn new(input_scales: &'a [f32], weight_scales: &'a [f32]) -> Self {
        Self { input_scales, weight_scales, bias: None, min: f32::NEG_INFINITY, max: f32::INFINITY }
    }

    /// Panics unless the slices fit `batch` entries and `channels` channels.
    pub(crate) fn check(&self, batch: usize, channels: usize) {
        let (scales, weights) = (self.input_scales.len(), self.weight_scales.len());
        assert!(scales == 1 || scales == batch, "input scales for {batch} entries");
        assert!(weights == 1 || weights == channels, "weight scales for {channels} channels");
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), channels, "float bias");
        }
    }
}

/// [`FloatOutput`] with the number of output rows that share an input scale.
pub(crate) struct ToF32<'a> {
    pub(crate) output: &'a FloatOutput<'a>,
    pub(crate) rows_per_scale: usize,
}

impl Epilogue for ToF32<'_> {
    type Out = f32;

    fn store(&self, _isa: Isa, tile: &Tile<'_>, out: &mut [f32], stride: usize) {
        let o = self.output;
        let channels = tile.channel..tile.channel + tile.cols;
        for r in 0..tile.rows {
            let input_scale = match o.input_scales {
                [one] => *one,
                all => all[(tile.row + r) / self.rows_per_scale],
            };
            let out = &mut out[r * stride..][..tile.cols];
            match o.weight_scales {
                [one] => {
                    let scale = input_scale * one;
                    for (out, &acc) in out.iter_mut().zip(tile.sums(r)) {
                        *out = acc as f32 * scale;
                    }
                }
                all => {
                    let scales = &all[channels.clone()];
                    for ((out, &acc), &scale) in out.iter_mut().zip(tile.sums(r)).zip(scales) {
                        *out = acc as f32 * (input_scale * scale);
                    }
                }
            }
            if let Some(bias) = o.bias {
                for (out, &bias) in out.iter_mut().zip(&bias[channels.clone()]) {
                    *out += bias;
                }
            }
            for out in out {
                *out = out.max(o.min).min(o.max);
            }
        }
    }
}
