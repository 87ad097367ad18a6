//! Spatial resizing, NHWC: one walk over precomputed source indices and weights an axis, and the
//! functions that compute those for every convention of ONNX `Resize` and TFLite.
//!
//! TFLite's flags are combinations: `align_corners` is [`Coordinates::AlignCorners`];
//! `half_pixel_centers` is [`Coordinates::HalfPixel`] for bilinear and
//! [`Coordinates::TfHalfPixelForNn`] with [`Rounding::Floor`] for nearest; neither is
//! [`Coordinates::Asymmetric`] (nearest: with [`Rounding::Floor`]). Nearest with `align_corners`
//! rounds as [`Rounding::PreferCeil`].

use super::dispatch::{avx2, multiversion};
use super::parallel;

/// Where in the input an output coordinate lies (ONNX `coordinate_transformation_mode`), with
/// `scale` = output / input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// `(x + 0.5) / scale - 0.5`
    HalfPixel,
    /// As half pixel, but 0 when the output has one element.
    PytorchHalfPixel,
    /// `x / scale`
    Asymmetric,
    /// `x (in - 1) / (out - 1)`, 0 when the output has one element.
    AlignCorners,
    /// `(x + 0.5) / scale`
    TfHalfPixelForNn,
}

/// How nearest-neighbour rounds a source coordinate (ONNX `nearest_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, halves down.
    PreferFloor,
    /// To nearest, halves up.
    PreferCeil,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// One axis of a resize: sizes, and optionally a scale that is not their exact ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AxisSize {
    /// Input elements, at least 1.
    pub input: usize,
    /// Output elements.
    pub output: usize,
    /// Explicit scale output / input; without it the ratio of the sizes is used, exactly.
    pub scale: Option<f32>,
}

impl AxisSize {
    fn source(&self, x: usize, coordinates: Coordinates) -> f32 {
        // `shift` in halves, so that the exact ratio stays a quotient of integers.
        let scaled = |halves: usize| match self.scale {
            Some(scale) => (x as f32 + 0.5 * halves as f32) / scale,
            None => ((2 * x + halves) * self.input) as f32 / (2 * self.output) as f32,
        };
        match coordinates {
            Coordinates::HalfPixel => scaled(1) - 0.5,
            Coordinates::PytorchHalfPixel if self.output > 1 => scaled(1) - 0.5,
            Coordinates::PytorchHalfPixel => 0.0,
            Coordinates::Asymmetric => scaled(0),
            Coordinates::AlignCorners if self.output > 1 => (x * (self.input - 1)) as f32 / (self.output - 1) as f32,
            Coordinates::AlignCorners => 0.0,
            Coordinates::TfHalfPixelForNn => scaled(1),
        }
    }

    fn clamp(&self, index: f32) -> usize {
        // The cast saturates at zero.
        (index as usize).min(self.input - 1)
    }
}

/// For each output coordinate of one axis, the input coordinates it mixes and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisTaps {
    taps: usize,
    input: usize,
    indices: Vec<usize>,
    weights: Vec<f32>,
}

impl AxisTaps {
    /// Nearest neighbour: one tap of weight 1.
    ///
    /// # Panics
    /// If the input is empty.
    pub fn nearest(size: AxisSize, coordinates: Coordinates, rounding: Rounding) -> Self {
        assert!(size.input > 0, "cannot resize from nothing");
        let indices = (0..size.output).map(|x| {
            let at = size.source(x, coordinates);
            size.clamp(match rounding {
                Rounding::PreferFloor => (at - 0.5).ceil(),
                Rounding::PreferCeil => (at + 0.5).floor(),
                Rounding::Floor => at.floor(),
                Rounding::Ceil => at.ceil(),
            })
        });
        Self { taps: 1, input: size.input, indices: indices.collect(), weights: vec![1.0; size.output] }
    }

    /// Linear interpolation: two taps, source coordinates limited to the input.
    ///
    /// # Panics
    /// If the input is empty.
    pub fn linear(size: AxisSize, coordinates: Coordinates) -> Self {
        assert!(size.input > 0, "cannot resize from nothing");
        let (mut indices, mut weights) = (Vec::new(), Vec::new());
        for x in 0..size.output {
            let at = size.source(x, coordinates).clamp(0.0, (size.input - 1) as f32);
            let low = at.floor();
            indices.extend([size.clamp(low), size.clamp(low + 1.0)]);
            weights.extend([1.0 - (at - low), at - low]);
        }
        Self { taps: 2, input: size.input, indices, weights }
    }

    /// Cubic convolution (Keys 1981) with coefficient `a` (ONNX `cubic_coeff_a`, -0.75 by
    /// default): four taps. Taps outside the input repeat the edge, or with `exclude_outside`
    /// weigh nothing and the others are scaled to sum 1.
    ///
    /// # Panics
    /// If the input is empty.
    pub fn cubic(size: AxisSize, coordinates: Coordinates, a: f32, exclude_outside: bool) -> Self {
        assert!(size.input > 0, "cannot resize from nothing");
        let (mut indices, mut weights) = (Vec::new(), Vec::new());
        for x in 0..size.output {
            let at = size.source(x, coordinates);
            let low = at.floor();
            let mut w = cubic_weights(at - low, a);
            let positions = [low - 1.0, low, low + 1.0, low + 2.0];
            if exclude_outside {
                for (w, p) in w.iter_mut().zip(positions) {
                    if p < 0.0 || p >= size.input as f32 {
                        *w = 0.0;
                    }
                }
                let sum: f32 = w.iter().sum();
                w.iter_mut().for_each(|w| *w /= sum);
            }
            indices.extend(positions.map(|p| size.clamp(p)));
            weights.extend(w);
        }
        Self { taps: 4, input: size.input, indices, weights }
    }

    /// Output elements.
    pub fn output(&self) -> usize {
        self.weights.len() / self.taps
    }

    fn of(&self, x: usize) -> impl Iterator<Item = (usize, f32)> + Clone + '_ {
        let range = x * self.taps..(x + 1) * self.taps;
        self.indices[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }
}

fn cubic_weights(t: f32, a: f32) -> [f32; 4] {
    let near = |d: f32| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
    let far = |d: f32| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
    [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]
}

/// Resizes `input` `[batch, in_h, in_w, channels]` to `out` `[batch, out_h, out_w, channels]`.
///
/// # Panics
/// If a slice does not fit the sizes of the taps.
pub fn resize(vertical: &AxisTaps, horizontal: &AxisTaps, channels: usize, input: &[f32], out: &mut [f32]) {
    let line = horizontal.output() * channels;
    let image = vertical.input * horizontal.input * channels;
    let out_image = vertical.output() * line;
    if out_image == 0 {
        assert!(out.is_empty());
        return;
    }
    assert!(out.len().is_multiple_of(out_image));
    assert_eq!(input.len(), out.len() / out_image * image);
    let isa = avx2();
    let parallel = parallel::worthwhile(out.len() * vertical.taps * horizontal.taps);
    parallel::chunks_mut(out, line, parallel, |row, out| {
        let (n, y) = (row / vertical.output(), row % vertical.output());
        resize_row(isa, vertical, horizontal, channels, &input[n * image..(n + 1) * image], y, out);
    });
}

multiversion! {
    fn resize_row(
        vertical: &AxisTaps,
        horizontal: &AxisTaps,
        channels: usize,
        image: &[f32],
        y: usize,
        out: &mut [f32],
    ) = resize_row_body
}

#[inline(always)]
fn resize_row_body(
    vertical: &AxisTaps,
    horizontal: &AxisTaps,
    channels: usize,
    image: &[f32],
    y: usize,
    out: &mut [f32],
) {
    let pixel_at = |iy: usize, ix: usize| &image[(iy * horizontal.input + ix) * channels..][..channels];
    for (x, pixel) in out.chunks_exact_mut(channels).enumerate() {
        if vertical.taps == 1 && horizontal.taps == 1 {
            pixel.copy_from_slice(pixel_at(vertical.indices[y], horizontal.indices[x]));
            continue;
        }
        pixel.fill(0.0);
        for (iy, wy) in vertical.of(y) {
            for (ix, wx) in horizontal.of(x) {
                let w = wy * wx;
                // A tap of no weight must not spread an infinity or NaN.
                if w != 0.0 {
                    pixel.iter_mut().zip(pixel_at(iy, ix)).for_each(|(y, x)| *y += w * x);
                }
            }
        }
    }
}
