use crate::{Numbers, assert_close, assert_thread_independent};
use fewbits_kernels::float::binary::Broadcast;
use fewbits_kernels::float::unary::{UnaryOp as U, not, prelu, unary, unary_in_place};
use fewbits_kernels::float::vmath;

/// Largest relative error of `f` against `exact` over `n` points of `low..=high`, those with a
/// result below `f32::MIN_POSITIVE` left out.
fn error(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, low: f32, high: f32) -> f64 {
    const POINTS: usize = 400_000;
    let mut worst = 0.0f64;
    for i in 0..=POINTS {
        let x = (f64::from(low) + f64::from(high - low) * i as f64 / POINTS as f64) as f32;
        let want = exact(f64::from(x));
        if want.abs() >= f64::from(f32::MIN_POSITIVE) && want.abs() <= f64::from(f32::MAX) {
            worst = worst.max(((f64::from(f(x)) - want) / want).abs());
        }
    }
    worst
}

/// erfc in f64: the power series of erf up to 2, Lentz's continued fraction beyond.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    if x < 2.0 {
        return 1.0 - erf_series(x);
    }
    let mut v = 0.0;
    for k in (1..=120).rev() {
        v = f64::from(k) / 2.0 / (x + v);
    }
    (-x * x).exp() / (std::f64::consts::PI.sqrt() * (x + v))
}

fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..80 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn erf(x: f64) -> f64 {
    if x.abs() < 2.0 { erf_series(x) } else { (1.0 - erfc(x.abs())).copysign(x) }
}

/// The bounds that the documentation of `vmath` states.
#[test]
fn transcendental_functions_are_within_their_stated_error() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let gelu = |x: f64| 0.5 * x * erfc(-x / std::f64::consts::SQRT_2);
    let gelu_tanh = |x: f64| x * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3)));
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let rows: [(&str, f64, f64); 19] = [
        ("exp", 1e-7, error(vmath::exp, f64::exp, -87.0, 88.7)),
        ("exp_m1", 2e-7, error(vmath::exp_m1, f64::exp_m1, -20.0, 20.0)),
        ("exp_m1 near 0", 2e-7, error(vmath::exp_m1, f64::exp_m1, -0.01, 0.01)),
        ("ln", 1.5e-7, error(vmath::ln, f64::ln, 1e-6, 5.0)),
        ("ln large", 1.5e-7, error(vmath::ln, f64::ln, 1.0, 3e38)),
        ("ln_1p", 3e-7, error(vmath::ln_1p, f64::ln_1p, 1e-7, 1.0)),
        ("tanh", 2e-7, error(vmath::tanh, f64::tanh, -10.0, 10.0)),
        ("tanh near 0", 2e-7, error(vmath::tanh, f64::tanh, -0.7, 0.7)),
        ("sigmoid", 2e-7, error(vmath::sigmoid, sigmoid, -87.0, 30.0)),
        ("erf", 3e-7, error(vmath::erf, erf, -5.0, 5.0)),
        ("erf near 0", 3e-7, error(vmath::erf, erf, -0.01, 0.01)),
        ("erfc", 6e-7, error(vmath::erfc, erfc, -5.0, 9.0)),
        ("gelu", 8e-7, error(vmath::gelu, gelu, -10.0, 10.0)),
        ("gelu_tanh", 1e-6, error(vmath::gelu_tanh, gelu_tanh, -9.0, 10.0)),
        ("silu", 3e-7, error(vmath::silu, |x| x * sigmoid(x), -80.0, 20.0)),
        ("softplus", 4e-7, error(vmath::softplus, softplus, -80.0, 20.0)),
        ("mish", 5e-7, error(vmath::mish, |x| x * softplus(x).tanh(), -80.0, 30.0)),
        ("mish near 20", 5e-7, error(vmath::mish, |x| x * softplus(x).tanh(), 18.0, 22.0)),
        ("exp near 0", 1e-7, error(vmath::exp, f64::exp, -0.4, 0.4)),
    ];
    let failed: Vec<_> = rows.iter().filter(|(_, stated, seen)| seen > stated).collect();
    assert!(failed.is_empty(), "(function, stated, seen): {failed:?}\nall: {rows:?}");
}

#[test]
fn special_values() {
    let inf = f32::INFINITY;
    assert_eq!(vmath::exp(-inf), 0.0);
    assert_eq!(vmath::exp(inf), inf);
    assert_eq!(vmath::exp(89.0), inf);
    assert_eq!(vmath::exp(0.0), 1.0);
    assert_eq!(vmath::exp_m1(-inf), -1.0);
    assert_eq!(vmath::exp_m1(inf), inf);
    assert_eq!(vmath::ln(0.0), -inf);
    assert_eq!(vmath::ln(inf), inf);
    assert_eq!(vmath::ln(1.0), 0.0);
    assert!(vmath::ln(-1.0).is_nan());
    assert!((f64::from(vmath::ln(1e-42)) - f64::from(1e-42f32).ln()).abs() < 1e-5);
    assert_eq!((vmath::tanh(-inf), vmath::tanh(inf)), (-1.0, 1.0));
    assert_eq!((vmath::erf(-inf), vmath::erf(inf)), (-1.0, 1.0));
    assert_eq!((vmath::erfc(-inf), vmath::erfc(30.0)), (2.0, 0.0));
    assert_eq!((vmath::sigmoid(-inf), vmath::sigmoid(inf)), (0.0, 1.0));
    for f in [vmath::gelu, vmath::gelu_tanh, vmath::silu, vmath::mish] {
        assert_eq!(f(inf), inf);
        assert_eq!(f(0.0), 0.0);
        assert_eq!(f(-200.0), 0.0);
    }
    assert_eq!((vmath::softplus(-inf), vmath::softplus(inf)), (0.0, inf));
    for f in [
        vmath::exp,
        vmath::exp_m1,
        vmath::ln,
        vmath::tanh,
        vmath::erf,
        vmath::sigmoid,
        vmath::gelu,
        vmath::gelu_tanh,
        vmath::silu,
        vmath::softplus,
        vmath::mish,
    ] {
        assert!(f(f32::NAN).is_nan());
    }
}

#[test]
fn every_operator_is_its_formula() {
    let mut r = Numbers::new(41);
    let x: Vec<f32> = r.floats(1003).iter().map(|x| x * 8.0).chain([0.5, 1.5, -0.5, -2.5, 0.0]).collect();
    type Formula = fn(f32) -> f32;
    let ops: [(U, Formula); 32] = [
        (U::Relu, |x| x.max(0.0)),
        (U::Clip { min: -1.0, max: 2.0 }, |x| x.clamp(-1.0, 2.0)),
        (U::LeakyRelu { alpha: 0.1 }, |x| if x < 0.0 { 0.1 * x } else { x }),
        (U::Elu { alpha: 0.7 }, |x| if x < 0.0 { 0.7 * x.exp_m1() } else { x }),
        (U::Selu { alpha: 1.6, gamma: 1.05 }, |x| 1.05 * if x < 0.0 { 1.6 * x.exp_m1() } else { x }),
        (U::HardSwish, |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
        (U::HardSigmoid { alpha: 0.2, beta: 0.5 }, |x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        (U::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (U::Tanh, f32::tanh),
        (U::Gelu, |x| (0.5 * f64::from(x) * erfc(-f64::from(x) / 2f64.sqrt())) as f32),
        (U::GeluTanh, |x| 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x.powi(3))).tanh())),
        (U::Silu, |x| x / (1.0 + (-x).exp())),
        (U::Exp, f32::exp),
        (U::Log, f32::ln),
        (U::Sqrt, f32::sqrt),
        (U::Rsqrt, |x| x.sqrt().recip()),
        (U::Neg, |x| -x),
        (U::Abs, f32::abs),
        (U::Floor, f32::floor),
        (U::Ceil, f32::ceil),
        (U::Round, f32::round_ties_even),
        (U::Sign, |x| if x == 0.0 { 0.0 } else { x.signum() }),
        (U::Erf, |x| erf(f64::from(x)) as f32),
        (U::Reciprocal, |x| 1.0 / x),
        (U::Sin, f32::sin),
        (U::Cos, f32::cos),
        (U::Softplus, |x| x.exp().ln_1p()),
        (U::Softsign, |x| x / (1.0 + x.abs())),
        (U::Mish, |x| x * x.exp().ln_1p().tanh()),
        (U::Square, |x| x * x),
        (U::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, |x| (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (U::Clip { min: 0.0, max: 6.0 }, |x| x.clamp(0.0, 6.0)),
    ];
    for (op, f) in ops {
        let want: Vec<f32> = x.iter().map(|x| f(*x)).collect();
        let mut out = vec![0.0; x.len()];
        unary(op, &x, &mut out);
        assert_close(&out, &want, 1e-6, &format!("{op:?}"));
        let mut same = x.clone();
        unary_in_place(op, &mut same);
        assert_close(&same, &out, 0.0, &format!("{op:?} in place"));
    }
}

#[test]
fn chunks_of_a_parallel_run_join_up() {
    let x = Numbers::new(42).floats(300_001);
    assert_thread_independent("tanh", || {
        let mut out = vec![0.0; x.len()];
        unary(U::Tanh, &x, &mut out);
        out
    });
}

#[test]
fn prelu_broadcasts_the_slope_and_not_negates() {
    let x = [1.0, -1.0, -2.0, 2.0, -3.0, -0.5];
    let shapes = Broadcast::new(&[2, 3], &[3]).expect("broadcasts");
    let mut out = [0.0; 6];
    prelu(&shapes, &x, &[0.1, 0.5, 2.0], &mut out);
    assert_eq!(out, [1.0, -0.5, -4.0, 2.0, -1.5, -1.0]);
    let mut flags = [9; 3];
    not(&[0, 1, 7], &mut flags);
    assert_eq!(flags, [1, 0, 0]);
}
