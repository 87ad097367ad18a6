//! Int8 resize, nearest and bilinear. Input and output share one quantization.

use super::requant::Rounding;
use super::vectorize::{round_small, vectorized};
use crate::isa::Isa;

/// Sizes of an NHWC resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResizeShape {
    /// Images.
    pub batch: usize,
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Channels.
    pub channels: usize,
}

/// How an output coordinate is taken back to the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// `x * in / out` (TFLite's default, ONNX `asymmetric`).
    Asymmetric,
    /// `(x + 0.5) * in / out - 0.5` (ONNX `half_pixel`).
    HalfPixel,
    /// `x * (in - 1) / (out - 1)` (ONNX `align_corners`).
    AlignCorners,
}

/// How nearest rounds a coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearestRounding {
    /// Downwards. TFLite's RESIZE_NEAREST_NEIGHBOR with asymmetric coordinates.
    Floor,
    /// To the nearest, halves down (ONNX `round_prefer_floor`).
    PreferFloor,
    /// To the nearest, halves up. TFLite with half-pixel centres or aligned corners.
    PreferCeil,
    /// Upwards.
    Ceil,
}

impl Coordinates {
    fn map(self, x: usize, input: usize, output: usize) -> f32 {
        let ratio = input as f32 / output as f32;
        match self {
            Self::Asymmetric => x as f32 * ratio,
            Self::HalfPixel => (x as f32 + 0.5) * ratio - 0.5,
            Self::AlignCorners if output > 1 => x as f32 * ((input - 1) as f32 / (output - 1) as f32),
            Self::AlignCorners => 0.0,
        }
    }
}

impl NearestRounding {
    fn round(self, x: f32, len: usize) -> usize {
        let rounded = match self {
            Self::Floor => x.floor(),
            Self::PreferFloor => (x - 0.5).ceil(),
            Self::PreferCeil => (x + 0.5).floor(),
            Self::Ceil => x.ceil(),
        };
        (rounded.max(0.0) as usize).min(len - 1)
    }
}

impl ResizeShape {
    fn check(&self, input: &[i8], out: &[i8]) {
        let (from, to) = (self.in_h * self.in_w, self.out_h * self.out_w);
        assert_eq!(input.len(), self.batch * from * self.channels, "input");
        assert_eq!(out.len(), self.batch * to * self.channels, "output");
        assert!(out.is_empty() || from > 0, "an empty image cannot be resized");
    }

    /// Visits every output pixel: its image, row, column and channels.
    fn pixels(&self, out: &mut [i8], mut visit: impl FnMut(usize, usize, usize, &mut [i8])) {
        for (i, out) in out.chunks_exact_mut(self.channels.max(1)).enumerate() {
            let (line, x) = (i / self.out_w, i % self.out_w);
            visit(line / self.out_h, line % self.out_h, x, out);
        }
    }

    fn pixel<'a>(&self, input: &'a [i8], batch: usize, y: usize, x: usize) -> &'a [i8] {
        let at = ((batch * self.in_h + y) * self.in_w + x) * self.channels;
        &input[at..at + self.channels]
    }
}

/// Copies the nearest input pixel.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn resize_nearest(
    shape: &ResizeShape,
    coordinates: Coordinates,
    rounding: NearestRounding,
    input: &[i8],
    out: &mut [i8],
) {
    shape.check(input, out);
    shape.pixels(out, |batch, y, x, out| {
        let y = rounding.round(coordinates.map(y, shape.in_h, shape.out_h), shape.in_h);
        let x = rounding.round(coordinates.map(x, shape.in_w, shape.out_w), shape.in_w);
        out.copy_from_slice(shape.pixel(input, batch, y, x));
    });
}

/// Blends the four input pixels around.
///
/// [`Rounding::Float`] blends in f32 and rounds half to even; [`Rounding::Fixed`] is TFLite's
/// integer kernel: weights of ten bits, rounding half away from zero.
///
/// # Panics
/// If a slice does not fit the shape.
pub fn resize_bilinear(
    isa: Isa,
    shape: &ResizeShape,
    coordinates: Coordinates,
    rounding: Rounding,
    input: &[i8],
    out: &mut [i8],
) {
    shape.check(input, out);
    shape.pixels(out, |batch, y, x, out| {
        let axis = |at, input, output| match rounding {
            Rounding::Float => float_axis(coordinates.map(at, input, output), input),
            Rounding::Fixed => fixed_axis(coordinates, at, input, output),
        };
        let (y, x) = (axis(y, shape.in_h, shape.out_h), axis(x, shape.in_w, shape.out_w));
        let corners = [(y.low, x.low), (y.low, x.high), (y.high, x.low), (y.high, x.high)]
            .map(|(y, x)| shape.pixel(input, batch, y, x));
        match rounding {
            Rounding::Float => blend_float(isa, corners, y.fraction, x.fraction, out),
            Rounding::Fixed => {
                let (fy, fx) = (y.fraction as i32, x.fraction as i32);
                let weights = [(ONE - fy) * (ONE - fx), (ONE - fy) * fx, fy * (ONE - fx), fy * fx];
                blend_fixed(isa, corners, weights, out);
            }
        }
    });
}

/// The two input coordinates around a point, and how far it is past the lower one: a fraction of
/// one (float) or of [`ONE`] (fixed).
struct Between {
    low: usize,
    high: usize,
    fraction: f32,
}

/// One, in the ten-bit arithmetic of TFLite.
const ONE: i32 = 1 << 10;

fn float_axis(x: f32, len: usize) -> Between {
    let x = x.max(0.0).min((len - 1) as f32);
    let low = x as usize;
    Between { low, high: (low + 1).min(len - 1), fraction: x - low as f32 }
}

/// TFLite `ComputeInterpolationValuesInteger`.
fn fixed_axis(coordinates: Coordinates, x: usize, input: usize, output: usize) -> Between {
    let (x, input, output) = (x as i64, input as i64, output as i64);
    let one = i64::from(ONE);
    let aligned = coordinates == Coordinates::AlignCorners && output > 1;
    let scale = if aligned {
        (one * (input - 1) + (output - 1) / 2) / (output - 1)
    } else {
        (one * input + output / 2) / output
    };
    let at = if coordinates == Coordinates::HalfPixel { x * scale + scale / 2 - one / 2 } else { x * scale };
    // Past either end both corners are the same pixel, whatever the fraction says.
    let low = (at / one).clamp(0, input - 1);
    let high = ((at + one - 1) / one).clamp(0, input - 1);
    Between { low: low as usize, high: high as usize, fraction: (at - one * low) as f32 }
}

vectorized! {
    /// `i8_resize_bilinear_1x8_*`.
    fn blend_float<'a>(corners: [&'a [i8]; 4], y: f32, x: f32, out: &'a mut [i8]) {
        let [a, b, c, d] = corners;
        for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            let top = f32::from(a) + (f32::from(b) - f32::from(a)) * x;
            let bottom = f32::from(c) + (f32::from(d) - f32::from(c)) * x;
            *out = round_small(top + (bottom - top) * y) as i8;
        }
    }
}

vectorized! {
    /// The same with weights that add up to 2^20.
    fn blend_fixed<'a>(corners: [&'a [i8]; 4], w: [i32; 4], out: &'a mut [i8]) {
        let [a, b, c, d] = corners;
        for ((((out, &a), &b), &c), &d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            let sum = i32::from(a) * w[0] + i32::from(b) * w[1] + i32::from(c) * w[2]
                + i32::from(d) * w[3];
            let half = if sum > 0 { 1 << 19 } else { -(1 << 19) };
            *out = ((sum + half) / (1 << 20)) as i8;
        }
    }
}
