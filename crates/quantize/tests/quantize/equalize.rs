//! Equalization and scale migration keep the function and even out the ranges.

use fewbits_engine::{Engine, Options};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Shape, Tensor, ValueId};
use fewbits_quantize::*;
use proptest::prelude::*;

use crate::common::noise;

const CHANNELS: usize = 8;

fn constant(g: &mut Graph, name: &str, shape: &[usize], data: Vec<f32>) -> Option<ValueId> {
    Some(g.add_constant(name, Tensor::new(shape.to_vec(), data)))
}

/// Factors from 1/100 to 100.
fn unequal(seed: u64, n: usize) -> Vec<f32> {
    noise(seed, n).into_iter().map(|x| 100.0f32.powf(x)).collect()
}

/// A layer whose output channels differ by four orders of magnitude.
fn layer(
    g: &mut Graph,
    x: ValueId,
    name: &str,
    op: impl Into<fewbits_graph::Op>,
    shape: &[usize],
    seed: u64,
) -> ValueId {
    let (n, op) = (shape.iter().product(), op.into());
    let (outputs, depthwise) = match &op {
        fewbits_graph::Op::DepthwiseConv2d(_) => (shape[3], true),
        _ => (shape[0], false),
    };
    let factors = unequal(seed + 7, outputs);
    let of = |i: usize| factors[if depthwise { i % outputs } else { i / (n / outputs) }];
    let data = noise(seed, n).iter().enumerate().map(|(i, w)| w * of(i)).collect();
    let w = constant(g, &format!("{name}.weight"), shape, data);
    let bias = noise(seed + 1, outputs).iter().zip(&factors).map(|(b, f)| b * f).collect();
    let b = constant(g, &format!("{name}.bias"), &[outputs], bias);
    g.add_node(name, op, &[Some(x), w, b], format!("{name}_out"))
}

fn conv(padding: usize, groups: usize, activation: Activation) -> Conv2d {
    Conv2d { stride: [1, 1], dilation: [1, 1], padding: [padding; 4], groups, activation }
}

/// conv → depthwise → pool → grouped conv → leaky ReLU → conv (two readers) → mean, flatten → dense.
fn network(activation: Activation, seed: u64) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), 8.into(), 8.into(), 3.into()]));
    let a = layer(&mut g, x, "stem", conv(1, 1, activation), &[CHANNELS, 3, 3, 3], seed);
    let depthwise = DepthwiseConv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], multiplier: 2, activation };
    let b = layer(&mut g, a, "depthwise", depthwise, &[1, 3, 3, 2 * CHANNELS], seed + 10);
    let pool = Pool2d {
        kind: PoolKind::Max,
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [1, 1],
        padding: [0; 4],
        counted_padding: [0, 0],
        activation: Activation::None,
    };
    let c = g.add_node("pool", pool, &[Some(b)], "pooled");
    let d = layer(&mut g, c, "grouped", conv(0, 2, Activation::None), &[CHANNELS, 1, 1, CHANNELS], seed + 20);
    let leaky = Unary { kind: UnaryKind::LeakyRelu { alpha: 0.1 } };
    let d = g.add_node("leaky", leaky, &[Some(d)], "leaky_out");
    let e = layer(&mut g, d, "last", conv(0, 1, Activation::None), &[CHANNELS, 1, 1, CHANNELS], seed + 30);
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let m = g.add_node("mean", mean, &[Some(e)], "mean_out");
    let dense = FullyConnected { activation: Activation::None };
    let left = layer(&mut g, m, "dense", dense.clone(), &[5, CHANNELS], seed + 40);
    let flat = g.add_node("flatten", Flatten { axis: 1 }, &[Some(e)], "flat");
    let right = layer(&mut g, flat, "wide", dense, &[5, 16 * CHANNELS], seed + 50);
    g.outputs = vec![left, right];
    g.infer().unwrap();
    g
}

fn image(seed: u64) -> Vec<Tensor> {
    vec![Tensor::new(vec![2, 8, 8, 3], noise(seed, 2 * 8 * 8 * 3))]
}

fn observed(graph: &Graph, samples: &[Vec<Tensor>]) -> Statistics {
    let mut calibrator = Calibrator::new(graph, 1).unwrap();
    samples.iter().for_each(|sample| calibrator.add(sample).unwrap());
    calibrator.finish().unwrap()
}

fn outputs(graph: &Graph, inputs: &[Tensor]) -> Vec<Vec<f32>> {
    let mut engine = Engine::compile(graph, &Options { threads: 1, ..Options::default() }).unwrap();
    engine.run(inputs).unwrap().iter().map(Tensor::to_f32).collect()
}

/// Largest difference, relative to the largest output.
fn difference(a: &Graph, b: &Graph, inputs: &[Tensor]) -> f32 {
    let both = outputs(a, inputs).into_iter().zip(outputs(b, inputs));
    both.map(|(a, b)| {
        let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        a.iter().zip(&b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / largest
    })
    .fold(0.0, f32::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_function_stays(seed in 0u64..1000, per_tensor: bool, with_samples: bool, relu6: bool) {
        let graph = network(if relu6 { Activation::Relu6 } else { Activation::Relu }, seed);
        let samples: Vec<_> = (0..4).map(|i| image(seed + i)).collect();
        let statistics = with_samples.then(|| observed(&graph, &samples));
        let recipe = Recipe { per_tensor, ..Recipe::new(Mode::Int8) };
        let equal = equalize(&graph, statistics.as_ref(), &recipe).unwrap();
        prop_assert!(equal != graph);
        // A clamp may be met on samples that were not seen.
        let limit = if relu6 && per_tensor && with_samples { 0..4 } else { 0..20 };
        for i in limit {
            let error = difference(&graph, &equal, &image(seed + i));
            prop_assert!(error < 1e-5, "{error}");
        }
    }
}

#[test]
fn weight_ranges_of_two_layers_become_equal() {
    let graph = network(Activation::Relu, 3);
    let recipe = Recipe { per_tensor: true, ..Recipe::new(Mode::Int8) };
    let equal = equalize(&graph, None, &recipe).unwrap();
    let ranges = |graph: &Graph, name: &str, channel: &dyn Fn(usize) -> usize| {
        let data = graph.value(graph.find_value(name).unwrap()).data.as_ref().unwrap().to_f32();
        let mut ranges = vec![0.0f32; CHANNELS];
        data.iter().enumerate().for_each(|(i, w)| ranges[channel(i)] = ranges[channel(i)].max(w.abs()));
        ranges
    };
    let pair = |graph: &Graph| {
        let produced = ranges(graph, "stem.weight", &|i| i / 27);
        let read = ranges(graph, "depthwise.weight", &|i| i % (2 * CHANNELS) / 2);
        produced.into_iter().zip(read).fold(0.0f32, |m, (a, b)| m.max((a / b).ln().abs()))
    };
    assert!(pair(&graph) > 1.0 && pair(&equal) < 0.01, "{} {}", pair(&graph), pair(&equal));
}

#[test]
fn channels_fill_the_range_and_int8_gains() {
    let graph = network(Activation::Relu, 11);
    let samples: Vec<_> = (0..8).map(image).collect();
    let recipe = Recipe { weight_rounding: WeightRounding::Nearest, ..Recipe::new(Mode::Int8) };
    let before = observed(&graph, &samples);
    let equal = equalize(&graph, Some(&before), &recipe).unwrap();
    let after = observed(&equal, &samples);
    // A depthwise layer reads the stem: its channels all become as large as the largest.
    let edge = graph.find_value("stem_out").unwrap();
    let spread = |statistics: &Statistics| {
        let sizes: Vec<f32> = statistics.channel_extremes(edge).unwrap().iter().map(|e| e.0.abs().max(e.1)).collect();
        let largest = sizes.iter().fold(0.0f32, |m, &x| m.max(x));
        sizes.iter().filter(|&&x| x > 0.0).fold(1.0f32, |m, x| m.max(largest / x))
    };
    assert!(
        spread(&before) > 100.0 && spread(&after) < spread(&before) / 20.0,
        "{} {}",
        spread(&before),
        spread(&after)
    );
    let error = |graph: &Graph, statistics: &Statistics| {
        let quantized = quantize_int8(graph, statistics, &recipe, Format::Onnx).unwrap();
        (0..8).map(|i| difference(graph, &quantized, &image(i))).sum::<f32>()
    };
    let (plain, equalized) = (error(&graph, &before), error(&equal, &after));
    assert!(equalized < plain, "{equalized} {plain}");
}

/// A post-norm block: the normalisation feeds two layers and the residual.
fn block(residual: bool) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), 4.into(), CHANNELS.into()]));
    let gamma = constant(&mut g, "gamma", &[CHANNELS], unequal(1, CHANNELS));
    let beta = constant(&mut g, "beta", &[CHANNELS], noise(2, CHANNELS));
    let n = g.add_node("norm", LayerNorm { axis: 2, epsilon: 1e-5 }, &[Some(x), gamma, beta], "normed");
    let dense = FullyConnected { activation: Activation::None };
    let weights = |seed| noise(seed, CHANNELS * CHANNELS);
    let (v, w) = (
        constant(&mut g, "v", &[CHANNELS, CHANNELS], weights(3)),
        constant(&mut g, "w", &[CHANNELS, CHANNELS], weights(4)),
    );
    let a = g.add_node("query", dense.clone(), &[Some(n), v, None], "q");
    let b = g.add_node("key", dense, &[Some(n), w, None], "k");
    let add = |activation| Binary { kind: BinaryKind::Add, activation };
    let mut out = g.add_node("sum", add(Activation::None), &[Some(a), Some(b)], "s");
    if residual {
        out = g.add_node("residual", add(Activation::None), &[Some(out), Some(n)], "r");
    }
    g.outputs = vec![out];
    g.infer().unwrap();
    g
}

#[test]
fn normalisations_give_their_outliers_to_the_weights() {
    for residual in [false, true] {
        let graph = block(residual);
        let sample = vec![Tensor::new(vec![16, 4, CHANNELS], noise(9, 16 * 4 * CHANNELS))];
        let before = observed(&graph, std::slice::from_ref(&sample));
        let smoothed = smooth(&graph, &before).unwrap();
        assert!(difference(&graph, &smoothed, &sample) < 1e-5);
        let norms = smoothed.nodes.iter().filter(|n| matches!(n.op, fewbits_graph::Op::LayerNorm(_))).count();
        assert_eq!(norms, if residual { 2 } else { 1 }, "the residual reads what it read");
        let after = observed(&smoothed, std::slice::from_ref(&sample));
        let edge = smoothed.nodes.iter().find(|n| n.name == "query").unwrap().inputs[0].unwrap();
        let spread = |statistics: &Statistics, v| {
            let sizes: Vec<f32> = statistics.channel_extremes(v).unwrap().iter().map(|e| e.1.max(-e.0)).collect();
            sizes.iter().fold(0.0f32, |m, &x| m.max(x)) / sizes.iter().fold(f32::INFINITY, |m, &x| m.min(x))
        };
        let (wide, narrow) = (spread(&before, graph.find_value("normed").unwrap()), spread(&after, edge));
        assert!(narrow < wide.powf(0.75), "{narrow} {wide}");
    }
}
