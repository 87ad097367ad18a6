//! Float operators against loops that say what they mean.

use fewbits_engine::Rounding;
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Granularity, Quantization, Tensor};
use half::f16;

use crate::support::{Random, arg, close, constant, floats, integers, one_node, random, run};

const F32: [DType; 1] = [DType::F32];

fn geometry() -> Conv2d {
    Conv2d { stride: [2, 1], dilation: [1, 2], padding: [1, 2, 0, 1], groups: 1, activation: Activation::None }
}

/// Convolution over `[N, H, W, C]` by definition.
fn textbook_conv(x: &Tensor, w: &Tensor, bias: &[f32], op: &Conv2d, out: &[usize]) -> Vec<f32> {
    let (xs, ws) = (x.shape(), w.shape());
    let (xd, wd) = (floats(x), floats(w));
    let (per_group, filters) = (ws[3], ws[0] / op.groups);
    let mut result = Vec::new();
    for n in 0..out[0] {
        for (oy, ox, o) in positions(out) {
            let mut sum = f64::from(bias[o]);
            for (ky, kx, c) in positions(&[1, ws[1], ws[2], per_group]) {
                let y = (oy * op.stride[0] + ky * op.dilation[0]).wrapping_sub(op.padding[0]);
                let x = (ox * op.stride[1] + kx * op.dilation[1]).wrapping_sub(op.padding[1]);
                if y < xs[1] && x < xs[2] {
                    let channel = o / filters * per_group + c;
                    let at = ((n * xs[1] + y) * xs[2] + x) * xs[3] + channel;
                    let tap = ((o * ws[1] + ky) * ws[2] + kx) * per_group + c;
                    sum += f64::from(xd[at]) * f64::from(wd[tap]);
                }
            }
            result.push(sum as f32);
        }
    }
    result
}

fn positions(shape: &[usize]) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let [_, a, b, c] = <[usize; 4]>::try_from(shape).unwrap();
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}

#[test]
fn convolution_plain_grouped_and_depthwise() {
    let cases = [(6, 4, 1, Activation::None), (6, 9, 3, Activation::Relu6), (5, 5, 5, Activation::Relu)];
    for (channels, filters, groups, activation) in cases {
        let op = Conv2d { groups, activation, ..geometry() };
        let x = random(1, &[2, 7, 9, channels], 1.0);
        let w = random(2, &[filters, 3, 2, channels / groups], 1.0);
        let b = random(3, &[filters], 1.0);
        for runtime_weights in [false, true] {
            let w_arg = if runtime_weights { arg(w.clone()) } else { constant(w.clone()) };
            let y = run(op.clone(), &[arg(x.clone()), w_arg, constant(b.clone())], &F32).remove(0);
            let (low, high) = activation.range();
            let expected = textbook_conv(&x, &w, &floats(&b), &op, y.shape());
            close(&floats(&y), &expected.iter().map(|v| v.clamp(low, high)).collect::<Vec<_>>(), 1e-5);
        }
    }
}

#[test]
fn depthwise_with_multiplier_is_a_grouped_convolution() {
    let g = geometry();
    let (stride, dilation, padding) = (g.stride, g.dilation, g.padding);
    let op = DepthwiseConv2d { stride, dilation, padding, multiplier: 2, activation: Activation::None };
    let (x, w) = (random(1, &[1, 6, 8, 3], 1.0), random(2, &[1, 3, 2, 6], 1.0));
    let y = run(op, &[arg(x.clone()), constant(w.clone())], &F32).remove(0);
    let ohwi = w.transposed(&[3, 1, 2, 0]).unwrap();
    let expected = textbook_conv(&x, &ohwi, &[0.0; 6], &Conv2d { groups: 3, ..g }, y.shape());
    close(&floats(&y), &expected, 1e-5);
}

#[test]
fn transposed_convolution_scatters() {
    let op = ConvTranspose2d {
        stride: [2, 2],
        dilation: [1, 1],
        padding: [1, 0, 0, 1],
        output_padding: [1, 0],
        groups: 1,
        activation: Activation::None,
    };
    let (x, w, b) = (random(1, &[2, 3, 4, 5], 1.0), random(2, &[6, 3, 2, 5], 1.0), random(3, &[6], 1.0));
    let y = run(op, &[arg(x.clone()), constant(w.clone()), constant(b.clone())], &F32).remove(0);
    let s = y.shape().to_vec();
    let mut expected: Vec<f32> = (0..s.iter().product::<usize>()).map(|i| floats(&b)[i % 6]).collect();
    let (xd, wd) = (floats(&x), floats(&w));
    for n in 0..2 {
        for (iy, ix, c) in positions(x.shape()) {
            for (ky, kx, o) in positions(&[1, 3, 2, 6]) {
                let (oy, ox) = ((iy * 2 + ky).wrapping_sub(1), ix * 2 + kx);
                if oy < s[1] && ox < s[2] {
                    let from = xd[((n * 3 + iy) * 4 + ix) * 5 + c];
                    expected[((n * s[1] + oy) * s[2] + ox) * 6 + o] += from * wd[((o * 3 + ky) * 2 + kx) * 5 + c];
                }
            }
        }
    }
    close(&floats(&y), &expected, 1e-5);
}

#[test]
fn matrix_products_of_every_layout() {
    // (transpose a, transpose b, shape of a, shape of b)
    let cases: [(bool, bool, &[usize], &[usize]); 6] = [
        (false, false, &[3, 4, 5], &[5, 7]),
        (false, true, &[2, 3, 4, 5], &[3, 7, 5]),
        (true, false, &[3, 5, 4], &[1, 5, 7]),
        (false, false, &[5], &[2, 5, 7]),
        (false, false, &[4, 5], &[5]),
        (false, true, &[4, 5], &[7, 5]),
    ];
    for (transpose_a, transpose_b, a_shape, b_shape) in cases {
        let (a, b) = (random(1, a_shape, 1.0), random(2, b_shape, 1.0));
        let op = MatMul { transpose_a, transpose_b };
        let expected = textbook_matmul(&a, &b, transpose_a, transpose_b);
        for b_arg in [arg(b.clone()), constant(b.clone())] {
            close(&floats(&run(op.clone(), &[arg(a.clone()), b_arg], &F32)[0]), &expected, 1e-5);
        }
    }
}

fn textbook_matmul(a: &Tensor, b: &Tensor, transpose_a: bool, transpose_b: bool) -> Vec<f32> {
    let (ad, bd) = (floats(a), floats(b));
    let split = |s: &[usize], t: bool, row: bool| match s {
        [n] if row => (1, 1, *n),
        [n] => (1, *n, 1),
        [batch @ .., r, c] => (batch.iter().product(), if t { *c } else { *r }, if t { *r } else { *c }),
        [] => unreachable!(),
    };
    let ((ba, m, k), (bb, _, n)) = (split(a.shape(), transpose_a, true), split(b.shape(), transpose_b, false));
    let batch = ba.max(bb);
    let mut out = Vec::new();
    for (i, r, c) in (0..batch).flat_map(|i| (0..m).flat_map(move |r| (0..n).map(move |c| (i, r, c)))) {
        // The cases broadcast whole leading axes at the front: matrices repeat in order.
        let (a0, b0) = (i % ba * m * k, i % bb * k * n);
        let at = |t: usize| ad[a0 + if transpose_a { t * m + r } else { r * k + t }];
        let bt = |t: usize| bd[b0 + if transpose_b { c * k + t } else { t * n + c }];
        out.push((0..k).map(|t| f64::from(at(t)) * f64::from(bt(t))).sum::<f64>() as f32);
    }
    out
}

#[test]
fn fully_connected_rows() {
    let (x, w, b) = (random(1, &[2, 3, 8], 1.0), random(2, &[5, 8], 1.0), random(3, &[5], 1.0));
    let (xd, wd, bd) = (floats(&x), floats(&w), floats(&b));
    let mut expected = Vec::new();
    for (row, o) in (0..6).flat_map(|r| (0..5).map(move |o| (r, o))) {
        expected.push((bd[o] + (0..8).map(|i| xd[row * 8 + i] * wd[o * 8 + i]).sum::<f32>()).max(0.0));
    }
    let op = FullyConnected { activation: Activation::Relu };
    let half = Tensor::new(vec![5, 8], wd.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>());
    for (w, tolerance) in [(constant(w.clone()), 1e-5), (arg(w), 1e-5), (constant(half), 2e-3)] {
        let y = run(op.clone(), &[arg(x.clone()), w, constant(b.clone())], &F32);
        close(&floats(&y[0]), &expected, tolerance);
    }
}

#[test]
fn broadcasting_arithmetic_of_floats_and_integers() {
    let (a, b) = (random(1, &[2, 1, 3], 3.0), random(2, &[4, 1], 3.0));
    let (ad, bd) = (floats(&a), floats(&b));
    let op = |kind| Binary { kind, activation: Activation::None };
    let got = floats(&run(op(BinaryKind::Sub), &[arg(a), arg(b)], &F32)[0]);
    let expected: Vec<f32> = (0..24).map(|i| ad[i / 12 * 3 + i % 3] - bd[i / 3 % 4]).collect();
    assert_eq!(got, expected);
    let (a, b) = (Tensor::from_ints(&[7, -7, 9]), Tensor::from_ints(&[2]));
    let got = run(op(BinaryKind::FloorDiv), &[arg(a), constant(b)], &[DType::I64]);
    assert_eq!(integers(&got[0]), [3, -4, 4]);
}

#[test]
fn reductions_and_extremes() {
    let x = random(1, &[2, 3, 4, 5], 1.0);
    let d = floats(&x);
    let reduce = |kind| Reduce { kind, axes: vec![1, 3], keep_dims: false };
    let cells = |n: usize, w: usize| (0..3).flat_map(move |h| (0..5).map(move |c| ((n * 3 + h) * 4 + w) * 5 + c));
    let all = |f: &dyn Fn(&mut dyn Iterator<Item = f32>) -> f32| -> Vec<f32> {
        (0..8).map(|i| f(&mut cells(i / 4, i % 4).map(|at| d[at]))).collect()
    };
    let sum = all(&|x| x.sum());
    close(&floats(&run(reduce(ReduceKind::Sum), &[arg(x.clone())], &F32)[0]), &sum, 1e-5);
    let max = all(&|x| x.fold(f32::MIN, f32::max));
    assert_eq!(floats(&run(reduce(ReduceKind::Max), &[arg(x.clone())], &F32)[0]), max);
    let norm = all(&|x| x.map(|v| v * v).sum::<f32>().sqrt());
    close(&floats(&run(reduce(ReduceKind::L2), &[arg(x)], &F32)[0]), &norm, 1e-5);
    let ints = Tensor::new(vec![2, 3], vec![4i32, -9, 2, 7, 7, -1]);
    let rows = Reduce { kind: ReduceKind::Min, axes: vec![1], keep_dims: true };
    assert_eq!(integers(&run(rows, &[arg(ints.clone())], &[DType::I32])[0]), [-9, -1]);
    for (select_last, expected) in [(false, [0, 0]), (true, [0, 1])] {
        let op = ArgReduce { largest: true, axis: 1, keep_dims: false, select_last, dtype: DType::I32 };
        assert_eq!(integers(&run(op, &[arg(ints.clone())], &[DType::I32])[0]), expected);
    }
    let op = TopK { k: 2, axis: 1, largest: true, dtype: DType::I64 };
    let out = run(op, &[arg(ints.clone())], &[DType::I32, DType::I64]);
    assert_eq!((integers(&out[0]), integers(&out[1])), (vec![4, 2, 7, 7], vec![0, 2, 0, 1]));
    let op = CumSum { axis: 1, exclusive: false, reverse: true };
    assert_eq!(integers(&run(op, &[arg(ints)], &[DType::I32])[0]), [-3, -7, 2, 13, 6, -1]);
}

#[test]
fn softmax_and_norms_of_inner_axes() {
    let x = random(1, &[2, 4, 3], 3.0);
    let d = floats(&x);
    let column = |n: usize, c: usize| (0..4).map(move |i| (n * 4 + i) * 3 + c);
    let mut soft = vec![0.0; 24];
    let mut unit = vec![0.0; 24];
    for (n, c) in (0..2).flat_map(|n| (0..3).map(move |c| (n, c))) {
        let total: f32 = column(n, c).map(|at| (0.5 * d[at]).exp()).sum();
        let length = column(n, c).map(|at| d[at] * d[at]).sum::<f32>().sqrt();
        column(n, c).for_each(|at| (soft[at], unit[at]) = ((0.5 * d[at]).exp() / total, d[at] / length));
    }
    close(&floats(&run(Softmax { axis: 1, beta: 0.5 }, &[arg(x.clone())], &F32)[0]), &soft, 1e-5);
    close(&floats(&run(L2Norm { axis: 1, epsilon: 1e-6 }, &[arg(x.clone())], &F32)[0]), &unit, 1e-5);
    let log: Vec<f32> = floats(&run(Softmax { axis: 1, beta: 1.0 }, &[arg(x.clone())], &F32)[0]);
    let log: Vec<f32> = log.iter().map(|v| v.ln()).collect();
    close(&floats(&run(LogSoftmax { axis: 1 }, &[arg(x)], &F32)[0]), &log, 1e-5);
}

#[test]
fn normalisations() {
    let x = random(1, &[2, 3, 2, 4], 2.0);
    let d = floats(&x);
    let (scale, bias) = (random(2, &[4], 1.0), random(3, &[4], 1.0));
    let (s, b) = (floats(&scale), floats(&bias));
    let normalised = |members: &dyn Fn(usize) -> Vec<usize>| -> Vec<f32> {
        let one = |i: usize| {
            let m = members(i);
            let mean = m.iter().map(|&j| d[j]).sum::<f32>() / m.len() as f32;
            let variance = m.iter().map(|&j| (d[j] - mean).powi(2)).sum::<f32>() / m.len() as f32;
            (d[i] - mean) / (variance + 1e-3).sqrt() * s[i % 4] + b[i % 4]
        };
        (0..d.len()).map(one).collect()
    };
    let args = [arg(x.clone()), constant(scale.clone()), constant(bias.clone())];
    let rows = normalised(&|i| (i / 4 * 4..i / 4 * 4 + 4).collect());
    close(&floats(&run(LayerNorm { axis: 3, epsilon: 1e-3 }, &args, &F32)[0]), &rows, 1e-5);
    let grouped = normalised(&|i| (i / 24 * 24..i / 24 * 24 + 24).filter(|j| j % 4 / 2 == i % 4 / 2).collect());
    close(&floats(&run(GroupNorm { groups: 2, epsilon: 1e-3 }, &args, &F32)[0]), &grouped, 1e-5);
    let (mean, variance) = (random(4, &[4], 1.0), Tensor::new(vec![4], vec![0.5f32, 1.0, 2.0, 0.1]));
    let (m, v) = (floats(&mean), floats(&variance));
    let op = BatchNorm { epsilon: 1e-3, activation: Activation::Relu };
    let args = [args.to_vec(), vec![constant(mean), constant(variance)]].concat();
    let one = |i: usize| ((d[i] - m[i % 4]) / (v[i % 4] + 1e-3).sqrt() * s[i % 4] + b[i % 4]).max(0.0);
    close(&floats(&run(op, &args, &F32)[0]), &(0..d.len()).map(one).collect::<Vec<_>>(), 1e-5);
}

#[test]
fn averages_do_not_count_padding_unless_told() {
    let x = Tensor::new(vec![1, 2, 2, 1], vec![1f32, 2.0, 3.0, 4.0]);
    let pool = |kind| Pool2d {
        kind,
        kernel: [2, 2],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1, 0, 0, 0],
        counted_padding: [0, 0],
        activation: Activation::None,
    };
    let result = |kind| floats(&run(pool(kind), &[arg(x.clone())], &F32)[0]);
    assert_eq!(result(PoolKind::Max), [2.0, 4.0]);
    assert_eq!(result(PoolKind::Average { count_include_pad: false }), [1.5, 2.5]);
    assert_eq!(result(PoolKind::Average { count_include_pad: true }), [0.75, 2.5]);
}

#[test]
fn resize_conventions() {
    let x = Tensor::new(vec![1, 1, 2, 1], vec![0f32, 4.0]);
    let resize = |mode, coordinates| {
        let sizes = constant(Tensor::from_ints(&[1, 4]));
        floats(&run(Resize { mode, coordinates, scales: None }, &[arg(x.clone()), sizes], &F32)[0])
    };
    assert_eq!(resize(ResizeMode::Linear, Coordinates::HalfPixel), [0.0, 1.0, 3.0, 4.0]);
    assert_eq!(resize(ResizeMode::Linear, Coordinates::Asymmetric), [0.0, 2.0, 4.0, 4.0]);
    close(&resize(ResizeMode::Linear, Coordinates::AlignCorners), &[0.0, 4.0 / 3.0, 8.0 / 3.0, 4.0], 1e-6);
    assert_eq!(resize(ResizeMode::Nearest(NearestRounding::Floor), Coordinates::Asymmetric), [0.0, 0.0, 4.0, 4.0]);
    let bytes = Tensor::new(vec![1, 2, 1, 2], vec![1i8, 2, 3, 4]);
    let op = Resize {
        mode: ResizeMode::Nearest(NearestRounding::Floor),
        coordinates: Coordinates::Asymmetric,
        scales: Some([2.0, 1.0]),
    };
    assert_eq!(integers(&run(op, &[arg(bytes)], &[DType::I8])[0]), [1, 2, 1, 2, 3, 4, 3, 4]);
}

#[test]
fn half_and_quantized_constants_are_read_as_floats() {
    let x = random(1, &[3, 4], 1.0);
    let add = Binary { kind: BinaryKind::Mul, activation: Activation::None };
    let q: Vec<i8> = vec![-127, 3, 64, 127];
    let b = constant(Tensor::new(vec![4], q.clone())).per_channel(0, &[0.1, 0.2, 0.3, 0.4]);
    let y = floats(&run(add, &[arg(x.clone()), b], &F32)[0]);
    let real = |i: usize| f32::from(q[i % 4]) * [0.1, 0.2, 0.3, 0.4][i % 4];
    let expected: Vec<f32> = floats(&x).iter().enumerate().map(|(i, v)| v * real(i)).collect();
    close(&y, &expected, 1e-6);
    // Blocks of two rows share a scale.
    let blocked = Quantization {
        granularity: Granularity::Blocked { axis: 0, size: 2 },
        scales: vec![1.0, 2.0, 3.0, 4.0],
        zero_points: vec![0, 0, 0, 1],
    };
    let mut table = arg(Tensor::new(vec![3, 2], vec![1i8, 2, 3, 4, 5, 6]));
    table.quant = Some(blocked);
    assert_eq!(floats(&run(Dequantize, &[table], &F32)[0]), [1.0, 4.0, 3.0, 8.0, 15.0, 20.0]);
}

#[test]
fn half_edges_are_computed_as_floats() {
    let mut random = Random::new(3);
    let x: Vec<f16> = (0..20).map(|_| f16::from_f32(random.float())).collect();
    let y = run(Unary { kind: UnaryKind::Tanh }, &[arg(Tensor::new(vec![20], x.clone()))], &[DType::F16]).remove(0);
    assert_eq!(y.dtype(), DType::F16);
    let expected: Vec<f32> = x.iter().map(|v| f16::from_f32(v.to_f32().tanh()).to_f32()).collect();
    close(&floats(&y), &expected, 1e-3);
}

#[test]
fn casts() {
    let x = Tensor::new(vec![4], vec![-1.9f32, 0.0, 2.5, 300.0]);
    let to = |dtype| run(Cast { to: dtype }, &[arg(x.clone())], &[dtype]).remove(0);
    assert_eq!(integers(&to(DType::I32)), [-1, 0, 2, 300]);
    assert_eq!(integers(&to(DType::Bool)), [1, 0, 1, 1]);
    assert_eq!(floats(&to(DType::F16)), [f16::from_f32(-1.9).to_f32(), 0.0, 2.5, 300.0]);
    let big = Tensor::from_ints(&[(1 << 53) + 1]);
    assert_eq!(integers(&run(Cast { to: DType::I64 }, &[arg(big)], &[DType::I64])[0]), [(1 << 53) + 1]);
}

#[test]
fn constant_nodes_evaluate() {
    let x = Tensor::from_ints(&[3, 4]);
    let double = Binary { kind: BinaryKind::Add, activation: Activation::None }.into();
    let out = fewbits_engine::evaluate_node(&double, &[Some(&x), Some(&x)], &[(DType::I64, None)]).unwrap();
    assert_eq!(integers(&out[0]), [6, 8]);
    let q = Tensor::new(vec![2], vec![-3i8, 5]);
    let quant = Quantization::per_tensor(0.5, 1);
    let inputs = [Some((&q, Some(&quant)))];
    let out =
        fewbits_engine::evaluate_quantized_node(&Dequantize.into(), &inputs, &[(DType::F32, None)], Rounding::Float)
            .unwrap();
    assert_eq!(floats(&out[0]), [-2.0, 2.0]);
    let (graph, _) = one_node(Unary { kind: UnaryKind::Neg }, &[constant(x)], &[(DType::I64, None)]);
    let mut engine = fewbits_engine::Engine::compile(&graph, &Default::default()).unwrap();
    assert_eq!(integers(&engine.run(&[]).unwrap()[0]), [-3, -4]);
}
