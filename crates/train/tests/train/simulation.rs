//! Simulations of quantized graphs.

use fewbits_engine::Engine;
use fewbits_engine::simplify::{SimplifyOptions, lower_for_quantization, simplify};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Op, Shape, Tensor};
use fewbits_quantize::{ActivationBits, Calibrator, Format, Mode, Recipe, WeightBits, quantize_int8};
use fewbits_train::{Gradients, Method, Optimizer, Options, Simulation, Tape, Trainee, loss};

use crate::support::{random, within};

/// Convolutions with ReLU and without, a depthwise one, a residual addition, average and maximum
/// pooling, a concatenation, a classifier and a soft-max.
fn network() -> Graph {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), 8.into(), 8.into(), 3.into()]));
    let mut seed = 0;
    let mut weights = |graph: &mut Graph, shape: &[usize]| {
        seed += 1;
        let inputs = shape[1..].iter().product::<usize>().max(1) as f32;
        let data = random(seed, shape).to_f32().iter().map(|v| v * 1.7 / inputs.sqrt()).collect::<Vec<_>>();
        Some(graph.add_constant(format!("w{seed}"), Tensor::new(shape.to_vec(), data)))
    };
    let conv = |activation| Conv2d { stride: [1; 2], dilation: [1; 2], padding: [1; 4], groups: 1, activation };
    let (w, b) = (weights(&mut graph, &[8, 3, 3, 3]), weights(&mut graph, &[8]));
    let a = graph.add_node("stem", conv(Activation::Relu), &[Some(x), w, b], "stem");
    let (w, b) = (weights(&mut graph, &[1, 3, 3, 8]), weights(&mut graph, &[8]));
    let depthwise = DepthwiseConv2d {
        stride: [1; 2],
        dilation: [1; 2],
        padding: [1; 4],
        multiplier: 1,
        activation: Activation::None,
    };
    let d = graph.add_node("depthwise", depthwise, &[Some(a), w, b], "depthwise");
    let (w, b) = (weights(&mut graph, &[8, 3, 3, 8]), weights(&mut graph, &[8]));
    let c = graph.add_node("project", conv(Activation::None), &[Some(d), w, b], "project");
    let add = Binary { kind: BinaryKind::Add, activation: Activation::Relu };
    let r = graph.add_node("residual", add, &[Some(a), Some(c)], "residual");
    let pool = |kind| Pool2d {
        kind,
        kernel: [2; 2],
        stride: [2; 2],
        dilation: [1; 2],
        padding: [0; 4],
        counted_padding: [0; 2],
        activation: Activation::None,
    };
    let max = graph.add_node("max", pool(PoolKind::Max), &[Some(r)], "max");
    let mean = graph.add_node("mean", pool(PoolKind::Average { count_include_pad: false }), &[Some(r)], "mean");
    let both = Concat { axis: 3, activation: Activation::None };
    let both = graph.add_node("both", both, &[Some(max), Some(mean)], "both");
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let p = graph.add_node("pool", mean, &[Some(both)], "pool");
    let (w, b) = (weights(&mut graph, &[5, 16]), weights(&mut graph, &[5]));
    let y = graph.add_node("classify", FullyConnected { activation: Activation::None }, &[Some(p), w, b], "logits");
    let y = graph.add_node("softmax", Softmax { axis: 1, beta: 1.0 }, &[Some(y)], "probabilities");
    graph.outputs = vec![y];
    graph.infer().unwrap();
    lower_for_quantization(simplify(graph, &SimplifyOptions::default()).unwrap()).unwrap()
}

fn samples() -> Vec<Tensor> {
    (0..8).map(|i| within(100 + i, &[4, 8, 8, 3], -1.0, 1.5)).collect()
}

fn quantized(float: &Graph, weights: u8, activations: u8) -> (Graph, Recipe) {
    let mut calibrator = Calibrator::new(float, 1).unwrap();
    for x in samples() {
        calibrator.add(&[x]).unwrap();
    }
    let mut recipe = Recipe::new(Mode::Int8);
    recipe.weights = WeightBits::try_from(weights).unwrap();
    recipe.activations = ActivationBits::try_from(activations).unwrap();
    (quantize_int8(float, &calibrator.finish().unwrap(), &recipe, Format::Onnx).unwrap(), recipe)
}

fn simulate(float: &Graph, quantized: &Graph, recipe: &Recipe) -> Simulation {
    let largest = i32::from(recipe.weights.largest());
    Simulation::new(float, quantized, |_| largest).unwrap()
}

fn run(graph: &Graph, x: &Tensor) -> Vec<f32> {
    Engine::compile(graph, &Default::default()).unwrap().run(std::slice::from_ref(x)).unwrap()[0].to_f32()
}

/// Compares outputs over all samples. They are soft-max probabilities in steps of 1/256: equal but for
/// rounding at ties, where an element of some layer moves by one of its steps, which is many of the
/// output's for a narrow edge.
fn assert_same(simulated: impl Fn(&Tensor) -> Vec<f32>, integer: &Graph, coarse: bool, what: &str) {
    let steps = |x: &Tensor| -> Vec<f32> {
        let pairs = simulated(x).into_iter().zip(run(integer, x));
        pairs.map(|(a, b)| ((a - b) * 256.0).abs()).collect()
    };
    let steps: Vec<f32> = samples().iter().flat_map(steps).collect();
    let worst = steps.iter().copied().fold(0.0f32, f32::max);
    let moved = steps.iter().filter(|s| **s > 0.5).count();
    let bound = if coarse { 12.01 } else { 2.01 };
    assert!(
        worst <= bound && moved * 7 <= steps.len(),
        "{what}: {moved} of {} differ, by {worst} at most",
        steps.len()
    );
}

/// The simulation's output as training sees it.
fn simulated(trainee: &Trainee, x: &Tensor) -> Vec<f32> {
    let mut trainee = trainee.clone();
    let mut tape = tape(&trainee, x);
    trainee.round();
    tape.forward(std::slice::from_ref(x), trainee.constants()).unwrap();
    tape.output(0).to_vec()
}

#[test]
fn a_simulation_computes_what_the_integers_do() {
    let float = network();
    for (weights, activations) in [(8, 8), (4, 8), (4, 4), (2, 3)] {
        let (quantized, recipe) = quantized(&float, weights, activations);
        let simulation = simulate(&float, &quantized, &recipe);
        assert_eq!(simulation.layers.len(), 4);
        let trainee = Trainee::simulated(simulation, true).unwrap();
        let what = format!("W{weights}A{activations}");
        assert_same(|x| simulated(&trainee, x), &quantized, activations < 8, &what);
    }
}

#[test]
fn what_was_not_trained_is_exported_as_it_was() {
    let float = network();
    for (weights, activations) in [(8, 8), (4, 4)] {
        let (quantized, recipe) = quantized(&float, weights, activations);
        let trainee = Trainee::simulated(simulate(&float, &quantized, &recipe), true).unwrap();
        let exported = trainee.export(&quantized);
        for (a, b) in exported.values.iter().zip(&quantized.values) {
            assert_eq!(
                (&a.quant, a.data.as_ref().map(|d| d.dtype())),
                (&b.quant, b.data.as_ref().map(|d| d.dtype())),
                "{}",
                a.name
            );
            if a.dtype == DType::I8 {
                assert_eq!(a.data, b.data, "{}", a.name);
            }
        }
        // Biases go through float.
        assert_same(|x| run(&exported, x), &quantized, activations < 8, "exported");
    }
}

fn tape(trainee: &Trainee, x: &Tensor) -> Tape {
    let options =
        Options { input_shapes: vec![x.shape().to_vec()], trainable: trainee.trainable(), input_gradients: Vec::new() };
    Tape::compile(&trainee.graph, &options).unwrap()
}

/// Mean squared error against `targets`, and a step against its gradient.
fn learn(trainee: &mut Trainee, tape: &mut Tape, optimizer: &mut Optimizer, targets: &[Vec<f32>], rate: f32) {
    for (x, target) in samples().into_iter().zip(targets) {
        trainee.round();
        tape.forward(&[x], trainee.constants()).unwrap();
        let lost = loss::mean_squared_error(tape.output(0), target, None).unwrap();
        let gradients: Gradients<'_> = tape.backward(&[&lost.gradient]).unwrap();
        let gradients = trainee.pull_back(gradients);
        optimizer.step(&mut trainee.parameters, &gradients, rate);
        trainee.hold();
    }
}

#[test]
fn training_wins_back_what_quantization_lost_and_the_integers_follow() {
    let float = network();
    let (quantized, recipe) = quantized(&float, 3, 3);
    let targets: Vec<Vec<f32>> = samples().iter().map(|x| run(&float, x)).collect();
    let error = |graph: &Graph| -> f64 {
        let one = |(x, t): (&Tensor, &Vec<f32>)| loss::mean_squared_error(&run(graph, x), t, None).unwrap().value;
        samples().iter().zip(&targets).map(one).sum()
    };
    for learn_ranges in [false, true] {
        let mut trainee = Trainee::simulated(simulate(&float, &quantized, &recipe), learn_ranges).unwrap();
        let mut tape = tape(&trainee, &samples()[0]);
        let method = Method::AdamW { betas: [0.9, 0.999] };
        let mut optimizer = Optimizer::new(method, 0.0, &trainee.parameters);
        let before = error(&quantized);
        (0..25).for_each(|_| learn(&mut trainee, &mut tape, &mut optimizer, &targets, 2e-3));
        let exported = trainee.export(&quantized);
        let after = error(&exported);
        assert!(after < 0.6 * before, "ranges {learn_ranges}: {before} -> {after}");
        assert_same(|x| simulated(&trainee, x), &exported, true, "after training");
        if !learn_ranges {
            let scales = |g: &Graph| {
                g.values.iter().filter(|v| v.dtype == DType::I8).map(|v| v.quant.clone()).collect::<Vec<_>>()
            };
            assert_eq!(scales(&exported), scales(&quantized));
        }
    }
}

#[test]
fn narrow_activations_take_the_upper_values_only() {
    let float = network();
    let (quantized, _) = quantized(&float, 8, 4);
    let mut engine = Engine::compile(&quantized, &Default::default()).unwrap();
    let reads: Vec<_> = quantized
        .nodes
        .iter()
        .filter(|n| n.name != "stem" && matches!(n.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_)))
        .map(|n| n.inputs[0].unwrap())
        .collect();
    assert_eq!(reads.len(), 3);
    let mut levels = vec![std::collections::BTreeSet::new(); reads.len()];
    for x in samples() {
        engine
            .run_observed(&[x], &mut |id, view| {
                if let (Some(at), Some(q)) = (reads.iter().position(|r| *r == id), view.as_slice::<i8>()) {
                    levels[at].extend(q.iter().copied());
                }
            })
            .unwrap();
    }
    for levels in levels {
        assert!(levels.first().unwrap() >= &112 && levels.len() > 8, "{levels:?}");
    }
}
