//! Operators on `int8` edges and with `int8` weights.

use fewbits_engine::Rounding;
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Op, Quantization, Tensor};

use crate::support::{Arg, arg, close, constant, floats, integers, one_node, random, random_i8, run, run_int8};

const BOTH: [Rounding; 2] = [Rounding::Float, Rounding::Fixed];

/// What the elements of an argument stand for.
fn real(a: &Arg) -> Vec<f32> {
    floats(&run(Dequantize, &[Arg { constant: false, ..a.clone() }], &[DType::F32])[0])
}

fn quantized(x: &[f32], (scale, zero_point): (f32, i32)) -> Vec<i64> {
    let q = |v: &f32| (f64::from(*v) / f64::from(scale)).round_ties_even() as i64 + i64::from(zero_point);
    x.iter().map(|v| q(v).clamp(-128, 127)).collect()
}

/// Checks an operator against itself on floats: within `tolerance` units, and on integers where
/// `native`.
fn agrees(op: impl Into<Op>, args: &[Arg], out: (f32, i32), tolerance: i64, native: bool) {
    let op = op.into();
    let reals = args.iter().map(|a| match &a.quant {
        Some(_) => Arg { data: Tensor::new(a.data.shape().to_vec(), real(a)), quant: None, constant: a.constant },
        None => a.clone(),
    });
    let expected = quantized(&floats(&run(op.clone(), &reals.collect::<Vec<_>>(), &[DType::F32])[0]), out);
    for rounding in BOTH {
        let (got, integer) = run_int8(op.clone(), args, out, rounding);
        assert_eq!(integer, native, "{} computes in another domain", op.name());
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            assert!((g - e).abs() <= tolerance, "{} {rounding:?}: element {i} is {g}, not {e}", op.name());
        }
    }
}

fn x8(seed: u64, shape: &[usize], scale: f32, zero_point: i32) -> Arg {
    arg(random_i8(seed, shape)).scaled(scale, zero_point)
}

fn w8(seed: u64, shape: &[usize], axis: usize) -> Arg {
    let scales: Vec<f32> = (0..shape[axis]).map(|i| 0.004 + 0.001 * i as f32).collect();
    constant(random_i8(seed, shape)).per_channel(axis, &scales)
}

/// A bias in units of input scale × weight scale.
fn bias(x: &Arg, w: &Arg, channels: usize) -> Arg {
    let unit = x.quant.as_ref().unwrap().scales[0];
    let scales: Vec<f32> = w.quant.as_ref().unwrap().scales.iter().map(|s| s * unit).collect();
    let data: Vec<i32> = (0..channels as i32).map(|i| (i - 2) * 150).collect();
    constant(Tensor::new(vec![channels], data)).per_channel(0, &scales)
}

#[test]
fn layers_agree_with_real_arithmetic() {
    let x = x8(1, &[2, 6, 5, 4], 0.02, -5);
    let conv =
        |groups, activation| Conv2d { stride: [2, 1], dilation: [1, 1], padding: [1, 1, 0, 1], groups, activation };
    for (groups, activation) in [(1, Activation::None), (2, Activation::Relu6), (4, Activation::Relu)] {
        let w = w8(2, &[8, 3, 3, 4 / groups], 0);
        agrees(conv(groups, activation), &[x.clone(), w.clone(), bias(&x, &w, 8)], (0.05, 3), 1, true);
    }
    let w = w8(3, &[1, 3, 3, 8], 3);
    let op = DepthwiseConv2d {
        stride: [1, 2],
        dilation: [1, 1],
        padding: [1, 1, 1, 1],
        multiplier: 2,
        activation: Activation::None,
    };
    agrees(op, &[x.clone(), w.clone(), bias(&x, &w, 8)], (0.03, 0), 1, true);
    let w = w8(4, &[3, 3, 2, 4], 0);
    let op = ConvTranspose2d {
        stride: [2, 2],
        dilation: [1, 1],
        padding: [0, 1, 1, 0],
        output_padding: [0, 0],
        groups: 1,
        activation: Activation::None,
    };
    agrees(op, &[x.clone(), w.clone(), bias(&x, &w, 3)], (0.03, 7), 1, true);
    let x = x8(5, &[3, 2, 20], 0.03, 9);
    let w = w8(6, &[7, 20], 0);
    agrees(
        FullyConnected { activation: Activation::Relu },
        &[x.clone(), w.clone(), bias(&x, &w, 7)],
        (0.06, -128),
        1,
        true,
    );
}

#[test]
fn products_of_two_tensors() {
    let a = x8(1, &[2, 3, 4, 16], 0.02, 4);
    let product = |transpose_b| MatMul { transpose_a: false, transpose_b };
    agrees(product(true), &[a.clone(), x8(2, &[2, 3, 5, 16], 0.01, -3)], (0.02, 0), 1, true);
    agrees(product(false), &[a.clone(), x8(2, &[3, 16, 5], 0.01, -3)], (0.02, 0), 1, true);
    agrees(product(false), &[a.clone(), w8(3, &[16, 5], 1)], (0.03, 1), 1, true);
    let transposed = MatMul { transpose_a: true, transpose_b: false };
    agrees(transposed, &[x8(4, &[6, 4], 0.02, 0), x8(2, &[6, 5], 0.01, -3)], (0.02, 0), 1, false);
}

#[test]
fn arithmetic_between_scales() {
    let (a, b) = (x8(1, &[3, 1, 8], 0.03, -4), x8(2, &[4, 1], 0.05, 11));
    for kind in [BinaryKind::Add, BinaryKind::Sub, BinaryKind::Mul] {
        let op = Binary { kind, activation: Activation::Relu };
        agrees(op, &[a.clone(), b.clone()], (0.06, -100), 1, true);
    }
    let minimum = Binary { kind: BinaryKind::Min, activation: Activation::None };
    agrees(minimum.clone(), &[a.clone(), b.clone()], (0.06, 3), 1, false);
    agrees(minimum, &[a.clone(), x8(3, &[8], 0.03, -4)], (0.03, -4), 0, true);
    let divide = Binary { kind: BinaryKind::SquaredDifference, activation: Activation::None };
    agrees(divide, &[a, b], (0.5, -128), 1, false);
}

#[test]
fn functions_by_table() {
    let x = x8(1, &[200], 0.05, 10);
    let kinds = [
        (UnaryKind::Relu, (0.05, -128)),
        (UnaryKind::Clip { min: -1.0, max: 1.5 }, (0.02, 5)),
        (UnaryKind::LeakyRelu { alpha: 0.1 }, (0.04, -20)),
        (UnaryKind::HardSwish, (0.04, -100)),
        (UnaryKind::Sigmoid, (1.0 / 256.0, -128)),
        (UnaryKind::Tanh, (1.0 / 128.0, 0)),
        (UnaryKind::Gelu { tanh: false }, (0.04, -120)),
        (UnaryKind::Neg, (0.05, -10)),
    ];
    for (kind, out) in kinds {
        agrees(Unary { kind }, std::slice::from_ref(&x), out, 1, true);
    }
    agrees(PRelu, &[x8(2, &[5, 4], 0.05, 1), constant(random_i8(3, &[4])).scaled(0.01, 0)], (0.06, -7), 1, true);
}

/// TFLite requantizes and clamps to bounds that are rounded away from zero; real arithmetic clips the
/// number, then rounds it to the even one.
#[test]
fn clipping_is_that_of_its_rounding() {
    let clip = Unary { kind: UnaryKind::Clip { min: -1.5, max: 2.5 } }.into();
    let (x, halves) = (Tensor::new(vec![5], vec![1i8, 5, 9, -1, -5]), Quantization::per_tensor(0.5, 0));
    let out = [(DType::I8, Some(Quantization::per_tensor(1.0, 0)))];
    let clipped = |rounding| {
        let inputs = [Some((&x, Some(&halves)))];
        integers(&fewbits_engine::evaluate_quantized_node(&clip, &inputs, &out, rounding).unwrap()[0])
    };
    assert_eq!(clipped(Rounding::Float), [0, 2, 2, 0, -2]);
    assert_eq!(clipped(Rounding::Fixed), [1, 3, 3, 0, -2]);
}

#[test]
fn pools_means_and_soft_maxima() {
    let x = x8(1, &[1, 5, 5, 12], 0.04, 3);
    let pool = |kind, activation| Pool2d {
        kind,
        kernel: [3, 2],
        stride: [2, 2],
        dilation: [1, 1],
        padding: [1, 0, 1, 0],
        counted_padding: [1, 0],
        activation,
    };
    let average = PoolKind::Average { count_include_pad: false };
    agrees(pool(average, Activation::None), std::slice::from_ref(&x), (0.04, 3), 1, true);
    agrees(pool(PoolKind::Max, Activation::Relu6), std::slice::from_ref(&x), (0.04, 3), 0, true);
    let counted = PoolKind::Average { count_include_pad: true };
    agrees(pool(counted, Activation::None), std::slice::from_ref(&x), (0.04, 3), 1, false);
    let mean = |kind| Reduce { kind, axes: vec![1, 2], keep_dims: true };
    agrees(mean(ReduceKind::Mean), std::slice::from_ref(&x), (0.02, -9), 1, true);
    agrees(mean(ReduceKind::Max), std::slice::from_ref(&x), (0.04, 3), 0, true);
    agrees(mean(ReduceKind::Sum), std::slice::from_ref(&x), (0.5, 0), 1, false);
    let rows = x8(2, &[4, 10], 0.08, 0);
    agrees(Softmax { axis: 1, beta: 1.0 }, std::slice::from_ref(&rows), (1.0 / 256.0, -128), 1, true);
    agrees(LogSoftmax { axis: 1 }, std::slice::from_ref(&rows), (16.0 / 256.0, 127), 1, true);
    agrees(Softmax { axis: 0, beta: 1.0 }, &[rows], (1.0 / 128.0, -128), 1, false);
}

#[test]
fn concat_brings_inputs_to_the_outputs_scale() {
    let parts = [x8(1, &[2, 3], 0.05, 3), x8(2, &[2, 4], 0.02, -50), x8(3, &[2, 1], 0.04, 0)];
    agrees(Concat { axis: 1, activation: Activation::None }, &parts, (0.05, 3), 1, true);
    agrees(Concat { axis: 1, activation: Activation::Relu }, &parts, (0.03, -1), 1, true);
    let first = run_int8(Concat { axis: 1, activation: Activation::None }, &parts, (0.05, 3), Rounding::Float).0;
    assert_eq!(first[..3], integers(&parts[0].data)[..3]);
}

#[test]
fn edges_change_their_domain() {
    let x = Tensor::new(vec![5], vec![0.25f32, -0.75, 1.25, 1000.0, f32::NEG_INFINITY]);
    let to = |dtype, scale, zero_point, rounding| {
        let out = [(dtype, Some(Quantization::per_tensor(scale, zero_point)))];
        let (graph, inputs) = one_node(Quantize, &[arg(x.clone())], &out);
        let options = fewbits_engine::Options { threads: 1, rounding };
        integers(&fewbits_engine::Engine::compile(&graph, &options).unwrap().run(&inputs).unwrap()[0])
    };
    assert_eq!(to(DType::I8, 0.5, 1, Rounding::Float), [1, -1, 3, 127, -128]);
    assert_eq!(to(DType::I8, 0.5, 1, Rounding::Fixed), [2, -1, 4, 127, -128]);
    assert_eq!(to(DType::U8, 0.5, 128, Rounding::Float), [128, 126, 130, 255, 0]);
    assert_eq!(to(DType::I16, 0.01, 0, Rounding::Float), [25, -75, 125, 32767, -32768]);
    let u8_edge = arg(Tensor::new(vec![4], vec![0u8, 100, 128, 255])).scaled(0.5, 128);
    let (graph, inputs) = one_node(Requantize, &[u8_edge], &[(DType::I8, Some(Quantization::per_tensor(0.5, 0)))]);
    let mut engine = fewbits_engine::Engine::compile(&graph, &Default::default()).unwrap();
    assert_eq!(integers(&engine.run(&inputs).unwrap()[0]), [-128, -28, 0, 127]);
}

#[test]
fn dynamic_range_layers_are_close_to_float_ones() {
    let real_weights = |w: &Arg| constant(Tensor::new(w.data.shape().to_vec(), real(w)));
    let check = |op: Op, x: Tensor, w: Arg, b: Option<Tensor>| {
        let bias = b.map(constant);
        let args = |w: Arg| [Some(arg(x.clone())), Some(w), bias.clone()].into_iter().flatten().collect::<Vec<_>>();
        let expected = floats(&run(op.clone(), &args(real_weights(&w)), &[DType::F32])[0]);
        close(&floats(&run(op, &args(w), &[DType::F32])[0]), &expected, 0.01);
    };
    let b = Some(random(3, &[6], 0.5));
    check(
        FullyConnected { activation: Activation::Relu }.into(),
        random(1, &[3, 40], 2.0),
        w8(2, &[6, 40], 0),
        b.clone(),
    );
    let conv =
        |groups| Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups, activation: Activation::None };
    check(conv(1).into(), random(4, &[3, 5, 5, 8], 1.0), w8(5, &[6, 3, 3, 8], 0), b.clone());
    check(conv(6).into(), random(4, &[1, 5, 5, 6], 1.0), w8(5, &[6, 3, 3, 1], 0), b);
    check(MatMul::default().into(), random(6, &[2, 3, 16], 1.0), w8(7, &[16, 4], 1), None);
    check(MatMul { transpose_a: false, transpose_b: true }.into(), random(6, &[3, 16], 1.0), w8(7, &[4, 16], 0), None);
    let two = w8(8, &[1, 3, 3, 4], 3);
    let op = DepthwiseConv2d {
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1; 4],
        multiplier: 1,
        activation: Activation::None,
    };
    check(op.into(), random(9, &[1, 4, 4, 4], 1.0), two, None);
}

#[test]
fn onnx_integer_products() {
    let a = Tensor::new(vec![2, 3], vec![3u8, 200, 7, 90, 128, 255]);
    let b = Tensor::new(vec![3, 2], vec![-5i8, 6, 7, -128, 9, 10]);
    let zero_a = Tensor::scalar(120u8);
    let zero_b = Tensor::new(vec![2], vec![1i8, -2]);
    let args = [arg(a.clone()), arg(b.clone()), arg(zero_a), arg(zero_b)];
    let (ad, bd) = (integers(&a), integers(&b));
    let sum = |r: usize, c: usize| (0..3).map(|k| (ad[r * 3 + k] - 120) * (bd[k * 2 + c] - [1, -2][c])).sum::<i64>();
    let expected = [sum(0, 0), sum(0, 1), sum(1, 0), sum(1, 1)];
    assert_eq!(integers(&run(MatMulInteger, &args, &[DType::I32])[0]), expected);
    let plain = [arg(a), arg(b)];
    let sum = |r: usize, c: usize| (0..3).map(|k| ad[r * 3 + k] * bd[k * 2 + c]).sum::<i64>();
    assert_eq!(integers(&run(MatMulInteger, &plain, &[DType::I32])[0]), [sum(0, 0), sum(0, 1), sum(1, 0), sum(1, 1)]);
}

#[test]
fn onnx_integer_convolution_pads_with_the_zero_point() {
    let conv =
        Conv2d { stride: [1; 2], dilation: [1; 2], padding: [0, 1, 0, 0], groups: 1, activation: Activation::None };
    let x = arg(Tensor::new(vec![1, 1, 2, 1], vec![10u8, 20]));
    let w = constant(Tensor::new(vec![1, 1, 2, 1], vec![130u8, 131]));
    let args = [x, w, arg(Tensor::scalar(12u8)), constant(Tensor::scalar(128u8))];
    // Taps 2 and 3 over (0, −2) and (−2, 8).
    assert_eq!(integers(&run(ConvInteger { conv }, &args, &[DType::I32])[0]), [-6, 20]);
}

#[test]
fn onnx_dynamic_quantization() {
    let x = arg(Tensor::new(vec![3], vec![-1f32, 0.0, 4.1]));
    let out = run(DynamicQuantize, &[x], &[DType::U8, DType::F32, DType::U8]);
    assert_eq!(integers(&out[0]), [0, 50, 255]);
    assert_eq!((floats(&out[1])[0], integers(&out[2])[0]), (0.02, 50));
}
