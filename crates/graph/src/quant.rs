//! Quantization parameters of an edge.

use crate::{DType, Shape};

/// How many scales a tensor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// One scale and zero point.
    PerTensor,
    /// One scale and zero point for each index along `axis`.
    PerChannel {
        /// The axis, in the stored (channels-last) layout.
        axis: usize,
    },
    /// One scale and zero point for each run of `size` elements along `axis`; stored with the
    /// tensor's own layout, `axis` divided by `size` and rounded up.
    Blocked {
        /// The axis, in the stored layout.
        axis: usize,
        /// Elements that share a scale.
        size: usize,
    },
}

/// Affine quantization: `real = (q − zero_point) × scale`.
///
/// `scales` and `zero_points` have the same length: 1 for [`Granularity::PerTensor`], the channel
/// count for [`Granularity::PerChannel`].
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// Which elements share a scale.
    pub granularity: Granularity,
    /// Scales, finite and positive.
    pub scales: Vec<f32>,
    /// Zero points, in the range of the element type.
    pub zero_points: Vec<i32>,
}

impl Quantization {
    /// One scale and zero point for the whole tensor.
    pub fn per_tensor(scale: f32, zero_point: i32) -> Self {
        Quantization { granularity: Granularity::PerTensor, scales: vec![scale], zero_points: vec![zero_point] }
    }

    /// Symmetric per-channel quantization: zero points are all 0.
    pub fn per_channel(axis: usize, scales: Vec<f32>) -> Self {
        let zero_points = vec![0; scales.len()];
        Quantization { granularity: Granularity::PerChannel { axis }, scales, zero_points }
    }

    /// Scale and zero point when the tensor has just one of each.
    pub fn as_per_tensor(&self) -> Option<(f32, i32)> {
        match (self.granularity, self.scales.as_slice(), self.zero_points.as_slice()) {
            (Granularity::PerTensor, &[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }

    /// Whether every zero point is 0.
    pub fn is_symmetric(&self) -> bool {
        self.zero_points.iter().all(|&z| z == 0)
    }

    /// Checks the parameters against the element type and shape of the tensor they describe.
    /// The error is the rule that is broken, in words.
    pub fn check(&self, dtype: DType, shape: &Shape) -> std::result::Result<(), String> {
        let Some((lo, hi)) = dtype.integer_range() else {
            return Err(format!("{dtype} values cannot be quantized"));
        };
        if self.scales.len() != self.zero_points.len() {
            return Err(format!("{} scales but {} zero points", self.scales.len(), self.zero_points.len()));
        }
        if let Some(s) = self.scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return Err(format!("scale {s} is not finite and positive"));
        }
        if let Some(z) = self.zero_points.iter().find(|z| !(lo..=hi).contains(*z)) {
            return Err(format!("zero point {z} is outside of {dtype}"));
        }
        let expected = match self.granularity {
            Granularity::PerTensor => Some(1),
            Granularity::PerChannel { axis } => {
                let dim = shape.0.get(axis).ok_or_else(|| format!("axis {axis} is outside of shape {shape}"))?;
                dim.fixed()
            }
            Granularity::Blocked { axis, size } => {
                if size == 0 || axis >= shape.rank() {
                    return Err(format!("axis {axis} with blocks of {size} does not fit shape {shape}"));
                }
                shape.to_fixed().map(|dims| {
                    let mut dims = dims;
                    dims[axis] = dims[axis].div_ceil(size);
                    dims.iter().product()
                })
            }
        };
        match expected {
            Some(n) if n != self.scales.len() => {
                Err(format!("{} scales where shape {shape} asks for {n}", self.scales.len()))
            }
            _ => Ok(()),
        }
    }
}
