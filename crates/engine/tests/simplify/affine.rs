//! Batch normalisation, scales, biases and activations in the weights.

use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_graph::ops::{BatchNorm, BinaryKind, ConvTranspose2d, DepthwiseConv2d, MatMul, UnaryKind};
use fewbits_graph::{Activation, Op, Tensor, ValueId};

use crate::support::{Build, conv, numbers, ops, simplified};

fn batch_norm(b: &mut Build, name: &str, x: ValueId, channels: usize) -> ValueId {
    let scale = b.weights("gamma", &[channels]);
    let bias = b.weights("beta", &[channels]);
    let mean = b.weights("mean", &[channels]);
    let spread = numbers(channels, 5).iter().map(|n| n.abs() + 0.1).collect();
    let variance = b.graph.add_constant("variance", Tensor::new(vec![channels], spread));
    let op = BatchNorm { epsilon: 1e-3, activation: Activation::None };
    b.node(name, op, &[x, scale, bias, mean, variance])
}

#[test]
fn a_huge_dimension_sizes_no_allocation() {
    let mut b = Build::default();
    let x = b.input(&[1, 1 << 45]);
    let y = b.with("add", BinaryKind::Add, x, 1.5);
    let y = b.unary("tanh", UnaryKind::Tanh, y);
    let after = simplify(b.finish(&[y]), &SimplifyOptions::default()).expect("simplifies");
    assert_eq!(ops(&after), ["Binary", "Unary"]);
}

#[test]
fn conv_batch_norm_relu6_is_one_conv() {
    let mut b = Build::default();
    let x = b.input(&[2, 6, 5, 3]);
    let y = b.conv("conv", x, 3, 8);
    let y = batch_norm(&mut b, "bn", y, 8);
    let y = b.unary("clip", UnaryKind::Clip { min: 0.0, max: 6.0 }, y);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Conv2d"]);
    assert_eq!(after.nodes[0].name, "conv");
    assert_eq!(after.nodes[0].op.activation(), Some(Activation::Relu6));
    assert_eq!(after.value(after.nodes[0].outputs[0]).name, "clip_out");
    assert_eq!(after.value(after.nodes[0].inputs[1].unwrap()).name, "conv_w");
}

#[test]
fn batch_norm_folds_into_depthwise_transposed_and_dense() {
    let mut b = Build::default();
    let x = b.input(&[1, 5, 5, 3]);
    let w = b.weights("dw", &[1, 3, 3, 6]);
    let depthwise = DepthwiseConv2d {
        stride: [2, 1],
        dilation: [1, 1],
        padding: [1; 4],
        multiplier: 2,
        activation: Activation::None,
    };
    let y = b.node("depthwise", depthwise, &[x, w]);
    let y = batch_norm(&mut b, "bn1", y, 6);
    let w = b.weights("tw", &[4, 2, 2, 6]);
    let transposed = ConvTranspose2d {
        stride: [2, 2],
        dilation: [1, 1],
        padding: [0; 4],
        output_padding: [0; 2],
        groups: 1,
        activation: Activation::None,
    };
    let y = b.node("transposed", transposed, &[y, w]);
    let y = batch_norm(&mut b, "bn2", y, 4);
    let y = b.unary("tanh", UnaryKind::Tanh, y);
    let y = b.dense("dense", y, 4, 7);
    let y = batch_norm(&mut b, "bn3", y, 7);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["DepthwiseConv2d", "ConvTranspose2d", "Unary", "FullyConnected"]);
}

#[test]
fn a_value_that_others_read_keeps_its_batch_norm() {
    let mut b = Build::default();
    let x = b.input(&[1, 4, 4, 2]);
    let y = b.conv("conv", x, 2, 2);
    let z = batch_norm(&mut b, "bn", y, 2);
    let after = simplified(&b.finish(&[y, z]));
    assert_eq!(ops(&after), ["Conv2d", "BatchNorm"]);
}

#[test]
fn batch_norm_before_a_conv_folds_only_without_padding() {
    for (pad, expected) in [(0, vec!["Conv2d"]), (1, vec!["BatchNorm", "Conv2d"])] {
        let mut b = Build::default();
        let x = b.input(&[1, 5, 5, 4]);
        let y = batch_norm(&mut b, "bn", x, 4);
        let w = b.weights("w", &[6, 3, 3, 2]);
        let mut grouped = conv(pad);
        grouped.groups = 2;
        let y = b.node("conv", grouped, &[y, w]);
        assert_eq!(ops(&simplified(&b.finish(&[y]))), expected);
    }
}

#[test]
fn a_pure_scale_before_a_padded_conv_folds() {
    let mut b = Build::default();
    let x = b.input(&[1, 5, 5, 2]);
    let y = b.with("div", BinaryKind::Div, x, 127.5);
    let y = b.conv("conv", y, 2, 3);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Conv2d"]);
}

#[test]
fn channel_arithmetic_after_a_conv_folds() {
    let mut b = Build::default();
    let x = b.input(&[1, 4, 4, 2]);
    let mut y = b.conv("conv", x, 2, 3);
    for (i, kind) in [BinaryKind::Mul, BinaryKind::Add, BinaryKind::Sub, BinaryKind::Div].into_iter().enumerate() {
        let c = b.weights(&format!("c{i}"), &[1, 1, 3]);
        y = b.binary(&format!("{kind:?}"), kind, y, c);
    }
    let c = b.weights("minuend", &[3]);
    let y = b.binary("reversed", BinaryKind::Sub, c, y);
    let y = b.unary("relu", UnaryKind::Relu, y);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Conv2d"]);
    assert_eq!(after.nodes[0].op.activation(), Some(Activation::Relu));
}

#[test]
fn spatial_constants_do_not_fold() {
    let mut b = Build::default();
    let x = b.input(&[1, 4, 3, 2]);
    let y = b.conv("conv", x, 2, 3);
    let c = b.weights("per_column", &[3, 1]);
    let y = b.binary("add", BinaryKind::Add, y, c);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Conv2d", "Binary"]);
}

#[test]
fn matmul_and_add_are_fully_connected() {
    for transpose_b in [false, true] {
        let mut b = Build::default();
        let x = b.input(&[2, 3, 8]);
        let w = b.weights("w", if transpose_b { &[5, 8] } else { &[8, 5] });
        let y = b.node("matmul", MatMul { transpose_a: false, transpose_b }, &[x, w]);
        let c = b.weights("bias", &[5]);
        let y = b.binary("add", BinaryKind::Add, c, y);
        let after = simplified(&b.finish(&[y]));
        assert_eq!(ops(&after), ["FullyConnected"]);
        assert_eq!(after.nodes[0].name, "matmul");
        assert!(after.nodes[0].inputs[2].is_some());
    }
}

#[test]
fn min_and_max_with_constants_become_an_activation() {
    let mut b = Build::default();
    let x = b.input(&[1, 4, 4, 2]);
    let y = b.conv("conv", x, 2, 3);
    let y = b.with("max", BinaryKind::Max, y, 0.0);
    let y = b.with("min", BinaryKind::Min, y, 6.0);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Conv2d"]);
    assert_eq!(after.nodes[0].op.activation(), Some(Activation::Relu6));
}

#[test]
fn an_activation_does_not_pass_a_second_reader() {
    let mut b = Build::default();
    let x = b.input(&[1, 4, 4, 2]);
    let y = b.conv("conv", x, 2, 2);
    let z = b.unary("relu", UnaryKind::Relu, y);
    let sum = b.binary("sum", BinaryKind::Add, y, z);
    let after = simplified(&b.finish(&[sum]));
    assert_eq!(ops(&after), ["Conv2d", "Unary", "Binary"]);
    assert!(matches!(&after.nodes[1].op, Op::Unary(u) if u.kind == UnaryKind::Relu));
}
