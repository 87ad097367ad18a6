//! What happens to an int32 sum on its way out: int8, float or as it is.

use super::requant::Requant;
use crate::isa::Isa;

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

impl Tile<'_> {
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
