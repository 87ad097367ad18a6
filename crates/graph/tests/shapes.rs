//! Shape rules, operator by operator.

use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Error, Graph, Op, Quantization, Shape, Tensor};

/// An input of the operator under test: a shape (numbers are sizes, other words are symbols), or
/// known integers.
enum In {
    Shape(&'static str),
    Ints(&'static [i64]),
}
use In::{Ints, Shape as S};

fn shape(text: &str) -> Shape {
    let dim = |t: &str| t.parse().map_or_else(|_| Dim::symbol(t), Dim::Fixed);
    Shape(text.split_whitespace().map(dim).collect())
}

fn infer(op: impl Into<Op>, inputs: &[In]) -> Result<String, Error> {
    let mut g = Graph::default();
    let ids: Vec<_> = inputs
        .iter()
        .map(|input| {
            Some(match input {
                In::Shape(text) => g.add_input("input", DType::F32, shape(text)),
                In::Ints(ints) => g.add_constant("ints", Tensor::from_ints(ints)),
            })
        })
        .collect();
    let out = g.add_node("node", op, &ids, "out");
    g.infer()?;
    Ok(g.value(out).shape.0.iter().map(Dim::to_string).collect::<Vec<_>>().join(" "))
}

fn ok(op: impl Into<Op>, inputs: &[In], expected: &str) {
    assert_eq!(infer(op, inputs).expect("fits").as_str(), expected);
}

fn fails(op: impl Into<Op>, inputs: &[In]) {
    let result = infer(op, inputs);
    assert!(result.is_err(), "{result:?}");
}

fn conv(stride: usize, dilation: usize, padding: [usize; 4], groups: usize) -> Conv2d {
    Conv2d { stride: [stride; 2], dilation: [dilation; 2], padding, groups, activation: Activation::None }
}

#[test]
fn convolution() {
    ok(conv(1, 1, [0; 4], 1), &[S("2 5 6 3"), S("8 3 3 3")], "2 3 4 8");
    ok(conv(2, 1, [0, 0, 1, 1], 1), &[S("N 224 224 3"), S("32 3 3 3"), S("32")], "N 112 112 32");
    ok(conv(1, 2, [2; 4], 2), &[S("1 7 7 4"), S("6 3 3 2")], "1 7 7 6");
    ok(conv(2, 1, [1; 4], 1), &[S("1 H 9 3"), S("4 3 3 3")], "1 (((H+-1)/2)+1) 5 4");
    fails(conv(1, 1, [0; 4], 1), &[S("1 2 5 3"), S("8 3 3 3")]);
    fails(conv(1, 1, [0; 4], 1), &[S("1 5 5 4"), S("8 3 3 3")]);
    fails(conv(1, 1, [0; 4], 3), &[S("1 5 5 3"), S("8 3 3 1")]);
    fails(conv(0, 1, [0; 4], 1), &[S("1 5 5 3"), S("8 3 3 3")]);
    fails(conv(1, 1, [0; 4], 0), &[S("1 5 5 3"), S("8 3 3 3")]);
    fails(conv(1, 1, [0; 4], 1), &[S("1 5 5 3"), S("8 3 3 3"), S("7")]);
    fails(conv(1, 1, [0; 4], 1), &[S("5 5 3"), S("8 3 3 3")]);
    fails(conv(1, 1, [usize::MAX, 0, usize::MAX, 0], 1), &[S("1 H 5 3"), S("8 3 3 3")]);
    fails(conv(1, usize::MAX, [0; 4], 1), &[S("1 5 5 3"), S("8 3 3 3")]);
}

#[test]
fn depthwise_and_transposed_convolution() {
    let depthwise = |multiplier| DepthwiseConv2d {
        stride: [2, 1],
        dilation: [1, 1],
        padding: [1; 4],
        multiplier,
        activation: Activation::None,
    };
    ok(depthwise(2), &[S("1 6 6 3"), S("1 3 3 6"), S("6")], "1 3 6 6");
    fails(depthwise(1), &[S("1 6 6 3"), S("1 3 3 6")]);
    fails(depthwise(1), &[S("1 6 6 3"), S("3 3 3 3")]);
    let transposed = ConvTranspose2d {
        stride: [2, 2],
        dilation: [1, 1],
        padding: [1; 4],
        output_padding: [1, 0],
        groups: 1,
        activation: Activation::None,
    };
    ok(transposed.clone(), &[S("1 4 5 3"), S("8 3 3 3")], "1 8 9 8");
    ok(transposed.clone(), &[S("1 H 5 3"), S("8 3 3 3")], "1 (((H-1)*2)+2) 9 8");
    fails(ConvTranspose2d { padding: [9; 4], ..transposed }, &[S("1 4 5 3"), S("8 3 3 3")]);
}

#[test]
fn products() {
    let fc = || FullyConnected { activation: Activation::None };
    ok(fc(), &[S("N S 8"), S("5 8"), S("5")], "N S 5");
    fails(fc(), &[S("2 7"), S("5 8")]);
    fails(fc(), &[S(""), S("5 8")]);
    let plain = MatMul::default;
    ok(plain(), &[S("2 1 3 4"), S("5 4 6")], "2 5 3 6");
    ok(plain(), &[S("4"), S("4 6")], "6");
    ok(plain(), &[S("3 4"), S("4")], "3");
    ok(plain(), &[S("4"), S("4")], "");
    ok(MatMul { transpose_a: true, transpose_b: true }, &[S("4 3"), S("6 4")], "3 6");
    fails(plain(), &[S("3 4"), S("5 6")]);
    fails(plain(), &[S("2 3 4"), S("3 4 6")]);
    fails(plain(), &[S(""), S("4 6")]);
}

#[test]
fn broadcasting() {
    let add = || Binary { kind: BinaryKind::Add, activation: Activation::None };
    ok(add(), &[S("2 1 4"), S("3 1")], "2 3 4");
    ok(add(), &[S(""), S("3 1")], "3 1");
    ok(add(), &[S("N 1"), S("N 4")], "N 4");
    // A symbol against a size above 1 can only be that size or 1.
    ok(add(), &[S("N"), S("4")], "4");
    ok(add(), &[S("N"), S("1")], "N");
    ok(add(), &[S("0"), S("1")], "0");
    fails(add(), &[S("3"), S("4")]);
    fails(add(), &[S("2 3")]);
    ok(PRelu, &[S("1 4 4 3"), S("3")], "1 4 4 3");
    fails(PRelu, &[S("3"), S("1 3")]);
    fails(PRelu, &[S("1"), S("3")]);
    ok(Expand, &[S("3 1"), Ints(&[2, 1, 4])], "2 3 4");
    fails(Expand, &[S("3"), Ints(&[-1])]);
}

#[test]
fn reshaping() {
    let reshape = || Reshape { allow_zero: false };
    ok(reshape(), &[S("2 3 4"), Ints(&[0, -1])], "2 12");
    ok(reshape(), &[S("N S 384"), Ints(&[0, 0, 12, 32])], "N S 12 32");
    ok(reshape(), &[S("N S 12 32"), Ints(&[0, 0, -1])], "N S 384");
    ok(reshape(), &[S("N 7 7 64"), Ints(&[-1, 3136])], "N 3136");
    ok(reshape(), &[S("N 6 S"), Ints(&[-1, 4])], "(((N*S)*6)/4) 4");
    ok(Reshape { allow_zero: true }, &[S("0 4"), Ints(&[4, 0])], "4 0");
    fails(reshape(), &[S("2 3"), Ints(&[4, -1])]);
    fails(reshape(), &[S("2 3"), Ints(&[-1, -1])]);
    fails(reshape(), &[S("2 3"), Ints(&[7])]);
    fails(reshape(), &[S("2 3"), Ints(&[2, 3, 0])]);
    fails(reshape(), &[S("2 3"), Ints(&[-2])]);
    ok(Flatten { axis: 1 }, &[S("2 3 4")], "2 12");
    ok(Flatten { axis: 3 }, &[S("2 3 4")], "24 1");
    fails(Flatten { axis: 4 }, &[S("2 3 4")]);
    ok(Squeeze { axes: vec![0, 2] }, &[S("1 3 1")], "3");
    fails(Squeeze { axes: vec![1] }, &[S("1 3 1")]);
    ok(Unsqueeze { axes: vec![0, 2] }, &[S("3")], "1 3 1");
    fails(Unsqueeze { axes: vec![2] }, &[S("3")]);
    ok(Transpose { perm: vec![0, 2, 3, 1] }, &[S("N 3 4 5")], "N 4 5 3");
    fails(Transpose { perm: vec![0, 0] }, &[S("2 3")]);
    ok(ShapeOf { start: 1, end: 3, dtype: DType::I64 }, &[S("2 3 4")], "2");
    fails(ShapeOf { start: 1, end: 4, dtype: DType::I64 }, &[S("2 3 4")]);
}

#[test]
fn moving() {
    let concat = |axis| Concat { axis, activation: Activation::None };
    ok(concat(1), &[S("N 3 4"), S("N 5 4")], "N 8 4");
    fails(concat(1), &[S("2 3 4"), S("2 5 5")]);
    fails(concat(3), &[S("2 3 4"), S("2 3 4")]);
    ok(Pad { mode: PadMode::Constant }, &[S("2 3"), Ints(&[0, 1, -1, 2])], "1 6");
    fails(Pad { mode: PadMode::Constant }, &[S("2 3"), Ints(&[0, 1, 2])]);
    fails(Pad { mode: PadMode::Constant }, &[S("2 3"), Ints(&[-2, 0, -1, 0])]);
    ok(Gather { axis: 1 }, &[S("2 3 4"), S("5 6")], "2 5 6 4");
    ok(Tile, &[S("2 N"), Ints(&[3, 2])], "6 (N*2)");
    fails(Tile, &[S("2 3"), Ints(&[1])]);
    ok(SpaceToDepth { block: 2 }, &[S("1 4 6 3")], "1 2 3 12");
    fails(SpaceToDepth { block: 2 }, &[S("1 5 6 3")]);
    fails(SpaceToDepth { block: 0 }, &[S("1 4 6 3")]);
    fails(SpaceToDepth { block: usize::MAX }, &[S("1 H W 3")]);
    ok(DepthToSpace { block: 2, channel_first: false }, &[S("1 2 3 12")], "1 4 6 3");
    fails(DepthToSpace { block: 2, channel_first: false }, &[S("1 2 3 10")]);
    ok(GatherNd { batch_dims: 0 }, &[S("4 5 6"), S("7 2")], "7 6");
    fails(GatherNd { batch_dims: 2 }, &[S("4 5 6"), S("4 5 2")]);
    ok(Range, &[Ints(&[5]), Ints(&[0]), Ints(&[-2])], "3");
    ok(Range, &[Ints(&[5]), Ints(&[9]), Ints(&[-2])], "0");
    fails(Range, &[Ints(&[5]), Ints(&[0]), Ints(&[0])]);
    fails(Range, &[Ints(&[i64::MIN]), Ints(&[i64::MAX]), Ints(&[0])]);
}

#[test]
fn slicing() {
    const ALL: i64 = i64::MAX;
    ok(Slice, &[S("5 6"), Ints(&[1, -2]), Ints(&[ALL, ALL]), Ints(&[0, 1]), Ints(&[2, 1])], "2 2");
    ok(Slice, &[S("5"), Ints(&[-1]), Ints(&[i64::MIN]), Ints(&[-1]), Ints(&[-1])], "5");
    ok(Slice, &[S("S"), Ints(&[1]), Ints(&[ALL]), Ints(&[0]), Ints(&[1])], "(S-1)");
    ok(Slice, &[S("S"), Ints(&[-1]), Ints(&[i64::MIN]), Ints(&[0]), Ints(&[-1])], "S");
    ok(Slice, &[S("S"), Ints(&[-1]), Ints(&[0]), Ints(&[0]), Ints(&[i64::MIN])], "S[-1:0:-9223372036854775808]");
    fails(Slice, &[S("5"), Ints(&[0]), Ints(&[1]), Ints(&[0]), Ints(&[0])]);
    fails(Slice, &[S("5"), Ints(&[0]), Ints(&[1]), Ints(&[1]), Ints(&[1])]);
    fails(Slice, &[S("5"), Ints(&[0, 0]), Ints(&[1]), Ints(&[0]), Ints(&[1])]);
}

#[test]
fn reducing() {
    let mean = |axes: &[usize], keep_dims| Reduce { kind: ReduceKind::Mean, axes: axes.to_vec(), keep_dims };
    ok(mean(&[1, 2], true), &[S("N 7 7 8")], "N 1 1 8");
    ok(mean(&[1, 2], false), &[S("N 7 7 8")], "N 8");
    ok(mean(&[], false), &[S("2 3")], "2 3");
    fails(mean(&[1, 1], true), &[S("2 3")]);
    fails(mean(&[2], true), &[S("2 3")]);
    let top = |k| TopK { k, axis: 1, largest: true, dtype: DType::I64 };
    ok(top(2), &[S("N 3")], "N 2");
    fails(top(4), &[S("N 3")]);
}

#[test]
fn pooling_and_resizing() {
    let pool = Pool2d {
        kind: PoolKind::Max,
        kernel: [3, 3],
        stride: [2, 2],
        dilation: [1, 1],
        padding: [0, 0, 1, 1],
        counted_padding: [1, 1],
        activation: Activation::None,
    };
    ok(pool.clone(), &[S("1 8 8 4")], "1 4 4 4");
    fails(Pool2d { kernel: [0, 3], ..pool.clone() }, &[S("1 8 8 4")]);
    fails(Pool2d { stride: [0, 1], ..pool }, &[S("1 8 8 4")]);
    let resize = |scales| Resize { mode: ResizeMode::Linear, coordinates: Coordinates::HalfPixel, scales };
    ok(resize(Some([1.5, 2.0])), &[S("1 5 W 3")], "1 7 (W*2) 3");
    ok(resize(None), &[S("1 5 5 3"), Ints(&[10, 7])], "1 10 7 3");
    fails(resize(Some([f32::NAN, 1.0])), &[S("1 5 5 3")]);
    fails(resize(None), &[S("1 5 5 3"), Ints(&[0, 7])]);
    fails(resize(None), &[S("1 5 5 3")]);
}

#[test]
fn normalising() {
    let norm = || BatchNorm { epsilon: 1e-3, activation: Activation::None };
    ok(norm(), &[S("1 2 2 4"), S("4"), S("4"), S("4"), S("4")], "1 2 2 4");
    fails(norm(), &[S("1 2 2 4"), S("4"), S("4"), S("4"), S("3")]);
    fails(norm(), &[S("1 2 2 4"), S("4")]);
    ok(LayerNorm { axis: 1, epsilon: 1e-5 }, &[S("N 3 4"), S("3 4")], "N 3 4");
    fails(LayerNorm { axis: 1, epsilon: 1e-5 }, &[S("N 3 4"), S("4")]);
    fails(GroupNorm { groups: 3, epsilon: 1e-5 }, &[S("1 2 2 4"), S("4"), S("4")]);
}

#[test]
fn shape_arithmetic_follows_symbols() {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, shape("N S 12"));
    let dims = g.add_node("shape", ShapeOf { start: 0, end: 3, dtype: DType::I64 }, &[Some(x)], "dims");
    let last = g.add_constant("last", Tensor::from_ints(&[-1]));
    let last = g.add_node("gather", Gather { axis: 0 }, &[Some(dims), Some(last)], "last_dim");
    let four = g.add_constant("four", Tensor::from_ints(&[4]));
    let div = Binary { kind: BinaryKind::Div, activation: Activation::None };
    let heads = g.add_node("div", div, &[Some(last), Some(four)], "heads");
    let ints = g.infer_integers().unwrap();
    assert_eq!(ints[heads.0], Some(vec![3.into()]));
    let all: Vec<String> = ints[dims.0].as_ref().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(all, ["N", "S", "12"]);
    assert_eq!(ints[x.0], None);
}

#[test]
fn narrow_embeddings_are_read_as_real_numbers_where_declared_so() {
    for (declared, expected) in [(DType::F32, DType::F32), (DType::I8, DType::I8)] {
        let mut g = Graph::default();
        let table = g.add_constant("table", Tensor::new(vec![4, 2], vec![0i8; 8]));
        g.value_mut(table).quant = Some(Quantization::per_channel(0, vec![1.0; 4]));
        let at = g.add_input("at", DType::I64, shape("N"));
        let out = g.add_node("gather", Gather { axis: 0 }, &[Some(table), Some(at)], "out");
        g.value_mut(out).dtype = declared;
        g.infer().unwrap();
        assert_eq!((g.value(out).dtype, &g.value(out).shape), (expected, &shape("N 2")));
    }
}
