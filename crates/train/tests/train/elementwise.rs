//! Functions of one and two tensors, and choices.

use fewbits_graph::ops::{Binary, BinaryKind, Concat, PRelu, Unary, UnaryKind, Where};
use fewbits_graph::{Activation, Tensor};

use crate::support::{Case, Fixed, Given, Input, Trained, check_clear_of_kinks, distinct, random, within};

#[test]
fn functions_of_one_tensor() {
    use UnaryKind as K;
    let smooth = [
        K::Sigmoid,
        K::Tanh,
        K::Gelu { tanh: true },
        K::Gelu { tanh: false },
        K::Silu,
        K::Mish,
        K::Softplus,
        K::Exp,
        K::Square,
        K::Neg,
        K::Erf,
        K::Sin,
        K::Cos,
    ];
    for kind in smooth {
        Case::of(Unary { kind }, &[Input(within(1, &[3, 7], -2.5, 2.5))], 1).check();
    }
    for kind in [K::Log, K::Sqrt, K::Rsqrt, K::Reciprocal] {
        Case::of(Unary { kind }, &[Input(within(1, &[3, 7], 0.5, 2.5))], 1).check();
    }
    // Kinks at multiples of 0.1 are not within reach of a difference.
    let kinked = [
        K::Relu,
        K::Clip { min: -1.0, max: 0.5 },
        K::LeakyRelu { alpha: 0.2 },
        K::Elu { alpha: 0.7 },
        K::Selu { alpha: 1.6, gamma: 1.1 },
        K::HardSwish,
        K::HardSigmoid { alpha: 0.25, beta: 0.5 },
        K::Softsign,
        K::Abs,
        K::Sign,
        K::Floor,
        K::Ceil,
    ];
    for kind in kinked {
        Case::of(Unary { kind }, &[Input(distinct(1, &[9, 9]))], 1).check();
    }
    // Halves are the steps of rounding.
    Case::of(Unary { kind: K::Round }, &[Input(within(1, &[3, 7], -0.4, 0.4))], 1).check();
}

#[test]
fn arithmetic_with_every_broadcast() {
    use BinaryKind as K;
    let shapes: [(&[usize], &[usize]); 6] = [
        (&[2, 3, 4], &[2, 3, 4]),
        (&[2, 3, 4], &[4]),
        (&[4], &[2, 3, 4]),
        (&[2, 1, 4], &[3, 1]),
        (&[5], &[]),
        (&[1], &[2, 2]),
    ];
    for kind in [K::Add, K::Sub, K::Mul, K::Div, K::Pow, K::SquaredDifference] {
        for (a, b) in shapes {
            let op = Binary { kind, activation: Activation::None };
            let (a, b) = (within(1, a, 0.5, 2.0), within(2, b, 0.5, 2.0));
            Case::of(op.clone(), &[Input(a.clone()), Trained(b.clone())], 1).check();
            Case::of(op.clone(), &[Fixed(a.clone()), Trained(b.clone())], 1).check();
            Case::of(op, &[Input(a), Fixed(b)], 1).check();
        }
    }
    for kind in [K::Min, K::Max] {
        for (a, b) in shapes {
            // The two never come nearer to each other than 0.05.
            let shifted = distinct(2, b).to_f32().iter().map(|v| v + 0.05).collect::<Vec<_>>();
            let op = Binary { kind, activation: Activation::None };
            Case::of(op, &[Input(distinct(1, a)), Trained(Tensor::new(b.to_vec(), shifted))], 1).check();
        }
    }
    for activation in [Activation::Relu, Activation::Relu6, Activation::ReluN1To1] {
        check_clear_of_kinks(|seed| {
            let op = Binary { kind: K::Mul, activation };
            (
                op.into(),
                vec![Input(within(2 * seed, &[2, 5], -3.0, 3.0)), Trained(within(2 * seed + 1, &[5], -3.0, 3.0))],
            )
        });
    }
}

#[test]
fn joining_with_an_activation() {
    for (axis, shapes) in [(0, [[2, 3], [1, 3]]), (1, [[2, 3], [2, 2]])] {
        let op = Concat { axis, activation: Activation::None };
        let [a, b] = shapes.map(|s| random(s[0] as u64, &s));
        Case::of(op.clone(), &[Input(a.clone()), Trained(b.clone()), Fixed(a.clone())], 1).check();
        // The same value twice.
        let mut case = Case::of(op, &[Input(a)], 1);
        let x = case.graph.inputs[0];
        case.graph.nodes[0].inputs = vec![Some(x), Some(x)];
        case.check();
    }
    check_clear_of_kinks(|seed| {
        let op = Concat { axis: 1, activation: Activation::Relu };
        (op.into(), vec![Input(random(2 * seed, &[2, 3])), Trained(random(2 * seed + 1, &[2, 2]))])
    });
}

#[test]
fn a_value_read_twice_by_one_node() {
    for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul, BinaryKind::Div] {
        let op = Binary { kind, activation: Activation::None };
        let mut case = Case::of(op, &[Input(within(1, &[3, 4], 0.5, 2.0))], 1);
        let x = case.graph.inputs[0];
        for node in &mut case.graph.nodes {
            node.inputs = vec![Some(x), Some(x)];
        }
        case.check();
    }
}

#[test]
fn choices() {
    let condition = Tensor::from_bools(vec![2, 1, 3], &[true, false, true, false, false, true]);
    let (a, b) = (random(1, &[2, 4, 3]), random(2, &[4, 1]));
    Case::of(Where, &[Given(condition.clone()), Input(a.clone()), Trained(b.clone())], 1).check();
    Case::of(Where, &[Fixed(condition), Fixed(a), Trained(b)], 1).check();
    for slope in [vec![3], vec![1], vec![4, 3]] {
        let (x, slope) = (distinct(1, &[2, 4, 3]), random(2, &slope));
        Case::of(PRelu, &[Input(x), Trained(slope)], 1).check();
    }
}
