//! What stands in a file once, however often it is used.

use fewbits_graph::ops::{Binary, BinaryKind, Conv2d, Quantize, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Quantization, Shape, Tensor, ValueId};
use fewbits_tflite::{read_bytes, to_bytes};

const CHANNELS: usize = 24;

/// How often `part` stands in `bytes`.
fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|w| *w == part).count()
}

/// Adds an int8 1×1 convolution whose weights are all `fill`.
fn add_conv(graph: &mut Graph, x: ValueId, name: &str, fill: i8) -> ValueId {
    let quant = |scale: f32| Some(Quantization::per_channel(0, vec![scale; CHANNELS]));
    let w = graph.add_constant(format!("{name}/w"), Tensor::new(vec![CHANNELS, 1, 1, CHANNELS], vec![fill; 576]));
    let b = graph.add_constant(format!("{name}/b"), Tensor::new(vec![CHANNELS], vec![i32::from(fill); CHANNELS]));
    graph.value_mut(w).quant = quant(0.25);
    graph.value_mut(b).quant = quant(0.125);
    let activation = Activation::None;
    let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [0; 4], groups: 1, activation };
    let y = graph.add_node(name, op, &[Some(x), Some(w), Some(b)], name);
    graph.value_mut(y).dtype = DType::I8;
    graph.value_mut(y).quant = Some(Quantization::per_tensor(0.5, 0));
    y
}

/// A chain of convolutions with these weights.
fn chain(fills: &[i8]) -> Graph {
    let mut graph = Graph::default();
    let mut x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 4, 4, CHANNELS]));
    x = graph.add_node("q", Quantize, &[Some(x)], "q");
    graph.value_mut(x).dtype = DType::I8;
    graph.value_mut(x).quant = Some(Quantization::per_tensor(0.5, 0));
    for (i, &fill) in fills.iter().enumerate() {
        x = add_conv(&mut graph, x, &format!("convolution_{i}"), fill);
    }
    graph.outputs = vec![x];
    graph.infer().expect("the chain is consistent");
    graph
}

#[test]
fn equal_parameters_stand_there_once() {
    let bytes = to_bytes(&chain(&[3, 5, 7])).expect("writable");
    let mut zero_points = 24u32.to_le_bytes().to_vec();
    zero_points.extend([0; 8 * CHANNELS]);
    assert_eq!(count(&bytes, &zero_points), 1);
    let scales: Vec<u8> = 0.25f32.to_le_bytes().repeat(CHANNELS);
    assert_eq!(count(&bytes, &scales), 1);
    // The names of inputs and outputs stand in the signature, too.
    assert_eq!(count(&bytes, b"convolution_2\0"), 1);
    assert_eq!(read_bytes(&bytes).expect("readable").nodes.len(), 4);
}

#[test]
fn equal_constants_stand_there_once() {
    let (two, one) = (to_bytes(&chain(&[3, 5])).expect("writable"), to_bytes(&chain(&[3, 3])).expect("writable"));
    assert_eq!((count(&two, &[5; 576]), count(&one, &[3; 576])), (1, 1));
    assert!(one.len() + 576 <= two.len(), "{} and {} bytes", one.len(), two.len());
    let read = read_bytes(&one).expect("readable");
    let names: Vec<_> = read.values.iter().filter(|v| v.data.is_some()).map(|v| v.name.as_str()).collect();
    assert_eq!(names.len(), 4, "constants stay different values: {names:?}");
}

#[test]
fn another_layer_costs_little_more_than_its_numbers() {
    let (two, three) = (to_bytes(&chain(&[3, 5])).expect("writable"), to_bytes(&chain(&[3, 5, 7])).expect("writable"));
    let numbers = 576 + 4 * CHANNELS;
    let added = three.len() - two.len();
    assert!((numbers..numbers + 400).contains(&added), "{added} bytes for {numbers} of constants");
}

#[test]
fn attributes_of_different_values_stay_apart() {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[2, 3]));
    let mut y = x;
    let alphas = [0.1f32, 0.2, 0.1];
    for (i, alpha) in alphas.into_iter().enumerate() {
        y = graph.add_node(
            format!("y{i}"),
            Unary { kind: UnaryKind::LeakyRelu { alpha } },
            &[Some(y)],
            format!("y{i}"),
        );
    }
    let sum = Binary { kind: BinaryKind::Add, activation: Activation::Relu };
    y = graph.add_node("sum", sum, &[Some(x), Some(y)], "sum");
    graph.outputs = vec![y];
    graph.infer().expect("consistent");
    let read = read_bytes(&to_bytes(&graph).expect("writable")).expect("readable");
    let ops = |g: &Graph| g.nodes.iter().map(|n| format!("{:?}", n.op)).collect::<Vec<_>>();
    assert_eq!(ops(&graph), ops(&read));
}
