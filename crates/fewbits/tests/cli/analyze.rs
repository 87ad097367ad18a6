//! `fewbits analyze`: the table, the JSON and the page.

use fewbits::graph::ops::{Conv2d, FullyConnected, Reduce, ReduceKind};
use fewbits::graph::{Activation, DType, Dim, Graph, Shape, Tensor, ValueId};

use crate::common::Place;

const CHANNELS: usize = 8;

/// Numbers in [−1, 1] that repeat late.
fn numbers(seed: usize, n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn conv(graph: &mut Graph, x: ValueId, name: &str, inputs: usize, bias: Vec<f32>) -> ValueId {
    let mut weights: Vec<f32> = numbers(name.len(), CHANNELS * 9 * inputs).iter().map(|w| w * 0.2).collect();
    if name == "third" {
        weights.iter_mut().skip(2).step_by(inputs).for_each(|w| *w /= 1000.0);
    }
    let w = graph.add_constant(format!("{name}.weight"), Tensor::new(vec![CHANNELS, 3, 3, inputs], weights));
    let b = graph.add_constant(format!("{name}.bias"), Tensor::new(vec![CHANNELS], bias));
    let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups: 1, activation: Activation::Relu };
    graph.add_node(name, op, &[Some(x), Some(w), Some(b)], format!("{name}_out"))
}

/// A model whose second layer has a bias of 9,000 in channel 2, which the third takes back, and whose
/// first has a hostile name; and samples for it.
fn broken(place: &Place) {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), 6.into(), 6.into(), 4.into()]));
    let first = conv(&mut graph, x, "<img src=x onerror=alert(1)>", 4, vec![0.0; CHANNELS]);
    let mut bias = vec![0.0; CHANNELS];
    bias[2] = 9000.0;
    let second = conv(&mut graph, first, "second", CHANNELS, bias);
    let third = conv(&mut graph, second, "third", CHANNELS, vec![0.0; CHANNELS]);
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let pooled = graph.add_node("mean", mean, &[Some(third)], "pooled");
    let w = graph.add_constant("fc.weight", Tensor::new(vec![5, CHANNELS], numbers(3, 5 * CHANNELS)));
    let y = graph.add_node("fc", FullyConnected { activation: Activation::None }, &[Some(pooled), Some(w)], "y");
    graph.outputs = vec![y];
    graph.infer().unwrap();
    fewbits::write_model(&graph, &place.path("broken.onnx")).unwrap();
    place.write_npy("x.npy", &Tensor::new(vec![40, 6, 6, 4], numbers(1, 40 * 144)));
}

#[test]
fn a_healthy_model_has_figures_and_no_findings() {
    let place = Place::new();
    let report = place.json("analyze digits_cnn.onnx --data digits.npz --layer-samples 50");
    // Something is always the most sensitive; nothing is broken.
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.iter().all(|f| f["cause"] == "sensitive-layer"), "{findings:?}");
    assert_eq!((report["mode"].as_str(), report["sensitivity_samples"].as_u64()), (Some("int8"), Some(50)));
    let layers = report["layers"].as_array().unwrap();
    let number = |layer: &serde_json::Value, key: &str| layer[key].as_f64().unwrap();
    let output = report["sensitivity_sqnr_db"].as_f64().unwrap();
    assert!(layers.len() >= 8, "{layers:?}");
    for layer in layers {
        assert!(number(layer, "alone_db") > output, "a layer costs less than all: {layer}");
        assert!((number(layer, "kept_db") - output - number(layer, "gain_db")).abs() < 1e-9);
        let counts = layer["activation"]["histogram"]["counts"].as_array().unwrap();
        assert!(counts.iter().map(|c| c.as_u64().unwrap()).sum::<u64>() > 0);
    }
    let modes = report["modes"].as_array().unwrap();
    let names: Vec<&str> = modes.iter().map(|m| m["mode"].as_str().unwrap()).collect();
    assert_eq!(names, ["float", "float16", "dynamic", "int8"]);
    assert!(modes[1..].iter().all(|m| m["bytes"].as_u64() < modes[0]["bytes"].as_u64()), "{modes:?}");
    // The same samples, the same recipe: both ways of measuring agree.
    assert!((modes[3]["sqnr_db"].as_f64().unwrap() - output).abs() < 0.05, "{modes:?} {output}");
}

#[test]
fn results_do_not_depend_on_threads() {
    let place = Place::new();
    let run = |threads: usize| {
        let mut report = place.json(&format!("analyze digits_cnn.onnx --data digits.npz --threads {threads}"));
        let modes = report["modes"].as_array_mut().unwrap();
        modes.iter_mut().for_each(|m| m["median_ms"] = 0.into());
        report
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_broken_model_is_diagnosed_on_a_page_that_names_cannot_break() {
    let place = Place::new();
    broken(&place);
    let text = place.ok("analyze broken.onnx --data x.npy --html page.html").stdout;
    assert!(text.contains("A bias far larger than the products: second (Conv2d)"), "{text}");
    assert!(text.contains("        try --exclude second third: "), "{text}");
    assert!(text.ends_with("wrote page.html\n"), "{text}");
    let page = String::from_utf8(place.bytes("page.html")).unwrap();
    assert!(page.contains("bias of channel 2 is 9,000") && page.contains("<svg"), "{page}");
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;") && !page.contains("<img"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"));
    let report = place.json("analyze broken.onnx --data x.npy");
    let finding = &report["findings"][0];
    assert_eq!((&finding["node"], &finding["cause"]), (&"second".into(), &"huge-bias".into()));
    let exclude =
        finding["remedies"].as_array().unwrap().iter().find(|r| r["flag"] == "--exclude second third").unwrap();
    assert!(exclude["gain_db"].as_f64().unwrap() > 3.0, "{finding}");
    assert_eq!(finding["severity"], "high");
    assert_eq!(report["layers"][1]["causes"][0], "huge-bias");
}

#[test]
fn other_modes_are_analysed_too() {
    let place = Place::new();
    for (mode, form) in [("dynamic", "int8 weights"), ("float16", "float16 weights")] {
        let report = place.json(&format!("analyze digits_cnn.onnx --data digits.npz --mode {mode}"));
        let layers = report["layers"].as_array().unwrap();
        assert!(layers.iter().any(|l| l["form"] == form && !l["alone_db"].is_null()), "{mode}: {layers:?}");
        assert!(report["flags"].as_array().unwrap().iter().all(|f| !f["flag"].as_str().unwrap().contains("calib")));
    }
}

#[test]
fn the_table_shows_all_layers_if_asked() {
    let place = Place::new();
    broken(&place);
    let all = place.ok("analyze broken.onnx --data x.npy --all --exclude fc").stdout;
    assert!(all.contains("4 of 4 quantized layers"), "{all}");
}

#[test]
fn what_cannot_be_done_is_said_before_the_long_work() {
    let place = Place::new();
    place.fails("analyze digits_cnn.onnx --data digits.npz --html none/page.html", 1, &["none/page.html"]);
    place.fails("analyze digits_cnn.onnx --data digits.npz --html digits_cnn.onnx", 2, &["itself"]);
    place.fails("analyze digits_cnn.onnx --data digits.npz --samples 0", 2, &["--samples 0"]);
    place.fails("analyze digits_cnn.onnx --data digits.npz --exclude nothing", 1, &["`nothing`"]);
    place.fails("analyze none.onnx --data digits.npz", 1, &["none.onnx"]);
    assert_eq!(place.fewbits("analyze digits_cnn.onnx").code, Some(2));
}
