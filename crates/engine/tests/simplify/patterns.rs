//! Functions as exporters spell them.

use fewbits_graph::ops::{Binary, BinaryKind as B, Expand, LayerNorm, Reduce, ReduceKind, ShapeOf, UnaryKind as U};
use fewbits_graph::{Activation, DType, Op, ValueId};

use crate::support::{Build, ops, simplified};

type Spelling = fn(&mut Build, ValueId) -> ValueId;

/// Checks that each spelling becomes the function, and computes the same.
fn all_become(spellings: &[Spelling], wanted: U) {
    for (i, spelling) in spellings.iter().enumerate() {
        let mut b = Build::default();
        let x = b.input(&[3, 40]);
        let x = b.unary("before", U::Neg, x);
        let y = spelling(&mut b, x);
        let after = simplified(&b.finish(&[y]));
        assert_eq!(ops(&after), ["Unary", "Unary"], "spelling {i}");
        assert!(matches!(&after.nodes[1].op, Op::Unary(u) if same(u.kind, wanted)), "{i}: {:?}", after.nodes[1].op);
    }
}

fn same(a: U, b: U) -> bool {
    match (a, b) {
        (U::HardSigmoid { alpha, beta }, U::HardSigmoid { alpha: a, beta: b }) => (alpha - a).abs() < 1e-6 && beta == b,
        _ => a == b,
    }
}

fn phi(b: &mut Build, x: ValueId) -> ValueId {
    let u = b.with("over_root2", B::Div, x, std::f32::consts::SQRT_2);
    let e = b.unary("erf", U::Erf, u);
    b.with("plus1", B::Add, e, 1.0)
}

#[test]
fn gelu_with_the_error_function() {
    all_become(
        &[
            |b, x| {
                let g = phi(b, x);
                let y = b.binary("gate", B::Mul, x, g);
                b.with("half", B::Mul, y, 0.5)
            },
            |b, x| {
                let g = phi(b, x);
                let h = b.with("half", B::Mul, x, 0.5);
                b.binary("gate", B::Mul, h, g)
            },
            |b, x| {
                let u = b.with("times", B::Mul, x, std::f32::consts::FRAC_1_SQRT_2);
                let e = b.unary("erf", U::Erf, u);
                let g = b.with("plus1", B::Add, e, 1.0);
                let h = b.with("half", B::Div, g, 2.0);
                b.binary("gate", B::Mul, h, x)
            },
            |b, x| {
                let u = b.with("times", B::Mul, x, std::f32::consts::FRAC_1_SQRT_2);
                let e = b.unary("erf", U::Erf, u);
                let h = b.with("half", B::Mul, e, 0.5);
                let g = b.with("plus_half", B::Add, h, 0.5);
                b.binary("gate", B::Mul, x, g)
            },
        ],
        U::Gelu { tanh: false },
    );
}

#[test]
fn gelu_with_tanh() {
    let root = 0.797_884_6;
    fn finish(b: &mut Build, x: ValueId, u: ValueId) -> ValueId {
        let t = b.unary("tanh", U::Tanh, u);
        let g = b.with("plus1", B::Add, t, 1.0);
        let h = b.with("half", B::Mul, x, 0.5);
        b.binary("gate", B::Mul, h, g)
    }
    assert!((root - (2.0 / std::f32::consts::PI).sqrt()).abs() < 1e-6);
    all_become(
        &[
            |b, x| {
                let cube = b.with("cube", B::Pow, x, 3.0);
                let cube = b.with("c", B::Mul, cube, 0.044715);
                let sum = b.binary("sum", B::Add, x, cube);
                let u = b.with("u", B::Mul, sum, 0.797_884_6);
                finish(b, x, u)
            },
            |b, x| {
                let square = b.binary("square", B::Mul, x, x);
                let c = b.with("c", B::Mul, square, 0.044715);
                let c = b.with("c1", B::Add, c, 1.0);
                let c = b.binary("cx", B::Mul, c, x);
                let u = b.with("u", B::Mul, c, 0.797_884_6);
                finish(b, x, u)
            },
        ],
        U::Gelu { tanh: true },
    );
}

#[test]
fn silu_and_mish() {
    all_become(
        &[
            |b, x| {
                let s = b.unary("s", U::Sigmoid, x);
                b.binary("gate", B::Mul, s, x)
            },
            |b, x| {
                let n = b.unary("neg", U::Neg, x);
                let e = b.unary("exp", U::Exp, n);
                let d = b.with("plus1", B::Add, e, 1.0);
                let s = b.unary("reciprocal", U::Reciprocal, d);
                b.binary("gate", B::Mul, x, s)
            },
        ],
        U::Silu,
    );
    all_become(
        &[|b, x| {
            let e = b.unary("exp", U::Exp, x);
            let e = b.with("plus1", B::Add, e, 1.0);
            let s = b.unary("log", U::Log, e);
            let t = b.unary("tanh", U::Tanh, s);
            b.binary("gate", B::Mul, x, t)
        }],
        U::Mish,
    );
}

#[test]
fn hard_swish_and_hard_sigmoid() {
    all_become(
        &[
            |b, x| {
                let a = b.with("plus3", B::Add, x, 3.0);
                let c = b.unary("clip", U::Clip { min: 0.0, max: 6.0 }, a);
                let m = b.binary("gate", B::Mul, x, c);
                b.with("sixth", B::Div, m, 6.0)
            },
            |b, x| {
                let three = b.scalar(3.0);
                let c = b.node("plus3", Binary { kind: B::Add, activation: Activation::Relu6 }, &[x, three]);
                let c = b.with("sixth", B::Mul, c, 1.0 / 6.0);
                b.binary("gate", B::Mul, x, c)
            },
            |b, x| {
                let c = b.unary("gate", U::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x);
                b.binary("times", B::Mul, x, c)
            },
        ],
        U::HardSwish,
    );
    all_become(
        &[
            |b, x| {
                let a = b.with("plus3", B::Add, x, 3.0);
                let c = b.unary("clip", U::Clip { min: 0.0, max: 6.0 }, a);
                b.with("sixth", B::Div, c, 6.0)
            },
            |b, x| {
                let a = b.with("times", B::Mul, x, 1.0 / 6.0);
                let a = b.with("half", B::Add, a, 0.5);
                b.unary("clip", U::Clip { min: 0.0, max: 1.0 }, a)
            },
        ],
        U::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
    );
}

#[test]
fn near_misses_stay() {
    let misses: &[(Spelling, usize)] = &[
        // A sigmoid of something else.
        (
            |b, x| {
                let u = b.with("scaled", B::Mul, x, 1.702);
                let s = b.unary("s", U::Sigmoid, u);
                b.binary("gate", B::Mul, x, s)
            },
            4,
        ),
        // A wrong constant in GELU.
        (
            |b, x| {
                let u = b.with("over", B::Div, x, 1.5);
                let e = b.unary("erf", U::Erf, u);
                let g = b.with("plus1", B::Add, e, 1.0);
                let h = b.with("half", B::Mul, x, 0.5);
                b.binary("gate", B::Mul, h, g)
            },
            6,
        ),
    ];
    for (spelling, nodes) in misses {
        let mut b = Build::default();
        let x = b.input(&[3, 40]);
        let x = b.unary("before", U::Neg, x);
        let y = spelling(&mut b, x);
        assert_eq!(simplified(&b.finish(&[y])).nodes.len(), *nodes);
    }
}

fn reduce(b: &mut Build, name: &str, kind: ReduceKind, x: ValueId, axes: &[usize]) -> ValueId {
    b.node(name, Reduce { kind, axes: axes.to_vec(), keep_dims: true }, &[x])
}

/// `(x − mean) ÷ √(var + ε)`, squared by `square`, divided by `divide`.
fn normalised(
    b: &mut Build,
    x: ValueId,
    square: Spelling,
    divide: fn(&mut Build, ValueId, ValueId) -> ValueId,
) -> ValueId {
    let mean = reduce(b, "mean", ReduceKind::Mean, x, &[2]);
    let d = b.binary("d", B::Sub, x, mean);
    let s = square(b, d);
    let v = reduce(b, "variance", ReduceKind::Mean, s, &[2]);
    let v = b.with("eps", B::Add, v, 1e-5);
    divide(b, d, v)
}

#[test]
fn layer_norm_in_its_spellings() {
    let squares: [Spelling; 3] = [
        |b, d| b.with("pow", B::Pow, d, 2.0),
        |b, d| b.binary("mul", B::Mul, d, d),
        |b, d| b.unary("square", U::Square, d),
    ];
    let divisions: [fn(&mut Build, ValueId, ValueId) -> ValueId; 3] = [
        |b, d, v| {
            let s = b.unary("sqrt", U::Sqrt, v);
            b.binary("div", B::Div, d, s)
        },
        |b, d, v| {
            let s = b.unary("rsqrt", U::Rsqrt, v);
            b.binary("mul", B::Mul, s, d)
        },
        |b, d, v| {
            let s = b.unary("sqrt", U::Sqrt, v);
            let r = b.unary("reciprocal", U::Reciprocal, s);
            b.binary("mul", B::Mul, d, r)
        },
    ];
    for square in squares {
        for divide in divisions {
            let mut b = Build::default();
            let x = b.input(&[2, 3, 8]);
            let y = normalised(&mut b, x, square, divide);
            let (gamma, beta) = (b.weights("gamma", &[8]), b.weights("beta", &[1, 8]));
            let y = b.binary("scaled", B::Mul, gamma, y);
            let y = b.binary("shifted", B::Add, y, beta);
            let after = simplified(&b.finish(&[y]));
            assert_eq!(ops(&after), ["LayerNorm"]);
            assert_eq!(after.nodes[0].op, LayerNorm { axis: 2, epsilon: 1e-5 }.into());
            assert_eq!(after.nodes[0].inputs.iter().flatten().count(), 3);
        }
    }
}

#[test]
fn layer_norm_without_parameters_and_over_another_axis() {
    let mut b = Build::default();
    let x = b.input(&[2, 3, 8]);
    let divide = |b: &mut Build, d, v| {
        let s = b.unary("sqrt", U::Sqrt, v);
        b.binary("div", B::Div, d, s)
    };
    let y = normalised(&mut b, x, |b, d| b.binary("mul", B::Mul, d, d), divide);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["LayerNorm"]);

    let mut b = Build::default();
    let x = b.input(&[2, 3, 8]);
    let mean = reduce(&mut b, "mean", ReduceKind::Mean, x, &[1]);
    let d = b.binary("d", B::Sub, x, mean);
    let s = b.binary("s", B::Mul, d, d);
    let v = reduce(&mut b, "variance", ReduceKind::Mean, s, &[1]);
    let v = b.with("eps", B::Add, v, 1e-5);
    let y = divide(&mut b, d, v);
    assert_eq!(simplified(&b.finish(&[y])).nodes.len(), 7);
}

#[test]
fn l2_norm_in_its_spellings() {
    let spellings: [Spelling; 4] = [
        |b, x| {
            let n = reduce(b, "norm", ReduceKind::L2, x, &[1]);
            let n = b.unary("clip", U::Clip { min: 1e-12, max: f32::INFINITY }, n);
            let shape = b.node("shape", ShapeOf { start: 0, end: 2, dtype: DType::I64 }, &[x]);
            let n = b.node("expand", Expand, &[n, shape]);
            b.binary("div", B::Div, x, n)
        },
        |b, x| {
            let s = b.with("pow", B::Pow, x, 2.0);
            let s = reduce(b, "sum", ReduceKind::Sum, s, &[1]);
            let n = b.unary("sqrt", U::Sqrt, s);
            let n = b.with("max", B::Max, n, 1e-12);
            b.binary("div", B::Div, x, n)
        },
        |b, x| {
            let s = reduce(b, "sum", ReduceKind::SumSquare, x, &[1]);
            let s = b.with("max", B::Max, s, 1e-12);
            let n = b.unary("rsqrt", U::Rsqrt, s);
            b.binary("mul", B::Mul, n, x)
        },
        |b, x| {
            let n = reduce(b, "norm", ReduceKind::L2, x, &[1]);
            b.binary("div", B::Div, x, n)
        },
    ];
    for (i, spelling) in spellings.iter().enumerate() {
        let mut b = Build::default();
        let x = b.input(&[3, 10]);
        let y = spelling(&mut b, x);
        assert_eq!(ops(&simplified(&b.finish(&[y]))), ["L2Norm"], "spelling {i}");
    }
}
