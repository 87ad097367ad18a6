//! Networks that are broken on purpose: each is diagnosed by the node's name and the cause, and what
//! the diagnosis advises helps.

use fewbits_engine::simplify::{SimplifyOptions, lower_for_quantization, simplify};
use fewbits_engine::{Engine, Options};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Shape, Tensor, ValueId};
use fewbits_quantize::*;

use crate::common::noise;

/// Where a network is broken.
#[derive(Clone, Copy, PartialEq)]
enum Broken {
    Nothing,
    /// Channel 5 of `mid` has weights and outputs 1,000 times those of the others, which `last` takes
    /// back.
    OutlierChannel,
    /// `last` reads channel 7 with weights 1,000 times those of the others.
    OutlierColumn,
    /// A batch normalization behind the ReLU of `mid`, whose variances differ by four orders, before
    /// a padded convolution.
    UnfoldedBatchNorm,
    /// The same as a product and a sum, as some exporters write it.
    ScaleAndShift,
    /// A bias of 4,000 in channel 3 of `mid`, which `last` takes back.
    HugeBias,
}

const CHANNELS: usize = 16;

struct Network {
    graph: Graph,
    broken: Broken,
}

impl Network {
    fn conv(&mut self, x: ValueId, name: &str, inputs: usize, activation: Activation, seed: u64) -> ValueId {
        let shape = vec![CHANNELS, 3, 3, inputs];
        let fan_in = (9 * inputs) as f32;
        let mut weights: Vec<f32> =
            noise(seed, CHANNELS * 9 * inputs).iter().map(|x| x * (3.0 / fan_in).sqrt()).collect();
        let mut bias: Vec<f32> = noise(seed + 50, CHANNELS).iter().map(|x| x * 0.1).collect();
        let filter = 9 * inputs;
        match (self.broken, name) {
            (Broken::OutlierChannel, "mid") => {
                weights[5 * filter..6 * filter].iter_mut().for_each(|w| *w *= 1000.0);
                bias[5] *= 1000.0;
            }
            (Broken::OutlierChannel, "last") => weights.iter_mut().skip(5).step_by(inputs).for_each(|w| *w /= 1000.0),
            (Broken::OutlierColumn, "last") => weights.iter_mut().skip(7).step_by(inputs).for_each(|w| *w *= 1000.0),
            (Broken::UnfoldedBatchNorm | Broken::ScaleAndShift, "mid") => {
                // What the batch normalization takes back: channels of 1, 1/10, 1/100 and 1/1,000.
                for (c, filter) in weights.chunks_exact_mut(filter).enumerate() {
                    filter.iter_mut().for_each(|w| *w *= 0.1f32.powi(c as i32 % 4));
                    bias[c] *= 0.1f32.powi(c as i32 % 4);
                }
            }
            (Broken::HugeBias, "mid") => bias[3] = 4000.0,
            (Broken::HugeBias, "last") => weights.iter_mut().skip(3).step_by(inputs).for_each(|w| *w /= 1000.0),
            _ => {}
        }
        let w = self.graph.add_constant(format!("{name}.weight"), Tensor::new(shape, weights));
        let b = self.graph.add_constant(format!("{name}.bias"), Tensor::new(vec![CHANNELS], bias));
        let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups: 1, activation };
        self.graph.add_node(name, op, &[Some(x), Some(w), Some(b)], format!("{name}_out"))
    }

    fn batch_norm(&mut self, x: ValueId) -> ValueId {
        let mut vector = |name: &str, data: Vec<f32>| {
            Some(self.graph.add_constant(format!("bn.{name}"), Tensor::new(vec![CHANNELS], data)))
        };
        let variance = (0..CHANNELS).map(|c| 0.1f32.powi(2 * (c as i32 % 4))).collect();
        let inputs = [
            Some(x),
            vector("scale", vec![1.0; CHANNELS]),
            vector("bias", noise(77, CHANNELS)),
            vector("mean", vec![0.0; CHANNELS]),
            vector("variance", variance),
        ];
        self.graph.add_node("bn", BatchNorm { epsilon: 0.0, activation: Activation::None }, &inputs, "bn_out")
    }
}

impl Network {
    fn scale_and_shift(&mut self, x: ValueId) -> ValueId {
        let scales = (0..CHANNELS).map(|c| 10f32.powi(c as i32 % 4)).collect();
        let scale = self.graph.add_constant("scale", Tensor::new(vec![CHANNELS], scales));
        let shift = self.graph.add_constant("shift", Tensor::new(vec![CHANNELS], noise(77, CHANNELS)));
        let op = |kind| Binary { kind, activation: Activation::None };
        let x = self.graph.add_node("bn/mul", op(BinaryKind::Mul), &[Some(x), Some(scale)], "scaled");
        self.graph.add_node("bn/add", op(BinaryKind::Add), &[Some(x), Some(shift)], "shifted")
    }
}

/// stem → mid → (bn) → last → mean → fc, simplified as for int8; input `[N, 8, 8, 3]`.
fn network(broken: Broken) -> Graph {
    let mut net = Network { graph: Graph::default(), broken };
    let shape = Shape(vec![Dim::symbol("N"), 8.into(), 8.into(), 3.into()]);
    let x = net.graph.add_input("image", DType::F32, shape);
    let x = net.conv(x, "stem", 3, Activation::Relu, 1);
    let mut x = net.conv(x, "mid", CHANNELS, Activation::Relu, 2);
    if broken == Broken::UnfoldedBatchNorm {
        x = net.batch_norm(x);
    }
    if broken == Broken::ScaleAndShift {
        x = net.scale_and_shift(x);
    }
    let x = net.conv(x, "last", CHANNELS, Activation::Relu, 3);
    let mut g = net.graph;
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let x = g.add_node("mean", mean, &[Some(x)], "mean_out");
    let w = g.add_constant("fc.weight", Tensor::new(vec![10, CHANNELS], noise(9, 10 * CHANNELS)));
    let fc = FullyConnected { activation: Activation::None };
    let logits = g.add_node("fc", fc, &[Some(x), Some(w)], "logits");
    g.outputs = vec![logits];
    g.infer().unwrap();
    lower_for_quantization(simplify(g, &SimplifyOptions::default()).unwrap()).unwrap()
}

fn samples(seeds: std::ops::Range<u64>) -> Vec<Vec<Tensor>> {
    seeds.map(|seed| vec![Tensor::new(vec![1, 8, 8, 3], noise(seed, 192))]).collect()
}

fn statistics(graph: &Graph) -> Statistics {
    let mut calibrator = Calibrator::new(graph, 1).unwrap();
    samples(0..16).iter().for_each(|s| calibrator.add(s).unwrap());
    calibrator.finish().unwrap()
}

/// A network, what is found in it, and how well recipes do on it.
struct Case {
    graph: Graph,
    statistics: Statistics,
    recipe: Recipe,
    diagnosis: Diagnosis,
}

impl Case {
    fn new(broken: Broken, recipe: Recipe) -> Case {
        let graph = network(broken);
        let statistics = statistics(&graph);
        let quantized = quantize_graph(&graph, &statistics, &recipe, Format::Onnx).unwrap();
        let diagnosis = diagnose(&graph, &statistics, &recipe, &quantized, &forms(&graph, &quantized));
        Case { graph, statistics, recipe, diagnosis }
    }

    fn int8(broken: Broken) -> Case {
        Case::new(broken, Recipe::new(Mode::Int8))
    }

    /// Node names and causes of the findings that have a remedy.
    fn found(&self) -> Vec<(&str, &'static str)> {
        let serious = self.diagnosis.findings.iter().filter(|f| !f.remedies.is_empty());
        serious.map(|f| (self.graph.node(f.node).name.as_str(), f.cause.key())).collect()
    }

    fn finding(&self, node: &str, key: &str) -> &Finding {
        let wanted = |f: &&Finding| self.graph.node(f.node).name == node && f.cause.key() == key;
        self.diagnosis.findings.iter().find(wanted).unwrap_or_else(|| panic!("{node} {key}: {:?}", self.found()))
    }

    fn probe(&self) -> Probe<'_> {
        Probe::new(&self.graph, &self.statistics, &self.recipe, Format::Onnx, samples(100..104), 2).unwrap()
    }

    /// SQNR of the outputs as they are, and with each remedy of a finding.
    fn decibels(&self, finding: &Finding) -> (f64, Vec<f64>) {
        let recipes: Vec<Recipe> = finding.remedies.iter().map(|r| r.apply(&self.recipe)).collect();
        let with = self.probe().sqnr_db(recipes.len(), |i| recipes[i].clone(), &mut || {}).unwrap();
        (self.probe().sqnr_db(1, |_| self.recipe.clone(), &mut || {}).unwrap()[0], with)
    }
}

#[test]
fn a_healthy_network_has_no_finding() {
    assert_eq!(Case::int8(Broken::Nothing).found(), []);
    let recipe = Recipe { calibration: Calibration::Minmax, ..Recipe::new(Mode::Int8) };
    assert_eq!(Case::new(Broken::Nothing, recipe).found(), []);
}

#[test]
fn an_outlier_channel_is_named_with_its_weights() {
    let case = Case::int8(Broken::OutlierChannel);
    let finding = case.finding("mid", "outlier-channel");
    let Cause::OutlierChannel { channel, largest, median, weights } = finding.cause else { panic!("{finding:?}") };
    assert_eq!(channel, 5);
    assert!((300.0..3000.0).contains(&(largest / median)), "{largest} {median}");
    assert!((300.0..3000.0).contains(&weights.unwrap()), "{weights:?}");
    assert!(finding.cause.levels().unwrap() < 1.0);
    assert!(finding.cause.explanation().contains("channel 5"), "{}", finding.cause.explanation());
    assert_eq!(finding.remedies[0].flag(&case.recipe), "--exclude mid last");
    let (before, with) = case.decibels(finding);
    assert!(with[0] > before + 10.0, "{before} dB, {with:?}");
    assert!(!case.found().contains(&("mid", "huge-bias")), "{:?}", case.found());
}

#[test]
fn an_outlier_column_of_weights_is_named() {
    let case = Case::int8(Broken::OutlierColumn);
    let finding = case.finding("last", "outlier-weights");
    let Cause::OutlierWeights { side: Side::Input, channel: 7, .. } = finding.cause else { panic!("{finding:?}") };
    assert_eq!(finding.remedies[0].flag(&case.recipe), "--exclude last");
    let tensor = Case::new(Broken::OutlierChannel, Recipe { per_tensor: true, ..Recipe::new(Mode::Int8) });
    let finding = tensor.finding("mid", "outlier-weights");
    assert!(matches!(finding.cause, Cause::OutlierWeights { side: Side::Output, channel: 5, .. }), "{finding:?}");
    assert_eq!(finding.remedies[0].flag(&tensor.recipe), "without --per-tensor");
}

#[test]
fn an_unfolded_batch_norm_is_named_with_the_reason() {
    let case = Case::int8(Broken::UnfoldedBatchNorm);
    let finding = case.finding("bn", "unfolded-batch-norm");
    let Cause::UnfoldedBatchNorm { spread, amplification, reason } = &finding.cause else { panic!("{finding:?}") };
    assert!(*spread > 5.0 && amplification.unwrap() > 50.0, "{finding:?}");
    assert_eq!(reason, "it stands behind the activation of `mid`");
    assert_eq!(finding.remedies[0].flag(&case.recipe), "--exclude mid bn");
    let (before, with) = case.decibels(finding);
    assert!(with[0] > before + 10.0, "{before} dB, {with:?}");
}

#[test]
fn a_batch_norm_written_as_a_product_and_a_sum_is_named_too() {
    let case = Case::int8(Broken::ScaleAndShift);
    let finding = case.finding("bn/mul", "unfolded-batch-norm");
    assert_eq!(finding.remedies[0].flag(&case.recipe), "--exclude mid bn/mul");
    let (before, with) = case.decibels(finding);
    assert!(with[0] > before + 5.0, "{before} dB, {with:?}");
}

#[test]
fn a_huge_bias_is_named_and_is_no_outlier_channel() {
    let case = Case::int8(Broken::HugeBias);
    let finding = case.finding("mid", "huge-bias");
    let Cause::HugeBias { channel: 3, bias: 4000.0, levels: Some(levels), .. } = finding.cause else {
        panic!("{finding:?}")
    };
    assert!(levels < 1.0, "{levels}");
    assert!(!case.found().contains(&("mid", "outlier-channel")), "{:?}", case.found());
    let (before, with) = case.decibels(finding);
    assert!(with[0] > before + 5.0, "{before} dB, {with:?}");
}

#[test]
fn clipping_is_named_where_it_cuts_the_signal() {
    // One element is 400 times the others: a range that leaves it out cuts off most of the energy,
    // one that holds it leaves the others few levels.
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 10_000, 2]));
    let w = graph.add_constant("w", Tensor::new(vec![4, 2], noise(3, 8)));
    let y = graph.add_node("scale", Unary { kind: UnaryKind::HardSwish }, &[Some(x)], "y");
    let z = graph.add_node("fc", FullyConnected { activation: Activation::None }, &[Some(y), Some(w)], "z");
    graph.outputs = vec![z];
    graph.infer().unwrap();
    let mut calibrator = Calibrator::new(&graph, 1).unwrap();
    let mut data = noise(1, 20_000);
    data[17] = 400.0;
    calibrator.add(&[Tensor::new(vec![1, 10_000, 2], data)]).unwrap();
    let statistics = calibrator.finish().unwrap();
    let found = |calibration| {
        let recipe = Recipe { calibration, ..Recipe::new(Mode::Int8) };
        let quantized = quantize_graph(&graph, &statistics, &recipe, Format::Onnx).unwrap();
        let findings = diagnose(&graph, &statistics, &recipe, &quantized, &forms(&graph, &quantized)).findings;
        findings.iter().map(|f| (graph.node(f.node).name.clone(), f.cause.key())).collect::<Vec<_>>()
    };
    let clipped = ("scale".to_owned(), "clipped-tails");
    let stretched = ("scale".to_owned(), "few-levels");
    assert!(found(Calibration::Entropy).contains(&clipped), "{:?}", found(Calibration::Entropy));
    let minmax = found(Calibration::Minmax);
    assert!(!minmax.contains(&clipped) && minmax.contains(&stretched), "{minmax:?}");
}

#[test]
fn sensitivity_singles_out_the_broken_layer_and_does_not_depend_on_threads() {
    let case = Case::int8(Broken::OutlierChannel);
    let run = |threads| {
        let probe =
            Probe::new(&case.graph, &case.statistics, &case.recipe, Format::Onnx, samples(100..104), threads).unwrap();
        let forms = forms(&case.graph, probe.quantized());
        let layers = quantized_layers(&case.graph, &forms);
        let mut steps = 0;
        let result = sensitivity(&probe, &forms, &layers, &mut || steps += 1).unwrap();
        assert_eq!(steps, 2 * layers.len() + 1);
        result
    };
    let result = run(2);
    assert_eq!(result, run(1));
    let by_name = |name: &str| result.layers.iter().find(|l| case.graph.node(l.node).name == name).unwrap();
    let worst = result.layers.iter().min_by(|a, b| a.alone_db.total_cmp(&b.alone_db)).unwrap();
    assert!(["mid", "last"].contains(&case.graph.node(worst.node).name.as_str()), "{result:?}");
    // A layer alone costs less than all of them, and more than nothing.
    assert!(by_name("stem").alone_db > result.output_db && by_name("stem").alone_db < 100.0, "{result:?}");
}

#[test]
fn experiments_reuse_weights_without_changing_results() {
    for mode in [Mode::Int8, Mode::Dynamic, Mode::Float16] {
        let case = Case::new(Broken::Nothing, Recipe::new(mode));
        for exclude in [vec![], vec!["mid".to_owned()], vec!["stem".to_owned(), "mid".to_owned(), "fc".to_owned()]] {
            let recipe = Recipe { exclude, ..case.recipe.clone() };
            let quick = case.probe().quantize(&recipe).unwrap();
            let thorough = quantize_graph(&case.graph, &case.statistics, &recipe, Format::Onnx).unwrap();
            let run = |graph: &Graph| {
                let mut engine = Engine::compile(graph, &Options { threads: 1, ..Options::default() }).unwrap();
                samples(100..103).iter().map(|s| engine.run(s).unwrap()[0].to_f32()).collect::<Vec<_>>()
            };
            assert_eq!(run(&quick), run(&thorough), "{recipe:?}");
        }
    }
}

#[test]
fn a_layer_alone_leaves_the_others_float() {
    let case = Case::int8(Broken::Nothing);
    let probe = case.probe();
    let forms_of = |recipe: &Recipe| forms(&case.graph, &probe.quantize(recipe).unwrap());
    let all = forms_of(&case.recipe);
    let others: Vec<String> =
        case.graph.nodes.iter().map(|n| n.name.clone()).filter(|n| n != "last" && n != "mean").collect();
    let alone = forms_of(&Recipe { exclude: others, ..case.recipe.clone() });
    let names = |forms: &[Form]| {
        let narrow = case.graph.nodes.iter().zip(forms).filter(|(_, f)| **f != Form::Float);
        narrow.map(|(n, _)| n.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&all), ["stem", "mid", "last", "mean", "fc"]);
    assert_eq!(names(&alone), ["last", "mean"]);
    let weights = forms_of(&Recipe::new(Mode::Dynamic));
    assert!(weights.contains(&Form::Int8Weights) && !weights.contains(&Form::Int8), "{weights:?}");
}
