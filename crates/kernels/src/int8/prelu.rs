//! Int8 PReLU: `x` where `x >= 0`, `x * alpha` elsewhere.

use super::Affine;
use super::broadcast::Broadcast;
use super::requant::{FixedMultiplier, Rounding};
use super::vectorize::{round_clamped, vectorized};
use crate::isa::Isa;

/// A PReLU between quantizations.
#[derive(Clone, Copy, Debug)]
pub struct Prelu {
    kind: Kind,
    input_zero: i32,
    alpha_zero: i32,
    output_zero: i32,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Float { positive: f32, negative: f32 },
    Fixed { positive: FixedMultiplier, negative: FixedMultiplier },
}

impl Prelu {
    /// A PReLU whose slopes are int8 of quantization `alpha`.
    ///
    /// Positive inputs are multiplied by `input.scale / output.scale`, negative ones times the
    /// slope by `input.scale * alpha.scale / output.scale` (TFLite PRELU).
    pub fn new(rounding: Rounding, input: Affine, alpha: Affine, output: Affine) -> Self {
        let positive = input.scale / output.scale;
        let negative = positive * alpha.scale;
        Self {
            kind: match rounding {
                Rounding::Float => Kind::Float { positive: positive as f32, negative: negative as f32 },
                Rounding::Fixed => {
                    Kind::Fixed { positive: FixedMultiplier::new(positive), negative: FixedMultiplier::new(negative) }
                }
            },
            input_zero: i32::from(input.zero_point),
            alpha_zero: i32::from(alpha.zero_point),
            output_zero: i32::from(output.zero_point),
        }
    }

    /// Applies it; `broadcast` is that of the input (first) and the slopes (second).
    ///
    /// # Panics
    /// If the lengths are not those of `broadcast`.
    pub fn run(&self, isa: Isa, broadcast: &Broadcast, x: &[i8], alpha: &[i8], out: &mut [i8]) {
        assert_eq!((x.len(), alpha.len()), broadcast.operand_lens(), "operands");
        assert_eq!(out.len(), broadcast.out_len(), "output");
        let (len, x_repeats, alpha_repeats) = broadcast.inner();
        broadcast.rows(|row| {
            let x = &x[row.a..row.a + if x_repeats { 1 } else { len }];
            let alpha = &alpha[row.b..row.b + if alpha_repeats { 1 } else { len }];
            run_row(isa, self, x, alpha, &mut out[row.out..row.out + len]);
        });
    }

    #[inline(always)]
    fn each(&self, x: &[i8], alpha: &[i8], out: &mut [i8], f: impl Fn(i32, i32) -> i32) {
        let (input_zero, alpha_zero, output_zero) = (self.input_zero, self.alpha_zero, self.output_zero);
        let one = |x: i8, alpha: i8| {
            let value = f(i32::from(x) - input_zero, i32::from(alpha) - alpha_zero);
            value.saturating_add(output_zero).clamp(-128, 127) as i8
        };
        match (x, alpha) {
            (&[x], alpha) => out.iter_mut().zip(alpha).for_each(|(out, &alpha)| *out = one(x, alpha)),
            (x, &[alpha]) => out.iter_mut().zip(x).for_each(|(out, &x)| *out = one(x, alpha)),
            (x, alpha) => {
                let pairs = x.iter().zip(alpha);
                out.iter_mut().zip(pairs).for_each(|(out, (&x, &alpha))| *out = one(x, alpha));
            }
        }
    }
}

vectorized! {
    /// `i8_prelu_1x8_*`: one row; an operand of one element repeats.
    fn run_row<'a>(op: &'a Prelu, x: &'a [i8], alpha: &'a [i8], out: &'a mut [i8]) {
        match op.kind {
            Kind::Float { positive, negative } => op.each(x, alpha, out, |x, alpha| {
                let (factor, scale) = if x >= 0 { (x, positive) } else { (x * alpha, negative) };
                round_clamped(factor as f32 * scale)
            }),
            Kind::Fixed { positive, negative } => op.each(x, alpha, out, |x, alpha| {
                if x >= 0 { positive.apply(x) } else { negative.apply(x * alpha) }
            }),
        }
    }
}
