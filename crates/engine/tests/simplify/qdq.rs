//! Q/DQ graphs as integer graphs.

use fewbits_engine::simplify::{SimplifyOptions, lower_for_quantization, simplify};
use fewbits_graph::ops::{
    BatchNorm, Binary, BinaryKind, Cast, Concat, Dequantize, DynamicQuantize, Flatten, FullyConnected, MatMulInteger,
    Pool2d, PoolKind, Quantize, Transpose, UnaryKind,
};
use fewbits_graph::{Activation, DType, Graph, Quantization, Shape, Tensor, ValueId};

use crate::support::{Build, conv, inputs, ops, random, run, simplified, simplified_within};

fn quantize(b: &mut Build, name: &str, x: ValueId, dtype: DType, scale: f32, zero_point: i32) -> ValueId {
    let q = b.node(name, Quantize, &[x]);
    let value = b.graph.value_mut(q);
    (value.dtype, value.quant) = (dtype, Some(Quantization::per_tensor(scale, zero_point)));
    q
}

fn dequantize(b: &mut Build, name: &str, x: ValueId) -> ValueId {
    let y = b.node(name, Dequantize, &[x]);
    b.graph.value_mut(y).dtype = DType::F32;
    y
}

/// A `Quantize` and the `Dequantize` behind it.
fn pair(b: &mut Build, name: &str, x: ValueId, dtype: DType, scale: f32, zero_point: i32) -> ValueId {
    let q = quantize(b, &format!("{name}_q"), x, dtype, scale, zero_point);
    dequantize(b, &format!("{name}_dq"), q)
}

fn int8_weights(b: &mut Build, name: &str, shape: &[usize], quant: Quantization) -> ValueId {
    let data = random(shape, 9).to_f32().iter().map(|n| (n * 127.0) as i8).collect();
    let w = b.graph.add_constant(name, Tensor::new(shape.to_vec(), data));
    b.graph.value_mut(w).quant = Some(quant);
    dequantize(b, &format!("{name}_dq"), w)
}

fn channel_scales(count: usize) -> Vec<f32> {
    (0..count).map(|i| 0.004 + 0.001 * i as f32).collect()
}

/// Two convolutions, a residual sum, flattening and a dense layer, as PyTorch quantizes them.
fn network(dtype: DType, zero_point: i32) -> Graph {
    let mut b = Build::default();
    let x = b.input(&[2, 6, 6, 3]);
    let x = pair(&mut b, "in", x, dtype, 0.024, zero_point);
    let w = int8_weights(&mut b, "w1", &[4, 3, 3, 3], Quantization::per_channel(0, channel_scales(4)));
    let bias = b.weights("b1", &[4]);
    let y = b.node("conv1", conv(1), &[x, w, bias]);
    let y = b.unary("relu", UnaryKind::Relu, y);
    let y = pair(&mut b, "a1", y, dtype, 0.04, zero_point);
    let w = int8_weights(&mut b, "w2", &[4, 3, 3, 4], Quantization::per_tensor(0.006, 0));
    let z = b.node("conv2", conv(1), &[y, w]);
    let z = pair(&mut b, "a2", z, dtype, 0.05, zero_point);
    let s = b.binary("sum", BinaryKind::Add, y, z);
    let s = pair(&mut b, "a3", s, dtype, 0.06, zero_point);
    let pool = Pool2d {
        kind: PoolKind::Max,
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [1, 1],
        padding: [0; 4],
        counted_padding: [0; 2],
        activation: Activation::None,
    };
    let p = b.node("pool", pool, &[s]);
    let t = b.node("transpose", Transpose { perm: vec![0, 3, 1, 2] }, &[p]);
    let f = b.node("flatten", Flatten { axis: 1 }, &[t]);
    let f = pair(&mut b, "a4", f, dtype, 0.06, zero_point);
    let w = int8_weights(&mut b, "w3", &[5, 36], Quantization::per_channel(0, channel_scales(5)));
    let y = b.node("dense", FullyConnected { activation: Activation::None }, &[f, w]);
    let y = pair(&mut b, "out", y, dtype, 0.3, zero_point);
    b.finish(&[y])
}

#[test]
fn a_q_dq_network_runs_in_integers() {
    for (dtype, zero_point) in [(DType::I8, 0), (DType::I8, -20), (DType::U8, 128)] {
        let graph = network(dtype, zero_point);
        let after = simplified_within(&graph, 0.03);
        let expected = ["Quantize", "Conv2d", "Conv2d", "Binary", "Pool2d", "Flatten", "FullyConnected", "Dequantize"];
        assert_eq!(ops(&after), expected);
        for node in &after.nodes[1..7] {
            assert_eq!(after.value(node.outputs[0]).dtype, DType::I8, "{}", node.name);
        }
        assert_eq!(after.nodes[1].op.activation(), Some(Activation::Relu));
        let bias = after.value(after.nodes[1].inputs[2].unwrap());
        assert_eq!((bias.name.as_str(), bias.dtype), ("b1", DType::I32));
        assert_eq!(bias.quant.as_ref().unwrap().scales.len(), 4);
        if dtype == DType::U8 {
            let quant = after.value(after.nodes[1].outputs[0]).quant.clone();
            assert_eq!(quant, Some(Quantization::per_tensor(0.04, 0)));
        }
    }
}

#[test]
fn public_unsigned_edges_keep_their_type() {
    let mut b = Build::default();
    let x = b.graph.add_input("x", DType::U8, Shape::fixed(&[2, 4]));
    b.graph.value_mut(x).quant = Some(Quantization::per_tensor(0.02, 120));
    let y = dequantize(&mut b, "dq", x);
    let w = int8_weights(&mut b, "w", &[3, 4], Quantization::per_tensor(0.01, 0));
    let y = b.node("dense", FullyConnected { activation: Activation::None }, &[y, w]);
    let y = quantize(&mut b, "q", y, DType::U8, 0.05, 130);
    let after = simplified_within(&b.finish(&[y]), 0.02);
    assert_eq!(ops(&after), ["Requantize", "FullyConnected", "Requantize"]);
    assert_eq!(after.value(after.nodes[1].outputs[0]).quant, Some(Quantization::per_tensor(0.05, 2)));
}

#[test]
fn plain_bytes_behind_a_quantized_edge_do_not_move() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let q = b.node("q", Quantize, &[x]);
    let quant = Quantization { zero_points: vec![128; 4], ..Quantization::per_channel(1, channel_scales(4)) };
    (b.graph.value_mut(q).dtype, b.graph.value_mut(q).quant) = (DType::U8, Some(quant));
    // The output has no parameters: its bytes are all there is to it.
    let y = b.node("move", Transpose { perm: vec![1, 0] }, &[q]);
    let after = simplify(b.finish(&[y]), &SimplifyOptions::default()).unwrap();
    let mover = after.nodes.iter().find(|n| n.name == "move").unwrap();
    let moved = after.value(mover.inputs[0].unwrap());
    assert_eq!((moved.dtype, after.value(mover.outputs[0]).dtype), (DType::U8, DType::U8));
    assert_eq!(moved.quant.as_ref().unwrap().zero_points, [128; 4]);
}

#[test]
fn weights_with_zero_points_stay_in_floating_point() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let x = pair(&mut b, "in", x, DType::I8, 0.02, 0);
    let w = int8_weights(&mut b, "w", &[3, 4], Quantization::per_tensor(0.01, 3));
    let y = b.node("dense", FullyConnected { activation: Activation::None }, &[x, w]);
    let y = pair(&mut b, "out", y, DType::I8, 0.02, 0);
    let after = simplified(&b.finish(&[y]));
    let dense = after.nodes.iter().find(|n| n.name == "dense").unwrap();
    assert_eq!(after.value(dense.outputs[0]).dtype, DType::F32);
    assert_eq!(after.value(dense.inputs[0].unwrap()).dtype, DType::F32);
}

#[test]
fn an_output_quantized_twice_stays_in_floating_point() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let x = pair(&mut b, "in", x, DType::I8, 0.02, 0);
    let y = b.unary("tanh", UnaryKind::Tanh, x);
    let a = quantize(&mut b, "a", y, DType::I8, 0.01, 0);
    let c = quantize(&mut b, "c", y, DType::I8, 0.02, 0);
    let after = simplified(&b.finish(&[a, c]));
    assert_eq!(ops(&after), ["Quantize", "Dequantize", "Unary", "Quantize", "Quantize"]);
}

#[test]
fn changes_of_domain_merge() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let y = pair(&mut b, "a", x, DType::I8, 0.02, 3);
    let y = pair(&mut b, "b", y, DType::I8, 0.02, 3);
    let y = quantize(&mut b, "c", y, DType::I8, 0.05, -3);
    let after = simplified(&b.finish(&[y]));
    assert_eq!(ops(&after), ["Quantize", "Requantize"]);
}

#[test]
fn float_weights_behind_a_pair_become_integers() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let x = pair(&mut b, "in", x, DType::I8, 0.02, 0);
    let w = b.weights("w", &[3, 4]);
    let w = b.node("w_q", Quantize, &[w]);
    let value = b.graph.value_mut(w);
    (value.dtype, value.quant) = (DType::I8, Some(Quantization::per_channel(0, channel_scales(3))));
    let w = dequantize(&mut b, "w_dq", w);
    let y = b.node("dense", FullyConnected { activation: Activation::None }, &[x, w]);
    let y = pair(&mut b, "out", y, DType::I8, 0.03, 0);
    let after = simplified_within(&b.finish(&[y]), 0.02);
    assert_eq!(ops(&after), ["Quantize", "FullyConnected", "Dequantize"]);
}

#[test]
fn concatenation_takes_inputs_of_different_scales() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let a = pair(&mut b, "a", x, DType::I8, 0.02, 0);
    let c = pair(&mut b, "c", x, DType::I8, 0.03, 5);
    let y = b.node("concat", Concat { axis: 1, activation: Activation::None }, &[a, c]);
    let y = pair(&mut b, "out", y, DType::I8, 0.03, 5);
    let after = simplified_within(&b.finish(&[y]), 0.02);
    assert_eq!(ops(&after), ["Quantize", "Quantize", "Concat", "Dequantize"]);
}

#[test]
fn dequantized_weights_become_dynamic_range_only_on_request() {
    let mut b = Build::default();
    let x = b.input(&[2, 4]);
    let w = int8_weights(&mut b, "w", &[3, 4], Quantization::per_channel(0, channel_scales(3)));
    let y = b.node("dense", FullyConnected { activation: Activation::None }, &[x, w]);
    let graph = b.finish(&[y]);
    assert_eq!(ops(&simplified(&graph)), ["Dequantize", "FullyConnected"]);
    let options = SimplifyOptions { weights_only_as_dynamic: true, ..SimplifyOptions::default() };
    let after = simplify(graph, &options).unwrap();
    assert_eq!(ops(&after), ["FullyConnected"]);
    assert_eq!(after.value(after.nodes[0].inputs[1].unwrap()).dtype, DType::I8);
    assert_eq!(after.value(after.outputs[0]).dtype, DType::F32);
}

#[test]
fn dynamically_quantized_matmul_is_one_layer() {
    let mut b = Build::default();
    let x = b.input(&[3, 8]);
    let q = b.node("dynamic", DynamicQuantize, &[x]);
    let scale = b.graph.add_value("x_scale", DType::F32, Shape::default());
    let zero_point = b.graph.add_value("x_zp", DType::U8, Shape::default());
    b.graph.nodes[0].outputs.extend([scale, zero_point]);
    let data: Vec<u8> = random(&[8, 5], 3).to_f32().iter().map(|n| (n * 127.0 + 128.0) as u8).collect();
    let w = b.graph.add_constant("w", Tensor::new(vec![8, 5], data));
    let w_zp = b.graph.add_constant("w_zp", Tensor::scalar(128u8));
    let y = b.node("matmul", MatMulInteger, &[q, w, zero_point, w_zp]);
    b.graph.value_mut(y).dtype = DType::I32;
    let y = b.node("cast", Cast { to: DType::F32 }, &[y]);
    let w_scale = b.scalar(0.01);
    let scales = b.binary("scales", BinaryKind::Mul, scale, w_scale);
    let y = b.binary("scaled", BinaryKind::Mul, y, scales);
    let bias = b.weights("bias", &[5]);
    let y = b.binary("add", BinaryKind::Add, y, bias);
    let after = simplified_within(&b.finish(&[y]), 0.02);
    assert_eq!(ops(&after), ["FullyConnected"]);
    assert_eq!(after.value(after.nodes[0].inputs[1].unwrap()).shape, Shape::fixed(&[5, 8]));
    assert!(after.nodes[0].inputs[2].is_some());
}

#[test]
fn lowering_spells_out_silu_and_batch_norm() {
    for (shape, expected) in [
        (vec![2, 3, 3, 4], vec!["DepthwiseConv2d", "Unary", "Binary"]),
        (vec![2, 4], vec!["Binary", "Binary", "Unary", "Binary"]),
    ] {
        let mut b = Build::default();
        let x = b.input(&shape);
        let parameters: Vec<ValueId> = ["g", "b", "m"].iter().map(|n| b.weights(n, &[4])).collect();
        let variance = b.graph.add_constant("v", Tensor::new(vec![4], vec![0.5f32, 1.0, 2.0, 0.25]));
        let norm = BatchNorm { epsilon: 1e-5, activation: Activation::Relu };
        let y = b.node("bn", norm, &[x, parameters[0], parameters[1], parameters[2], variance]);
        let y = b.unary("silu", UnaryKind::Silu, y);
        let graph = b.finish(&[y]);
        let after = lower_for_quantization(graph.clone()).unwrap();
        assert_eq!(ops(&after), expected);
        let last = &after.nodes[after.nodes.len() - 1];
        assert_eq!(last.op, Binary { kind: BinaryKind::Mul, activation: Activation::None }.into());
        let inputs = inputs(&graph);
        let (before, now) = (run(&graph, &inputs)[0].to_f32(), run(&after, &inputs)[0].to_f32());
        assert!(before.iter().zip(&now).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
