//! Small graphs: graph → file → graph gives the same nodes, names, types, shapes and constants
//! (64-bit index constants come back as 32-bit ones).

use crate::common::{Case, canonical};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Op, Quantization, Shape, Tensor};
use fewbits_tflite::{Error, read_bytes, supported_operators, to_bytes};

fn again(graph: &Graph) -> Graph {
    let bytes = to_bytes(graph).unwrap_or_else(|e| panic!("{e}"));
    read_bytes(&bytes).unwrap_or_else(|e| panic!("{e}"))
}

/// Asserts that the graph survives unchanged.
fn same(graph: Graph) {
    assert_eq!(canonical(&graph), canonical(&again(&graph)));
}

/// Asserts that the graph becomes nodes of these operators.
fn becomes(graph: Graph, names: &[&str]) -> Graph {
    let read = again(&graph);
    let got: Vec<_> = read.nodes.iter().map(|n| n.op.name()).collect();
    assert_eq!(got, names);
    let outputs = |g: &Graph| -> Vec<_> {
        g.outputs.iter().map(|&v| (g.value(v).name.clone(), g.value(v).dtype, g.value(v).shape.clone())).collect()
    };
    assert_eq!(outputs(&graph), outputs(&read));
    read
}

fn conv(stride: [usize; 2], padding: [usize; 4]) -> Conv2d {
    Conv2d { stride, dilation: [1, 1], padding, groups: 1, activation: Activation::Relu6 }
}

fn unary(kind: UnaryKind) -> Graph {
    let mut case = Case::new();
    let x = case.input(&[2, 3, 4]);
    case.node(Unary { kind }, &[x], 1)
}

#[test]
fn convolutions() {
    for (stride, padding) in [([1, 1], [1; 4]), ([2, 2], [0, 0, 1, 1]), ([2, 1], [0; 4])] {
        let mut case = Case::new();
        let (x, w, b) = (case.input(&[1, 8, 8, 4]), case.weights(&[6, 3, 3, 4]), case.weights(&[6]));
        same(case.node(conv(stride, padding), &[x, w, b], 1));

        let mut case = Case::new();
        let (x, w, b) = (case.input(&[1, 8, 8, 4]), case.weights(&[1, 3, 3, 8]), case.weights(&[8]));
        let Conv2d { dilation, activation, .. } = conv(stride, padding);
        same(case.node(DepthwiseConv2d { stride, dilation, padding, multiplier: 2, activation }, &[x, w, b], 1));
    }
    let mut case = Case::new();
    let (x, w, b) = (case.input(&[1, 8, 8, 4]), case.weights(&[6, 3, 3, 2]), case.weights(&[6]));
    same(case.node(Conv2d { groups: 2, dilation: [2, 2], ..conv([1, 1], [2; 4]) }, &[x, w, b], 1));
}

#[test]
fn padding_without_a_code_becomes_a_node() {
    let mut case = Case::new();
    let (x, w, b) = (case.input(&[1, 8, 8, 4]), case.weights(&[6, 3, 3, 4]), case.weights(&[6]));
    let read = becomes(case.node(conv([2, 2], [1; 4]), &[x, w, b], 1), &["Pad", "Conv2d"]);
    let pads = read.value(read.nodes[0].inputs[1].expect("pads are given")).data.as_ref().and_then(Tensor::to_i64);
    assert_eq!(pads, Some(vec![0, 1, 1, 0, 0, 1, 1, 0]));

    let mut case = Case::new();
    let q = Quantization::per_tensor(0.5, 3);
    let x = case.int8_input(&[1, 8, 8, 4], q.clone());
    let pool = |kind, padding: [usize; 4]| Pool2d {
        kind,
        kernel: [3, 3],
        stride: [2, 2],
        dilation: [1, 1],
        padding,
        counted_padding: [padding[2], padding[3]],
        activation: Activation::None,
    };
    let read = becomes(case.quantized(pool(PoolKind::Max, [1; 4]), &[x], DType::I8, q.clone()), &["Pad", "Pool2d"]);
    let fill = read.value(read.nodes[0].inputs[2].expect("a maximum is padded with the lowest value"));
    assert_eq!((fill.data.as_ref().and_then(Tensor::to_i64), &fill.quant), (Some(vec![-128]), &Some(q)));

    let mut case = Case::new();
    let x = case.input(&[1, 8, 8, 4]);
    same(case.node(pool(PoolKind::Average { count_include_pad: false }, [0, 0, 1, 1]), &[x], 1));
    let mut case = Case::new();
    let x = case.input(&[1, 8, 8, 4]);
    // Two rows of padding count, one does not: the mean is corrected where windows reach it.
    let mut odd = pool(PoolKind::Average { count_include_pad: true }, [1, 1, 2, 2]);
    odd.counted_padding = [1, 1];
    let read = becomes(case.node(odd, &[x], 1), &["Pad", "Pool2d", "Binary"]);
    let factors = read.value(read.nodes[2].inputs[1].expect("two factors")).data.clone().expect("constant").to_f32();
    assert_eq!(factors.len(), 25);
    assert_eq!((factors[0], factors[4], factors[24]), (1.0, 1.5, 9.0 / 4.0));

    // Nobody writes a map of divisors of gigabytes.
    let mut case = Case::new();
    let x = case.input(&[1, 1 << 20, 1 << 20, 4]);
    match to_bytes(&case.node(pool(PoolKind::Average { count_include_pad: false }, [1; 4]), &[x], 1)) {
        Err(Error::Unwritable { what, .. }) => assert!(what.contains("too large"), "{what}"),
        other => panic!("{:?}", other.map(|bytes| bytes.len())),
    }
}

#[test]
fn transposed_convolutions() {
    let build = |padding, output_padding| {
        let mut case = Case::new();
        let (x, w, b) = (case.input(&[1, 5, 4, 4]), case.weights(&[6, 3, 3, 4]), case.weights(&[6]));
        let op = ConvTranspose2d {
            stride: [2, 2],
            dilation: [1, 1],
            padding,
            output_padding,
            groups: 1,
            activation: Activation::None,
        };
        case.node(op, &[x, w, b], 1)
    };
    same(build([0; 4], [0, 0]));
    same(build([0, 0, 1, 1], [0, 0]));
    becomes(build([1; 4], [1, 1]), &["ConvTranspose2d", "Slice"]);
}

#[test]
fn products() {
    let mut case = Case::new();
    let (x, w, b) = (case.input(&[2, 5]), case.weights(&[3, 5]), case.weights(&[3]));
    same(case.node(FullyConnected { activation: Activation::Relu }, &[x, w, b], 1));
    let mut case = Case::new();
    let (x, w) = (case.input(&[2, 4, 5]), case.weights(&[3, 5]));
    same(case.node(FullyConnected { activation: Activation::None }, &[x, w], 1));
    let mut case = Case::new();
    let (x, y) = (case.input(&[2, 3, 4]), case.weights(&[2, 5, 4]));
    same(case.node(MatMul { transpose_a: false, transpose_b: true }, &[x, y], 1));
    let mut case = Case::new();
    let (x, y) = (case.input(&[3, 4]), case.weights(&[4]));
    becomes(case.node(MatMul::default(), &[x, y], 1), &["Reshape", "MatMul", "Reshape"]);
}

#[test]
fn arithmetic_and_logic() {
    use BinaryKind::*;
    for kind in [Add, Sub, Mul, Div, Pow, Min, Max, SquaredDifference, FloorDiv, FloorMod] {
        let mut case = Case::new();
        let (x, y) = (case.input(&[2, 3, 4]), case.weights(&[4]));
        same(case.node(Binary { kind, activation: Activation::None }, &[x, y], 1));
    }
    let mut case = Case::new();
    let (x, y) = (case.input(&[2, 3]), case.input(&[3]));
    becomes(case.node(Binary { kind: Pow, activation: Activation::Relu }, &[x, y], 1), &["Binary", "Unary"]);
    use CompareKind::*;
    for kind in [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual] {
        let mut case = Case::new();
        let (x, y) = (case.input(&[2, 3]), case.input(&[3]));
        same(case.node(Compare { kind }, &[x, y], 1));
    }
    for kind in [LogicalKind::And, LogicalKind::Or] {
        let mut case = Case::new();
        let (x, y) = (case.typed_input(DType::Bool, &[2]), case.typed_input(DType::Bool, &[2]));
        same(case.node(Logical { kind }, &[x, y], 1));
    }
    let mut case = Case::new();
    let (c, x, y) = (case.typed_input(DType::Bool, &[2, 3]), case.input(&[2, 3]), case.input(&[3]));
    same(case.node(Where, &[c, x, y], 1));
    let mut case = Case::new();
    let x = case.input(&[2]);
    same(case.node(Cast { to: DType::I32 }, &[x], 1));
    let mut case = Case::new();
    let (x, slope) = (case.input(&[1, 2, 2, 4]), case.weights(&[4]));
    same(case.node(PRelu, &[x, slope], 1));
}

#[test]
fn functions_of_elements() {
    use UnaryKind::*;
    let built_in = [
        Relu,
        Clip { min: 0.0, max: 6.0 },
        Clip { min: -1.0, max: 1.0 },
        LeakyRelu { alpha: 0.1 },
        Elu { alpha: 1.0 },
        HardSwish,
        Sigmoid,
        Tanh,
        Gelu { tanh: false },
        Gelu { tanh: true },
        Exp,
        Log,
        Sqrt,
        Rsqrt,
        Square,
        Neg,
        Abs,
        Sign,
        Floor,
        Ceil,
        Round,
        Sin,
        Cos,
    ];
    built_in.into_iter().for_each(|kind| same(unary(kind)));
    becomes(unary(Silu), &["Unary", "Binary"]);
    becomes(unary(Clip { min: -0.5, max: 2.0 }), &["Binary", "Binary"]);
    becomes(unary(Clip { min: f32::NEG_INFINITY, max: 2.0 }), &["Binary"]);
    becomes(unary(HardSigmoid { alpha: 0.2, beta: 0.5 }), &["Binary"; 3]);
    becomes(unary(Reciprocal), &["Binary"]);
    becomes(unary(Softsign), &["Unary", "Binary", "Binary"]);
    becomes(unary(Elu { alpha: 0.5 }), &["Binary", "Unary", "Binary", "Unary", "Binary"]);
    becomes(unary(Softplus), &["Unary", "Unary", "Unary", "Binary", "Unary", "Unary", "Binary"]);
    match to_bytes(&unary(Erf)) {
        Err(Error::Unwritable { node, op, .. }) => assert_eq!((node.as_str(), op), ("y", "Unary")),
        other => panic!("TFLite has no error function, got {other:?}"),
    }
}

#[test]
fn along_axes() {
    use ReduceKind::*;
    let over = |op: Op| {
        let mut case = Case::new();
        let x = case.input(&[2, 3, 4]);
        case.node(op, &[x], 1)
    };
    for kind in [Sum, Mean, Max, Min, Prod] {
        for keep_dims in [false, true] {
            same(over(Reduce { kind, axes: vec![0, 2], keep_dims }.into()));
        }
    }
    let composed = |kind| over(Reduce { kind, axes: vec![1], keep_dims: false }.into());
    becomes(composed(L1), &["Unary", "Reduce"]);
    becomes(composed(L2), &["Unary", "Reduce", "Unary"]);
    becomes(composed(LogSumExp), &["Reduce", "Binary", "Unary", "Reduce", "Unary", "Binary", "Reshape"]);
    same(over(Softmax { axis: 2, beta: 1.5 }.into()));
    same(over(LogSoftmax { axis: 2 }.into()));
    same(over(L2Norm { axis: 2, epsilon: 1e-6 }.into()));
    same(over(CumSum { axis: 1, exclusive: true, reverse: false }.into()));
    becomes(over(Softmax { axis: 1, beta: 1.0 }.into()), &["Transpose", "Softmax", "Transpose"]);
    for largest in [false, true] {
        same(over(ArgReduce { largest, axis: 1, keep_dims: false, select_last: false, dtype: DType::I64 }.into()));
    }
    let mut case = Case::new();
    let x = case.input(&[2, 4]);
    same(case.node(TopK { k: 2, axis: 1, largest: true, dtype: DType::I32 }, &[x], 2));
    let mut case = Case::new();
    let (x, s, b) = (case.input(&[2, 4]), case.weights(&[4]), case.weights(&[4]));
    let norm = case.node(LayerNorm { axis: 1, epsilon: 1e-5 }, &[x, s, b], 1);
    becomes(norm, &["Reduce", "Binary", "Reduce", "Binary", "Unary", "Binary", "Binary", "Binary", "Binary"]);
}

#[test]
fn movements() {
    let with = |shape: &[usize], ints: &[&[i64]], op: Op, outputs: usize| {
        let mut case = Case::new();
        let mut inputs = vec![case.input(shape)];
        inputs.extend(ints.iter().map(|v| case.ints(v)));
        case.node(op, &inputs, outputs)
    };
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Symmetric] {
        same(with(&[2, 3], &[&[0, 1, 1, 2]], Pad { mode }.into(), 1));
    }
    same(with(&[2, 6], &[], Split { axis: 1, sizes: vec![3, 3] }.into(), 2));
    same(with(&[2, 6], &[], Split { axis: 1, sizes: vec![1, 5] }.into(), 2));
    same(with(&[2, 3, 5], &[&[1], &[3], &[1], &[1]], Slice.into(), 1));
    same(with(&[2, 3, 5], &[&[0, 1], &[2, 4], &[1, 2], &[1, 2]], Slice.into(), 1));
    same(with(&[4, 3], &[&[2, 0]], Gather { axis: 0 }.into(), 1));
    same(with(&[4, 3], &[&[2, 0]], GatherNd { batch_dims: 0 }.into(), 1));
    same(with(&[4, 3], &[&[2, 1]], Tile.into(), 1));
    same(with(&[1, 4, 6, 2], &[], SpaceToDepth { block: 2 }.into(), 1));
    same(with(&[1, 4, 6, 8], &[], DepthToSpace { block: 2, channel_first: false }.into(), 1));
    becomes(
        with(&[1, 4, 6, 8], &[], DepthToSpace { block: 2, channel_first: true }.into(), 1),
        &["Gather", "DepthToSpace"],
    );
    same(with(&[2, 6], &[&[3, -1]], Reshape { allow_zero: true }.into(), 1).with_shape_constant(&[3, 4]));
    same(with(&[2, 1, 3], &[], Squeeze { axes: vec![1] }.into(), 1));
    same(with(&[2, 3], &[], Unsqueeze { axes: vec![1] }.into(), 1));
    same(with(&[3, 1], &[&[2, 3, 4]], Expand.into(), 1));
    same(with(&[2, 3, 4], &[], Transpose { perm: vec![2, 0, 1] }.into(), 1));
    same(with(&[2, 3, 4], &[], ShapeOf { start: 0, end: 3, dtype: DType::I32 }.into(), 1));
    becomes(with(&[2, 3, 4], &[], Flatten { axis: 1 }.into(), 1), &["Reshape"]);
    becomes(with(&[2, 3, 4], &[], Identity.into(), 1), &["Reshape"]);
    let mut case = Case::new();
    let (x, y) = (case.input(&[2, 3]), case.input(&[2, 2]));
    same(case.node(Concat { axis: 1, activation: Activation::None }, &[x, y], 1));
}

/// The shape operand as the writer resolves it.
trait WithShape {
    fn with_shape_constant(self, shape: &[i64]) -> Self;
}

impl WithShape for Graph {
    fn with_shape_constant(mut self, shape: &[i64]) -> Self {
        let id = self.nodes[0].inputs[1].expect("a reshape has a shape");
        self.value_mut(id).data = Some(Tensor::from_ints(shape));
        self
    }
}

#[test]
fn resizing() {
    use Coordinates::*;
    let build = |mode, coordinates| {
        let mut case = Case::new();
        let (x, sizes) = (case.input(&[1, 3, 4, 2]), case.ints(&[6, 8]));
        case.node(Resize { mode, coordinates, scales: None }, &[x, sizes], 1)
    };
    for coordinates in [Asymmetric, HalfPixel, AlignCorners] {
        same(build(ResizeMode::Linear, coordinates));
    }
    same(build(ResizeMode::Nearest(NearestRounding::Floor), Asymmetric));
    same(build(ResizeMode::Nearest(NearestRounding::Floor), HalfPixelNearest));
    same(build(ResizeMode::Nearest(NearestRounding::PreferCeil), AlignCorners));
    becomes(build(ResizeMode::Nearest(NearestRounding::PreferFloor), HalfPixel), &["Resize"]);
    let cubic = build(ResizeMode::Cubic { coefficient: -0.75, exclude_outside: false }, HalfPixel);
    assert!(matches!(to_bytes(&cubic), Err(Error::Unwritable { .. })));
}

#[test]
fn integer_edges() {
    let (xq, yq) = (Quantization::per_tensor(0.5, -3), Quantization::per_tensor(0.25, 7));
    let mut case = Case::new();
    let x = case.int8_input(&[1, 8, 8, 2], xq.clone());
    let w = case.int8_weights(&[3, 3, 3, 2], Quantization::per_channel(0, vec![0.5, 0.25, 2.0]));
    let b = case.bias(3, Quantization::per_channel(0, vec![0.25, 0.125, 1.0]));
    same(case.quantized(conv([1, 1], [1; 4]), &[x, w, b], DType::I8, yq.clone()));
    let mut case = Case::new();
    let x = case.input(&[2, 3]);
    same(case.quantized(Quantize, &[x], DType::U8, yq.clone()));
    let mut case = Case::new();
    let x = case.int8_input(&[2, 3], xq.clone());
    same(case.quantized(Requantize, &[x], DType::I16, Quantization::per_tensor(0.25, 0)));
    let mut case = Case::new();
    let x = case.int8_input(&[2, 3], xq);
    same(case.node(Dequantize, &[x], 1));
    // Dynamic range: float activations, integer weights.
    let mut case = Case::new();
    let (x, b) = (case.input(&[2, 5]), case.weights(&[3]));
    let w = case.int8_weights(&[3, 5], Quantization::per_tensor(0.5, 0));
    same(case.node(FullyConnected { activation: Activation::None }, &[x, w, b], 1));
    // Half weights stay half through the widening that the file needs.
    let mut case = Case::new();
    let x = case.input(&[2, 2]);
    let half = Tensor::from_bytes(DType::F16, vec![2, 2], vec![0, 60, 0, 188, 0, 56, 0, 0].into());
    let w = case.graph.add_constant("w", half.expect("four halves"));
    same(case.node(FullyConnected { activation: Activation::None }, &[x, w], 1));
}

#[test]
fn open_dimensions_stay_open() {
    let mut case = Case::new();
    let (x, w) = (case.input(&[1, 5]), case.weights(&[3, 5]));
    case.graph.value_mut(x).shape = Shape(vec![Dim::symbol("batch"), Dim::Fixed(5)]);
    let graph = case.node(FullyConnected { activation: Activation::None }, &[x, w], 1);
    assert_eq!(graph.value(graph.outputs[0]).shape.0[0], Dim::symbol("batch"));
    same(graph);
}

#[test]
fn constants_stand_on_boundaries_of_16_bytes() {
    let mut case = Case::new();
    let (x, w, b) = (case.input(&[2, 5]), case.weights(&[3, 5]), case.weights(&[3]));
    let [weights, bias] = [w, b].map(|v| case.graph.value(v).data.clone().expect("constant"));
    let bytes = to_bytes(&case.node(FullyConnected { activation: Activation::None }, &[x, w, b], 1)).expect("writable");
    assert_eq!(&bytes[4..8], b"TFL3");
    for data in [weights.bytes(), bias.bytes()] {
        let at = bytes.windows(data.len()).position(|w| w == data).expect("the constant is in the file");
        assert_eq!(at % 16, 0);
    }
}

#[test]
fn the_table_of_operators_is_sorted_and_without_repetition() {
    let names = supported_operators();
    assert!(names.windows(2).all(|w| w[0] < w[1]));
    assert!(names.contains(&"CONV_2D") && names.contains(&"STRIDED_SLICE"));
}

#[test]
fn blocks_are_rows_with_scales_that_are_reshaped() {
    let matrix = |size, axis| {
        let mut case = Case::new();
        let x = case.input(&[2, 32]);
        let values: Vec<i8> = (0..96).map(|i| (i % 16) as i8 - 8).collect();
        let w = case.graph.add_constant("w", Tensor::from_nibbles(vec![3, 32], &values).unwrap());
        let count = if axis == 1 { 3 * 32usize.div_ceil(size) } else { 3usize.div_ceil(size) * 32 };
        case.graph.value_mut(w).quant = Some(Quantization {
            granularity: fewbits_graph::Granularity::Blocked { axis, size },
            scales: (1..=count).map(|i| i as f32).collect(),
            zero_points: vec![0; count],
        });
        let real = case.graph.add_node("dequantize", Dequantize, &[Some(w)], "real");
        case.node(FullyConnected { activation: Activation::None }, &[x, real], 1)
    };
    let read = becomes(matrix(16, 1), &["Dequantize", "Reshape", "FullyConnected"]);
    let rows = read.value(read.nodes[0].inputs[0].unwrap());
    assert_eq!((rows.dtype, &rows.shape), (DType::I4, &Shape::fixed(&[6, 16])));
    assert_eq!(rows.quant, Some(Quantization::per_channel(0, (1..=6).map(|i| i as f32).collect())));
    for (size, axis) in [(24, 1), (2, 0)] {
        let error = to_bytes(&matrix(size, axis)).unwrap_err().to_string();
        assert!(error.contains("blocks") && error.contains(".onnx"), "{error}");
    }
}
