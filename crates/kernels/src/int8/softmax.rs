//! Int8 softmax and log-softmax over rows.
//!
//! The exponentials of the 256 possible differences to a row's maximum are tabulated once in f32;
//! only sums and one division a row remain. TFLite's fixed-point soft-max, from which these can
//! differ by one unit, is [`super::fixed::softmax_row`].

use super::vectorize::{clamp_low, round_clamped, round_small};

/// Softmax of int8 rows to the fixed output quantization 1/256, -128.
#[derive(Clone, Debug)]
pub struct Softmax {
    exp: Box<[f32; 256]>,
}

/// Log-softmax of int8 rows to the fixed output quantization 16/256, 127.
#[derive(Clone, Debug)]
pub struct LogSoftmax {
    exp: Box<[f32; 256]>,
    /// Output units of one input step.
    step: f32,
}

/// `exp(-difference * scale)` for every difference of two int8 values.
fn exponentials(scale: f64) -> Box<[f32; 256]> {
    let mut table = Box::new([0.0; 256]);
    for (difference, value) in table.iter_mut().enumerate() {
        *value = (-(difference as f64) * scale).exp() as f32;
    }
    table
}

/// How far each value is below the row's maximum, as a table index.
fn differences(row: &[i8]) -> impl Iterator<Item = usize> + Clone {
    let max = row.iter().copied().max().unwrap_or(0);
    row.iter().map(move |&q| usize::from(max.abs_diff(q)))
}

impl Softmax {
    /// For inputs of scale `input_scale`; `beta` multiplies them first (1 unless TFLite says
    /// otherwise).
    pub fn new(input_scale: f64, beta: f64) -> Self {
        Self { exp: exponentials(input_scale * beta) }
    }

    /// Softmax of every row of `row_len` values; rounds half to even.
    ///
    /// # Panics
    /// If the lengths differ or are not whole rows.
    pub fn run(&self, row_len: usize, input: &[i8], out: &mut [i8]) {
        for_each_row(row_len, input, out, |row, out| {
            let sum: f32 = differences(row).map(|d| self.exp[d]).sum();
            let scale = 256.0 / sum;
            for (out, d) in out.iter_mut().zip(differences(row)) {
                // The whole 256 saturates at 255, one unit short of one.
                let value = clamp_low(self.exp[d] * scale, 0.0, 255.0);
                *out = (round_small(value) - 128) as i8;
            }
        });
    }
}

impl LogSoftmax {
    /// For inputs of scale `input_scale`.
    pub fn new(input_scale: f64) -> Self {
        Self { exp: exponentials(input_scale), step: (input_scale * 16.0) as f32 }
    }

    /// Log-softmax of every row of `row_len` values; rounds half to even.
    ///
    /// # Panics
    /// If the lengths differ or are not whole rows.
    pub fn run(&self, row_len: usize, input: &[i8], out: &mut [i8]) {
        for_each_row(row_len, input, out, |row, out| {
            let sum: f32 = differences(row).map(|d| self.exp[d]).sum();
            let log_sum = sum.ln() * 16.0;
            for (out, d) in out.iter_mut().zip(differences(row)) {
                let value = -(d as f32 * self.step) - log_sum;
                *out = (round_clamped(value) + 127).clamp(-128, 127) as i8;
            }
        });
    }
}

fn for_each_row(row_len: usize, input: &[i8], out: &mut [i8], work: impl Fn(&[i8], &mut [i8])) {
    assert_eq!(input.len(), out.len(), "output");
    assert_eq!(input.len() % row_len.max(1), 0, "rows of {row_len}");
    let rows = input.chunks_exact(row_len.max(1));
    for (row, out) in rows.zip(out.chunks_exact_mut(row_len.max(1))) {
        work(row, out);
    }
}
