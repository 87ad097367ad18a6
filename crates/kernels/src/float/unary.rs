//! Element-wise functions of one tensor.

use super::dispatch::{avx2, multiversion};
use super::{parallel, vmath};

/// A function of one float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryOp {
    /// `max(x, 0)`
    Relu,
    /// Limited to `[min, max]`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `x`, or `alpha x` below zero.
    LeakyRelu {
        /// Slope below zero.
        alpha: f32,
    },
    /// `x`, or `alpha (e^x - 1)` below zero.
    Elu {
        /// Limit at minus infinity, negated.
        alpha: f32,
    },
    /// Scaled ELU (Klambauer et al. 2017): `gamma x`, or `gamma alpha (e^x - 1)` below zero.
    Selu {
        /// `alpha`, by default 1.67326324.
        alpha: f32,
        /// `gamma`, by default 1.05070098.
        gamma: f32,
    },
    /// `x min(max(x + 3, 0), 6) / 6`
    HardSwish,
    /// `min(max(alpha x + beta, 0), 1)`
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// GELU by the error function.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `x sigmoid(x)`
    Silu,
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// Round toward minus infinity.
    Floor,
    /// Round toward plus infinity.
    Ceil,
    /// Round to nearest, ties to even.
    Round,
    /// -1, 0 or 1; NaN for NaN.
    Sign,
    /// Error function.
    Erf,
    /// `1 / x`
    Reciprocal,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// `ln(1 + e^x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x tanh(softplus(x))`
    Mish,
    /// `x^2`
    Square,
}

/// `out[i] = op(x[i])`.
///
/// # Panics
/// If the lengths differ.
pub fn unary(op: UnaryOp, x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let isa = avx2();
    let parallel = parallel::worthwhile(out.len());
    parallel::chunks_mut(out, parallel::CHUNK, parallel, |i, out| {
        let first = i * parallel::CHUNK;
        run(isa, op, Io::Apart(&x[first..first + out.len()], out));
    });
}

/// `x[i] = op(x[i])`.
pub fn unary_in_place(op: UnaryOp, x: &mut [f32]) {
    let isa = avx2();
    let parallel = parallel::worthwhile(x.len());
    parallel::chunks_mut(x, parallel::CHUNK, parallel, |_, x| run(isa, op, Io::InPlace(x)));
}

/// Logical negation of booleans stored as bytes: 1 where `x` is 0, else 0.
///
/// # Panics
/// If the lengths differ.
pub fn not(x: &[u8], out: &mut [u8]) {
    assert_eq!(x.len(), out.len());
    for (y, x) in out.iter_mut().zip(x) {
        *y = u8::from(*x == 0);
    }
}

enum Io<'a> {
    Apart(&'a [f32], &'a mut [f32]),
    InPlace(&'a mut [f32]),
}

impl Io<'_> {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) {
        // Loops, not `for_each`: a closure that is not inlined would be compiled without AVX2.
        match self {
            Io::Apart(x, y) => {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = f(*x);
                }
            }
            Io::InPlace(x) => {
                for x in x {
                    *x = f(*x);
                }
            }
        }
    }
}

multiversion! {
    fn run(op: UnaryOp, io: Io<'_>) = run_body
}

#[inline(always)]
fn run_body(op: UnaryOp, io: Io<'_>) {
    match op {
        UnaryOp::Relu => io.map(|x| if x < 0.0 { 0.0 } else { x }),
        UnaryOp::Clip { min, max } => io.map(|x| super::Clamp { min, max }.apply(x)),
        UnaryOp::LeakyRelu { alpha } => io.map(|x| if x < 0.0 { alpha * x } else { x }),
        UnaryOp::Elu { alpha } => io.map(|x| if x < 0.0 { alpha * vmath::exp_m1(x) } else { x }),
        UnaryOp::Selu { alpha, gamma } => {
            io.map(|x| gamma * if x < 0.0 { alpha * vmath::exp_m1(x) } else { x });
        }
        UnaryOp::HardSwish => io.map(|x| x * (limit(x + 3.0, 6.0) / 6.0)),
        UnaryOp::HardSigmoid { alpha, beta } => io.map(|x| limit(alpha * x + beta, 1.0)),
        UnaryOp::Sigmoid => io.map(vmath::sigmoid),
        UnaryOp::Tanh => io.map(vmath::tanh),
        UnaryOp::Gelu => io.map(vmath::gelu),
        UnaryOp::GeluTanh => io.map(vmath::gelu_tanh),
        UnaryOp::Silu => io.map(vmath::silu),
        UnaryOp::Exp => io.map(vmath::exp),
        UnaryOp::Log => io.map(vmath::ln),
        UnaryOp::Sqrt => io.map(f32::sqrt),
        UnaryOp::Rsqrt => io.map(|x| 1.0 / x.sqrt()),
        UnaryOp::Neg => io.map(|x| -x),
        UnaryOp::Abs => io.map(f32::abs),
        UnaryOp::Floor => io.map(f32::floor),
        UnaryOp::Ceil => io.map(f32::ceil),
        UnaryOp::Round => io.map(f32::round_ties_even),
        UnaryOp::Sign => io.map(sign),
        UnaryOp::Erf => io.map(vmath::erf),
        UnaryOp::Reciprocal => io.map(f32::recip),
        UnaryOp::Sin => io.map(f32::sin),
        UnaryOp::Cos => io.map(f32::cos),
        UnaryOp::Softplus => io.map(vmath::softplus),
        UnaryOp::Softsign => io.map(|x| x / (1.0 + x.abs())),
        UnaryOp::Mish => io.map(vmath::mish),
        UnaryOp::Square => io.map(|x| x * x),
    }
}

/// `min(max(x, 0), max)`, NaN kept.
#[inline(always)]
fn limit(x: f32, max: f32) -> f32 {
    super::Clamp { min: 0.0, max }.apply(x)
}

#[inline(always)]
fn sign(x: f32) -> f32 {
    let y = if x > 0.0 { 1.0 } else { x };
    if x < 0.0 { -1.0 } else { y }
}

/// `out = x` where `x >= 0`, else `slope * x`, the slope broadcast to `x` (unidirectionally):
/// `shapes` is the broadcast of the shape of `x` and of the slope.
///
/// # Panics
/// If a slice does not fit its shape.
pub fn prelu(shapes: &super::binary::Broadcast, x: &[f32], slope: &[f32], out: &mut [f32]) {
    shapes.apply(x, slope, out, |x: f32, s: f32| if x < 0.0 { s * x } else { x });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Avx2;

    #[test]
    fn portable_and_avx2_give_the_same_bits() {
        let x: Vec<f32> = (-4000..4000)
            .map(|i| i as f32 * 0.0137)
            .chain([0.0, -0.0, 1e-40, f32::INFINITY, f32::NEG_INFINITY])
            .collect();
        use UnaryOp as U;
        for op in [
            U::Exp,
            U::Log,
            U::Tanh,
            U::Erf,
            U::Gelu,
            U::GeluTanh,
            U::Sigmoid,
            U::Silu,
            U::Mish,
            U::Softplus,
            U::Elu { alpha: 0.7 },
        ] {
            let mut plain = vec![0.0; x.len()];
            let mut fast = plain.clone();
            run(None, op, Io::Apart(&x, &mut plain));
            run(Avx2::new(), op, Io::Apart(&x, &mut fast));
            for (i, (p, f)) in plain.iter().zip(&fast).enumerate() {
                assert!(p.to_bits() == f.to_bits() || p.is_nan() && f.is_nan(), "{op:?}({}): {p} {f}", x[i]);
            }
        }
    }
}
