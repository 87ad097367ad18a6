//! Requantization: int32 accumulator to int8, in both of the arithmetics of the design.
//!
//! - [`Rounding::Float`]: multiply by an f32 scale, round half to even, add the zero point, clamp.
//!   This is what ONNX QuantizeLinear, ONNX Runtime and XNNPACK (x86) mean.
//! - [`Rounding::Fixed`]: gemmlowp's 31-bit multiplier and shift as TFLite's reference kernels and
//!   TFLM run it. TFLite has two variants of it; this is the one compiled by default, *double
//!   rounding*: a saturating rounding doubling high multiply (rounds half up) followed by a
//!   rounding shift right (rounds half away from zero). Jacob et al., "Quantization and Training of
//!   Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 2.2. LiteRT's
//!   fully-connected layers round once: [`Requant::rounded_once`].

use crate::isa::Isa;

/// Elements past the last channel in every per-channel array, so that a vector load that starts at
/// any channel stays inside it.
pub(crate) const CHANNEL_SLACK: usize = 64;

/// Which arithmetic takes an int32 accumulator to int8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// f32 scale, round half to even. The fast one.
    #[default]
    Float,
    /// gemmlowp 31-bit multiplier with double rounding, bit for bit what TFLM runs.
    Fixed,
}

/// A positive real number below 2^31 as `multiplier * 2^(shift - 31)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedMultiplier {
    /// 0, or in `[2^30, 2^31)`.
    pub multiplier: i32,
    /// Power of two; positive shifts left before the multiply, negative shifts right after it.
    pub shift: i32,
}

impl FixedMultiplier {
    /// The nearest representation of `real`, as TFLite's `QuantizeMultiplier` computes it.
    ///
    /// Values under 2^-32 become zero; values that need a left shift over 30 saturate. Negative and
    /// non-finite values are treated as zero: scales are positive by construction.
    pub fn new(real: f64) -> Self {
        if !real.is_finite() || real <= 0.0 {
            return Self::default();
        }
        let (fraction, mut shift) = frexp(real);
        let mut q = (fraction * (1i64 << 31) as f64).round() as i64;
        if q == 1i64 << 31 {
            q /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Self::default();
        }
        if shift > 30 {
            return Self { multiplier: i32::MAX, shift: 30 };
        }
        Self { multiplier: q as i32, shift }
    }

    /// `x * real`, rounded once, halves up (TFLite `MultiplyByQuantizedMultiplier` where it is built
    /// for single rounding, and its int8 FULLY_CONNECTED always).
    ///
    /// The product must fit an i32; it wraps otherwise.
    #[inline(always)]
    pub fn apply_once(self, x: i32) -> i32 {
        let right = 31 - self.shift;
        ((i64::from(x) * i64::from(self.multiplier) + (1i64 << (right - 1))) >> right) as i32
    }

    /// `x * real`, rounded twice (TFLite `MultiplyByQuantizedMultiplier`).
    ///
    /// With a positive shift, `x << shift` must fit an i32, as in TFLite; it wraps otherwise.
    // Forced: inside a vectorized loop a call would keep the whole loop scalar.
    #[inline(always)]
    pub fn apply(self, x: i32) -> i32 {
        let left = self.shift.max(0) as u32;
        let right = (-self.shift).max(0) as u32;
        let high = doubling_high_mul(x.wrapping_shl(left), self.multiplier);
        rounding_shift_right(high, right)
    }
}

/// `round(a * b / 2^31)`, halves upwards, saturating (gemmlowp `SaturatingRoundingDoublingHighMul`).
#[inline(always)]
pub fn doubling_high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    ((i64::from(a) * i64::from(b) + (1 << 30)) >> 31) as i32
}

/// `round(x / 2^exponent)`, halves away from zero (gemmlowp `RoundingDivideByPOT`); exponent 0..=31.
#[inline(always)]
pub fn rounding_shift_right(x: i32, exponent: u32) -> i32 {
    let mask = ((1i64 << exponent) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> exponent) + i32::from((x & mask) > threshold)
}

/// `value = fraction * 2^exponent` with `fraction` in `[0.5, 1)`; `value` positive and finite.
fn frexp(value: f64) -> (f64, i32) {
    const EXPONENT_BIAS: i32 = 1022;
    let (scaled, offset) = if value < f64::MIN_POSITIVE { (value * (1u64 << 54) as f64, -54) } else { (value, 0) };
    let bits = scaled.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - EXPONENT_BIAS + offset;
    let fraction = f64::from_bits((bits & !(0x7ff << 52)) | ((EXPONENT_BIAS as u64) << 52));
    (fraction, exponent)
}

/// Largest float that every requantization clamps to before conversion: far outside int8, and
/// exactly convertible to i32 on every instruction set.
pub(crate) const FLOAT_LIMIT: f32 = 65536.0;

/// Rounds half to even after clamping to a range whose conversion is the same on every CPU.
#[inline]
pub(crate) fn round_even(x: f32) -> i32 {
    x.clamp(-FLOAT_LIMIT, FLOAT_LIMIT).round_ties_even() as i32
}

/// Per-channel requantization of an int32 accumulator to int8.
#[derive(Clone, Debug)]
pub struct Requant {
    rounding: Rounding,
    channels: usize,
    pub(crate) scale: Vec<f32>,
    pub(crate) multiplier: Vec<i32>,
    pub(crate) shift: Vec<i32>,
    needs_limit: bool,
    /// The fixed arithmetic rounds once.
    once: bool,
    zero_point: i32,
    min: i8,
    max: i8,
}

impl Requant {
    /// Requantization with real multipliers `input_scale * weight_scale[c] / output_scale`.
    ///
    /// `multipliers` holds one value for every output channel; see [`Requant::per_tensor`] for one
    /// value for all. `output_zero_point` is that of the int8 output. The whole int8 range is
    /// kept; see [`Requant::with_clamp`].
    ///
    /// # Panics
    /// If `multipliers` is empty.
    pub fn new(rounding: Rounding, multipliers: &[f64], output_zero_point: i8) -> Self {
        assert!(!multipliers.is_empty(), "a requantization needs a channel");
        let padded = || multipliers.iter().copied().chain(std::iter::repeat_n(0.0, CHANNEL_SLACK));
        let fixed: Vec<FixedMultiplier> = padded().map(FixedMultiplier::new).collect();
        let scale: Vec<f32> = padded().map(|m| m as f32).collect();
        Self {
            rounding,
            channels: multipliers.len(),
            // Negated so that NaN asks for the limit too.
            needs_limit: !scale.iter().all(|&scale| scale < 1.0),
            once: false,
            scale,
            multiplier: fixed.iter().map(|m| m.multiplier).collect(),
            shift: fixed.iter().map(|m| m.shift).collect(),
            zero_point: i32::from(output_zero_point),
            min: i8::MIN,
            max: i8::MAX,
        }
    }

    /// The same multiplier for all `channels`.
    ///
    /// # Panics
    /// If `channels` is zero.
    pub fn per_tensor(rounding: Rounding, multiplier: f64, channels: usize, output_zero_point: i8) -> Self {
        Self::new(rounding, &vec![multiplier; channels], output_zero_point)
    }

    /// Clamps the output to `[min, max]`: how a fused ReLU, ReLU6... is expressed.
    ///
    /// # Panics
    /// If `min > max`.
    #[must_use]
    pub fn with_clamp(mut self, min: i8, max: i8) -> Self {
        assert!(min <= max, "an empty clamp [{min}, {max}]");
        self.min = min;
        self.max = max;
        self
    }

    /// Makes [`Rounding::Fixed`] round once, as LiteRT's fully-connected layers do; see
    /// [`FixedMultiplier::apply_once`].
    #[must_use]
    pub fn rounded_once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Whether [`Rounding::Fixed`] rounds once.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn rounds_once(&self) -> bool {
        self.once
    }

    /// The number of output channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The arithmetic in use.
    pub fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// The output's zero point.
    pub fn zero_point(&self) -> i32 {
        self.zero_point
    }

    /// The output's inclusive clamp.
    pub fn clamp(&self) -> (i8, i8) {
        (self.min, self.max)
    }

    /// Whether the product of a sum and a scale may leave i32, so that it has to be limited before
    /// it is converted: with all scales under 1 it cannot, |sum| being at most 2^31.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn needs_limit(&self) -> bool {
        self.needs_limit
    }

    /// One accumulator of channel `c` to int8: the definition every vector path is tested against.
    #[inline]
    pub fn apply(&self, acc: i32, c: usize) -> i8 {
        let scaled = match self.rounding {
            Rounding::Float => round_even(acc as f32 * self.scale[c]),
            Rounding::Fixed => {
                let multiplier = FixedMultiplier { multiplier: self.multiplier[c], shift: self.shift[c] };
                if self.once { multiplier.apply_once(acc) } else { multiplier.apply(acc) }
            }
        };
        scaled.saturating_add(self.zero_point).clamp(i32::from(self.min), i32::from(self.max)) as i8
    }

    /// Requantizes `acc`, channels `c0..c0 + acc.len()`, into `out`.
    #[inline]
    pub(crate) fn apply_row(&self, isa: Isa, acc: &[i32], c0: usize, out: &mut [i8]) {
        debug_assert!(acc.len() == out.len() && c0 + acc.len() <= self.channels);
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = isa.avx2() {
            return super::avx2::requant_row(token, self, acc, c0, out);
        }
        let _ = isa;
        for (i, (out, &acc)) in out.iter_mut().zip(acc).enumerate() {
            *out = self.apply(acc, c0 + i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// floor((n + d/2) / d) in exact arithmetic.
    fn round_half_up(n: i128, d: i128) -> i128 {
        (2 * n + d).div_euclid(2 * d)
    }

    fn round_half_away(n: i128, d: i128) -> i128 {
        n.signum() * round_half_up(n.abs(), d)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn fixed_multiply_is_the_exact_double_rounding(x in any::<i32>(), real in 1e-9f64..0.9999) {
            let m = FixedMultiplier::new(real);
            prop_assert!(m.shift <= 0);
            let high = round_half_up(i128::from(x) * i128::from(m.multiplier), 1 << 31);
            let expected = round_half_away(high, 1i128 << -m.shift);
            prop_assert_eq!(i128::from(m.apply(x)), expected);
        }

        #[test]
        fn rounding_once_is_exact(x in any::<i32>(), real in 1e-9f64..0.9999) {
            let m = FixedMultiplier::new(real);
            let product = i128::from(x) * i128::from(m.multiplier);
            prop_assert_eq!(i128::from(m.apply_once(x)), round_half_up(product, 1i128 << (31 - m.shift)));
        }

        #[test]
        fn left_shifts_come_before_the_multiply(x in -40_000i32..40_000, real in 1.0f64..20_000.0) {
            let m = FixedMultiplier::new(real);
            prop_assert!(m.shift > 0);
            let shifted = i128::from(x) << m.shift;
            let expected = round_half_up(shifted * i128::from(m.multiplier), 1 << 31);
            prop_assert_eq!(i128::from(m.apply(x)), expected);
        }

        #[test]
        fn multiplier_is_within_half_a_unit_of_its_last_bit(real in 1e-9f64..1e9) {
            let m = FixedMultiplier::new(real);
            let back = f64::from(m.multiplier) * 2f64.powi(m.shift - 31);
            prop_assert!((back / real - 1.0).abs() <= 2f64.powi(-31));
            prop_assert!(m.multiplier >= 1 << 30);
        }
    }

    #[test]
    fn quantize_multiplier_edges() {
        assert_eq!(FixedMultiplier::new(0.0), FixedMultiplier::default());
        assert_eq!(FixedMultiplier::new(f64::NAN), FixedMultiplier::default());
        assert_eq!(FixedMultiplier::new(1e-12), FixedMultiplier::default());
        assert_eq!(FixedMultiplier::new(f64::from_bits(1)), FixedMultiplier::default());
        let half = FixedMultiplier::new(0.5);
        assert_eq!((half.multiplier, half.shift), (1 << 30, 0));
        let below_one = FixedMultiplier::new(1.0 - 1e-12);
        assert_eq!((below_one.multiplier, below_one.shift), (1 << 30, 1));
        assert_eq!(FixedMultiplier::new(1e12).multiplier, i32::MAX);
    }

    #[test]
    fn halves_round_as_documented() {
        assert_eq!(doubling_high_mul(1, 1 << 30), 1);
        assert_eq!(doubling_high_mul(-1, 1 << 30), 0);
        assert_eq!(doubling_high_mul(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(rounding_shift_right(3, 1), 2);
        assert_eq!(rounding_shift_right(-3, 1), -2);
        assert_eq!(rounding_shift_right(i32::MAX, 31), 1);
        let float = Requant::per_tensor(Rounding::Float, 0.5, 1, 0);
        assert_eq!([1, 3, -1, -3].map(|a| float.apply(a, 0)), [0, 2, 0, -2]);
    }

    #[test]
    fn extreme_accumulators_saturate() {
        for rounding in [Rounding::Float, Rounding::Fixed] {
            let r = Requant::per_tensor(rounding, 0.9, 1, 127).with_clamp(-100, 100);
            assert_eq!(r.apply(i32::MAX, 0), 100);
            assert_eq!(r.apply(i32::MIN, 0), -100);
        }
    }
}
