//! Whole networks.

use std::path::PathBuf;

use fewbits_engine::{SimplifyOptions, simplify};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Shape, Tensor};
use fewbits_train::{Options, Params};

use crate::support::{Case, Random, random, within};

/// Convolutions with a residual connection, smooth activations, pooling, a classifier.
fn small_cnn() -> Graph {
    let mut graph = Graph::default();
    let batch = Dim::symbol("N");
    let x = graph.add_input("x", DType::F32, Shape(vec![batch, 8.into(), 8.into(), 3.into()]));
    let mut seed = 0;
    let mut weights = |graph: &mut Graph, shape: &[usize]| {
        seed += 1;
        let scale = 1.5 / (shape.iter().product::<usize>() as f32 / shape[0] as f32).sqrt().max(1.0);
        let data = random(seed, shape).to_f32().iter().map(|v| v * scale).collect::<Vec<_>>();
        Some(graph.add_constant(format!("w{seed}"), Tensor::new(shape.to_vec(), data)))
    };
    let conv = |stride: usize| Conv2d {
        stride: [stride; 2],
        dilation: [1; 2],
        padding: [1; 4],
        groups: 1,
        activation: Activation::None,
    };
    let silu = Unary { kind: UnaryKind::Silu };
    let (w, b) = (weights(&mut graph, &[8, 3, 3, 3]), weights(&mut graph, &[8]));
    let a = graph.add_node("stem", conv(1), &[Some(x), w, b], "stem");
    let a = graph.add_node("stem_act", silu.clone(), &[Some(a)], "stem_act");
    let (w, b) = (weights(&mut graph, &[1, 3, 3, 8]), weights(&mut graph, &[8]));
    let depthwise = DepthwiseConv2d {
        stride: [1; 2],
        dilation: [1; 2],
        padding: [1; 4],
        multiplier: 1,
        activation: Activation::None,
    };
    let d = graph.add_node("depthwise", depthwise, &[Some(a), w, b], "depthwise");
    let add = Binary { kind: BinaryKind::Add, activation: Activation::None };
    let r = graph.add_node("residual", add, &[Some(a), Some(d)], "residual");
    let (w, b) = (weights(&mut graph, &[16, 3, 3, 8]), weights(&mut graph, &[16]));
    let c = graph.add_node("down", conv(2), &[Some(r), w, b], "down");
    let c = graph.add_node("down_act", silu, &[Some(c)], "down_act");
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let p = graph.add_node("pool", mean, &[Some(c)], "pool");
    let (w, b) = (weights(&mut graph, &[5, 16]), weights(&mut graph, &[5]));
    let y = graph.add_node("classify", FullyConnected { activation: Activation::None }, &[Some(p), w, b], "logits");
    let y = graph.add_node("softmax", Softmax { axis: 1, beta: 1.0 }, &[Some(y)], "probabilities");
    graph.outputs.push(y);
    graph.infer().unwrap();
    graph
}

fn case(graph: Graph, shape: Vec<usize>) -> Case {
    let trainable = Params::all_of(&graph, 0);
    let inputs = vec![random(5, &shape)];
    let input_gradients = graph.inputs.clone();
    Case { graph, inputs, options: Options { input_shapes: vec![shape], trainable, input_gradients } }
}

#[test]
fn a_small_network_with_a_symbolic_batch() {
    case(small_cnn(), vec![3, 8, 8, 3]).check();
}

/// Every gradient of `case`, as bits, on so many threads.
fn gradient_bits(case: &Case, threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let (mut tape, params) = (case.tape(), case.params());
        tape.forward(&case.inputs, &params).unwrap();
        let mut random = Random::new(3);
        let direction: Vec<f32> = tape.output(0).iter().map(|_| random.float()).collect();
        let output = tape.output(0).to_vec();
        let gradients = tape.backward(&[&direction]).unwrap();
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let of_inputs = (0..case.options.input_gradients.len()).map(|i| gradients.input(i));
        gradients.params().chain(of_inputs).chain([output.as_slice()]).map(bits).collect()
    })
}

#[test]
fn one_and_two_threads_give_the_same_bits() {
    // Enough images for every kernel to share its work out.
    let case = case(small_cnn(), vec![301, 8, 8, 3]);
    let one = gradient_bits(&case, 1);
    assert!(one.iter().flatten().any(|bits| *bits != 0));
    for threads in [2, 3] {
        assert!(one == gradient_bits(&case, threads), "{threads} threads");
    }
}

/// The file of a shared model; `None`, with a line that says so, where there is none.
fn shared(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models").join(name);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is absent", path.display());
    skipped();
    None
}

#[allow(clippy::print_stderr)] // The one line that says why nothing was tested.
fn skipped() {
    eprintln!("skipped: ../shared is absent");
}

/// The shared model, simplified, with all of its weights trained.
fn shared_case(name: &str, inputs: Vec<Tensor>) -> Option<Case> {
    let path = shared(name)?;
    let graph = match path.extension() {
        Some(e) if e == "tflite" => fewbits_tflite::read(&path).unwrap(),
        _ => fewbits_onnx::read(&path).unwrap(),
    };
    let graph = simplify(graph, &SimplifyOptions::default()).unwrap();
    let trainable = Params::all_of(&graph, 16);
    let input_shapes = inputs.iter().map(|t| t.shape().to_vec()).collect();
    Some(Case { graph, inputs, options: Options { input_shapes, trainable, input_gradients: Vec::new() } })
}

#[test]
fn resnet_8() {
    // Darker than pictures, for which the soft-max of this network is next to flat.
    let pixels = within(5, &[4, 32, 32, 3], 0.0, 16.0);
    let Some(case) = shared_case("resnet8_cifar10_float.tflite", vec![pixels]) else { return };
    case.check_forward();
    case.check_slope(1e-2);
    assert!(gradient_bits(&case, 1) == gradient_bits(&case, 2));
}

#[test]
fn resnet_20() {
    let pixels = within(5, &[2, 3, 32, 32], -2.0, 2.0);
    let Some(case) = shared_case("resnet20_cifar10_dyn.onnx", vec![pixels]) else { return };
    case.check_forward();
    case.check_slope(1e-2);
}

#[test]
fn efficientnet_lite() {
    let pixels = within(5, &[1, 3, 224, 224], -1.0, 1.0);
    let Some(case) = shared_case("efficientnet_lite0_dyn.onnx", vec![pixels]) else { return };
    case.check_forward();
    case.check_slope(1e-2);
}

/// The ids and masks come at run time, and parts of the graph compute on integers.
#[test]
fn sentence_transformer() {
    let ids = Tensor::new(vec![2, 6], vec![101i64, 2023, 2003, 1037, 102, 0, 101, 7592, 2088, 999, 2017, 102]);
    let mask = Tensor::new(vec![2, 6], vec![1i64, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]);
    let types = Tensor::new(vec![2, 6], vec![0i64; 12]);
    let Some(mut case) = shared_case("minilm_l6_dyn.onnx", vec![ids, mask, types]) else { return };
    // In the order of the file.
    let by_name = |name: &str| case.graph.inputs.iter().position(|v| case.graph.value(*v).name == name).unwrap();
    let places = ["input_ids", "attention_mask", "token_type_ids"].map(by_name);
    let given = case.inputs.clone();
    places.iter().zip(given).for_each(|(&at, tensor)| case.inputs[at] = tensor);
    case.check_forward();
    case.check_slope(1e-2);
}
