//! Operators without weights that compute.

use fewbits_graph::Activation;
use fewbits_graph::ops::{
    Binary, BinaryKind, Pool2d, PoolKind, Reduce, ReduceKind, Requantize, Softmax, Unary, UnaryKind,
};

use crate::common::{Net, assert_same};

fn binary(kind: BinaryKind, a: &[usize], b: &[usize], scales: [f32; 3]) {
    let mut net = Net::new(1);
    let x = net.input(a, scales[0], -4);
    let y = net.input(b, scales[1], if scales[0] == scales[1] { -4 } else { 13 });
    let zero = if scales[0] == scales[2] { -4 } else { 2 };
    let z = net.node(Binary { kind, activation: Activation::Relu }, &[x, y], scales[2], zero);
    assert_same(&format!("{kind:?} {a:?} {b:?}"), &net.finish(&[z]));
}

#[test]
fn sums_and_products() {
    for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul] {
        binary(kind, &[2, 3, 4], &[2, 3, 4], [0.07, 0.031, 0.09]);
        binary(kind, &[2, 3, 4], &[4], [0.07, 0.031, 0.09]);
        binary(kind, &[3, 1], &[2, 1, 5], [0.02, 0.3, 0.4]);
    }
}

#[test]
fn smaller_and_larger() {
    for kind in [BinaryKind::Min, BinaryKind::Max] {
        binary(kind, &[2, 5], &[2, 5], [0.1, 0.1, 0.1]);
        binary(kind, &[2, 5], &[1], [0.1, 0.1, 0.1]);
    }
}

/// Adding a value to itself and to others, in place where the planner finds that.
#[test]
fn sums_share_memory_with_their_operands() {
    let mut net = Net::new(2);
    let add = || Binary { kind: BinaryKind::Add, activation: Activation::None };
    let x = net.input(&[4, 16], 0.1, 0);
    let a = net.node(add(), &[x, x], 0.2, 1);
    let b = net.node(add(), &[a, a], 0.4, 2);
    let c = net.node(add(), &[b, x], 0.5, 3);
    let d = net.node(add(), &[c, b], 0.6, 4);
    let e = net.node(add(), &[d, x], 0.6, 4);
    assert_same("chain of sums", &net.finish(&[e]));
}

#[test]
fn tables() {
    let unary = |kind: UnaryKind, input: f32, output: (f32, i32)| {
        let mut net = Net::new(4);
        let x = net.input(&[5, 60], input, 9);
        let y = net.node(Unary { kind }, &[x], output.0, output.1);
        net.finish(&[y])
    };
    assert_same("relu", &unary(UnaryKind::Relu, 0.1, (0.05, -128)));
    assert_same("leaky", &unary(UnaryKind::LeakyRelu { alpha: 0.1 }, 0.1, (0.08, -50)));
    assert_same("elu", &unary(UnaryKind::Elu { alpha: 1.0 }, 0.05, (0.03, -90)));
    assert_same("same scale", &unary(UnaryKind::Relu, 0.1, (0.1, 9)));
    assert_same("relu6", &unary(UnaryKind::Clip { min: 0.0, max: 6.0 }, 0.1, (0.03, -128)));
    assert_same("clip", &unary(UnaryKind::Clip { min: -1.03, max: f32::INFINITY }, 0.1, (0.07, 5)));
    assert_same("sigmoid", &unary(UnaryKind::Sigmoid, 0.05, (1.0 / 256.0, -128)));
    assert_same("tanh", &unary(UnaryKind::Tanh, 0.03, (1.0 / 128.0, 0)));
    assert_same("hard swish", &unary(UnaryKind::HardSwish, 0.06, (0.05, -120)));
}

#[test]
fn soft_max() {
    for (scale, classes) in [(0.01, 10), (0.2, 3), (1.5, 300)] {
        let mut net = Net::new(6);
        let x = net.input(&[3, classes], scale, -5);
        let y = net.node(Softmax { axis: 1, beta: 1.0 }, &[x], 1.0 / 256.0, -128);
        assert_same(&format!("scale {scale}, {classes} classes"), &net.finish(&[y]));
    }
}

#[test]
fn requantizing() {
    let mut net = Net::new(6);
    let x = net.input(&[7, 9], 0.1, -5);
    let y = net.node(Requantize, &[x], 0.23, 40);
    assert_same("requantize", &net.finish(&[y]));
}

#[test]
fn pooling() {
    let average = PoolKind::Average { count_include_pad: false };
    for kind in [PoolKind::Max, average] {
        for (kernel, stride, padding) in
            [([2, 2], [2, 2], [0; 4]), ([3, 3], [2, 1], [1, 1, 1, 1]), ([6, 5], [1, 1], [0; 4])]
        {
            let mut net = Net::new(8);
            let x = net.input(&[2, 6, 5, 6], 0.1, -7);
            let dilation = [1, 1];
            let activation = Activation::Relu6;
            let op = Pool2d { kind, kernel, stride, dilation, padding, counted_padding: [0, 0], activation };
            let y = net.node(op, &[x], 0.1, -7);
            assert_same(&format!("{kind:?} {kernel:?}"), &net.finish(&[y]));
        }
    }
}

#[test]
fn reductions() {
    for axes in [vec![1, 2], vec![3], vec![0, 3], vec![0, 1, 2, 3]] {
        let mut net = Net::new(10);
        let x = net.input(&[2, 6, 5, 6], 0.1, -7);
        let op = Reduce { kind: ReduceKind::Mean, axes: axes.clone(), keep_dims: false };
        let y = net.node(op, &[x], 0.03, 12);
        assert_same(&format!("mean {axes:?}"), &net.finish(&[y]));
        for kind in [ReduceKind::Max, ReduceKind::Min] {
            let mut net = Net::new(10);
            let x = net.input(&[2, 6, 5, 6], 0.1, -7);
            let y = net.node(Reduce { kind, axes: axes.clone(), keep_dims: true }, &[x], 0.1, -7);
            assert_same(&format!("{kind:?} {axes:?}"), &net.finish(&[y]));
        }
    }
}
