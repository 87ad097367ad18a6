//! Operators with weights.

use fewbits_emit_c::{Arithmetic, Options};
use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d, FullyConnected, MatMul};
use fewbits_graph::{Activation, Quantization};
use fewbits_kernels::int8::FixedMultiplier;

use crate::common::{Net, assert_same, both, has_compiler};

/// A convolution: input `h × w × c`, kernel, outputs, and the rest as in [`Conv2d`].
struct Case {
    input: [usize; 4],
    kernel: [usize; 2],
    outputs: usize,
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
    groups: usize,
}

const PLAIN: Case = Case {
    input: [1, 7, 6, 8],
    kernel: [3, 3],
    outputs: 5,
    stride: [1, 1],
    dilation: [1, 1],
    padding: [1, 1, 1, 1],
    groups: 1,
};

fn conv(what: &str, case: &Case, activation: Activation) {
    let mut net = Net::new(3);
    let x = net.input(&case.input, 0.05, -11);
    let [kh, kw] = case.kernel;
    let w = net.weights(&[case.outputs, kh, kw, case.input[3] / case.groups], 0);
    let b = net.bias(case.outputs);
    let (stride, dilation, padding, groups) = (case.stride, case.dilation, case.padding, case.groups);
    let op = Conv2d { stride, dilation, padding, groups, activation };
    let y = net.node(op, &[x, w, b], 0.11, 3);
    assert_same(what, &net.finish(&[y]));
}

#[test]
fn convolutions() {
    conv("gathered in words", &PLAIN, Activation::None);
    conv("relu6", &PLAIN, Activation::Relu6);
    conv("odd number of pixels", &Case { input: [1, 5, 5, 4], ..PLAIN }, Activation::Relu);
    conv(
        "three channels",
        &Case { input: [1, 6, 6, 3], stride: [2, 2], padding: [0, 0, 1, 1], ..PLAIN },
        Activation::Relu,
    );
    conv("dilated", &Case { dilation: [2, 1], padding: [2, 1, 2, 1], ..PLAIN }, Activation::None);
    conv(
        "dilated columns",
        &Case { input: [1, 7, 7, 3], dilation: [1, 2], padding: [1, 2, 1, 2], ..PLAIN },
        Activation::None,
    );
    conv("no padding", &Case { padding: [0; 4], ..PLAIN }, Activation::None);
    conv("batch", &Case { input: [3, 4, 4, 4], ..PLAIN }, Activation::None);
    conv("groups", &Case { outputs: 6, groups: 2, ..PLAIN }, Activation::None);
    conv("one output pixel", &Case { input: [1, 3, 3, 2], padding: [0; 4], ..PLAIN }, Activation::None);
    conv(
        "kernel wider than the image",
        &Case { input: [1, 2, 2, 4], kernel: [5, 5], padding: [2; 4], ..PLAIN },
        Activation::None,
    );
}

#[test]
fn pointwise_convolutions() {
    let one = Case { kernel: [1, 1], padding: [0; 4], ..PLAIN };
    conv("even", &one, Activation::Relu);
    conv("odd pixels, odd channels", &Case { input: [1, 3, 5, 7], outputs: 9, ..one }, Activation::None);
    conv("strided", &Case { stride: [2, 2], ..one }, Activation::None);
}

fn depthwise(what: &str, input: [usize; 4], multiplier: usize, stride: usize, padding: [usize; 4]) {
    let mut net = Net::new(5);
    let x = net.input(&input, 0.05, 7);
    let channels = input[3] * multiplier;
    let w = net.weights(&[1, 3, 3, channels], 3);
    let b = net.bias(channels);
    let op =
        DepthwiseConv2d { stride: [stride; 2], dilation: [1, 1], padding, multiplier, activation: Activation::Relu };
    let y = net.node(op, &[x, w, b], 0.07, -20);
    assert_same(what, &net.finish(&[y]));
}

#[test]
fn depthwise_convolutions() {
    depthwise("same", [1, 6, 5, 8], 1, 1, [1; 4]);
    depthwise("odd channels", [1, 6, 5, 7], 1, 2, [0, 0, 1, 1]);
    depthwise("no padding", [2, 5, 5, 4], 1, 1, [0; 4]);
    depthwise("multiplier", [1, 5, 5, 3], 2, 1, [1; 4]);
    depthwise("one channel", [1, 6, 6, 1], 8, 2, [1; 4]);
}

#[test]
fn grouped_convolution_with_one_channel_a_group_is_depthwise() {
    conv("grouped", &Case { outputs: 8, groups: 8, ..PLAIN }, Activation::None);
}

#[test]
fn transposed_convolutions() {
    for (stride, padding, extra) in [(2, [0; 4], [0, 0]), (2, [1, 1, 1, 1], [1, 1]), (1, [1, 0, 1, 0], [0, 0])] {
        let mut net = Net::new(9);
        let x = net.input(&[1, 4, 3, 6], 0.05, -3);
        let (w, b) = (net.weights(&[5, 3, 3, 6], 0), net.bias(5));
        let op = ConvTranspose2d {
            stride: [stride; 2],
            dilation: [1, 1],
            padding,
            output_padding: extra,
            groups: 1,
            activation: Activation::None,
        };
        let y = net.node(op, &[x, w, b], 0.09, 2);
        assert_same("transposed", &net.finish(&[y]));
    }
}

/// Layers in a row: overlapping buffers must not change a byte.
#[test]
fn chains_of_layers_share_memory() {
    let mut net = Net::new(11);
    let mut x = net.input(&[1, 12, 12, 8], 0.05, 0);
    for (i, outputs) in [16usize, 8, 24, 4].into_iter().enumerate() {
        let channels = if i == 0 { 8 } else { [16, 8, 24][i - 1] };
        let w = net.weights(&[1, 3, 3, channels], 3);
        let (stride, dilation, padding) = ([1, 1], [1, 1], [1; 4]);
        let op = DepthwiseConv2d { stride, dilation, padding, multiplier: 1, activation: Activation::Relu };
        let b = net.bias(channels);
        x = net.node(op, &[x, w, b], 0.06, -10);
        let size = if i % 2 == 0 { 1 } else { 3 };
        let (w, b) = (net.weights(&[outputs, size, size, channels], 0), net.bias(outputs));
        let padding = [size / 2; 4];
        let op = Conv2d { stride, dilation, padding, groups: 1, activation: Activation::None };
        x = net.node(op, &[x, w, b], 0.08, 5);
    }
    let graph = net.finish(&[x]);
    let separate: usize = 12 * 12 * (24 + 24);
    let cost = fewbits_emit_c::emit(&graph, &Options::default()).unwrap().cost;
    assert!(cost.arena < separate, "{} bytes: nothing overlaps", cost.arena);
    assert_same("chain", &graph);
}

/// What the sums of a layer with unit zero points become, worked out here.
fn expected(rows: &[i8], weights: &[i8], k: usize, multipliers: &[FixedMultiplier], once: bool) -> Vec<i8> {
    let mut out = Vec::new();
    for row in rows.chunks_exact(k) {
        for (filter, m) in weights.chunks_exact(k).zip(multipliers) {
            let sum: i32 = row.iter().zip(filter).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
            let scaled = match once {
                true => {
                    let right = 31 - m.shift;
                    ((i64::from(sum) * i64::from(m.multiplier) + (1 << (right - 1))) >> right) as i32
                }
                false => m.apply(sum),
            };
            out.push(scaled.clamp(-128, 127) as i8);
        }
    }
    out
}

/// Fully-connected layers round once as LiteRT's reference kernels do, or twice as TFLM's.
#[test]
fn fully_connected_layers_round_as_asked() {
    if !has_compiler() {
        return;
    }
    let (rows, k, n) = (2, 37, 9);
    let mut net = Net::new(13);
    let x = net.input(&[rows, k], 0.05, 0);
    let w = net.weights(&[n, k], 0);
    let y = net.node(FullyConnected { activation: Activation::None }, &[x, w], 0.9, 0);
    let graph = net.finish(&[y]);
    let weights = graph.value(w).data.as_ref().unwrap().as_slice::<i8>().unwrap().into_owned();
    let scales = &graph.value(w).quant.as_ref().unwrap().scales;
    let unit = |s: &f32| f64::from(0.05f32) * f64::from(*s) / f64::from(0.9f32);
    let multipliers: Vec<FixedMultiplier> = scales.iter().map(|s| FixedMultiplier::new(unit(s))).collect();
    for (arithmetic, once) in [(Arithmetic::LiteRt, true), (Arithmetic::Tflm, false)] {
        let ours: Vec<i8> = both(&graph, &Options { arithmetic, ..Options::default() }).iter().map(|p| p.0).collect();
        let mut random = crate::common::Random(77);
        let wanted: Vec<i8> =
            (0..8).flat_map(|_| expected(&random.int8s(rows * k), &weights, k, &multipliers, once)).collect();
        assert_eq!(ours, wanted, "{arithmetic:?}");
    }
}

/// Products with a constant matrix round twice, in C and in the engine, as LiteRT's `BATCH_MATMUL`
/// does; only fully-connected layers round once.
#[test]
fn products_with_a_constant_matrix_round_twice() {
    if !has_compiler() {
        return;
    }
    let (rows, k, n) = (40, 37, 9);
    for transpose_b in [false, true] {
        let mut net = Net::new(17);
        let x = net.input(&[rows, k], 0.5, 0);
        let (dims, axis) = if transpose_b { ([n, k], 0) } else { ([k, n], 1) };
        let w = net.weights(&dims, axis);
        // The multiplier is a power of two: many sums lie in the middle between two results.
        net.graph.value_mut(w).quant = Some(Quantization::per_tensor(1.0, 0));
        let product = || MatMul { transpose_a: false, transpose_b };
        let y = net.node(product(), &[x, w], 64.0, 0);
        let graph = net.finish(&[y]);
        let weights = graph.value(w).data.clone().unwrap();
        let filters = if transpose_b { weights } else { weights.transposed(&[1, 0]).unwrap() };
        let filters = filters.as_slice::<i8>().unwrap().into_owned();
        let multipliers = vec![FixedMultiplier::new(0.5 / 64.0); n];
        let wanted = |once: bool| -> Vec<i8> {
            let mut random = crate::common::Random(77);
            (0..8).flat_map(|_| expected(&random.int8s(rows * k), &filters, k, &multipliers, once)).collect()
        };
        let (ours, engine): (Vec<i8>, Vec<i8>) = both(&graph, &Options::default()).into_iter().unzip();
        assert_eq!(ours, wanted(false), "C, transposed: {transpose_b}");
        assert_eq!(engine, wanted(false), "engine, transposed: {transpose_b}");
        assert_ne!(ours, wanted(true), "the test shows no difference");

        let mut net = Net::new(18);
        let x = net.input(&[rows, k], 0.05, -7);
        let w = net.weights(&dims, axis);
        let y = net.node(product(), &[x, w], 0.9, 4);
        assert_same("one scale a column", &net.finish(&[y]));
    }
}
