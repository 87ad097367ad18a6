//! `fewbits quantize`: modes, formats, determinism, recipes, exit codes.

use crate::common::Place;
use serde_json::Value;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

#[test]
fn every_mode_and_format_gives_a_small_file_that_agrees() {
    let place = Place::new();
    for (mode, limit) in [("dynamic", 0.27), ("int8", 0.27), ("float16", 0.51)] {
        for extension in ["onnx", "tflite"] {
            let out = format!("m.{mode}.{extension}");
            let report = place.json(&format!("quantize digits_cnn.onnx -o {out} --mode {mode} --data digits.npz"));
            assert_eq!(report["mode"], mode);
            assert!(number(&report, "ratio") <= limit, "{out}: {report}");
            assert_eq!(number(&report, "bytes_after"), place.bytes(&out).len() as f64);
            assert_eq!(report["samples"], 50, "held back, or measured on");
            assert!(number(&report, "agreement") >= 0.98, "{out}: {report}");
            assert!(number(&report, "sqnr_db") >= 20.0, "{out}: {report}");
            assert!(number(&report, "cosine") >= 0.99, "{out}: {report}");
            assert!(number(&report, "latency_before_ms") > 0.0 && number(&report, "latency_after_ms") > 0.0);
            assert_eq!(report["accepted"], true);
            assert!(place.path(&format!("m.{mode}.recipe.toml")).exists());
        }
    }
}

#[test]
fn the_mode_follows_from_the_data() {
    let place = Place::new();
    assert_eq!(place.json("quantize digits_cnn.onnx -o a.onnx")["mode"], "dynamic");
    assert_eq!(place.json("quantize digits_cnn.onnx -o b.onnx --data digits.npz")["mode"], "int8");
    let text = place.ok("quantize digits_cnn.onnx -o c.onnx").stdout;
    assert!(text.contains("accuracy was not measured: no data was given"), "{text}");
    assert!(text.contains("size") && text.contains("latency"), "{text}");
}

#[test]
fn same_bytes_twice_and_with_one_and_two_threads() {
    let place = Place::new();
    for extension in ["onnx", "tflite"] {
        for mode in ["dynamic", "int8", "float16"] {
            let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
            for threads in ["1", "2", "2"] {
                let line = format!(
                    "quantize digits_cnn.onnx -o m.{extension} --mode {mode} --data digits.npz --samples 40 --threads {threads}"
                );
                place.ok(&line);
                let bytes = (place.bytes(&format!("m.{extension}")), place.bytes("m.recipe.toml"));
                assert!(first.get_or_insert_with(|| bytes.clone()) == &bytes, "{mode} {extension}, {threads} threads");
            }
        }
    }
}

#[test]
fn every_calibration_method_works() {
    let place = Place::new();
    for method in ["minmax", "moving-average", "percentile", "entropy", "mse"] {
        let line =
            format!("quantize digits_cnn.onnx -o m.tflite --data digits.npz --calibration {method} --per-tensor");
        let report = place.json(&line);
        assert!(number(&report, "agreement") >= 0.96, "{method}: {report}");
        let recipe = String::from_utf8(place.bytes("m.recipe.toml")).unwrap();
        assert!(recipe.contains(method) && recipe.contains("per-tensor = true"), "{recipe}");
    }
}

#[test]
fn integer_inputs_and_outputs_leave_no_float_operator() {
    let place = Place::new();
    for io in ["int8", "uint8"] {
        let report = place.json(&format!("quantize digits_cnn.onnx -o m.tflite --data digits.npz --io {io}"));
        assert!(number(&report, "agreement") >= 0.98, "{io}: {report}");
        let inspected = place.json("inspect m.tflite --edges");
        assert_eq!(inspected["inputs"][0]["dtype"], io);
        assert_eq!(inspected["outputs"][0]["dtype"], io);
        for edge in inspected["edges"].as_array().unwrap() {
            assert!(!edge["dtype"].as_str().unwrap().starts_with("float"), "{edge}");
        }
        let line = "evaluate m.tflite --data digits.npz --reference digits_cnn.onnx --samples 100";
        assert!(number(&place.json(line), "agreement") >= 0.98);
    }
}

/// Name of a node of the model, as `compare` knows it.
fn first_layer(place: &Place) -> String {
    let layers = place.json("compare digits_cnn.onnx digits_cnn.onnx --data digits.npz --samples 1");
    let conv = layers["layers"].as_array().unwrap().iter().find(|l| l["op"] == "Conv2d").unwrap();
    conv["node"].as_str().unwrap().to_owned()
}

#[test]
fn the_recipe_written_gives_the_same_file_again() {
    let place = Place::new();
    let excluded = first_layer(&place);
    let flags = format!("--calibration percentile --weight-scales mse --exclude {excluded}");
    place.ok(&format!("quantize digits_cnn.onnx -o a.onnx --data digits.npz {flags}"));
    let recipe = String::from_utf8(place.bytes("a.recipe.toml")).unwrap();
    assert!(recipe.contains(&excluded), "{recipe}");
    place.ok("quantize digits_cnn.onnx -o b.onnx --data digits.npz --recipe a.recipe.toml");
    assert_eq!(place.bytes("a.onnx"), place.bytes("b.onnx"));
    place.ok("quantize digits_cnn.onnx -o c.onnx --data digits.npz --recipe a.recipe.toml --calibration minmax");
    assert_ne!(place.bytes("a.onnx"), place.bytes("c.onnx"));
}

#[test]
fn a_target_is_measured_on_other_samples() {
    let place = Place::new();
    let good = place.json("quantize digits_cnn.onnx -o good.onnx --data digits.npz --eval digits.npz --max-drop 1%");
    assert_eq!((good["samples"].as_u64(), &good["accepted"]), (Some(1797), &Value::Bool(true)));
    assert!(number(&good, "drop_points") <= 1.0);
}

#[test]
fn samples_not_calibrated_on_are_measured_on() {
    let place = Place::new();
    let few = place.json("quantize digits_cnn.onnx -o m.onnx --data digits.npz --samples 20");
    assert_eq!((&few["calibration_samples"], &few["samples"]), (&Value::from(20), &Value::from(50)));
    let all = place.json("quantize digits_cnn.onnx -o m.onnx --data digits.npz --samples 5000");
    assert_eq!((&all["calibration_samples"], &all["samples"]), (&Value::from(1747), &Value::from(50)));
    place.write_npy("one.npy", &fewbits::graph::Tensor::new(vec![1, 1, 8, 8], vec![3.0f32; 64]));
    let one = place.json("quantize digits_cnn.onnx -o m.onnx --data one.npy");
    assert_eq!((&one["calibration_samples"], &one["samples"]), (&Value::from(1), &Value::from(0)));
    assert!(one["notes"].to_string().contains("one sample only"), "{one}");
}

#[test]
fn tflite_goes_in_and_onnx_comes_out() {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o half.tflite --mode float16");
    let report = place.json("evaluate half.tflite --data digits.npz --reference digits_cnn.onnx --samples 100");
    assert!(number(&report, "sqnr_db") > 50.0, "{report}");
    place.ok("quantize half.tflite -o m.onnx --data digits.npz");
    let report = place.json("evaluate m.onnx --data digits.npz --reference half.tflite --samples 100");
    assert!(number(&report, "agreement") >= 0.98, "{report}");
}

#[test]
fn without_data_samples_are_made_and_trusted_no_further_than_they_should_be() {
    let place = Place::new();
    let line = "quantize digits_cnn.onnx -o m.onnx --data none --input-range 0 16 --eval digits.npz";
    let report = place.json(line);
    assert_eq!((&report["mode"], &report["calibration_samples"]), (&"int8".into(), &100.into()));
    assert!(report["synthetic"]["made"].as_str().unwrap().contains("0 to 16"), "{report}");
    // Its file has batch normalisations.
    assert_eq!(report["synthetic"]["confidence"], "high");
    assert!(number(&report, "agreement") > 0.9, "{report}");
    let bytes = place.bytes("m.onnx");
    let text = place.ok(&format!("{line} --threads 1")).stdout;
    assert!(text.contains("calibrated without data, on 100 dead-leaves images in 0 to 16: confidence high"), "{text}");
    assert!(bytes == place.bytes("m.onnx"), "the same bytes every time");
    let unmeasured = place.json("quantize digits_cnn.onnx -o n.onnx --data none");
    assert_eq!(unmeasured["agreement"], Value::Null, "made samples measure nothing");
    place.fails("quantize digits_cnn.onnx -o o.onnx --input-range 0 1 --data digits.npz", 2, &["--data none"]);
    place.fails("quantize digits_cnn.onnx -o o.onnx --data none --input-range 1 0", 2, &["--input-range"]);
    place.fails("quantize digits_cnn.onnx -o o.onnx --data none --max-drop 1", 2, &["--eval"]);
}

#[test]
fn equalized_models_agree() {
    let place = Place::new();
    let report = place.json("quantize digits_cnn.onnx -o m.onnx --data digits.npz --equalize --per-tensor");
    assert!(number(&report, "agreement") > 0.98, "{report}");
    let recipe = String::from_utf8(place.bytes("m.recipe.toml")).unwrap();
    assert!(recipe.contains("equalize = true"), "{recipe}");
    let half = place.json("quantize digits_cnn.onnx -o h.onnx --mode float16 --data digits.npz --equalize");
    assert!(number(&half, "sqnr_db") > 50.0, "the function stays: {half}");
}

#[test]
fn weights_alone_need_no_data_and_four_bits_take_half_a_byte() {
    let place = Place::new();
    for extension in ["onnx", "tflite"] {
        let mut sizes = Vec::new();
        for bits in [8, 4] {
            let out = format!("w{bits}.{extension}");
            let line = format!("quantize digits_cnn.onnx -o {out} --activations float --weights {bits} --block 16");
            let report = place.json(&format!("{line} --eval digits.npz"));
            assert_eq!(report["mode"], "weight-only");
            assert!(number(&report, "agreement") >= 0.95, "{out}: {report}");
            sizes.push(number(&report, "bytes_after"));
            let first = place.bytes(&out);
            place.ok(&format!("{line} --threads 2"));
            assert!(first == place.bytes(&out), "the same bytes without data and with other threads");
        }
        assert!(sizes[1] < 0.75 * sizes[0], "{sizes:?}");
    }
    let recipe = String::from_utf8(place.bytes("w4.recipe.toml")).unwrap();
    assert!(recipe.contains("mode = \"weight-only\"") && recipe.contains("block = 16"), "{recipe}");
    let again = place.json("quantize digits_cnn.onnx -o again.tflite --recipe w4.recipe.toml");
    assert_eq!(again["mode"], "weight-only");
    assert!(place.bytes("again.tflite") == place.bytes("w4.tflite"));
}

#[test]
fn four_bit_weights_of_integer_models_take_half_a_byte() {
    let place = Place::new();
    for extension in ["onnx", "tflite"] {
        let bytes = |bits: u8| {
            let line = format!("quantize digits_cnn.onnx -o m.{extension} --data digits.npz --weights {bits}");
            number(&place.json(&line), "bytes_after")
        };
        let (wide, narrow) = (bytes(5), bytes(4));
        assert!(narrow < 0.75 * wide, "{extension}: {narrow} of {wide}");
    }
    // C has no type of four bits.
    let c = place.json("quantize digits_cnn.onnx -o m.c --data digits.npz --weights 4");
    assert!(c["notes"].to_string().contains("take a byte"), "{c}");
    // But the model file can become C, and that is the same.
    place.ok("quantize digits_cnn.onnx -o m.tflite --data digits.npz --weights 4");
    place.ok("export m.tflite -o n.c --name m");
}

#[test]
fn contradictory_weight_only_requests_are_refused() {
    let place = Place::new();
    for (flags, what) in [
        ("--activations float --mode int8", "leave out --mode"),
        ("--mode dynamic --block 32", "--activations float"),
        ("--activations float --block 20", "power of two"),
        ("--activations float --block 8", "power of two"),
        ("--activations float --block 32 --per-tensor", "contradict"),
        ("--activations float --io int8", "--io"),
        ("--activations float --weight-rounding learned", "learned"),
    ] {
        let ran = place.fewbits(&format!("quantize digits_cnn.onnx -o m.onnx {flags}"));
        assert_eq!(ran.code, Some(2), "{flags}: {}", ran.stderr);
        assert!(ran.stderr.contains(what), "{flags}: {}", ran.stderr);
    }
    assert!(!place.path("m.onnx").exists());
}
