//! Transcendental functions on f32, branch-free so that the compiler vectorises loops over them.
//!
//! Range reduction and reconstruction are the classical ones (Muller, *Elementary Functions*,
//! chapters 9-11); the polynomials are minimax fits made for this crate with the Remez exchange.
//! Errors below are the largest seen against f64 over dense sweeps of the stated range, relative;
//! `tests/float/unary.rs` holds them. One ulp is 6e-8 to 1.2e-7.
//!
//! The scalar functions are exact copies of what the vector loops do: the same operations in the
//! same order, fused multiply-adds included, so both give the same bits.

/// `ln 2` in two parts; the first has few enough bits that its multiples are exact.
const LN2_HI: f32 = 0.693_359_4;
const LN2_LO: f32 = -2.121_944_4e-4;
/// Adding 1.5 * 2^23 leaves the integer nearest to a small float in the low bits.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn poly<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut y = c[N - 1];
    for i in (0..N - 1).rev() {
        y = y.mul_add(x, c[i]);
    }
    y
}

#[inline(always)]
fn pow2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `x = n ln 2 + r`, `|r| <= ln 2 / 2`: `n` and `exp(r) - 1`.
#[inline(always)]
fn exp_reduced(x: f32) -> (i32, f32) {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let nf = shifted - ROUND;
    let r = nf.mul_add(-LN2_LO, nf.mul_add(-LN2_HI, x));
    let p = poly(r, [0.5, 0.166_666_67, 0.041_666_254, 8.333_261e-3, 1.394_721_2e-3, 1.991_992_2e-4]);
    (n, (r * r).mul_add(p, r))
}

/// `e^x`: 1e-7 over the normal range; gradual underflow, overflow to infinity, NaN kept.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is 0 or infinity anyway, and n stays in two exponents' reach.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let (n, e) = exp_reduced(x);
    let half = n >> 1;
    (e + 1.0) * pow2(half) * pow2(n - half)
}

/// `e^x - 1`: 2e-7, also near zero.
#[inline(always)]
pub fn exp_m1(x: f32) -> f32 {
    let low = if x < -30.0 { -30.0 } else { x };
    let low = if low > 30.0 { 30.0 } else { low };
    let (n, e) = exp_reduced(low);
    let scale = pow2(n);
    let near = e.mul_add(scale, scale - 1.0);
    if x > 30.0 { exp(x) } else { near }
}

/// Natural logarithm: 1.5e-7; `-inf` at 0, NaN below.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits() as i32;
    // Mantissa in [sqrt(1/2), sqrt(2)): 0x3f3504f3 is sqrt(1/2).
    let e = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let m = f32::from_bits(bits.wrapping_sub(e << 23) as u32);
    let exponent = e as f32 - if tiny { 23.0 } else { 0.0 };
    let f = m - 1.0;
    // ln(1 + f) = 2 atanh(s) = f - s (f - z R(z)), s = f / (2 + f), z = s^2.
    let s = f / (2.0 + f);
    let z = s * s;
    let r = poly(z, [0.666_666_6, 0.400_003_4, 0.285_369_2, 0.235_899_86]);
    let tail = s.mul_add(-(z.mul_add(-r, f)), exponent * LN2_LO);
    let y = exponent.mul_add(LN2_HI, tail + f);
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    let y = if x == f32::INFINITY { x } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// `ln(1 + x)`: 3e-7 for `x >= 0`, also near zero.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    // What rounding 1 + x lost, to first order.
    ln(u) + (x - (u - 1.0)) / u
}

/// Hyperbolic tangent: 2e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let t = poly(z, [-0.333_332_72, 0.133_311_53, -0.053_714_108, 0.020_551_724, -5.603_919_3e-3]);
    let near = (z * x).mul_add(t, x);
    let far = 1.0 - 2.0 / (exp(a + a) + 1.0);
    if a < 0.625 { near } else { far.copysign(x) }
}

/// `1 / (1 + e^-x)`: 2e-7 over `[-87, inf)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `erfc(a)` of `a >= 0`, given `a^2 = square + lost`, from `erfc(a) e^(a^2)`, which is smooth in
/// `(a - 2) / (a + 2)`.
///
/// The square comes apart because the exponential amplifies its rounding, and because GELU knows
/// it better than it knows `a`.
#[inline(always)]
fn erfc_positive(a: f32, square: f32, lost: f32) -> f32 {
    let a = if a > 10.5 { 10.5 } else { a };
    let t = (a - 2.0) / (a + 2.0);
    let scaled = poly(
        t,
        [
            0.255_395_68,
            -0.427_185_86,
            0.241_658_26,
            -0.078_977_91,
            3.731_740_4e-3,
            6.991_845e-3,
            -8.411_485e-4,
            -9.610_047e-4,
            3.371_072e-5,
            1.366_284_4e-4,
            2.544_22e-5,
        ],
    );
    // Far out the exponential is 0, and what an infinite square lost is NaN.
    let lost = if square > 110.0 { 0.0 } else { lost };
    exp(-square) * (1.0 - lost) * scaled
}

/// Error function: 3e-7.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let near = x * poly(
        z,
        [
            std::f32::consts::FRAC_2_SQRT_PI,
            -0.376_126_38,
            0.112_837_82,
            -0.026_865_4,
            5.220_945_5e-3,
            -8.482_829e-4,
            1.125_694_9e-4,
            -9.641_52e-6,
        ],
    );
    let far = (1.0 - erfc_positive(a, z, 0.0)).copysign(x);
    if a < 1.0 { near } else { far }
}

/// Complementary error function `1 - erf(x)` without cancellation: 6e-7 while the result is a
/// normal number.
#[inline(always)]
pub fn erfc(x: f32) -> f32 {
    let square = x * x;
    let tail = erfc_positive(x.abs(), square, x.mul_add(x, -square));
    if x < 0.0 { 2.0 - tail } else { tail }
}

/// `x Phi(x)`, GELU by the error function: 8e-7 over `[-10, inf)`.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let square = x * x;
    let a = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let tail = erfc_positive(a, 0.5 * square, 0.5 * x.mul_add(x, -square));
    let y = 0.5 * x * if x > 0.0 { 2.0 - tail } else { tail };
    if x == f32::NEG_INFINITY { -0.0 } else { y }
}

/// GELU by the tanh approximation, `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: 1e-6 over
/// `[-9, inf)`.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    // (1 + tanh u) / 2 is the sigmoid of 2u = x (C1 + C3 x^2), which does not cancel for negative
    // u. Its exponential amplifies the rounding of 2u, so that is carried along: each constant and
    // step has its remainder.
    const C1: [f32; 2] = [1.5957692, -4.534068e-08];
    const C3: [f32; 2] = [0.071354814, 2.3988325e-09];
    let z = x * x;
    let z_lost = x.mul_add(x, -z);
    let q = z * C3[0];
    let p = q + C1[0];
    let c = p - q;
    let p_lost = (q - (p - c)) + (C1[0] - c) + z.mul_add(C3[0], -q);
    let p_lost = p_lost + z_lost.mul_add(C3[0], z.mul_add(C3[1], C1[1]));
    let u2 = x * p;
    let u2_lost = x.mul_add(p, -u2) + x * p_lost;
    // Where the exponential has run out of range, the remainder no longer matters (or is NaN).
    let u2_lost = if u2.abs() > 100.0 { 0.0 } else { u2_lost };
    let y = x / (1.0 + exp(-u2) * (1.0 - u2_lost));
    if x == f32::NEG_INFINITY { -0.0 } else { y }
}

/// `x sigmoid(x)`: 3e-7.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    let y = x * sigmoid(x);
    if x == f32::NEG_INFINITY { -0.0 } else { y }
}

/// `ln(1 + e^x)`: 4e-7.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    let base = if x > 0.0 { x } else { 0.0 };
    let y = base + ln_1p(exp(-x.abs()));
    if x.is_nan() { x } else { y }
}

/// `x tanh(softplus(x))`: 5e-7.
#[inline(always)]
pub fn mish(x: f32) -> f32 {
    // tanh(ln(1 + w)) = w (w + 2) / (w (w + 2) + 2).
    let w = exp(if x > 20.0 { 20.0 } else { x });
    let n = w * (w + 2.0);
    let y = x * (n / (n + 2.0));
    let y = if x > 20.0 { x } else { y };
    if x == f32::NEG_INFINITY { -0.0 } else { y }
}
