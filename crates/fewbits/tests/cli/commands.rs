//! The commands beside quantize and demo.

use crate::common::Place;
use fewbits::graph::Tensor;

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn evaluate_has_the_promised_keys() {
    let place = Place::new();
    let labelled = place.json("evaluate digits_cnn.onnx --data digits.npz");
    for key in ["samples", "top1", "top5", "agreement", "sqnr_db", "cosine"] {
        assert!(keys(&labelled).contains(&key), "{labelled}");
    }
    assert_eq!(labelled["samples"], 1797);
    // 493 of 500 held-out samples and all 1,297 others, as ONNX Runtime finds.
    assert!((labelled["top1"].as_f64().unwrap() - 1790.0 / 1797.0).abs() < 1e-9, "{labelled}");
    assert!(labelled["agreement"].is_null() && labelled["sqnr_db"].is_null() && labelled["cosine"].is_null());
    let same = place.json("evaluate digits_cnn.onnx --data digits.npz --reference digits_cnn.onnx --samples 30");
    assert_eq!((same["samples"].as_u64(), same["agreement"].as_f64()), (Some(30), Some(1.0)));
    assert_eq!(same["sqnr_db"], 200.0, "identical");
    assert!(same["cosine"].as_f64().unwrap() > 1.0 - 1e-9, "{same}");
}

#[test]
fn evaluate_does_not_depend_on_threads() {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o m.onnx --data digits.npz");
    let line = |threads| format!("evaluate m.onnx --data digits.npz --reference digits_cnn.onnx --threads {threads}");
    assert_eq!(place.json(&line(1)), place.json(&line(2)));
}

#[test]
fn fixed_rounding_is_close_to_float_rounding_but_not_the_same() {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o m.tflite --data digits.npz");
    let line =
        |rounding| format!("evaluate m.tflite --data digits.npz --reference digits_cnn.onnx --rounding {rounding}");
    let (float, fixed) = (place.json(&line("float")), place.json(&line("fixed")));
    let top1 = |v: &serde_json::Value| v["top1"].as_f64().unwrap();
    assert!((top1(&float) - top1(&fixed)).abs() <= 0.005, "{float} {fixed}");
    assert_ne!(float["sqnr_db"], fixed["sqnr_db"]);
}

#[test]
fn inspect_counts_what_the_assets_page_says() {
    let place = Place::new();
    let report = place.json("inspect digits_cnn.onnx");
    assert_eq!(report["inputs"][0]["name"], "image");
    assert_eq!(report["inputs"][0]["dtype"], "float32");
    assert_eq!(report["outputs"][0]["name"], "logits");
    let parameters = report["parameters"].as_u64().unwrap();
    // The 197,866 trained ones, and the batch norms' running statistics.
    assert!((197_866..202_000).contains(&parameters), "{parameters}");
    assert!(report["macs"].as_u64().unwrap() > 1_000_000);
    assert_eq!(report["bytes"], 799_254);
    assert!(report["edges"].is_null());
    let text = place.ok("inspect digits_cnn.onnx --edges").stdout;
    assert!(text.contains("BatchNorm") && text.contains("float32"), "{text}");
}

#[test]
fn compare_names_layers_worst_first() {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o m.onnx --data digits.npz");
    let report = place.json("compare digits_cnn.onnx m.onnx --data digits.npz");
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(report["samples"], 16);
    assert!(layers.len() >= 5, "{report}");
    let sqnr: Vec<f64> = layers.iter().map(|l| l["sqnr_db"].as_f64().unwrap()).collect();
    assert!(sqnr.is_sorted(), "{sqnr:?}");
    assert!(sqnr[0] > 10.0 && sqnr[0] < 60.0, "{sqnr:?}");
    let top = place.json("compare digits_cnn.onnx m.onnx --data digits.npz --top 2");
    assert_eq!(top["layers"].as_array().unwrap()[..], layers[..2]);
}

#[test]
fn bench_has_the_promised_keys() {
    let place = Place::new();
    let report = place.json("bench digits_cnn.onnx --iterations 7 --threads 2");
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(
        number("p10_ms") > 0.0 && number("p10_ms") <= number("median_ms") && number("median_ms") <= number("p90_ms")
    );
    assert_eq!((report["threads"].as_u64(), report["iterations"].as_u64()), (Some(2), Some(7)));
    let profiled = place.json("bench digits_cnn.onnx --iterations 3 --profile --batch 4");
    assert!(profiled["inputs"][0].as_str().unwrap().contains("[4, 1, 8, 8]"), "{profiled}");
    let profile = profiled["profile"].as_array().unwrap();
    let shares: f64 = profile.iter().map(|p| p["share"].as_f64().unwrap()).sum();
    assert!(profile.len() >= 5 && (shares - 1.0).abs() < 1e-6, "{profiled}");
}

#[test]
fn run_writes_the_outputs() {
    let place = Place::new();
    let pixels: Vec<f32> = (0..128).map(|i| (i % 17) as f32).collect();
    place.write_npy("x.npy", &Tensor::new(vec![2, 1, 8, 8], pixels));
    let report = place.json("run digits_cnn.onnx --input image=x.npy --output-dir out");
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([2, 10]));
    let both = place.bytes("out/logits.npy");
    assert_eq!(both.len(), 128 + 2 * 10 * 4);
    place.ok("run digits_cnn.onnx --input x.npy --output-dir again");
    assert_eq!(both, place.bytes("again/logits.npy"));
}

#[test]
fn run_says_which_input_is_wrong() {
    let place = Place::new();
    place.write_npy("x.npy", &Tensor::new(vec![1, 8, 8], vec![0f32; 64]));
    place.fails("run digits_cnn.onnx --input pixels=x.npy --output-dir out", 2, &["pixels", "image"]);
    place.fails("run digits_cnn.onnx --input image=x.npy --output-dir out", 1, &["x.npy", "image", "[N, 1, 8, 8]"]);
    place.fails("run digits_cnn.onnx --input image=none.npy --output-dir out", 1, &["none.npy"]);
    place.fails("run digits_cnn.onnx --input x.npy x.npy --output-dir out", 2, &["given twice"]);
}

#[test]
fn kernels_and_operators_are_listed() {
    let place = Place::new();
    let kernels = place.json("kernels");
    let list = kernels["kernels"].as_array().unwrap();
    assert!(list.iter().any(|k| k["available"] == true && k["isa"] == "scalar"), "{kernels}");
    let operators = place.ok("operators").stdout;
    for line in ["| Conv | ", "| CONV_2D |", "| QLinearConv | "] {
        assert!(operators.contains(line), "{line} in {operators}");
    }
}

#[test]
fn usage_errors_are_exit_code_2() {
    let place = Place::new();
    for line in ["", "quantise", "quantize digits_cnn.onnx", "bench digits_cnn.onnx --iterations x"] {
        assert_eq!(place.fewbits(line).code, Some(2), "`fewbits {line}`");
    }
    assert_eq!(place.fewbits("--version").code, Some(0));
    assert_eq!(place.fewbits("help quantize").code, Some(0));
}
