//! `fewbits train`.

use crate::common::Place;

/// A few steps on the digits, of two bits so that there is something to win back.
const LINE: &str = "train digits_cnn.onnx --data digits.npz --weights 2 --activations 3 --steps 12 --epochs 2 --lr 1e-3 --batch 16 --samples 50";

#[test]
fn training_wins_accuracy_back_and_says_so() {
    let place = Place::new();
    let report = place.json(&format!("{LINE} -o m.tflite --eval digits.npz --loss labels --log log.csv"));
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report}"));
    assert!(number("top1_after") > number("top1_before") + 0.02, "{report}");
    assert!(number("top1_float") > 0.95 && report["epochs"].as_array().unwrap().len() == 2);
    assert!(number("bytes_after") < 0.4 * number("bytes_before"));
    let log = String::from_utf8(place.bytes("log.csv")).unwrap();
    assert_eq!(log.lines().count(), 3);
    assert!(log.starts_with("epoch,steps,"));
    // The file is an ordinary integer model, and its accuracy that of the report.
    let evaluated = place.json("evaluate m.tflite --data digits.npz");
    assert_eq!(evaluated["top1"].as_f64().unwrap(), number("top1_after"), "{evaluated}");
    assert_eq!(place.names(), ["digits.npz", "digits_cnn.onnx", "log.csv", "m.recipe.toml", "m.tflite"]);
}

#[test]
fn distillation_needs_no_labels_and_lowers_the_distance() {
    let place = Place::new();
    let report = place.json(&format!("{LINE} -o m.onnx --loss distill"));
    let (before, after) = (&report["sqnr_db_before"], &report["sqnr_db_after"]);
    assert!(after.as_f64().unwrap() > before.as_f64().unwrap() + 1.0, "{report}");
}

#[test]
fn threads_and_an_interruption_change_no_byte() {
    let place = Place::new();
    let flags = "--loss both --augment crop=1,noise=0.05 --ema 0.9 --clip 5 --schedule cosine";
    place.ok(&format!("{LINE} {flags} --threads 1 -o whole.onnx"));
    place.ok(&format!("{LINE} {flags} --threads 2 -o threads.onnx"));
    assert!(place.bytes("whole.onnx") == place.bytes("threads.onnx"), "threads change the result");
    for after in [7, 12, 17] {
        let keeps = format!("{LINE} {flags} --checkpoint c{after} --checkpoint-steps 5 -o parts.onnx");
        let stopped = place.fewbits(&format!("{keeps} --stop-after {after}"));
        assert_eq!(stopped.code, Some(1));
        assert!(stopped.stderr.contains(&format!("c{after}")), "{}", stopped.stderr);
        assert!(!place.names().contains(&"parts.onnx".to_owned()), "nothing is written before the end");
        place.ok(&format!("{keeps} --resume"));
        assert!(place.bytes("whole.onnx") == place.bytes("parts.onnx"), "resumed after {after}: other bytes");
        std::fs::remove_file(place.path("parts.onnx")).unwrap();
    }
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let place = Place::new();
    let stopped = place.fewbits(&format!("{LINE} -o m.onnx --checkpoint c --checkpoint-steps 2 --stop-after 4"));
    assert_eq!(stopped.code, Some(1));
    let other = place.fewbits(&format!("{LINE} -o m.onnx --checkpoint c --resume --seed 1"));
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("another training") && other.stderr.contains("seed 1"), "{}", other.stderr);
    place.write("c", b"no checkpoint");
    let damaged = place.fewbits(&format!("{LINE} -o m.onnx --checkpoint c --resume"));
    assert!(damaged.code == Some(1) && damaged.stderr.contains("no checkpoint"), "{}", damaged.stderr);
}

#[test]
fn divergence_stops_and_names_the_last_good_state() {
    let place = Place::new();
    let line = "train digits_cnn.onnx --data digits.npz -o m.onnx --loss labels --optimizer sgd --float \
                --lr 1e30 --warm-up 0 --steps 12 --checkpoint c --checkpoint-steps 1";
    let ran = place.fewbits(line);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("diverged") && ran.stderr.contains("smaller --lr"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the last good state is in c"), "{}", ran.stderr);
    assert!(!place.names().contains(&"m.onnx".to_owned()));
}

#[test]
fn the_float_control_is_a_float_model() {
    let place = Place::new();
    let report = place.json("train digits_cnn.onnx --data digits.npz -o f.onnx --float --loss labels --steps 5");
    assert!(report["float"].as_bool().unwrap() && report["top1_after"].as_f64().unwrap() > 0.9, "{report}");
    let ratio = report["bytes_after"].as_f64().unwrap() / report["bytes_before"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let place = Place::new();
    for (flags, word) in [
        ("--mode dynamic", "int8"),
        ("--resume", "--checkpoint"),
        ("--epochs 0", "--epochs"),
        ("--batch 100000", "--batch"),
        ("--augment spin", "spin"),
        ("--activations 1", "activations"),
    ] {
        let ran = place.fewbits(&format!("train digits_cnn.onnx --data digits.npz -o m.onnx {flags}"));
        assert_eq!(ran.code, Some(2), "{flags}: {}", ran.stderr);
        assert!(ran.stderr.contains(word), "{flags}: {}", ran.stderr);
    }
    assert_eq!(place.names(), ["digits.npz", "digits_cnn.onnx"]);
}
