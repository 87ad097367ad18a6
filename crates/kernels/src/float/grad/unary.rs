//! Derivatives of the element-wise functions.

use crate::float::dispatch::{avx2, multiversion};
use crate::float::parallel::{self, CHUNK};
use crate::float::unary::UnaryOp;
use crate::float::vmath;

/// `dx = op'(x) * dy` (or `dx += …` if `accumulate`).
///
/// Where a function has a kink its derivative is that of the flat side: 0 at the bounds of ReLU,
/// clip and the hard functions. The steps (floor, round, sign…) have derivative 0.
///
/// # Panics
/// If the lengths differ.
pub fn unary_gradient(op: UnaryOp, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    assert!(x.len() == dx.len() && dy.len() == dx.len());
    let isa = avx2();
    let parallel = parallel::worthwhile(dx.len());
    parallel::chunks_mut(dx, CHUNK, parallel, |i, dx| {
        let span = i * CHUNK..i * CHUNK + dx.len();
        run(isa, op, Io { x: &x[span.clone()], dy: &dy[span], dx, accumulate });
    });
}

struct Io<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    accumulate: bool,
}

impl Io<'_> {
    #[inline(always)]
    fn map(self, derivative: impl Fn(f32) -> f32) {
        // Loops, not `for_each`: a closure that is not inlined would be compiled without AVX2.
        let operands = self.x.iter().zip(self.dy);
        if self.accumulate {
            for (dx, (x, dy)) in self.dx.iter_mut().zip(operands) {
                *dx += derivative(*x) * dy;
            }
        } else {
            for (dx, (x, dy)) in self.dx.iter_mut().zip(operands) {
                *dx = derivative(*x) * dy;
            }
        }
    }
}

multiversion! {
    fn run(op: UnaryOp, io: Io<'_>) = run_body
}

#[inline(always)]
fn run_body(op: UnaryOp, io: Io<'_>) {
    use UnaryOp as U;
    match op {
        U::Relu => io.map(|x| step(x > 0.0)),
        U::Clip { min, max } => io.map(|x| step(x > min && x < max)),
        U::LeakyRelu { alpha } => io.map(|x| if x < 0.0 { alpha } else { 1.0 }),
        U::Elu { alpha } => io.map(|x| if x < 0.0 { alpha * vmath::exp(x) } else { 1.0 }),
        U::Selu { alpha, gamma } => io.map(|x| gamma * if x < 0.0 { alpha * vmath::exp(x) } else { 1.0 }),
        U::HardSwish => io.map(|x| {
            let inside = (x + x + 3.0) / 6.0;
            let upper = if x >= 3.0 { 1.0 } else { inside };
            if x <= -3.0 { 0.0 } else { upper }
        }),
        U::HardSigmoid { alpha, beta } => io.map(|x| {
            let y = alpha * x + beta;
            if y > 0.0 && y < 1.0 { alpha } else { 0.0 }
        }),
        U::Sigmoid => io.map(|x| {
            let y = vmath::sigmoid(x);
            y * (1.0 - y)
        }),
        U::Tanh => io.map(|x| {
            let y = vmath::tanh(x);
            1.0 - y * y
        }),
        U::Gelu => io.map(|x| 0.5 * vmath::erfc(-x * FRAC_1_SQRT_2) + x * normal_density(x)),
        U::GeluTanh => io.map(gelu_tanh),
        U::Silu => io.map(|x| {
            let s = vmath::sigmoid(x);
            s * (1.0 + x * (1.0 - s))
        }),
        U::Exp => io.map(vmath::exp),
        U::Log => io.map(|x| 1.0 / x),
        U::Sqrt => io.map(|x| 0.5 / x.sqrt()),
        U::Rsqrt => io.map(|x| -0.5 / (x * x.sqrt())),
        U::Neg => io.map(|_| -1.0),
        U::Abs => io.map(|x| step(x > 0.0) - step(x < 0.0)),
        U::Floor | U::Ceil | U::Round | U::Sign => io.map(|_| 0.0),
        U::Erf => io.map(|x| std::f32::consts::FRAC_2_SQRT_PI * vmath::exp(-x * x)),
        U::Reciprocal => io.map(|x| -1.0 / (x * x)),
        U::Sin => io.map(f32::cos),
        U::Cos => io.map(|x| -x.sin()),
        U::Softplus => io.map(vmath::sigmoid),
        U::Softsign => io.map(|x| {
            let d = 1.0 + x.abs();
            1.0 / (d * d)
        }),
        U::Mish => io.map(|x| {
            let t = vmath::tanh(vmath::softplus(x));
            t + x * (1.0 - t * t) * vmath::sigmoid(x)
        }),
        U::Square => io.map(|x| x + x),
    }
}

const FRAC_1_SQRT_2: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// `1 / √(2π)`
const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
/// `√(2/π)`, and the cubic coefficient of the tanh form of GELU (Hendrycks & Gimpel 2016).
const GELU: [f32; 2] = [0.797_884_6, 0.044_715];

#[inline(always)]
fn step(inside: bool) -> f32 {
    if inside { 1.0 } else { 0.0 }
}

#[inline(always)]
fn normal_density(x: f32) -> f32 {
    FRAC_1_SQRT_TAU * vmath::exp(-0.5 * x * x)
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    let [c, cubic] = GELU;
    let t = vmath::tanh(c * (x + cubic * x * x * x));
    0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * cubic * x * x)
}
