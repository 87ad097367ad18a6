//! `fewbits quantize --max-drop` and `--max-size`.

use crate::common::Place;
use fewbits::graph::Tensor;
use serde_json::Value;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

fn steps(report: &Value) -> &Vec<Value> {
    report["steps"].as_array().unwrap()
}

#[test]
fn the_first_recipe_that_holds_is_written() {
    let place = Place::new();
    let report = place.json("quantize digits_cnn.onnx -o m.onnx --data digits.npz --max-drop 1%");
    assert_eq!((&report["metric"], &report["accepted"]), (&Value::from("top-1"), &Value::from(true)));
    assert_eq!(report["samples"], 1697, "all that are not calibrated with");
    let steps = steps(&report);
    let (last, before) = steps.split_last().unwrap();
    assert_eq!((&last["holds"], &last["chosen"]), (&Value::from(true), &Value::from(true)));
    assert!(before.iter().all(|s| s["holds"] == false && s["chosen"] == false));
    assert_eq!(steps[0]["name"], "min-max ranges");
    for step in steps {
        assert!(number(step, "drop_low_points") <= number(step, "drop_points"), "{step}");
        assert!(number(step, "drop_high_points") >= number(step, "drop_points"), "{step}");
        assert!(number(step, "bytes") > 0.0 && number(step, "seconds") > 0.0, "{step}");
    }
    assert_eq!(number(last, "drop_points"), number(&report, "drop_points"), "the file written is the one measured");
    assert_eq!(number(last, "bytes"), place.bytes("m.onnx").len() as f64);
    place.ok("quantize digits_cnn.onnx -o again.onnx --data digits.npz --recipe m.recipe.toml");
    assert_eq!(place.bytes("m.onnx"), place.bytes("again.onnx"), "the recipe alone gives the same file");
}

#[test]
fn a_target_that_is_hard_climbs_to_mixed_precision_and_back_the_same_way() {
    let place = Place::new();
    let line = "quantize digits_cnn.onnx --data digits.npz --samples 60 --weights 2 --max-drop 0.5";
    let first = place.json(&format!("{line} -o a.onnx --threads 1"));
    let second = place.json(&format!("{line} -o b.onnx --threads 2"));
    assert_eq!(place.bytes("a.onnx"), place.bytes("b.onnx"));
    let drops = |report: &Value| -> Vec<(String, Value)> {
        steps(report).iter().map(|s| (s["name"].to_string(), s["drop_points"].clone())).collect()
    };
    assert_eq!(drops(&first), drops(&second));
    let names: Vec<&str> = steps(&first).iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"learned rounding"), "{names:?}");
    assert!(names.iter().any(|n| n.contains("layers with 8-bit weights")), "{names:?}");
    let recipe = String::from_utf8(place.bytes("a.recipe.toml")).unwrap();
    assert!(recipe.contains("weights = 8"), "{recipe}");
    assert!(number(&first, "drop_points") <= 0.5);
    place.ok("quantize digits_cnn.onnx -o c.onnx --data digits.npz --samples 60 --recipe a.recipe.toml");
    assert_eq!(place.bytes("a.onnx"), place.bytes("c.onnx"));
}

#[test]
fn a_missed_target_is_loud_and_leaves_nothing() {
    let place = Place::new();
    // Integer inputs and outputs leave no float layer to give way to. The ranges are those of noise.
    let tiny = Tensor::new(vec![3, 1, 8, 8], vec![0.01f32; 192]);
    place.write_npy("tiny.npy", &tiny);
    place.write("bad.onnx", b"older");
    let line = "quantize digits_cnn.onnx -o bad.onnx --data tiny.npy --eval digits.npz --io int8 --max-drop 1";
    place.fails(line, 3, &["--max-drop 1 points of top-1", "the best of", "nothing was written"]);
    assert_eq!(place.bytes("bad.onnx"), b"older");
    let text = place.fewbits(line).stdout;
    assert!(text.contains("min-max ranges") && text.ends_with("nothing was written\n"), "{text}");
    let report: Value = serde_json::from_str(&place.fewbits(&format!("{line} --json")).stdout).unwrap();
    assert_eq!((&report["accepted"], &report["output"]), (&Value::from(false), &Value::from("")));
    assert!(number(&report, "drop_points") > 1.0);
    assert!(steps(&report).iter().all(|s| s["holds"] == false));
}

#[test]
fn without_labels_a_classifier_is_judged_by_agreement() {
    let place = Place::new();
    place.write_npy("x.npy", &Tensor::new(vec![40, 1, 8, 8], (0..2560).map(|i| (i * 37 % 17) as f32).collect()));
    let report = place.json("quantize digits_cnn.onnx -o m.onnx --data x.npy --samples 20 --max-drop 10");
    assert_eq!((&report["metric"], &report["samples"]), (&Value::from("agreement"), &Value::from(20)));
    assert!(report["notes"].to_string().contains("20 samples cannot tell"), "{report}");
    let line = "quantize digits_cnn.onnx -o m.onnx --data x.npy --samples 20 --max-drop 10 --metric output-error";
    let report = place.json(line);
    assert_eq!(report["metric"], "output-error");
    let db = number(&report, "sqnr_db");
    assert!((number(&report, "drop_points") - 100.0 * 10f64.powf(-db / 10.0)).abs() < 1e-6, "{report}");
    place.fails(
        "quantize digits_cnn.onnx -o n.onnx --data x.npy --max-drop 1 --metric top-1",
        2,
        &["needs labels", "--metric agreement"],
    );
    place.write_npy("one.npy", &Tensor::new(vec![1, 1, 8, 8], vec![3.0f32; 64]));
    place.fails("quantize digits_cnn.onnx -o n.onnx --data one.npy --max-drop 1", 2, &["--eval"]);
}

#[test]
fn other_modes_climb_too() {
    let place = Place::new();
    for mode in ["dynamic", "float16"] {
        let line = format!("quantize digits_cnn.onnx -o {mode}.tflite --mode {mode} --data digits.npz --max-drop 1");
        let report = place.json(&line);
        assert_eq!((steps(&report).len(), &report["accepted"]), (1, &Value::from(true)), "{report}");
    }
    // Nothing to calibrate with, but something to measure on.
    let report = place.json("quantize digits_cnn.onnx -o d.onnx --eval digits.npz --max-drop 1");
    assert_eq!((&report["mode"], &report["samples"]), (&Value::from("dynamic"), &Value::from(1797)));
}

#[test]
fn widths_are_chosen_under_a_size() {
    let place = Place::new();
    let line = "quantize digits_cnn.onnx --data digits.npz --max-size";
    let whole = number(&place.json("quantize digits_cnn.onnx -o w.onnx --data digits.npz"), "bytes_after");
    let roomy = place.json(&format!("{line} {whole} -o a.onnx"));
    assert_eq!(roomy["size_budget"]["widths"].as_array().unwrap().len(), 1, "{roomy}");
    assert_eq!(place.bytes("a.onnx"), place.bytes("w.onnx"), "what fits stays as it is");
    let limit = (0.7 * whole).floor();
    let tight = place.json(&format!("{line} {limit} -o b.onnx --threads 1"));
    let budget = &tight["size_budget"];
    assert!(number(budget, "counted_bytes") <= limit, "{budget}");
    assert!(budget["widths"].as_array().unwrap().len() > 1, "{budget}");
    assert!(number(&tight, "bytes_after") <= 1.02 * limit, "{tight}");
    assert!(number(&tight, "sqnr_db") < number(&roomy, "sqnr_db"));
    assert!(number(&tight, "agreement") >= 0.9, "{tight}");
    place.ok(&format!("{line} {limit} -o c.onnx --threads 2"));
    assert_eq!(place.bytes("b.onnx"), place.bytes("c.onnx"));
    place.ok("quantize digits_cnn.onnx -o d.onnx --data digits.npz --recipe b.recipe.toml");
    assert_eq!(place.bytes("b.onnx"), place.bytes("d.onnx"));
    place.fails(&format!("{line} 100 -o e.onnx"), 2, &["--max-size 100", "cannot be met", "bytes"]);
    place.fails("quantize digits_cnn.onnx -o e.onnx --max-size 10K", 2, &["--data"]);
    let both = place.json(&format!("{line} {limit} -o f.onnx --max-drop 5"));
    assert!(both["accepted"] == true && number(&both["size_budget"], "counted_bytes") <= limit, "{both}");
}

#[test]
fn slack_in_latency_buys_accuracy() {
    let place = Place::new();
    let line = "quantize digits_cnn.onnx --data digits.npz --max-latency";
    let whole = place.json("quantize digits_cnn.onnx -o w.onnx --data digits.npz");
    // All the time of the world: nothing has to be quantized.
    let idle = place.json(&format!("{line} 100s -o a.onnx"));
    let budget = &idle["latency_budget"];
    assert!(budget["layers"].as_u64() > Some(3), "{budget}");
    assert_eq!(budget["layers"], budget["float_layers"]);
    assert!(number(&idle, "sqnr_db") > number(&whole, "sqnr_db") + 20.0, "{idle}");
    place.ok("quantize digits_cnn.onnx -o b.onnx --data digits.npz --recipe a.recipe.toml");
    assert_eq!(place.bytes("a.onnx"), place.bytes("b.onnx"));
    place.fails(&format!("{line} 0.001us -o c.onnx"), 2, &["--max-latency 0.000001ms", "cannot be met", "as float"]);
    place.fails(&format!("{line} 1s --io int8 -o c.onnx"), 2, &["--io"]);
}

#[test]
fn overrides_of_a_recipe_reach_their_layers() {
    let place = Place::new();
    let recipe = "mode = 'int8'\nweights = 4\n[operators.FullyConnected]\nweights = 8\n";
    place.write("r.toml", recipe.as_bytes());
    place.ok("quantize digits_cnn.onnx -o a.onnx --data digits.npz --recipe r.toml");
    place.ok("quantize digits_cnn.onnx -o b.onnx --data digits.npz --weights 4");
    assert_ne!(place.bytes("a.onnx"), place.bytes("b.onnx"));
    place.write("wrong.toml", format!("{recipe}[overrides.nowhere]\nweights = 8\n").as_bytes());
    place.fails("quantize digits_cnn.onnx -o c.onnx --data digits.npz --recipe wrong.toml", 1, &["`nowhere`"]);
}
