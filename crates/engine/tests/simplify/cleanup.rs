//! Constant folding, no-ops, reshapes, half precision.

use fewbits_graph::ops::{
    BinaryKind, Cast, Concat, Expand, Gather, Identity, Pad, PadMode, Reshape, ShapeOf, Slice, Split, UnaryKind,
};
use fewbits_graph::{Activation, DType, Dim, Graph, Shape, Tensor};

use crate::support::{Build, ops, random, simplified};

#[test]
fn constants_fold_but_do_not_blow_up() {
    let mut b = Build::default();
    let x = b.input(&[4]);
    let c = b.weights("c", &[4]);
    let folded = b.unary("exp", UnaryKind::Exp, c);
    let y = b.binary("mul", BinaryKind::Mul, x, folded);
    let (one, shape) = (b.scalar(1.5), b.ints(&[2048, 1024]));
    let big = b.node("expand", Expand, &[one, shape]);
    let graph = b.finish(&[y, big]);
    assert_eq!(ops(&simplified(&graph)), ["Binary", "Expand"]);

    let mut b = Build::default();
    let x = b.input(&[1024]);
    let (one, shape) = (b.scalar(1.5), b.ints(&[512, 1024]));
    let big = b.node("expand", Expand, &[one, shape]);
    let big = b.unary("exp", UnaryKind::Exp, big);
    let y = b.binary("add", BinaryKind::Add, x, big);
    // 2 MiB from 20 bytes: the expansion and what reads it stay.
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Expand", "Unary", "Binary"]);
}

#[test]
fn nothing_is_left_of_no_ops() {
    let mut b = Build::default();
    let x = b.input(&[2, 3, 4]);
    let y = b.unary("tanh", UnaryKind::Tanh, x);
    let y = b.node("identity", Identity, &[y]);
    let y = b.node("cast", Cast { to: DType::F32 }, &[y]);
    let shape = b.ints(&[0, -1, 4]);
    let y = b.node("reshape", Reshape { allow_zero: false }, &[y, shape]);
    let pads = b.ints(&[0; 6]);
    let y = b.node("pad", Pad { mode: PadMode::Reflect }, &[y, pads]);
    let (starts, ends, axes, steps) = (b.ints(&[0]), b.ints(&[i64::MAX]), b.ints(&[1]), b.ints(&[1]));
    let y = b.node("slice", Slice, &[y, starts, ends, axes, steps]);
    let y = b.node("split", Split { axis: 2, sizes: vec![4] }, &[y]);
    let y = b.node("concat", Concat { axis: 1, activation: Activation::None }, &[y]);
    let y = b.with("add", BinaryKind::Add, y, 0.0);
    let y = b.with("mul", BinaryKind::Mul, y, 1.0);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Unary"]);
    // The public name is the last one, the node's its own.
    assert_eq!(after.nodes[0].name, "tanh");
    assert_eq!(after.value(after.outputs[0]).name, "mul_out");
}

#[test]
fn an_identity_between_public_values_stays() {
    let mut b = Build::default();
    let x = b.input(&[2]);
    let y = b.node("identity", Identity, &[x]);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Identity"]);
}

#[test]
fn a_scalar_that_widens_is_no_no_op() {
    let mut b = Build::default();
    let x = b.input(&[3]);
    let zeros = b.graph.add_constant("zeros", Tensor::new(vec![2, 3], vec![0.0f32; 6]));
    let y = b.binary("add", BinaryKind::Add, x, zeros);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Binary"]);
}

/// `[N, S, 12]` to `[N, S, 3, 4]` the way PyTorch exports it.
fn split_heads() -> Graph {
    let mut b = Build::default();
    let shape = Shape(vec![Dim::symbol("N"), Dim::symbol("S"), Dim::Fixed(12)]);
    let x = b.graph.add_input("x", DType::F32, shape);
    let mut parts = Vec::new();
    for axis in 0..2 {
        let all = b.node(&format!("shape{axis}"), ShapeOf { start: 0, end: 3, dtype: DType::I64 }, &[x]);
        let index = b.ints(&[axis]);
        parts.push(b.node(&format!("gather{axis}"), Gather { axis: 0 }, &[all, index]));
    }
    parts.extend([b.ints(&[3]), b.ints(&[4])]);
    let shape = b.node("concat", Concat { axis: 0, activation: Activation::None }, &parts);
    let y = b.node("reshape", Reshape { allow_zero: false }, &[x, shape]);
    let y = b.unary("exp", UnaryKind::Exp, y);
    b.finish(&[y])
}

#[test]
fn computed_reshapes_get_constant_targets() {
    let after = simplified(&split_heads());
    assert_eq!(ops(&after), ["Reshape", "Unary"]);
    let target = after.value(after.nodes[0].inputs[1].unwrap()).data.as_ref().unwrap();
    assert_eq!(target.to_i64(), Some(vec![0, 0, 3, 4]));
}

#[test]
fn fixed_sizes_of_open_shapes_fold() {
    let mut b = Build::default();
    let x = b.graph.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), Dim::Fixed(6)]));
    let size = b.node("shape", ShapeOf { start: 1, end: 2, dtype: DType::I64 }, &[x]);
    let size = b.node("cast", Cast { to: DType::F32 }, &[size]);
    let y = b.binary("div", BinaryKind::Div, x, size);
    assert_eq!(ops(&simplified(&b.finish(&[y]))), ["Binary"]);
}

#[test]
fn half_models_compute_in_single_precision_and_store_half() {
    let mut b = Build::default();
    let half = |t: Tensor| {
        let data = t.to_f32().into_iter().map(half::f16::from_f32).collect();
        Tensor::new(t.shape().to_vec(), data)
    };
    let x = b.graph.add_input("x", DType::F16, Shape::fixed(&[2, 4]));
    let w = b.graph.add_constant("w", half(random(&[3, 4], 1)));
    let c = b.graph.add_constant("c", half(random(&[3], 2)));
    let fc = fewbits_graph::ops::FullyConnected { activation: Activation::None };
    let y = b.node("dense", fc, &[x, w]);
    let y = b.binary("add", BinaryKind::Mul, y, c);
    let graph = b.finish(&[y]);
    let after = fewbits_engine::simplify::simplify(graph, &Default::default()).unwrap();
    assert_eq!(ops(&after), ["Cast", "FullyConnected", "Binary", "Cast"]);
    let stored = after.value(after.nodes[1].inputs[1].unwrap());
    assert_eq!((stored.name.as_str(), stored.dtype), ("w", DType::F16));
    assert_eq!(after.value(after.nodes[1].outputs[0]).dtype, DType::F32);
    assert_eq!(after.value(after.outputs[0]).dtype, DType::F16);
    let out = crate::support::run(&after, &crate::support::inputs(&after));
    assert_eq!(out[0].dtype(), DType::F16);
}

#[test]
fn half_weights_behind_a_cast_stay_half() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let data: Vec<half::f16> = random(&[3, 4], 1).to_f32().into_iter().map(half::f16::from_f32).collect();
    let w = b.graph.add_constant("w", Tensor::new(vec![3, 4], data));
    let w = b.node("widen", Cast { to: DType::F32 }, &[w]);
    let y = b.node("dense", fewbits_graph::ops::FullyConnected { activation: Activation::None }, &[x, w]);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["FullyConnected"]);
    assert_eq!(after.value(after.nodes[0].inputs[1].unwrap()).dtype, DType::F16);
}
