//! Transposes, flattening, padding, pooling.

use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_graph::ops::{
    BinaryKind, Flatten, Pad, PadMode, Pool2d, PoolKind, Reduce, ReduceKind, Transpose, UnaryKind,
};
use fewbits_graph::{Activation, DType, Op, Quantization, Shape, ValueId};

use crate::support::{Build, conv, ops, simplified};

const TO_NCHW: [usize; 4] = [0, 3, 1, 2];
const TO_NHWC: [usize; 4] = [0, 2, 3, 1];

fn transpose(b: &mut Build, name: &str, x: ValueId, perm: &[usize]) -> ValueId {
    b.node(name, Transpose { perm: perm.to_vec() }, &[x])
}

#[test]
fn inverse_transposes_vanish() {
    let mut b = Build::default();
    let x = b.input(&[2, 3, 4, 5]);
    let y = b.unary("exp", UnaryKind::Exp, x);
    let y = transpose(&mut b, "t1", y, &TO_NCHW);
    let y = transpose(&mut b, "t2", y, &TO_NHWC);
    let y = b.unary("tanh", UnaryKind::Tanh, y);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Unary", "Unary"]);
}

#[test]
fn transposes_in_a_row_are_one() {
    let mut b = Build::default();
    let x = b.input(&[2, 3, 4, 5]);
    let y = transpose(&mut b, "t1", x, &TO_NCHW);
    let y = transpose(&mut b, "t2", y, &[1, 0, 2, 3]);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Transpose"]);
    assert_eq!(after.nodes[0].op, Transpose { perm: vec![3, 0, 1, 2] }.into());
}

#[test]
fn transposes_cancel_through_elementwise_operators() {
    let mut b = Build::default();
    let x = b.input(&[1, 3, 4, 5]);
    let y = transpose(&mut b, "t1", x, &TO_NCHW);
    let gate = b.unary("sigmoid", UnaryKind::Sigmoid, y);
    let z = b.binary("sub", BinaryKind::Sub, y, gate);
    let c = b.weights("per_channel", &[5, 1, 1]);
    let z = b.binary("add", BinaryKind::Add, z, c);
    let z = transpose(&mut b, "t2", z, &TO_NHWC);
    let w = b.unary("exp", UnaryKind::Exp, z);
    let after = simplified(&b.finish(&[w]));
    assert!(!ops(&after).contains(&"Transpose"), "{:?}", ops(&after));
    assert_eq!(after.nodes.len(), 4);
}

#[test]
fn a_transpose_that_something_else_needs_stays() {
    let mut b = Build::default();
    let x = b.input(&[1, 3, 4, 5]);
    let y = transpose(&mut b, "t1", x, &TO_NCHW);
    let y = b.unary("exp", UnaryKind::Exp, y);
    let z = transpose(&mut b, "t2", y, &TO_NHWC);
    let after = simplified(&b.finish(&[y, z]));
    assert_eq!(ops(&after), ["Transpose", "Unary", "Transpose"]);
}

#[test]
fn moving_axes_of_size_one_is_a_reshape() {
    let mut b = Build::default();
    let x = b.input(&[2, 1, 1, 5]);
    let y = transpose(&mut b, "t", x, &TO_NCHW);
    let y = b.node("flatten", Flatten { axis: 1 }, &[y]);
    let y = b.unary("exp", UnaryKind::Exp, y);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Reshape", "Unary"]);
}

#[test]
fn flattening_in_channel_order_is_moved_into_the_weights() {
    let mut b = Build::default();
    let x = b.input(&[2, 3, 4, 5]);
    let y = transpose(&mut b, "t", x, &TO_NCHW);
    let y = b.node("flatten", Flatten { axis: 1 }, &[y]);
    let y = b.unary("relu", UnaryKind::Relu, y);
    let y = b.dense("dense", y, 60, 7);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Flatten", "Unary", "FullyConnected"]);
}

fn padded(b: &mut Build, x: ValueId, pads: &[i64; 8], fill: f32) -> ValueId {
    let (pads, fill) = (b.ints(pads), b.scalar(fill));
    b.node("pad", Pad { mode: PadMode::Constant }, &[x, pads, fill])
}

#[test]
fn zero_padding_joins_the_conv() {
    let mut b = Build::default();
    let x = b.input(&[1, 5, 5, 2]);
    let y = padded(&mut b, x, &[0, 0, 1, 0, 0, 2, 3, 0], 0.0);
    let y = b.conv("conv", y, 2, 3);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Conv2d"]);
    assert!(matches!(&after.nodes[0].op, Op::Conv2d(c) if c.padding == [1, 2, 3, 4]));
}

#[test]
fn other_padding_stays() {
    for (pads, fill) in
        [([0, 1, 1, 0, 0, 1, 1, 0], 0.5), ([0, 0, 0, 1, 0, 0, 0, 0], 0.0), ([0, -1, 0, 0, 0, 0, 0, 0], 0.0)]
    {
        let mut b = Build::default();
        let channels = 2 + usize::try_from(pads[3]).unwrap();
        let x = b.input(&[1, 5, 5, 2]);
        let y = padded(&mut b, x, &pads, fill);
        let w = b.weights("w", &[3, 3, 3, channels]);
        let y = b.node("conv", conv(1), &[y, w]);
        assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Pad", "Conv2d"]);
    }
}

#[test]
fn padding_that_changes_the_element_type_stays() {
    let quant = Quantization::per_tensor(0.5, 0);
    let mut b = Build::default();
    let x = b.graph.add_input("x", DType::I8, Shape::fixed(&[1, 5, 5, 2]));
    b.graph.value_mut(x).quant = Some(quant.clone());
    let pads = b.ints(&[0, 1, 1, 0, 0, 1, 1, 0]);
    let y = b.node("pad", Pad { mode: PadMode::Constant }, &[x, pads]);
    (b.graph.value_mut(y).dtype, b.graph.value_mut(y).quant) = (DType::I16, Some(quant));
    let w = b.weights("w", &[3, 3, 3, 2]);
    let y = b.node("conv", conv(0), &[y, w]);
    let after = simplify(b.finish(&[y]), &SimplifyOptions::default()).expect("simplifies");
    assert_eq!(ops(&after), ["Pad", "Conv2d"]);
}

fn pool(kind: PoolKind, kernel: usize, pad: usize) -> Pool2d {
    Pool2d {
        kind,
        kernel: [kernel; 2],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [pad; 4],
        counted_padding: [pad; 2],
        activation: Activation::None,
    }
}

#[test]
fn zero_padding_joins_average_but_not_maximum_pooling() {
    let average = PoolKind::Average { count_include_pad: false };
    for (kind, expected) in [(average, vec!["Pool2d"]), (PoolKind::Max, vec!["Pad", "Pool2d"])] {
        let mut b = Build::default();
        let x = b.input(&[1, 5, 5, 2]);
        let y = padded(&mut b, x, &[0, 1, 0, 0, 0, 2, 1, 0], 0.0);
        let y = b.node("pool", pool(kind, 3, 0), &[y]);
        assert_eq!(ops(&simplified(&b.finish(&[y]))), expected);
    }
}

#[test]
fn pooling_of_the_whole_map_is_a_mean() {
    let mut b = Build::default();
    let x = b.input(&[2, 5, 5, 3]);
    let y = b.node("pool", pool(PoolKind::Average { count_include_pad: true }, 5, 0), &[x]);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(after.nodes[0].op, Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: true }.into());
}
