//! What a model expects of its inputs.

use crate::array::DType;

/// One input of the model, described by the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// The input's name, as in the model file.
    pub name: String,
    /// The type that the model reads.
    pub dtype: DType,
    /// Extents; axis 0 is the batch and is never checked, `None` is free.
    pub shape: Vec<Option<usize>>,
    /// For 8-bit inputs that stand for real numbers.
    pub quantization: Option<InputQuantization>,
    /// NaN and infinities are refused: neither ranges nor metrics can be made of them.
    pub finite: bool,
}

/// `real = (q - zero_point) * scale`, per tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputQuantization {
    /// Real size of one step.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero_point: i32,
}

impl InputQuantization {
    /// The nearest integer (ties to even) within `[low, high]`.
    pub(crate) fn quantize(self, real: f32, low: i32, high: i32) -> i32 {
        let q = (real / self.scale).round_ties_even() + self.zero_point as f32;
        // A float-to-int `as` saturates, so a far outlier clamps as it should.
        (q as i32).clamp(low, high)
    }

    pub(crate) fn is_usable(self) -> bool {
        self.scale.is_finite() && self.scale > 0.0
    }
}

impl InputSpec {
    /// An input without quantization.
    pub fn new(name: impl Into<String>, dtype: DType, shape: Vec<Option<usize>>) -> InputSpec {
        InputSpec { name: name.into(), dtype, shape, quantization: None, finite: true }
    }

    /// Says what real numbers an 8-bit input stands for, so that real-valued
    /// data (float arrays, images with mean/std) can be quantized for it.
    pub fn with_quantization(mut self, scale: f32, zero_point: i32) -> InputSpec {
        self.quantization = Some(InputQuantization { scale, zero_point });
        self
    }

    /// Accepts NaN and infinities, for running a model on anything.
    pub fn with_any_number(mut self) -> InputSpec {
        self.finite = false;
        self
    }

    /// Whether one sample with these extents (no batch axis) fits.
    pub(crate) fn fits(&self, sample: &[usize]) -> bool {
        let Some((_, wanted)) = self.shape.split_first() else {
            return false;
        };
        wanted.len() == sample.len()
            && wanted.iter().zip(sample).all(|(want, &got)| want.is_none_or(|want| want == got))
    }

    /// The shape for messages: `[N, 3, ?, ?]`.
    pub(crate) fn shape_text(&self) -> String {
        let mut parts: Vec<String> = self.shape.iter().map(|extent| extent_text(*extent)).collect();
        if let Some(first) = parts.first_mut() {
            *first = "N".to_owned();
        }
        format!("[{}]", parts.join(", "))
    }
}

fn extent_text(extent: Option<usize>) -> String {
    extent.map_or_else(|| "?".to_owned(), |n| n.to_string())
}
