//! Any int8 function of one int8 value: a table of 256.

use super::requant::{FixedMultiplier, Rounding, round_even};
use crate::isa::Isa;

/// A table that maps every int8 value to an int8 value.
///
/// How int8 sigmoid, tanh, GELU, ... and requantization run: whatever the function, the cost is
/// the same and the result exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lut256 {
    /// Indexed by the input's bits as u8.
    table: [i8; 256],
}

impl Lut256 {
    /// Tabulates `f`.
    pub fn new(f: impl Fn(i8) -> i8) -> Self {
        let mut table = [0; 256];
        for (bits, entry) in table.iter_mut().enumerate() {
            *entry = f(bits as u8 as i8);
        }
        Self { table }
    }

    /// Tabulates a real function between two quantizations: rounds half to even and saturates.
    ///
    /// NaN results become the output's zero point.
    pub fn from_real(input: super::Affine, output: super::Affine, f: impl Fn(f64) -> f64) -> Self {
        Self::new(|q| {
            let real = (f64::from(q) - f64::from(input.zero_point)) * input.scale;
            let value = f(real) / output.scale;
            let value = if value.is_nan() { 0.0 } else { value.round_ties_even() };
            (value + f64::from(output.zero_point)).clamp(-128.0, 127.0) as i8
        })
    }

    /// Int8 to int8 of another quantization.
    ///
    /// Fixed rounding is TFLite's REQUANTIZE: `MultiplyByQuantizedMultiplier` of the value less its
    /// zero point.
    pub fn requantize(rounding: Rounding, input: super::Affine, output: super::Affine) -> Self {
        let real = input.scale / output.scale;
        let fixed = FixedMultiplier::new(real);
        Self::new(|q| {
            let value = i32::from(q) - i32::from(input.zero_point);
            let scaled = match rounding {
                Rounding::Float => round_even(value as f32 * real as f32),
                Rounding::Fixed => fixed.apply(value),
            };
            scaled.saturating_add(i32::from(output.zero_point)).clamp(-128, 127) as i8
        })
    }

    /// The image of one value.
    pub fn get(&self, q: i8) -> i8 {
        self.table[usize::from(q as u8)]
    }

    /// Maps every value of `x` into `out`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, isa: Isa, x: &[i8], out: &mut [i8]) {
        assert_eq!(x.len(), out.len(), "output");
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = isa.avx2() {
            done = x.len() / 32 * 32;
            super::avx2::lookup(token, &self.table, &x[..done], &mut out[..done]);
        }
        let _ = isa;
        for (out, &q) in out[done..].iter_mut().zip(&x[done..]) {
            *out = self.get(q);
        }
    }

    /// Maps every value of `data` in place.
    pub fn apply_in_place(&self, data: &mut [i8]) {
        for q in data {
            *q = self.get(*q);
        }
    }
}
