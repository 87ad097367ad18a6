//! Operators that move bytes.

use fewbits_graph::Activation;
use fewbits_graph::ops::{
    Concat, Coordinates, DepthToSpace, Gather, NearestRounding, Pad, PadMode, Reshape, Resize, ResizeMode, Slice,
    SpaceToDepth, Split, Transpose,
};
use fewbits_graph::{Op, ValueId};

use crate::common::{Net, assert_same};

/// One operator on an input of those dimensions, and constants.
fn moved(op: impl Into<Op>, dims: &[usize], constants: &[&[i64]]) {
    let op = op.into();
    let mut net = Net::new(1);
    let x = net.input(dims, 0.1, 3);
    let mut inputs = vec![x];
    inputs.extend(constants.iter().map(|c| net.ints(c)).collect::<Vec<ValueId>>());
    let y = net.node(op.clone(), &inputs, 0.1, 3);
    assert_same(&format!("{op:?}"), &net.finish(&[y]));
}

#[test]
fn one_after_another() {
    moved(Transpose { perm: vec![0, 3, 1, 2] }, &[2, 3, 4, 5], &[]);
    moved(Transpose { perm: vec![1, 0, 2] }, &[1, 6, 5], &[]);
    moved(Reshape { allow_zero: false }, &[2, 6], &[&[3, 4]]);
    moved(Slice, &[4, 6, 5], &[&[1, 4], &[4, 0], &[0, 1], &[1, -2]]);
    moved(Pad { mode: PadMode::Constant }, &[1, 3, 4, 2], &[&[0, 1, 2, 0, 0, 1, 0, 1]]);
    moved(SpaceToDepth { block: 2 }, &[1, 4, 6, 3], &[]);
    moved(DepthToSpace { block: 2, channel_first: false }, &[1, 2, 3, 12], &[]);
    moved(DepthToSpace { block: 2, channel_first: true }, &[1, 2, 3, 12], &[]);
    moved(Gather { axis: 1 }, &[2, 5, 3], &[&[4, 0, -1, 2]]);
}

#[test]
fn resizing() {
    for (coordinates, rounding) in [
        (Coordinates::Asymmetric, NearestRounding::Floor),
        (Coordinates::HalfPixel, NearestRounding::PreferFloor),
        (Coordinates::AlignCorners, NearestRounding::PreferCeil),
    ] {
        moved(Resize { mode: ResizeMode::Nearest(rounding), coordinates, scales: None }, &[2, 3, 4, 3], &[&[7, 5]]);
    }
}

#[test]
fn parts_and_joins() {
    let mut net = Net::new(2);
    let x = net.input(&[2, 3, 9], 0.1, 3);
    let first = net.node(Split { axis: 2, sizes: vec![4, 5] }, &[x], 0.1, 3);
    let second = net.graph.add_value("second", fewbits_graph::DType::I8, Default::default());
    net.graph.value_mut(second).quant = net.graph.value(first).quant.clone();
    net.graph.nodes[0].outputs.push(second);
    let y = net.node(Concat { axis: 2, activation: Activation::None }, &[second, first, x], 0.1, 3);
    let z = net.node(Concat { axis: 0, activation: Activation::Relu }, &[y, y], 0.2, -3);
    assert_same("split and concat", &net.finish(&[z, second]));
}

/// Inputs that go straight out, one value under two names, and shapes alone.
#[test]
fn outputs_that_nobody_computes() {
    let mut net = Net::new(2);
    let x = net.input(&[2, 6], 0.1, 3);
    let shape = net.ints(&[3, 4]);
    let y = net.node(Reshape { allow_zero: false }, &[x, shape], 0.1, 3);
    let z = net.node(Transpose { perm: vec![1, 0] }, &[y], 0.1, 3);
    let flat = net.ints(&[12]);
    let a = net.node(Reshape { allow_zero: false }, &[z, flat], 0.1, 3);
    assert_same("aliases", &net.finish(&[y, z, a]));
}
