//! The three modes on a small network: what the graphs look like, and that they still compute the
//! same function.

use fewbits_engine::{Engine, Options};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Op, Quantization, Shape, Tensor, ValueId};
use fewbits_quantize::*;

use crate::common::noise;

fn weights(graph: &mut Graph, name: &str, shape: &[usize], seed: u64) -> Option<ValueId> {
    let n: usize = shape.iter().product();
    let fan_in = (n / shape[0]).max(1) as f32;
    let data = noise(seed, n).into_iter().map(|x| x * (3.0 / fan_in).sqrt()).collect();
    Some(graph.add_constant(name, Tensor::new(shape.to_vec(), data)))
}

fn conv(graph: &mut Graph, x: ValueId, name: &str, shape: [usize; 4], activation: Activation) -> ValueId {
    let w = weights(graph, &format!("{name}.weight"), &shape, name.len() as u64 + shape[3] as u64);
    let b = weights(graph, &format!("{name}.bias"), &[shape[0]], 99);
    let pad = shape[1] / 2;
    let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [pad; 4], groups: 1, activation };
    graph.add_node(name, op, &[Some(x), w, b], format!("{name}_out"))
}

/// conv → depthwise → conv, a residual, a concat with a pooled branch, mean, fully-connected,
/// soft-max; input `[N, 8, 8, 3]`.
fn network() -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("image", DType::F32, Shape(vec![Dim::symbol("N"), 8.into(), 8.into(), 3.into()]));
    let a = conv(&mut g, x, "stem", [16, 3, 3, 3], Activation::Relu6);
    let w = weights(&mut g, "dw.weight", &[1, 3, 3, 16], 5);
    let op = DepthwiseConv2d {
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1; 4],
        multiplier: 1,
        activation: Activation::Relu6,
    };
    let b = g.add_node("dw", op, &[Some(a), w, None], "dw_out");
    let c = conv(&mut g, b, "pw", [16, 1, 1, 16], Activation::None);
    let add = Binary { kind: BinaryKind::Add, activation: Activation::Relu };
    let d = g.add_node("residual", add, &[Some(a), Some(c)], "residual_out");
    let pool = Pool2d {
        kind: PoolKind::Max,
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1; 4],
        counted_padding: [1, 1],
        activation: Activation::None,
    };
    let e = g.add_node("pool", pool, &[Some(d)], "pool_out");
    let wide = conv(&mut g, d, "wide", [96, 1, 1, 16], Activation::None);
    let f = g.add_node("swish", Unary { kind: UnaryKind::HardSwish }, &[Some(wide)], "swish_out");
    let join = Concat { axis: 3, activation: Activation::None };
    let h = g.add_node("concat", join, &[Some(e), Some(f)], "concat_out");
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let m = g.add_node("mean", mean, &[Some(h)], "mean_out");
    let w = weights(&mut g, "fc.weight", &[10, 112], 7);
    let b = weights(&mut g, "fc.bias", &[10], 8);
    let y = g.add_node("fc", FullyConnected { activation: Activation::None }, &[Some(m), w, b], "logits");
    let p = g.add_node("softmax", Softmax { axis: 1, beta: 1.0 }, &[Some(y)], "probabilities");
    g.outputs = vec![y, p];
    g.infer().unwrap();
    g.validate().unwrap();
    g
}

fn sample(seed: u64) -> Tensor {
    Tensor::new(vec![1, 8, 8, 3], noise(seed, 192))
}

fn statistics(graph: &Graph, threads: usize) -> Statistics {
    let mut calibrator = Calibrator::new(graph, threads).unwrap();
    (0..16).for_each(|seed| calibrator.add(&[sample(seed)]).unwrap());
    calibrator.finish().unwrap()
}

fn recipe(mode: Mode) -> Recipe {
    Recipe::new(mode)
}

/// SQNR in dB of each output over fresh samples.
fn fidelity(float: &Graph, quantized: &Graph) -> Vec<f64> {
    let mut engines = [float, quantized].map(|g| Engine::compile(g, &Options::default()).unwrap());
    let mut sums = vec![(0.0, 0.0); float.outputs.len()];
    for seed in 100..120 {
        let reference = engines[0].run(&[sample(seed)]).unwrap();
        let got = engines[1].run(&adapt_inputs(quantized, &[sample(seed)])).unwrap();
        for ((sum, a), (b, id)) in sums.iter_mut().zip(&reference).zip(got.iter().zip(&quantized.outputs)) {
            let quant = quantized.value(*id).quant.as_ref().and_then(Quantization::as_per_tensor);
            let (scale, zero) = quant.unwrap_or((1.0, 0));
            for (a, b) in a.to_f32().into_iter().zip(b.to_f32()) {
                let b = (b - zero as f32) * scale;
                *sum = (sum.0 + f64::from(a * a), sum.1 + f64::from((a - b) * (a - b)));
            }
        }
    }
    sums.into_iter().map(|(s, n): (f64, f64)| 10.0 * (s / n).log10()).collect()
}

#[test]
fn int8_computes_the_same_function_on_integer_edges() {
    let float = network();
    let int8 = quantize_int8(&float, &statistics(&float, 1), &recipe(Mode::Int8), Format::Tflite).unwrap();
    let boundary = |op: &Op| matches!(op, Op::Quantize(_) | Op::Dequantize(_));
    for node in int8.nodes.iter().filter(|n| !boundary(&n.op)) {
        assert!(node.outputs.iter().all(|&v| int8.value(v).dtype == DType::I8), "{} is not integer", node.name);
    }
    let names: Vec<&str> = int8.outputs.iter().map(|&v| int8.value(v).name.as_str()).collect();
    assert_eq!(names, ["logits", "probabilities"]);
    for db in fidelity(&float, &int8) {
        assert!(db > 25.0, "{db} dB");
    }
}

#[test]
fn edges_that_must_share_parameters_do() {
    let float = network();
    let int8 = quantize_int8(&float, &statistics(&float, 1), &recipe(Mode::Int8), Format::Tflite).unwrap();
    let quant = |name: &str| int8.value(int8.find_value(name).unwrap()).quant.clone().unwrap();
    assert_eq!(quant("pool_out"), quant("residual_out"));
    assert_eq!(quant("concat_out"), quant("pool_out"));
    assert_eq!(quant("concat_out"), quant("swish_out"));
    assert_eq!(quant("probabilities_quantized"), Quantization::per_tensor(1.0 / 256.0, -128));
    let (weights, bias) = (quant("stem.weight"), quant("stem.bias"));
    let input = quant("image_quantized").scales[0];
    assert_eq!(bias.scales, weights.scales.iter().map(|w| w * input).collect::<Vec<_>>());
}

#[test]
fn integer_inputs_and_outputs_leave_no_float() {
    let float = network();
    let statistics = statistics(&float, 1);
    for (io, dtype) in [(IoType::Int8, DType::I8), (IoType::Uint8, DType::U8)] {
        let recipe = Recipe { io, ..recipe(Mode::Int8) };
        let int8 = quantize_int8(&float, &statistics, &recipe, Format::Tflite).unwrap();
        assert!(int8.values.iter().all(|v| !v.dtype.is_float()));
        let public: Vec<_> = int8.inputs.iter().chain(&int8.outputs).map(|&v| int8.value(v)).collect();
        assert!(public.iter().all(|v| v.dtype == dtype));
        assert_eq!(public.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["image", "logits", "probabilities"]);
        assert!(fidelity(&float, &int8)[0] > 25.0);
    }
}

#[test]
fn an_operator_without_integer_form_refuses_integer_io() {
    let mut float = network();
    let logits = float.outputs[0];
    let sine = float.add_node("wave", Unary { kind: UnaryKind::Sin }, &[Some(logits)], "wave_out");
    float.outputs = vec![sine];
    float.infer().unwrap();
    let statistics = statistics(&float, 1);
    let with_float = quantize_int8(&float, &statistics, &recipe(Mode::Int8), Format::Tflite).unwrap();
    assert!(fidelity(&float, &with_float)[0] > 20.0);
    let recipe = Recipe { io: IoType::Int8, ..recipe(Mode::Int8) };
    let error = quantize_int8(&float, &statistics, &recipe, Format::Tflite).unwrap_err().to_string();
    assert!(error.contains("`wave` (Unary)"), "{error}");
}

#[test]
fn excluded_nodes_stay_float_and_must_exist() {
    let float = network();
    let statistics = statistics(&float, 1);
    let with = |name: &str| Recipe { exclude: vec![name.to_owned()], ..recipe(Mode::Int8) };
    let int8 = quantize_int8(&float, &statistics, &with("pw"), Format::Onnx).unwrap();
    let node = int8.nodes.iter().find(|n| n.name == "pw").unwrap();
    assert_eq!(int8.value(node.outputs[0]).dtype, DType::F32);
    assert!(fidelity(&float, &int8)[0] > 25.0);
    let error = quantize_int8(&float, &statistics, &with("p"), Format::Onnx).unwrap_err().to_string();
    assert!(error.contains("did you mean"), "{error}");
}

#[test]
fn every_calibration_method_gives_a_usable_graph() {
    let float = network();
    let statistics = statistics(&float, 1);
    use Calibration::*;
    for calibration in [Minmax, MovingAverage, Percentile, Entropy, Mse] {
        let recipe = Recipe { calibration, ..recipe(Mode::Int8) };
        let int8 = quantize_int8(&float, &statistics, &recipe, Format::Onnx).unwrap();
        assert!(fidelity(&float, &int8)[0] > 15.0, "{calibration:?}: {:?}", fidelity(&float, &int8));
    }
}

#[test]
fn threads_do_not_change_the_graph() {
    let float = network();
    let graph =
        |threads| quantize_int8(&float, &statistics(&float, threads), &recipe(Mode::Int8), Format::Onnx).unwrap();
    assert_eq!(graph(1), graph(2));
}

#[test]
fn dynamic_mode_narrows_large_weights_only() {
    let float = network();
    let dynamic = quantize_dynamic(&float, None, &recipe(Mode::Dynamic)).unwrap();
    let weights = |name: &str| {
        let node = dynamic.nodes.iter().find(|n| n.name == name).unwrap();
        dynamic.value(node.inputs[1].unwrap())
    };
    assert_eq!(weights("wide").dtype, DType::I8);
    assert_eq!(weights("wide").quant.as_ref().unwrap().scales.len(), 96);
    assert_eq!(weights("stem").dtype, DType::F32, "432 elements are too few");
    assert!(fidelity(&float, &dynamic)[0] > 30.0);
}

#[test]
fn float16_halves_weights_and_reports_overflow() {
    let mut float = network();
    let half = quantize_float16(&float, None, &recipe(Mode::Float16)).unwrap();
    assert!(half.overflows.is_empty());
    assert!(fidelity(&float, &half.graph)[0] > 55.0);
    assert_eq!(half.graph.value(half.graph.find_value("wide.weight").unwrap()).dtype, DType::F16);

    let id = float.find_value("wide.weight").unwrap();
    let mut data = float.value(id).data.as_ref().unwrap().to_f32();
    data[3] = 1e6;
    float.value_mut(id).data = Some(Tensor::new(vec![96, 1, 1, 16], data));
    let half = quantize_float16(&float, None, &recipe(Mode::Float16)).unwrap();
    assert_eq!(half.overflows, [("wide.weight".to_owned(), 1)]);
    assert_eq!(half.graph.value(id).dtype, DType::F32);
}

#[test]
fn samples_correct_the_biases_of_models_with_float_activations() {
    let float = network();
    let statistics = statistics(&float, 1);
    let logits = |mode, statistics| {
        let graph = match mode {
            Mode::Dynamic => quantize_dynamic(&float, statistics, &recipe(mode)).unwrap(),
            _ => quantize_float16(&float, statistics, &recipe(mode)).unwrap().graph,
        };
        fidelity(&float, &graph)[0]
    };
    for mode in [Mode::Dynamic, Mode::Float16] {
        let (without, with) = (logits(mode, None), logits(mode, Some(&statistics)));
        assert!(with > without + 1.0, "{mode:?}: {without} {with}");
    }
}

#[test]
fn embedding_rows_keep_their_own_scales() {
    let mut g = Graph::default();
    let ids = g.add_input("ids", DType::I64, Shape(vec![1.into(), 4.into()]));
    // Rows whose magnitudes differ by a factor of 10,000.
    let data: Vec<f32> = noise(3, 64 * 32).iter().enumerate().map(|(i, x)| if i < 32 { x * 1e4 } else { *x }).collect();
    let table = g.add_constant("table", Tensor::new(vec![64, 32], data.clone()));
    let out = g.add_node("embed", Gather { axis: 0 }, &[Some(table), Some(ids)], "rows");
    g.outputs = vec![out];
    g.infer().unwrap();
    let dynamic = quantize_dynamic(&g, None, &recipe(Mode::Dynamic)).unwrap();
    assert!(dynamic.values.iter().all(|v| v.dtype != DType::F32 || v.shape.elements().unwrap_or(0) <= 4 * 32));
    let mut engine = Engine::compile(&dynamic, &Options::default()).unwrap();
    let rows = engine.run(&[Tensor::new(vec![1, 4], vec![0i64, 1, 5, 63])]).unwrap()[0].to_f32();
    for (row, id) in rows.chunks(32).zip([0usize, 1, 5, 63]) {
        let expected = &data[id * 32..(id + 1) * 32];
        let largest = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(row.iter().zip(expected).all(|(a, b)| (a - b).abs() <= largest / 250.0));
    }
}

#[test]
fn the_residual_stream_of_a_transformer_stays_float() {
    let mut g = Graph::default();
    let x = g.add_input("image", DType::F32, Shape::fixed(&[1, 8, 8, 3]));
    let w = weights(&mut g, "embed.weight", &[32, 3], 1);
    let linear = FullyConnected { activation: Activation::None };
    let stream = g.add_node("embed", linear.clone(), &[Some(x), w], "stream");
    let w = weights(&mut g, "dense.weight", &[32, 32], 2);
    // A channel that is a hundred times larger than the others, as transformers have.
    let bias: Vec<f32> = (0..32).map(|i| if i == 5 { 100.0 } else { 0.1 }).collect();
    let b = Some(g.add_constant("dense.bias", Tensor::new(vec![32], bias)));
    let wide = g.add_node("dense", linear.clone(), &[Some(stream), w, b], "wide");
    let add = Binary { kind: BinaryKind::Add, activation: Activation::None };
    let sum = g.add_node("residual", add, &[Some(stream), Some(wide)], "sum");
    let ones = Some(g.add_constant("gamma", Tensor::new(vec![32], vec![1.0f32; 32])));
    let norm = LayerNorm { axis: 3, epsilon: 1e-5 };
    let y = g.add_node("norm", norm, &[Some(sum), ones, None], "normalised");
    let w = weights(&mut g, "head.weight", &[40, 32], 3);
    let logits = g.add_node("head", linear, &[Some(y), w], "logits");
    g.outputs = vec![logits];
    g.infer().unwrap();
    let statistics = statistics(&g, 1);
    let int8 = quantize_int8(&g, &statistics, &recipe(Mode::Int8), Format::Onnx).unwrap();
    let dtypes = |name: &str| {
        let node = int8.nodes.iter().find(|n| n.name == name).unwrap();
        let edges = [node.inputs[0].unwrap(), node.inputs[1].unwrap(), node.outputs[0]];
        edges.map(|v| int8.value(v).dtype)
    };
    assert_eq!(dtypes("residual"), [DType::F32; 3]);
    assert_eq!(dtypes("dense"), [DType::F32, DType::I8, DType::F32], "int8 weights, float edges");
    assert_eq!(dtypes("head"), [DType::I8; 3]);
    assert!(fidelity(&g, &int8)[0] > 25.0, "{:?}", fidelity(&g, &int8));
}

#[test]
fn an_attention_mask_does_not_flatten_the_scores() {
    let mut g = Graph::default();
    let x = g.add_input("scores", DType::F32, Shape::fixed(&[1, 16]));
    let w = weights(&mut g, "w", &[16, 16], 1);
    let y = g.add_node("fc", FullyConnected { activation: Activation::None }, &[Some(x), w], "fc_out");
    let mask: Vec<f32> = (0..16).map(|i| if i > 11 { -1e4 } else { 0.0 }).collect();
    let mask = g.add_constant("mask", Tensor::new(vec![16], mask));
    let add = Binary { kind: BinaryKind::Add, activation: Activation::None };
    let m = g.add_node("mask_add", add, &[Some(y), Some(mask)], "masked");
    let p = g.add_node("softmax", Softmax { axis: 1, beta: 1.0 }, &[Some(m)], "p");
    g.outputs = vec![p];
    g.infer().unwrap();
    let mut calibrator = Calibrator::new(&g, 1).unwrap();
    (0..8).for_each(|seed| calibrator.add(&[Tensor::new(vec![1, 16], noise(seed, 16))]).unwrap());
    let int8 = quantize_int8(&g, &calibrator.finish().unwrap(), &recipe(Mode::Int8), Format::Onnx).unwrap();
    let run = |g: &Graph| {
        let mut engine = Engine::compile(g, &Options::default()).unwrap();
        engine.run(&[Tensor::new(vec![1, 16], noise(50, 16))]).unwrap()[0].to_f32()
    };
    let (a, b) = (run(&g), run(&int8));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.02), "{a:?} against {b:?}");
}

#[test]
fn bad_numbers_are_named() {
    let mut float = network();
    let mut calibrator = Calibrator::new(&float, 1).unwrap();
    let mut data = noise(1, 192);
    data[7] = f32::NAN;
    calibrator.add(&[sample(0)]).unwrap();
    let error = calibrator.add(&[Tensor::new(vec![1, 8, 8, 3], data)]).unwrap_err().to_string();
    assert!(error.contains("NaN") && error.contains("sample 1"), "{error}");
    assert!(matches!(Calibrator::new(&float, 1).unwrap().finish(), Err(Error::NoSamples)));

    check_weights(&float).unwrap();
    let id = float.find_value("pw.weight").unwrap();
    let mut data = float.value(id).data.as_ref().unwrap().to_f32();
    data[11] = f32::INFINITY;
    float.value_mut(id).data = Some(Tensor::new(vec![16, 1, 1, 16], data));
    let error = check_weights(&float).unwrap_err().to_string();
    assert!(error.contains("`pw.weight`") && error.contains("`pw`") && error.contains("11"), "{error}");
}

#[test]
fn comparison_names_the_layer_that_broke() {
    let float = network();
    let mut int8 = quantize_int8(&float, &statistics(&float, 1), &recipe(Mode::Int8), Format::Onnx).unwrap();
    let samples: Vec<Vec<Tensor>> = (30..34).map(|seed| vec![sample(seed)]).collect();
    let healthy = compare(&float, &int8, samples.iter().map(Vec::as_slice), 1).unwrap();
    assert_eq!(healthy.samples, 4);
    assert!(healthy.layers.iter().all(|l| l.sqnr_db > 20.0), "{:?}", healthy.layers);
    // Break one scale: the layer stands out, those before it do not change.
    let id = int8.find_value("pw.weight").unwrap();
    let quant = int8.value_mut(id).quant.as_mut().unwrap();
    quant.scales.iter_mut().for_each(|s| *s *= 3.0);
    let broken = compare(&float, &int8, samples.iter().map(Vec::as_slice), 1).unwrap();
    let db = |c: &Comparison, name: &str| c.layers.iter().find(|l| l.node == name).unwrap().sqnr_db;
    assert_eq!(db(&healthy, "dw"), db(&broken, "dw"));
    assert!(db(&broken, "pw") < 5.0);
}

#[test]
fn learned_rounding_keeps_more_of_the_outputs() {
    let mut float = network();
    // The mean over all pixels would hide the errors of four bits.
    float.outputs.insert(0, float.find_value("swish_out").unwrap());
    let statistics = statistics(&float, 1);
    let samples: Vec<Vec<Tensor>> = (0..16).map(|seed| vec![sample(seed)]).collect();
    let four = |mode| Recipe { weights: WeightBits::try_from(4).unwrap(), ..recipe(mode) };
    for mode in [Mode::Int8, Mode::Dynamic] {
        let plain = |recipe: &Recipe| match mode {
            Mode::Int8 => quantize_int8(&float, &statistics, recipe, Format::Tflite).unwrap(),
            _ => quantize_dynamic(&float, Some(&statistics), recipe).unwrap(),
        };
        let learned = |threads| {
            let recipe = Recipe { weight_rounding: WeightRounding::Learned, ..four(mode) };
            let mut graph = plain(&recipe);
            learn_rounding(&float, &mut graph, &samples, &recipe, threads, &mut |_, _| {}).unwrap();
            graph
        };
        let (rounded, graph) = (plain(&four(mode)), learned(1));
        for name in ["stem", "dw", "pw", "wide", "fc"] {
            let node = graph.nodes.iter().find(|n| n.name == name).unwrap();
            let weights = graph.value(node.inputs[1].unwrap());
            if let Some(data) = weights.data.as_ref().filter(|_| weights.dtype == DType::I8) {
                assert!(data.to_f32().iter().all(|q| q.abs() <= 7.0), "{name} has four bits");
            }
        }
        let (before, after) = (fidelity(&float, &rounded)[0], fidelity(&float, &graph)[0]);
        assert!(after > before + 0.8, "{mode:?}: {before} dB, learned {after}");
        assert_eq!(graph, learned(2), "threads change nothing");
        // The same layers in a graph that was not learned.
        let all = with_learned_layers(&graph, plain(&four(mode)), |_| true);
        assert!((fidelity(&float, &all)[0] - after).abs() < 0.01);
        assert_eq!(with_learned_layers(&graph, plain(&four(mode)), |_| false), rounded);
    }
}

#[test]
fn overrides_reach_every_way_to_round() {
    let float = network();
    let statistics = statistics(&float, 1);
    let samples: Vec<Vec<Tensor>> = (0..16).map(|seed| vec![sample(seed)]).collect();
    let bits = |n: u8| Override { weights: Some(WeightBits::try_from(n).unwrap()) };
    for rounding in [WeightRounding::Nearest, WeightRounding::Balanced, WeightRounding::Learned] {
        let mut recipe =
            Recipe { weight_rounding: rounding, weights: WeightBits::try_from(4).unwrap(), ..recipe(Mode::Int8) };
        recipe.overrides.insert("pw".to_owned(), bits(8));
        recipe.operators.insert(LayerKind::FullyConnected, bits(6));
        let mut graph = quantize_int8(&float, &statistics, &recipe, Format::Onnx).unwrap();
        if rounding == WeightRounding::Learned {
            learn_rounding(&float, &mut graph, &samples, &recipe, 1, &mut |_, _| {}).unwrap();
        }
        for (name, least, most) in [("stem", 4.0, 7.0), ("pw", 64.0, 127.0), ("fc", 16.0, 31.0)] {
            let node = graph.nodes.iter().find(|n| n.name == name).unwrap();
            let data = graph.value(node.inputs[1].unwrap()).data.as_ref().unwrap().to_f32();
            let largest = data.iter().fold(0.0f32, |m, q| m.max(q.abs()));
            assert!((least..=most).contains(&largest), "{rounding:?} {name}: {largest}");
        }
    }
}
