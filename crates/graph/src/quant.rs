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

    /// Which of the scales and zero points an element has, by its index in a tensor of `shape`.
    pub fn parameter_of(&self, shape: &[usize]) -> impl Fn(usize) -> usize + use<> {
        let (axis, size) = match self.granularity {
            Granularity::PerTensor => (None, 1),
            Granularity::PerChannel { axis } => (Some(axis), 1),
            Granularity::Blocked { axis, size } => (Some(axis), size.max(1)),
        };
        let blocked = matches!(self.granularity, Granularity::Blocked { .. });
        let along = axis.map_or(1, |a| shape[a]).max(1);
        let inner = axis.map_or(usize::MAX, |a| shape[a + 1..].iter().product()).max(1);
        move |i| match i / inner % along / size {
            // Blocks have the tensor's own layout, all other axes with them.
            block if blocked => (i / inner / along * along.div_ceil(size) + block) * inner + i % inner,
            channel => channel,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_find_their_parameters() {
        let of = |granularity, shape: &[usize]| {
            let quant = Quantization { granularity, scales: Vec::new(), zero_points: Vec::new() };
            let parameter = quant.parameter_of(shape);
            (0..shape.iter().product()).map(parameter).collect::<Vec<usize>>()
        };
        assert_eq!(of(Granularity::PerTensor, &[2, 2]), [0; 4]);
        assert_eq!(of(Granularity::PerChannel { axis: 1 }, &[2, 3, 2]), [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
        assert_eq!(of(Granularity::Blocked { axis: 1, size: 2 }, &[2, 3]), [0, 0, 1, 2, 2, 3]);
        assert_eq!(of(Granularity::Blocked { axis: 0, size: 2 }, &[3, 2]), [0, 1, 0, 1, 2, 3]);
    }

    fn error(q: &Quantization, dtype: DType, dims: &[usize]) -> String {
        q.check(dtype, &Shape::fixed(dims)).expect_err("the parameters are wrong")
    }

    #[test]
    fn good_parameters_pass() {
        let shape = Shape::fixed(&[3, 8]);
        assert_eq!(Quantization::per_tensor(0.5, -128).check(DType::I8, &shape), Ok(()));
        assert_eq!(Quantization::per_channel(0, vec![0.5; 3]).check(DType::I8, &shape), Ok(()));
        let blocked = |n| Quantization {
            granularity: Granularity::Blocked { axis: 1, size: 3 },
            scales: vec![1.0; n],
            zero_points: vec![0; n],
        };
        // 8 columns in blocks of 3 are 3 blocks in each of 3 rows.
        assert_eq!(blocked(9).check(DType::I4, &shape), Ok(()));
        assert!(blocked(8).check(DType::I4, &shape).is_err());
    }

    #[test]
    fn bad_parameters_are_named() {
        let q = Quantization::per_tensor(0.5, 0);
        assert!(error(&q, DType::F32, &[2]).contains("float32"));
        assert!(error(&Quantization::per_tensor(0.5, 128), DType::I8, &[2]).contains("zero point 128"));
        assert!(error(&Quantization::per_tensor(0.5, -1), DType::U8, &[2]).contains("zero point -1"));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(error(&Quantization::per_tensor(scale, 0), DType::I8, &[2]).contains("scale"));
        }
        assert!(error(&Quantization::per_channel(0, vec![1.0; 2]), DType::I8, &[3]).contains("asks for 3"));
        assert!(error(&Quantization::per_channel(1, vec![1.0; 2]), DType::I8, &[2]).contains("axis 1"));
        let uneven = Quantization { zero_points: vec![0, 0], ..q.clone() };
        assert!(error(&uneven, DType::I8, &[2]).contains("2 zero points"));
        let no_blocks = Quantization { granularity: Granularity::Blocked { axis: 0, size: 0 }, ..q };
        assert!(error(&no_blocks, DType::I8, &[2]).contains("blocks of 0"));
    }

    #[test]
    fn one_scale_is_per_tensor_only_if_it_says_so() {
        assert_eq!(Quantization::per_tensor(0.5, 3).as_per_tensor(), Some((0.5, 3)));
        assert_eq!(Quantization::per_channel(0, vec![0.5]).as_per_tensor(), None);
        assert!(!Quantization::per_tensor(0.5, 3).is_symmetric());
    }
}
