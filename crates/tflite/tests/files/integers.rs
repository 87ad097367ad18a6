//! Integer operands that runtimes are particular about.

use crate::common::Case;
use fewbits_graph::ops::{Binary, BinaryKind, DepthwiseConv2d, FullyConnected, Pad, PadMode, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Op, Quantization, Shape, Tensor, ValueId};
use fewbits_tflite::{Error, read_bytes, to_bytes};

fn again(graph: &Graph) -> Graph {
    let bytes = to_bytes(graph).unwrap_or_else(|e| panic!("{e}"));
    read_bytes(&bytes).unwrap_or_else(|e| panic!("{e}"))
}

fn dense(activation: Activation) -> Op {
    FullyConnected { activation }.into()
}

/// The bias of node `i`.
fn bias(graph: &Graph, i: usize) -> ValueId {
    graph.nodes[i].inputs[2].expect("it has a bias")
}

#[test]
fn scales_of_biases_follow_from_their_operator() {
    let (xq, yq) = (Quantization::per_tensor(0.5, -3), Quantization::per_tensor(0.25, 7));
    let depthwise = DepthwiseConv2d {
        stride: [1, 1],
        dilation: [1, 1],
        padding: [0; 4],
        multiplier: 1,
        activation: Activation::None,
    };
    let per_channel = |axis| Quantization::per_channel(axis, vec![0.5, 0.25, 2.0]);
    let products = Quantization::per_channel(0, vec![0.25, 0.125, 1.0]);
    let one = Quantization::per_tensor;
    for (op, [x, w], weight_scales, expected) in [
        (depthwise.into(), [vec![1, 4, 4, 3], vec![1, 3, 3, 3]], per_channel(3), products.clone()),
        (dense(Activation::None), [vec![1, 5], vec![3, 5]], per_channel(0), products),
        (dense(Activation::None), [vec![1, 5], vec![3, 5]], one(0.5, 0), one(0.25, 0)),
    ] {
        let mut case = Case::new();
        let (x, w) = (case.int8_input(&x, xq.clone()), case.int8_weights(&w, weight_scales));
        let b = case.graph.add_constant("b", Tensor::new(vec![3], vec![5i32; 3]));
        let read = again(&case.quantized(op, &[x, w, b], DType::I8, yq.clone()));
        assert_eq!(read.value(bias(&read, 0)).quant, Some(expected));
    }
}

#[test]
fn one_bias_of_two_scales_becomes_two() {
    let mut graph = Graph::default();
    let quant = Quantization::per_tensor(0.5, 0);
    let x = graph.add_input("x", DType::I8, Shape::fixed(&[1, 3]));
    graph.value_mut(x).quant = Some(quant.clone());
    let b = graph.add_constant("b", Tensor::new(vec![3], vec![5i32; 3]));
    for (name, scale) in [("y0", 0.5), ("y1", 0.25), ("y2", 0.5)] {
        let w = graph.add_constant(format!("{name}/w"), Tensor::new(vec![3, 3], vec![1i8; 9]));
        graph.value_mut(w).quant = Some(Quantization::per_tensor(scale, 0));
        let y = graph.add_node(name, dense(Activation::None), &[Some(x), Some(w), Some(b)], name);
        (graph.value_mut(y).dtype, graph.value_mut(y).quant) = (DType::I8, Some(quant.clone()));
        graph.outputs.push(y);
    }
    graph.infer().expect("consistent");
    let read = again(&graph);
    let scale = |i: usize| read.value(bias(&read, i)).quant.as_ref().and_then(Quantization::as_per_tensor);
    assert_eq!([scale(0), scale(1), scale(2)], [Some((0.25, 0)), Some((0.125, 0)), Some((0.25, 0))]);
    assert_eq!(bias(&read, 0), bias(&read, 2));
}

#[test]
fn given_scales_of_biases_stay() {
    let mut case = Case::new();
    let x = case.int8_input(&[1, 5], Quantization::per_tensor(0.5, 0));
    let w = case.int8_weights(&[3, 5], Quantization::per_tensor(0.5, 0));
    let given = Quantization::per_tensor(0.375, 0);
    let b = case.bias(3, given.clone());
    let read = again(&case.quantized(dense(Activation::Relu), &[x, w, b], DType::I8, given.clone()));
    assert_eq!(read.value(bias(&read, 0)).quant, Some(given));
}

/// The fill value that the file has for `fill` beside int8 data of scale ½ and zero point −3.
fn written_fill(fill: f32) -> (DType, Option<Vec<i64>>, Option<Quantization>) {
    let quant = Quantization::per_tensor(0.5, -3);
    let mut case = Case::new();
    let (x, pads) = (case.int8_input(&[2, 3], quant.clone()), case.ints(&[0, 1, 1, 2]));
    let value = case.graph.add_constant("fill", Tensor::scalar(fill));
    let read = again(&case.quantized(Pad { mode: PadMode::Constant }, &[x, pads, value], DType::I8, quant));
    let fill = read.value(read.nodes[0].inputs[2].expect("the fill value is an operand"));
    (fill.dtype, fill.data.as_ref().and_then(Tensor::to_i64), fill.quant.clone())
}

#[test]
fn integers_are_padded_with_integers() {
    let quant = Some(Quantization::per_tensor(0.5, -3));
    for (fill, integer) in [(1.5, 0), (-0.75, -5), (1e9, 127), (f32::NEG_INFINITY, -128)] {
        assert_eq!(written_fill(fill), (DType::I8, Some(vec![integer]), quant.clone()), "{fill}");
    }
}

#[test]
fn operators_without_64_bit_kernels_are_refused() {
    let refused = |op: Op, inputs: usize| {
        let mut case = Case::new();
        let inputs: Vec<_> = (0..inputs).map(|_| case.typed_input(DType::I64, &[2])).collect();
        match to_bytes(&case.node(op, &inputs, 1)) {
            Err(Error::Unwritable { what, .. }) => assert!(what.contains("int32"), "{what}"),
            other => panic!("LiteRT could not run it, got {other:?}"),
        }
    };
    refused(Binary { kind: BinaryKind::Div, activation: Activation::None }.into(), 2);
    refused(Unary { kind: UnaryKind::Abs }.into(), 1);
}
