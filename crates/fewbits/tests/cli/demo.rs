//! `fewbits demo` works with nothing but the binary.

use crate::common::Place;

#[test]
fn demo_shows_four_models_and_writes_files_that_work() {
    let place = Place::new();
    let demo = place.json("demo --output-dir out");
    let models = demo["models"].as_array().unwrap();
    let modes: Vec<&str> = models.iter().map(|m| m["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["float", "dynamic", "int8", "float16"]);
    assert_eq!(demo["test_samples"], 500);
    for model in models {
        let (mode, ratio) = (model["mode"].as_str().unwrap(), model["ratio"].as_f64().unwrap());
        let limit = match mode {
            "float" => 1.0,
            "float16" => 0.51,
            _ => 0.27,
        };
        assert!(ratio <= limit, "{mode}: {ratio}");
        assert!(model["top1"].as_f64().unwrap() >= 0.98, "{model}");
        assert!(model["agreement"].as_f64().unwrap() >= 0.99, "{model}");
        assert!(model["median_ms"].as_f64().unwrap() > 0.0);
    }
    let float = models[0]["top1"].as_f64().unwrap();
    assert!((float - 0.986).abs() < 1e-9, "what ONNX Runtime measures: 493 of 500, got {float}");
    for mode in ["dynamic", "int8", "float16"] {
        for extension in ["onnx", "tflite"] {
            let file = format!("out/digits_cnn.{mode}.{extension}");
            let line = format!("evaluate {file} --data out/digits.npz --reference out/digits_cnn.onnx --samples 200");
            let result = place.json(&line);
            assert!(result["agreement"].as_f64().unwrap() >= 0.99, "{file}: {result}");
        }
    }
}

#[test]
fn demo_writes_the_same_bytes_every_time() {
    let place = Place::new();
    let table = place.ok("demo --output-dir a").stdout;
    place.ok("demo --output-dir b");
    assert!(table.contains("CC BY 4.0") && table.contains("Next: try it on your model"), "{table}");
    for mode in ["dynamic", "int8", "float16"] {
        for extension in ["onnx", "tflite"] {
            let file = format!("digits_cnn.{mode}.{extension}");
            assert_eq!(place.bytes(&format!("a/{file}")), place.bytes(&format!("b/{file}")), "{file}");
        }
    }
}
