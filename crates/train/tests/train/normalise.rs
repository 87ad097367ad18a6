//! Soft-max and normalisations.

use fewbits_graph::Activation;
use fewbits_graph::ops::{BatchNorm, GroupNorm, L2Norm, LayerNorm, LogSoftmax, Softmax};

use crate::support::{Absent, Arg, Case, Fixed, Input, Trained, check_clear_of_kinks, random, within};

#[test]
fn softmax_along_every_axis() {
    for axis in 0..3 {
        let x = || Input(within(1, &[2, 5, 3], -2.0, 2.0));
        Case::of(Softmax { axis, beta: 1.0 }, &[x()], 1).check();
        Case::of(Softmax { axis, beta: 0.5 }, &[x()], 1).check();
        Case::of(LogSoftmax { axis }, &[x()], 1).check();
    }
}

#[test]
fn layer_normalisation() {
    for (axis, count) in [(2, 6), (1, 18)] {
        let op = LayerNorm { axis, epsilon: 1e-5 };
        let (x, s, b) = (Input(random(1, &[4, 3, 6])), random(2, &[count]), random(3, &[count]));
        Case::of(op.clone(), &[x.clone(), Trained(s.clone()), Trained(b)], 1).check();
        Case::of(op.clone(), &[x.clone(), Trained(s), Absent], 1).check();
        Case::of(op, &[x], 1).check();
    }
}

#[test]
fn group_normalisation() {
    for groups in [1, 2, 6] {
        let op = GroupNorm { groups, epsilon: 1e-5 };
        let x = Input(random(1, &[2, 3, 4, 6]));
        Case::of(op, &[x, Trained(random(2, &[6])), Trained(random(3, &[6]))], 1).check();
    }
}

#[test]
fn unit_length() {
    for axis in 0..3 {
        Case::of(L2Norm { axis, epsilon: 1e-6 }, &[Input(random(1, &[2, 4, 3]))], 1).check();
        // All vectors are shorter than the floor.
        Case::of(L2Norm { axis, epsilon: 0.9 }, &[Input(within(2, &[2, 4, 3], -0.3, 0.3))], 1).check();
    }
}

fn batch_norm(seed: u64, by: f32) -> Vec<Arg> {
    let statistics = [Fixed(random(seed + 3, &[5])), Fixed(within(seed + 4, &[5], 0.5, 1.5))];
    let trained = [Trained(within(seed + 1, &[5], -by, by)), Trained(random(seed + 2, &[5]))];
    [Input(random(seed, &[2, 2, 2, 5]))].into_iter().chain(trained).chain(statistics).collect()
}

#[test]
fn frozen_batch_normalisation() {
    let op = |activation| BatchNorm { epsilon: 1e-3, activation };
    Case::of(op(Activation::None), &batch_norm(1, 1.0), 1).check();
    for activation in [Activation::Relu, Activation::Relu6] {
        check_clear_of_kinks(|seed| (op(activation).into(), batch_norm(9 * seed, 5.0)));
    }
}
