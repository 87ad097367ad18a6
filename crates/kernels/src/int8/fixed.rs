//! TFLite's fixed-point functions of one number: what LOGISTIC, TANH, HARD_SWISH and SOFTMAX of int8
//! mean to the bit where there is no floating point. Their values go into tables.
//!
//! The formats are those of its reference kernels: raw `i32` as a fraction of `2^31` with none
//! (`q0`), four (`q4`) or five (`q5`) integer bits. The exponential follows Jacob et al., "gemmlowp:
//! a small self-contained low-precision GEMM library" (2015): a polynomial on a quarter around
//! −1/8, then one factor for each binary digit of the rest.

use super::requant::{FixedMultiplier, doubling_high_mul, rounding_shift_right};

/// One, as a fraction of 2^31.
const ONE: i32 = i32::MAX;

/// `e^value` as a fraction of 2^31.
fn exp_constant(value: f64) -> i32 {
    // At most 2^31 × e^(−1/8), far below i32::MAX.
    (value.exp() * 2f64.powi(31)).round() as i32
}

/// `e^a` for `a` in `[−1/4, 0)`, both `q0`: Taylor's polynomial of degree 4 around −1/8.
fn exp_on_quarter(a: i32) -> i32 {
    let third = 715_827_883; // 2^31 / 3
    let centre = exp_constant(-0.125);
    let x = a + (1 << 28);
    let x2 = doubling_high_mul(x, x);
    let x3 = doubling_high_mul(x2, x);
    let x4 = doubling_high_mul(x2, x2);
    let sum = doubling_high_mul(rounding_shift_right(x4, 2) + x3, third) + x2;
    let terms = rounding_shift_right(sum, 1);
    centre.saturating_add(doubling_high_mul(centre, x + terms))
}

/// `e^a` (`q0`) of an `a ≤ 0` with `integer_bits` integer bits, at most 5.
fn exp_of_negative(a: i32, integer_bits: u32) -> i32 {
    if a == 0 {
        return ONE;
    }
    let fraction_bits = 31 - integer_bits;
    let quarter = 1i32 << (fraction_bits - 2);
    let within = (a & (quarter - 1)) - quarter;
    let rest = within.wrapping_sub(a);
    let mut result = exp_on_quarter(within << integer_bits);
    for exponent in -2..integer_bits.cast_signed() {
        let digit = 1i32 << (fraction_bits.cast_signed() + exponent);
        if rest & digit != 0 {
            result = doubling_high_mul(result, exp_constant(-2f64.powi(exponent)));
        }
    }
    result
}

fn times_power(x: i32, exponent: u32) -> i32 {
    let wide = i64::from(x) << exponent;
    // Clamped first: the cast is exact.
    wide.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// First guess and three Newton–Raphson steps for `1 ÷ d`, where `half` is `d ÷ 2` in `q0` and the
/// result has two integer bits.
fn reciprocal_of_half(half: i32) -> i32 {
    let (guess, slope) = (1_515_870_810, -1_010_580_540); // 48/17 and −32/17
    let mut x = guess + doubling_high_mul(half, slope);
    for _ in 0..3 {
        let rest = (1 << 29) - doubling_high_mul(half, x);
        x += times_power(doubling_high_mul(x, rest), 2);
    }
    x
}

/// `(a + 1) ÷ 2` in `q0`.
fn half_of_one_plus(a: i32) -> i32 {
    // The sum is under 2^32, its half under 2^31.
    ((i64::from(a) + i64::from(ONE) + 1) / 2) as i32
}

/// `1 ÷ (1 + e^−x)` in `q0` of `x` in `q4`.
fn logistic(x: i32) -> i32 {
    if x == 0 {
        return 1 << 30;
    }
    let small = exp_of_negative(-x.abs(), 4);
    let positive = times_power(reciprocal_of_half(half_of_one_plus(small)), 1);
    if x > 0 { positive } else { ONE - positive }
}

/// `tanh x` in `q0` of `x` in `q4`.
fn tanh(x: i32) -> i32 {
    if x == 0 {
        return 0;
    }
    // e^(−2|x|): one integer bit more, the same raw number.
    let small = exp_of_negative(-x.abs(), 5);
    let guess = reciprocal_of_half(half_of_one_plus(small));
    let positive = times_power(guess - (1 << 29), 2);
    if x > 0 { positive } else { -positive }
}

/// Largest difference whose scaled value stays within `integer_bits`.
fn radius(integer_bits: u32, shift: i32) -> i32 {
    let largest = f64::from((1i32 << integer_bits) - 1) * 2f64.powi(31 - integer_bits.cast_signed() - shift);
    // Shifts of real models keep this far inside i32; the cast saturates.
    largest.floor() as i32
}

/// A function between −128 and 127 that reaches both ends: `inside` of the value in `q4` where that
/// format holds it.
fn sigmoid_like(difference: i32, scale: f64, inside: impl Fn(i32) -> i32) -> i32 {
    let scaled = FixedMultiplier::new(scale * 2f64.powi(27));
    let radius = radius(4, scaled.shift);
    match difference {
        low if low <= -radius => -128,
        high if high >= radius => 127,
        _ => inside(scaled.apply(difference)).clamp(-128, 127),
    }
}

/// Int8 `LOGISTIC` of a value `difference = q − zero_point` of scale `scale`, for outputs of scale
/// 1/256 and zero point −128.
pub fn logistic_i8(difference: i32, scale: f64) -> i32 {
    sigmoid_like(difference, scale, |x| rounding_shift_right(logistic(x), 23) - 128)
}

/// Int8 `TANH` of a value `difference = q − zero_point` of scale `scale`, for outputs of scale 1/128
/// and zero point 0.
pub fn tanh_i8(difference: i32, scale: f64) -> i32 {
    sigmoid_like(difference, scale, |x| rounding_shift_right(tanh(x), 24))
}

/// The exponentials, as fractions of 2^31, of 0, 1, 2… steps below the maximum, for int8 `SOFTMAX` of
/// inputs of scale `scale` times `beta`; as many as count (at most 256).
pub fn softmax_exponentials(scale: f64, beta: f64) -> Vec<i32> {
    let real = (beta * scale * 2f64.powi(26)).min(2f64.powi(31) - 1.0);
    let scaled = FixedMultiplier::new(real);
    let radius = radius(5, scaled.shift).clamp(0, 255);
    (0..=radius).map(|below| exp_of_negative(scaled.apply(-below), 5)).collect()
}

/// `a × b ÷ 2^15` towards zero, saturating.
fn high_mul_i16(a: i32, b: i32) -> i32 {
    if a == -32768 && b == -32768 { 32767 } else { a * b / (1 << 15) }
}

/// `a × b ÷ 2^15`, halves up, saturating.
fn rounding_high_mul_i16(a: i32, b: i32) -> i32 {
    if a == -32768 && b == -32768 { 32767 } else { (a * b + (1 << 14)) >> 15 }
}

fn saturate_i16(x: i32) -> i32 {
    x.clamp(-32768, 32767)
}

/// A multiplier of 15 bits and its shift.
fn narrow_multiplier(real: f64) -> (i32, i32) {
    let wide = FixedMultiplier::new(real);
    let narrow = if wide.multiplier >= i32::MAX - (1 << 15) { 32767 } else { (wide.multiplier + (1 << 15)) >> 16 };
    (narrow, wide.shift)
}

/// Int8 `HARD_SWISH` of a value `difference = q − zero_point`, before the output's zero point is added
/// and the result is saturated.
pub fn hard_swish_i8(difference: i32, input_scale: f32, output_scale: f32) -> i32 {
    // Single-precision ratios, as the kernel prepares them.
    let fine = (1.0f32 / 128.0) * input_scale;
    let (out_multiplier, out_shift) = narrow_multiplier(f64::from(fine / output_scale));
    let (gate_multiplier, gate_shift) = narrow_multiplier(f64::from(fine / (3.0f32 / 32768.0)));
    let x = difference * 128;
    let scaled = rounding_high_mul_i16(x, out_multiplier);
    let mut gate = x;
    if gate_shift > 0 {
        gate = saturate_i16(gate << (gate_shift - 1).min(15));
    }
    gate = rounding_high_mul_i16(gate, gate_multiplier);
    if gate_shift > 0 {
        gate = saturate_i16(gate << 1);
    }
    if gate_shift < 0 {
        gate = rounding_shift_right(gate, gate_shift.unsigned_abs().min(31));
    }
    gate = (gate + (1 << 15)) >> 1;
    let product = high_mul_i16(gate, scaled);
    rounding_shift_right(product, (-out_shift).clamp(0, 31).unsigned_abs())
}

/// Longest row of [`softmax_row`] whose sum of exponentials, 19 bits each, fits 31 bits.
pub const LONGEST_SOFTMAX_ROW: usize = 4095;

/// Int8 `SOFTMAX` of one row to the output scale 1/256 and zero point −128, from the exponentials of
/// [`softmax_exponentials`]. Rows longer than [`LONGEST_SOFTMAX_ROW`] may overflow the sum, which
/// then wraps.
///
/// # Panics
/// If the lengths differ or the row is empty.
pub fn softmax_row(exponentials: &[i32], row: &[i8], out: &mut [i8]) {
    assert_eq!(row.len(), out.len(), "output");
    let max = row.iter().copied().max().expect("a row has a value");
    let exponential = |q: i8| exponentials.get(usize::from(max.abs_diff(q))).copied();
    let sum = row.iter().filter_map(|&q| exponential(q)).map(|e| rounding_shift_right(e, 12));
    let sum = sum.fold(0i32, i32::wrapping_add).cast_unsigned();
    let headroom = sum.leading_zeros();
    let above_one = (sum.checked_shl(headroom).unwrap_or(0) & 0x7fff_ffff).cast_signed();
    let scale = times_power(reciprocal_of_half(half_of_one_plus(above_one)), 1);
    for (out, &q) in out.iter_mut().zip(row) {
        // With a headroom under 4 bits hundreds share the maximum: each is under half a step.
        let share = exponential(q)
            .filter(|_| headroom > 3)
            .map_or(0, |e| rounding_shift_right(doubling_high_mul(scale, e), 35 - headroom.min(35)));
        *out = share.saturating_sub(128).clamp(-128, 127) as i8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_those_of_the_published_tables() {
        assert_eq!(exp_constant(-0.25), 1_672_461_947);
        assert_eq!(exp_constant(-0.125), 1_895_147_668);
        assert_eq!(exp_constant(-16.0), 242);
    }

    #[test]
    fn exponentials_are_close_to_real_ones() {
        for step in 0..4000 {
            let a = -step * (1 << 16);
            let real = (f64::from(a) / 2f64.powi(26)).exp();
            let fixed = f64::from(exp_of_negative(a, 5)) / 2f64.powi(31);
            assert!((real - fixed).abs() < 5e-7, "e^{}: {fixed}", f64::from(a) / 2f64.powi(26));
        }
    }

    #[test]
    fn logistic_and_tanh_are_close_to_real_ones() {
        for step in -2000..2000i32 {
            let raw = step * (1 << 20);
            let x = f64::from(raw) / 2f64.powi(27);
            assert!((f64::from(logistic(raw)) / 2f64.powi(31) - 1.0 / (1.0 + (-x).exp())).abs() < 3e-7, "{x}");
            assert!((f64::from(tanh(raw)) / 2f64.powi(31) - x.tanh()).abs() < 3e-6, "{x}");
        }
    }

    #[test]
    fn hard_swish_is_within_a_unit_of_the_real_function() {
        let (input, output) = (0.05f32, 0.04f32);
        for difference in -128..=127 {
            let x = f64::from(difference) * f64::from(input);
            let real = x * (x + 3.0).clamp(0.0, 6.0) / 6.0 / f64::from(output);
            let fixed = f64::from(hard_swish_i8(difference, input, output));
            assert!((real - fixed).abs() <= 1.0, "{x}: {fixed}, not {real}");
        }
    }

    #[test]
    fn softmax_is_close_to_the_real_one() {
        let table = softmax_exponentials(0.07, 1.0);
        for row in [vec![-128i8, 127, 3, 90, 126], vec![5; 1], vec![7; 300], (-60..60).collect()] {
            let mut out = vec![0i8; row.len()];
            softmax_row(&table, &row, &mut out);
            let exps: Vec<f64> = row.iter().map(|&q| (f64::from(q) * 0.07).exp()).collect();
            let sum: f64 = exps.iter().sum();
            for (&q, e) in out.iter().zip(&exps) {
                let real = (e / sum * 256.0 - 128.0).min(127.0);
                assert!((f64::from(q) - real).abs() <= 1.0, "{q}, not {real}");
            }
        }
    }

    #[test]
    fn softmax_tables_start_at_one_and_end_at_the_radius() {
        let table = softmax_exponentials(0.05, 1.0);
        assert_eq!((table[0], table.len()), (i32::MAX, 256));
        let steep = softmax_exponentials(1.5, 1.0);
        assert!(steep.len() < 30 && steep.windows(2).all(|w| w[1] < w[0]), "{}", steep.len());
    }
}
