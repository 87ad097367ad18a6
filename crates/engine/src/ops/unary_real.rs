//! The functions of [`UnaryKind`] on real numbers, exact to `f64`: what tables are made of.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use fewbits_graph::ops::UnaryKind;

/// The function, `None` for `Not`.
pub(super) fn real_function(kind: UnaryKind) -> Option<impl Fn(f64) -> f64> {
    (kind != UnaryKind::Not).then_some(move |x| evaluate(kind, x))
}

fn evaluate(kind: UnaryKind, x: f64) -> f64 {
    match kind {
        UnaryKind::Relu => x.max(0.0),
        UnaryKind::Clip { min, max } => x.max(f64::from(min)).min(f64::from(max)),
        UnaryKind::LeakyRelu { alpha } => signed(x, f64::from(alpha) * x),
        UnaryKind::Elu { alpha } => signed(x, f64::from(alpha) * x.exp_m1()),
        UnaryKind::Selu { alpha, gamma } => f64::from(gamma) * signed(x, f64::from(alpha) * x.exp_m1()),
        UnaryKind::HardSwish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        UnaryKind::HardSigmoid { alpha, beta } => (f64::from(alpha) * x + f64::from(beta)).clamp(0.0, 1.0),
        UnaryKind::Sigmoid => sigmoid(x),
        UnaryKind::Tanh => x.tanh(),
        UnaryKind::Gelu { tanh: false } => 0.5 * x * erfc(-x * FRAC_1_SQRT_2),
        UnaryKind::Gelu { tanh: true } => 0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        UnaryKind::Silu => x * sigmoid(x),
        UnaryKind::Mish => x * softplus(x).tanh(),
        UnaryKind::Softplus => softplus(x),
        UnaryKind::Softsign => x / (1.0 + x.abs()),
        UnaryKind::Exp => x.exp(),
        UnaryKind::Log => x.ln(),
        UnaryKind::Sqrt => x.sqrt(),
        UnaryKind::Rsqrt => 1.0 / x.sqrt(),
        UnaryKind::Square => x * x,
        UnaryKind::Reciprocal => 1.0 / x,
        UnaryKind::Neg => -x,
        UnaryKind::Abs => x.abs(),
        UnaryKind::Sign => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        UnaryKind::Floor => x.floor(),
        UnaryKind::Ceil => x.ceil(),
        UnaryKind::Round => x.round_ties_even(),
        UnaryKind::Erf => 1.0 - erfc(x),
        UnaryKind::Sin => x.sin(),
        UnaryKind::Cos => x.cos(),
        UnaryKind::Not => f64::NAN,
    }
}

/// `x` if positive, else `negative`.
fn signed(x: f64, negative: f64) -> f64 {
    if x > 0.0 { x } else { negative }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Complementary error function to about 1e-15: the series of `erf` near 0, and from 2 on the
/// continued fraction (Abramowitz & Stegun 7.1.6 and 7.1.14).
fn erfc(x: f64) -> f64 {
    let a = x.abs();
    let positive = if a < 2.0 {
        let (mut term, mut sum) = (a, a);
        for n in 1..60 {
            term *= 2.0 * a * a / f64::from(2 * n + 1);
            sum += term;
        }
        1.0 - 2.0 / PI.sqrt() * (-a * a).exp() * sum
    } else {
        let tail = (1..=60).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (a + tail));
        (-a * a).exp() / PI.sqrt() / (a + tail)
    };
    if x < 0.0 { 2.0 - positive } else { positive }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erfc_meets_published_values() {
        // Abramowitz & Stegun, table 7.1, and erfc(3).
        for (x, expected) in [(0.0, 1.0), (0.5, 0.479_500_122_186_953_5), (1.0, 0.157_299_207_050_285_13)] {
            assert!((erfc(x) - expected).abs() < 1e-14, "erfc({x}) = {}", erfc(x));
            assert!((erfc(-x) - (2.0 - expected)).abs() < 1e-14);
        }
        assert!((erfc(3.0) / 2.209_049_699_858_544e-5 - 1.0).abs() < 1e-10, "{}", erfc(3.0));
        assert!((erfc(1.999_999_999_9) / erfc(2.0) - 1.0).abs() < 1e-8);
    }

    #[test]
    fn functions_meet_their_kernels() {
        use fewbits_kernels::float::unary::unary;
        let kinds = [
            UnaryKind::HardSwish,
            UnaryKind::Gelu { tanh: false },
            UnaryKind::Gelu { tanh: true },
            UnaryKind::Selu { alpha: 1.5, gamma: 1.1 },
            UnaryKind::Mish,
            UnaryKind::Softplus,
            UnaryKind::Erf,
            UnaryKind::Sigmoid,
            UnaryKind::Elu { alpha: 0.7 },
        ];
        let x: Vec<f32> = (-40..=40).map(|i| i as f32 / 8.0).collect();
        for kind in kinds {
            let mut out = vec![0.0; x.len()];
            unary(super::super::elementwise::float_function(kind).unwrap(), &x, &mut out);
            for (&x, &y) in x.iter().zip(&out) {
                let expected = evaluate(kind, f64::from(x));
                assert!((f64::from(y) - expected).abs() < 1e-5, "{kind:?}({x}) = {y}, not {expected}");
            }
        }
    }
}
