//! Int8 mean over any axes, requantizing.

use super::Affine;
use super::requant::{FixedMultiplier, Rounding};
use super::vectorize::{round_clamped, vectorized};
use crate::isa::Isa;

/// A mean over chosen axes of an int8 tensor of a fixed shape.
#[derive(Clone, Debug)]
pub struct Mean {
    /// `(length, kept)`, outermost first, neighbours of one kind merged.
    dims: Vec<(usize, bool)>,
    count: usize,
    scale: Scale,
    input_zero: i32,
    output_zero: i32,
}

#[derive(Clone, Copy, Debug)]
enum Scale {
    Float(f32),
    Fixed(FixedMultiplier),
}

impl Mean {
    /// The mean of a tensor of shape `dims` over `axes`.
    ///
    /// Float: `round((sum - count * zero_point) * input.scale / (count * output.scale))`. Fixed:
    /// TFLite's integer MEAN, which folds `1 / count` into the 31-bit multiplier.
    ///
    /// # Panics
    /// If an axis is out of range.
    pub fn new(rounding: Rounding, dims: &[usize], axes: &[usize], input: Affine, output: Affine) -> Self {
        assert!(axes.iter().all(|&axis| axis < dims.len()), "axes");
        let mut merged: Vec<(usize, bool)> = Vec::new();
        for (axis, &len) in dims.iter().enumerate() {
            let kept = !axes.contains(&axis);
            match merged.last_mut() {
                Some(last) if last.1 == kept => last.0 *= len,
                _ => merged.push((len, kept)),
            }
        }
        if merged.is_empty() {
            merged.push((1, true));
        }
        let reduced = merged.iter().filter(|dim| !dim.1);
        let count: usize = reduced.map(|dim| dim.0).product();
        let real = input.scale / output.scale;
        Self {
            dims: merged,
            count,
            scale: match rounding {
                Rounding::Float => Scale::Float((real / count.max(1) as f64) as f32),
                Rounding::Fixed => Scale::Fixed(fixed_mean(real, count)),
            },
            input_zero: i32::from(input.zero_point),
            output_zero: i32::from(output.zero_point),
        }
    }

    /// Elements of the output, and of the scratch.
    pub fn out_len(&self) -> usize {
        let kept = self.dims.iter().filter(|dim| dim.1);
        kept.map(|dim| dim.0).product()
    }

    /// Writes the mean; `sums` has [`Mean::out_len`] elements of scratch.
    ///
    /// # Panics
    /// If a length does not match.
    pub fn run(&self, isa: Isa, input: &[i8], out: &mut [i8], sums: &mut [i32]) {
        let total: usize = self.dims.iter().map(|dim| dim.0).product();
        assert_eq!(input.len(), total, "input");
        assert_eq!(out.len(), self.out_len(), "output");
        let sums = &mut sums[..out.len()];
        sums.fill(0);
        let (&(len, kept), outer) = self.dims.split_last().expect("a mean has a dimension");
        for (i, row) in input.chunks_exact(len.max(1)).enumerate() {
            let (mut rest, mut at) = (i, 0);
            let mut stride = if kept { len } else { 1 };
            for &(len, kept) in outer.iter().rev() {
                if kept {
                    at += rest % len * stride;
                    stride *= len;
                }
                rest /= len;
            }
            let width = if kept { len } else { 1 };
            add_row(isa, row, &mut sums[at..at + width]);
        }
        for (out, &sum) in out.iter_mut().zip(&*sums) {
            let sum = sum - self.input_zero * self.count as i32;
            let value = match self.scale {
                Scale::Float(scale) => round_clamped(sum as f32 * scale),
                Scale::Fixed(scale) => scale.apply(sum),
            };
            *out = value.saturating_add(self.output_zero).clamp(-128, 127) as i8;
        }
    }
}

vectorized! {
    /// `i8_mean_1x8_*`: adds a row to as many sums, or all of it to a single one.
    fn add_row<'a>(row: &'a [i8], sums: &'a mut [i32]) {
        if let [sum] = sums {
            *sum += row.iter().map(|&q| i32::from(q)).sum::<i32>();
        } else {
            for (sum, &q) in sums.iter_mut().zip(row) {
                *sum += i32::from(q);
            }
        }
    }
}

/// TFLite's multiplier for a mean: as many bits of `2^shift / count` as fit go into the multiplier.
fn fixed_mean(real: f64, count: usize) -> FixedMultiplier {
    let base = FixedMultiplier::new(real);
    let count = count.max(1) as u64;
    let shift = (63 - count.leading_zeros() as i32).min(32).min(31 + base.shift);
    let multiplier = (i64::from(base.multiplier) << shift.max(0)) / count as i64;
    FixedMultiplier { multiplier: multiplier as i32, shift: base.shift - shift.max(0) }
}
