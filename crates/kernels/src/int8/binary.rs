//! Element-wise int8 operators of two operands: add, subtract, multiply, minimum, maximum.

use super::broadcast::Broadcast;
use super::requant::{FixedMultiplier, Rounding};
use super::vectorize::{round_clamped, vectorized};
use crate::isa::Isa;

/// Scale and zero point of one int8 tensor: `real = (q - zero_point) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Real value of one step; positive.
    pub scale: f64,
    /// The int8 value that stands for zero.
    pub zero_point: i8,
}

/// An operator of two int8 tensors, ready to run.
#[derive(Clone, Debug)]
pub struct Binary {
    kind: Kind,
    a_zero: i32,
    b_zero: i32,
    out_zero: i32,
    min: i32,
    max: i32,
}

#[derive(Clone, Debug)]
enum Kind {
    SumFloat { a: f32, b: f32 },
    SumFixed(Box<SumFixed>),
    ProductFloat(f32),
    ProductFixed(FixedMultiplier),
    Minimum,
    Maximum,
}

/// The multipliers of TFLite's int8 `ADD` and `SUB`: of both operands, less their zero points and
/// shifted left by [`SumMultipliers::LEFT_SHIFT`], to twice the larger of their scales, and of the
/// sum to the output's scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumMultipliers {
    /// Of the first operand.
    pub a: FixedMultiplier,
    /// Of the second operand.
    pub b: FixedMultiplier,
    /// Of the sum.
    pub out: FixedMultiplier,
}

impl SumMultipliers {
    /// Bits of headroom that the operands are given.
    pub const LEFT_SHIFT: u32 = 20;

    /// For operands and an output of these scales.
    pub fn new(a: Affine, b: Affine, out: Affine) -> Self {
        let twice_max = 2.0 * a.scale.max(b.scale);
        Self {
            a: FixedMultiplier::new(a.scale / twice_max),
            b: FixedMultiplier::new(b.scale / twice_max),
            out: FixedMultiplier::new(twice_max / (f64::from(1u32 << Self::LEFT_SHIFT) * out.scale)),
        }
    }
}

/// The multiplier of TFLite's int8 `MUL`: the scales are multiplied and divided in single precision,
/// as its kernel prepares it.
pub fn product_multiplier(a: Affine, b: Affine, out: Affine) -> FixedMultiplier {
    FixedMultiplier::new(f64::from(a.scale as f32 * b.scale as f32 / out.scale as f32))
}

/// TFLite's int8 ADD and SUB by [`SumMultipliers`].
///
/// What each of the 256 values of an operand contributes is tabulated.
#[derive(Clone, Debug)]
struct SumFixed {
    /// Indexed by the value's bits as u8.
    a: [i32; 256],
    b: [i32; 256],
    out: FixedMultiplier,
}

impl SumFixed {
    fn new(a: Affine, b: Affine, out: Affine, sign: i32) -> Self {
        let multipliers = SumMultipliers::new(a, b, out);
        let table = |t: Affine, multiplier: FixedMultiplier, sign: i32| {
            let zero = i32::from(t.zero_point);
            let entry = |bits: usize| (i32::from(bits as u8 as i8) - zero) << SumMultipliers::LEFT_SHIFT;
            std::array::from_fn(|bits| sign * multiplier.apply(entry(bits)))
        };
        Self { a: table(a, multipliers.a, 1), b: table(b, multipliers.b, sign), out: multipliers.out }
    }

    /// One row, in blocks: the look-ups stay scalar, the multiplications are vectorized.
    #[inline(always)]
    fn row(&self, op: &Binary, a: &[i8], b: &[i8], out: &mut [i8]) {
        const BLOCK: usize = 64;
        let mut sums = [0i32; BLOCK];
        let (a_step, b_step) = (usize::from(a.len() > 1), usize::from(b.len() > 1));
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let start = block * BLOCK;
            for (i, sum) in sums[..out.len()].iter_mut().enumerate() {
                let (a, b) = (a[(start + i) * a_step], b[(start + i) * b_step]);
                *sum = self.a[usize::from(a as u8)] + self.b[usize::from(b as u8)];
            }
            for (out, &sum) in out.iter_mut().zip(&sums) {
                *out = op.finish(self.out.apply(sum));
            }
        }
    }
}

impl Binary {
    /// `a + b`. Float: `round(a * a.scale / out.scale + b * b.scale / out.scale)`; fixed: TFLite's
    /// int8 ADD.
    pub fn add(rounding: Rounding, a: Affine, b: Affine, out: Affine) -> Self {
        Self::sum(rounding, a, b, out, 1)
    }

    /// `a - b`, as [`Binary::add`].
    pub fn sub(rounding: Rounding, a: Affine, b: Affine, out: Affine) -> Self {
        Self::sum(rounding, a, b, out, -1)
    }

    fn sum(rounding: Rounding, a: Affine, b: Affine, out: Affine, sign: i32) -> Self {
        let kind = match rounding {
            Rounding::Float => {
                Kind::SumFloat { a: (a.scale / out.scale) as f32, b: (f64::from(sign) * b.scale / out.scale) as f32 }
            }
            Rounding::Fixed => Kind::SumFixed(Box::new(SumFixed::new(a, b, out, sign))),
        };
        Self::new(kind, a, b, out)
    }

    /// `a * b`, one multiplier `a.scale * b.scale / out.scale`; fixed: [`product_multiplier`].
    pub fn mul(rounding: Rounding, a: Affine, b: Affine, out: Affine) -> Self {
        let kind = match rounding {
            Rounding::Float => Kind::ProductFloat((a.scale * b.scale / out.scale) as f32),
            Rounding::Fixed => Kind::ProductFixed(product_multiplier(a, b, out)),
        };
        Self::new(kind, a, b, out)
    }

    /// The smaller of two values of one and the same quantization.
    pub fn minimum() -> Self {
        Self::choice(Kind::Minimum)
    }

    /// The larger of two values of one and the same quantization.
    pub fn maximum() -> Self {
        Self::choice(Kind::Maximum)
    }

    fn choice(kind: Kind) -> Self {
        let plain = Affine { scale: 1.0, zero_point: 0 };
        Self::new(kind, plain, plain, plain)
    }

    fn new(kind: Kind, a: Affine, b: Affine, out: Affine) -> Self {
        Self {
            kind,
            a_zero: i32::from(a.zero_point),
            b_zero: i32::from(b.zero_point),
            out_zero: i32::from(out.zero_point),
            min: i32::from(i8::MIN),
            max: i32::from(i8::MAX),
        }
    }

    /// Clamps the output to `[min, max]`: a fused activation.
    ///
    /// # Panics
    /// If `min > max`.
    #[must_use]
    pub fn with_clamp(mut self, min: i8, max: i8) -> Self {
        assert!(min <= max, "an empty clamp [{min}, {max}]");
        (self.min, self.max) = (i32::from(min), i32::from(max));
        self
    }

    /// Adds the output's zero point and clamps.
    #[inline(always)]
    fn finish(&self, value: i32) -> i8 {
        // Not `clamp`, which would check its bounds for every value.
        (value + self.out_zero).max(self.min).min(self.max) as i8
    }

    /// Applies the operator under `broadcast`.
    ///
    /// # Panics
    /// If the lengths are not those of `broadcast`.
    pub fn run(&self, isa: Isa, broadcast: &Broadcast, a: &[i8], b: &[i8], out: &mut [i8]) {
        assert_eq!((a.len(), b.len()), broadcast.operand_lens(), "operands");
        assert_eq!(out.len(), broadcast.out_len(), "output");
        let (len, a_repeats, b_repeats) = broadcast.inner();
        broadcast.rows(|row| {
            let a = &a[row.a..row.a + if a_repeats { 1 } else { len }];
            let b = &b[row.b..row.b + if b_repeats { 1 } else { len }];
            run_row(isa, self, a, b, &mut out[row.out..row.out + len]);
        });
    }
}

vectorized! {
    /// `i8_binary_1x8_*`: one row; an operand of one element repeats.
    fn run_row<'a>(op: &'a Binary, a: &'a [i8], b: &'a [i8], out: &'a mut [i8]) {
        match &op.kind {
            &Kind::SumFloat { a: ka, b: kb } => {
                each(op, a, b, out, |a, b| round_clamped(a as f32 * ka + b as f32 * kb));
            }
            Kind::SumFixed(sum) => sum.row(op, a, b, out),
            &Kind::ProductFloat(k) => {
                each(op, a, b, out, |a, b| round_clamped((a * b) as f32 * k));
            }
            &Kind::ProductFixed(k) => each(op, a, b, out, |a, b| k.apply(a * b)),
            Kind::Minimum => each(op, a, b, out, i32::min),
            Kind::Maximum => each(op, a, b, out, i32::max),
        }
    }
}

#[inline(always)]
fn each(op: &Binary, a: &[i8], b: &[i8], out: &mut [i8], f: impl Fn(i32, i32) -> i32) {
    let (a_zero, b_zero) = (op.a_zero, op.b_zero);
    let one = |a: i8, b: i8| op.finish(f(i32::from(a) - a_zero, i32::from(b) - b_zero));
    match (a, b) {
        (&[a], b) => out.iter_mut().zip(b).for_each(|(out, &b)| *out = one(a, b)),
        (a, &[b]) => out.iter_mut().zip(a).for_each(|(out, &a)| *out = one(a, b)),
        (a, b) => {
            let pairs = a.iter().zip(b);
            out.iter_mut().zip(pairs).for_each(|(out, (&a, &b))| *out = one(a, b));
        }
    }
}
