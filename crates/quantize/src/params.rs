//! Scale and zero point of an activation.

use fewbits_graph::Quantization;

/// Affine int8 parameters: `real = (q − zero_point) × scale`, `q` in `[−128, 127]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActivationParams {
    /// Scale, positive.
    pub scale: f32,
    /// Zero point in `[−128, 127]`.
    pub zero_point: i32,
}

/// The scale of an edge that was 0 on every sample.
const EMPTY_SCALE: f32 = 1.0 / 255.0;

/// Asymmetric int8 parameters for `[min, max]`, extended to contain 0 exactly (TFLite 8-bit
/// quantization specification; Jacob et al. 2018, §3).
pub fn activation_params(min: f32, max: f32) -> ActivationParams {
    let (min, max) = (f64::from(min.min(0.0)), f64::from(max.max(0.0)));
    let scale = ((max - min) / 255.0) as f32;
    if !scale.is_normal() {
        return ActivationParams { scale: EMPTY_SCALE, zero_point: -128 };
    }
    // The end of larger magnitude stays closest to where it was.
    let zero_point = (-128.0 - min / f64::from(scale)).round().clamp(-128.0, 127.0);
    ActivationParams { scale, zero_point: zero_point as i32 }
}

impl From<ActivationParams> for Quantization {
    fn from(p: ActivationParams) -> Self {
        Quantization::per_tensor(p.scale, p.zero_point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ends_are_representable_within_half_a_step(a in -1e4f32..1e4, b in -1e4f32..1e4) {
            let (min, max) = (a.min(b).min(0.0), a.max(b).max(0.0));
            let p = activation_params(min, max);
            let real = |q: i32| (q - p.zero_point) as f32 * p.scale;
            prop_assume!(max - min > 1e-3);
            prop_assert!((real(-128) - min).abs() <= 0.51 * p.scale);
            prop_assert!((real(127) - max).abs() <= 0.51 * p.scale);
        }
    }

    #[test]
    fn one_sided_ranges_use_all_levels() {
        assert_eq!(activation_params(0.0, 6.0).zero_point, -128);
        assert_eq!(activation_params(-3.0, 0.0).zero_point, 127);
        assert_eq!(activation_params(0.0, 0.0).zero_point, -128);
    }
}
