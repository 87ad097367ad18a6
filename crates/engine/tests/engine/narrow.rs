//! Weights of four bits, and weights that stay integers behind float activations.

use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_engine::{Engine, Options};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Granularity, Graph, Op, Quantization, Shape, Tensor, ValueId};

use crate::support::{Random, floats, random};

fn nibbles(seed: u64, shape: &[usize], smallest: i8) -> Vec<i8> {
    let mut random = Random::new(seed);
    (0..shape.iter().product()).map(|_| ((random.bits() >> 56) as u8 as i8 >> 4).max(smallest)).collect()
}

fn blocked(rows: usize, k: usize, size: usize, zero_point: i32) -> Quantization {
    let count = rows * k.div_ceil(size);
    Quantization {
        granularity: Granularity::Blocked { axis: 1, size },
        scales: (0..count).map(|i| 0.01 + i as f32 / 1000.0).collect(),
        zero_points: (0..count).map(|i| zero_point * (i as i32 % 2)).collect(),
    }
}

/// `x [N, k] → layer` with stored weights behind a `Dequantize`.
fn layer(stored: Tensor, quant: Quantization) -> (Graph, ValueId) {
    let &[n, k] = stored.shape() else { panic!("a matrix") };
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), k.into()]));
    let w = g.add_constant("w", stored);
    g.value_mut(w).quant = Some(quant);
    let real = g.add_node("dequantize", Dequantize, &[Some(w)], "real");
    let b = g.add_constant("b", random(5, &[n], 1.0));
    let op = FullyConnected { activation: Activation::Relu };
    g.outputs = vec![g.add_node("layer", op, &[Some(x), Some(real), Some(b)], "y")];
    (g, real)
}

fn run(graph: &Graph, x: &Tensor) -> Vec<f32> {
    let mut engine = Engine::compile(graph, &Options { threads: 2, ..Options::default() }).unwrap();
    floats(&engine.run(std::slice::from_ref(x)).unwrap()[0])
}

/// The graph with the converted weights as a float constant.
fn with_floats(graph: &Graph, real: ValueId) -> Graph {
    let mut float = graph.clone();
    let node = float.nodes.remove(0);
    let stored = float.value(node.inputs[0].unwrap()).clone();
    let (data, quant) = (stored.data.unwrap(), stored.quant.unwrap());
    let parameter = quant.parameter_of(data.shape());
    let number =
        |(i, &q): (usize, &i64)| (q as i32 - quant.zero_points[parameter(i)]) as f32 * quant.scales[parameter(i)];
    let numbers: Vec<f32> = data.to_i64().unwrap().iter().enumerate().map(number).collect();
    let value = float.value_mut(real);
    (value.dtype, value.quant) = (DType::F32, None);
    (value.shape, value.data) = (Shape::fixed(data.shape()), Some(Tensor::new(data.shape().to_vec(), numbers)));
    float
}

#[test]
fn integer_weights_give_the_bits_of_their_float_numbers() {
    let per_channel = Quantization::per_channel(0, (0..37).map(|i| 0.01 + i as f32 / 500.0).collect());
    for (bits, quant) in [
        (4, blocked(37, 100, 32, 0)),
        (4, blocked(37, 100, 16, 3)),
        (8, blocked(37, 100, 64, -5)),
        (4, per_channel),
        (8, Quantization::per_tensor(0.02, 1)),
        // No kernel has these blocks: the weights are made float.
        (4, blocked(37, 100, 12, 0)),
    ] {
        let values = nibbles(9, &[37, 100], -8);
        let stored = match bits {
            4 => Tensor::from_nibbles(vec![37, 100], &values).unwrap(),
            _ => Tensor::new(vec![37, 100], values.iter().map(|q| q * 15).collect::<Vec<i8>>()),
        };
        let (graph, real) = layer(stored, quant);
        let float = with_floats(&graph, real);
        for rows in [1, 3, 4, 40] {
            let x = random(rows as u64, &[rows, 100], 2.0);
            assert_eq!(run(&graph, &x), run(&float, &x), "{rows} rows");
        }
    }
}

#[test]
fn observers_see_what_is_computed() {
    let (graph, real) =
        layer(Tensor::from_nibbles(vec![8, 32], &nibbles(1, &[8, 32], -8)).unwrap(), blocked(8, 32, 16, 0));
    let mut engine = Engine::compile(&graph, &Options::default()).unwrap();
    let mut seen = Vec::new();
    engine.run_observed(&[random(2, &[2, 32], 1.0)], &mut |id, view| seen.push((id, view.shape.to_vec()))).unwrap();
    assert!(seen.iter().any(|(id, shape)| *id == graph.outputs[0] && shape == &[2, 8]));
    assert!(seen.iter().all(|(id, _)| *id != real), "the float weights are nowhere");
}

#[test]
fn weights_that_something_else_reads_are_made_float() {
    let (mut graph, real) =
        layer(Tensor::from_nibbles(vec![8, 32], &nibbles(1, &[8, 32], -8)).unwrap(), blocked(8, 32, 16, 0));
    let twice = Binary { kind: BinaryKind::Add, activation: Activation::None };
    let sum = graph.add_node("sum", twice, &[Some(real), Some(real)], "sum");
    graph.outputs.push(sum);
    let mut engine = Engine::compile(&graph, &Options::default()).unwrap();
    let out = engine.run(&[random(2, &[1, 32], 1.0)]).unwrap();
    let float = with_floats(&graph, real);
    let exact = float.value(real).data.as_ref().unwrap().to_f32();
    assert_eq!(floats(&out[1]), exact.iter().map(|w| 2.0 * w).collect::<Vec<f32>>());
}

#[test]
fn rows_with_scales_that_are_reshaped_are_blocks() {
    let values = nibbles(4, &[12, 16], -8);
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape::fixed(&[2, 48]));
    let w = g.add_constant("w", Tensor::from_nibbles(vec![12, 16], &values).unwrap());
    g.value_mut(w).quant = Some(Quantization::per_channel(0, (1..13).map(|i| i as f32 / 50.0).collect()));
    let rows = g.add_node("dequantize", Dequantize, &[Some(w)], "rows");
    let shape = g.add_constant("shape", Tensor::from_ints(&[4, 48]));
    let real = g.add_node("reshape", Reshape { allow_zero: true }, &[Some(rows), Some(shape)], "real");
    let op = FullyConnected { activation: Activation::None };
    g.outputs = vec![g.add_node("layer", op, &[Some(x), Some(real)], "y")];
    let input = random(3, &[2, 48], 1.0);
    let before = run(&g, &input);
    let simple = simplify(g, &SimplifyOptions::default()).unwrap();
    let blocks = simple.values.iter().find_map(|v| v.quant.as_ref()).unwrap();
    assert_eq!(blocks.granularity, Granularity::Blocked { axis: 1, size: 16 });
    assert_eq!(simple.nodes.iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["Dequantize", "FullyConnected"]);
    assert_eq!(run(&simple, &input), before);
}

#[test]
fn integer_and_hybrid_layers_take_four_bits_as_eight() {
    let int8 = Quantization::per_tensor(0.05, 3);
    let conv = |groups, activation| Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups, activation };
    let depthwise = DepthwiseConv2d {
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1; 4],
        multiplier: 1,
        activation: Activation::None,
    };
    let dense = FullyConnected { activation: Activation::None };
    let shapes = |x: &[usize], w: &[usize]| (x.to_vec(), w.to_vec());
    let cases: [(Op, _, usize, bool); 6] = [
        (conv(1, Activation::Relu).into(), shapes(&[1, 5, 5, 8], &[6, 3, 3, 8]), 0, true),
        (conv(8, Activation::None).into(), shapes(&[1, 5, 5, 8], &[8, 3, 3, 1]), 0, true),
        (depthwise.into(), shapes(&[1, 5, 5, 8], &[1, 3, 3, 8]), 3, true),
        (dense.clone().into(), shapes(&[3, 8], &[5, 8]), 0, true),
        (conv(1, Activation::None).into(), shapes(&[1, 5, 5, 8], &[6, 3, 3, 8]), 0, false),
        (dense.into(), shapes(&[3, 8], &[5, 8]), 0, false),
    ];
    for (op, (x_shape, w_shape), axis, integer) in cases {
        let (x_shape, w_shape) = (x_shape.as_slice(), w_shape.as_slice());
        let values = nibbles(7, w_shape, -7);
        let with = |data: Tensor| {
            let mut g = Graph::default();
            let x = g.add_input("x", if integer { DType::I8 } else { DType::F32 }, Shape::fixed(x_shape));
            g.value_mut(x).quant = integer.then(|| int8.clone());
            let w = g.add_constant("w", data);
            let scales = (0..w_shape[axis]).map(|i| 0.01 + i as f32 / 300.0).collect();
            g.value_mut(w).quant = Some(Quantization::per_channel(axis, scales));
            let y = g.add_node("layer", op.clone(), &[Some(x), Some(w)], "y");
            if integer {
                let value = g.value_mut(y);
                (value.dtype, value.quant) = (DType::I8, Some(Quantization::per_tensor(0.1, -4)));
            }
            g.outputs = vec![y];
            let mut engine = Engine::compile(&g, &Options::default()).unwrap();
            let x = if integer { crate::support::random_i8(3, x_shape) } else { random(3, x_shape, 1.0) };
            engine.run(&[x]).unwrap().remove(0)
        };
        let wide = with(Tensor::new(w_shape.to_vec(), values.clone()));
        let narrow = with(Tensor::from_nibbles(w_shape.to_vec(), &values).unwrap());
        assert_eq!(wide, narrow, "{} {w_shape:?}", op.name());
    }
}

#[test]
fn rows_of_a_four_bit_table() {
    let values = nibbles(2, &[5, 3], -8);
    let mut g = Graph::default();
    let table = g.add_constant("table", Tensor::from_nibbles(vec![5, 3], &values).unwrap());
    g.value_mut(table).quant = Some(Quantization::per_channel(0, vec![1.0, 2.0, 3.0, 4.0, 5.0]));
    let at = g.add_input("at", DType::I64, Shape::fixed(&[2]));
    g.outputs = vec![g.add_node("gather", Gather { axis: 0 }, &[Some(table), Some(at)], "rows")];
    let out = g.outputs[0];
    let value = g.value_mut(out);
    (value.dtype, value.quant) = (DType::F32, None);
    let mut engine = Engine::compile(&g, &Options::default()).unwrap();
    let rows = engine.run(&[Tensor::from_ints(&[3, -4])]).unwrap().remove(0);
    let row = |r: usize| (0..3).map(move |c| (r, c));
    let expected: Vec<f32> =
        row(3).chain(row(1)).map(|(r, c)| f32::from(values[3 * r + c]) * (r as f32 + 1.0)).collect();
    assert_eq!(floats(&rows), expected);
}
