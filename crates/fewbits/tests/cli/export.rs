//! `export`, and `quantize` into C.

use crate::common::Place;

/// A place with the demo's model in int8.
fn quantized() -> Place {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o m.tflite --data digits.npz --io int8");
    place
}

#[test]
fn an_integer_model_becomes_two_files_and_a_table() {
    let place = quantized();
    let ran = place.ok("export m.tflite -o net.c");
    assert!(ran.stdout.contains("flash ") && ran.stdout.contains("wrote net.c and net.h"), "{}", ran.stdout);
    let header = String::from_utf8(place.bytes("net.h")).unwrap();
    assert!(header.contains("int net_run(const int8_t *input, int8_t *output);"), "{header}");
    assert!(place.bytes("net.c").starts_with(b"/* Written by fewbits"));
    let report = place.json("export m.tflite -o net.c --name digits --target cortex-m4");
    assert_eq!((&report["header"], &report["target"]), (&"digits.h".into(), &"cortex-m4".into()));
    let layers = report["layers"].as_array().unwrap();
    let sum = |key: &str| layers.iter().map(|l| l[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(report["macs"].as_u64().unwrap(), sum("macs"));
    assert_eq!(report["constants"].as_u64().unwrap(), sum("constants"));
    assert!(report["arena"].as_u64() >= layers.iter().map(|l| l["ram"].as_u64()).max().unwrap(), "{report}");
}

#[test]
fn both_formats_give_the_same_arithmetic() {
    let place = quantized();
    place.ok("quantize digits_cnn.onnx -o m.onnx --data digits.npz --io int8 --mode int8");
    let [a, b] = ["m.tflite", "m.onnx"].map(|model| place.json(&format!("export {model} -o net.c"))["macs"].clone());
    assert_eq!(a, b);
}

#[test]
fn quantize_writes_c_at_once() {
    let place = Place::new();
    let report = place.json("quantize digits_cnn.onnx -o digits.c --data digits.npz");
    assert_eq!(report["output"], "digits.c and digits.h");
    assert_eq!(place.names(), ["digits.c", "digits.h", "digits.npz", "digits.recipe.toml", "digits_cnn.onnx"]);
    let recipe = String::from_utf8(place.bytes("digits.recipe.toml")).unwrap();
    assert!(recipe.starts_with("# The recipe of digits.c"), "{recipe}");
    let header = String::from_utf8(place.bytes("digits.h")).unwrap();
    assert!(header.contains("float in the model"), "{header}");
    place.fails("quantize digits_cnn.onnx -o d.c --mode dynamic", 2, &["int8", "--data"]);
}

#[test]
fn quantize_writes_the_c_that_export_writes() {
    let place = Place::new();
    let quantized = place.json("quantize digits_cnn.onnx -o digits.c --data digits.npz");
    let own = ["digits.c", "digits.h", "digits.recipe.toml"].map(|name| place.bytes(name));
    place.ok("quantize digits_cnn.onnx -o m.tflite --data digits.npz");
    let exported = place.json("export m.tflite -o digits.c");
    assert!(own[..2] == ["digits.c", "digits.h"].map(|name| place.bytes(name)), "the files differ");
    let flash = exported["constants"].as_u64().unwrap() + exported["code"].as_u64().unwrap();
    assert_eq!(quantized["bytes_after"], flash);
    let recipe = String::from_utf8(place.bytes("m.recipe.toml")).unwrap();
    assert_eq!(String::from_utf8_lossy(&own[2]), recipe.replacen("m.tflite", "digits.c", 1));
}

#[test]
fn c_that_cannot_be_written_is_refused_before_calibrating() {
    let place = Place::new();
    let data = "--data digits.npz --samples 1";
    place.fails(&format!("quantize digits_cnn.onnx -o none/net.c {data}"), 1, &["cannot write", "none/net.c"]);
    std::fs::create_dir(place.path("net.h")).unwrap();
    // The data is not read: there is none.
    place.fails("quantize digits_cnn.onnx -o net.c --data none.npz", 1, &["cannot write", "net.h", "directory"]);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let place = quantized();
    let arena = place.json("export m.tflite -o net.c")["arena"].as_u64().unwrap();
    std::fs::remove_file(place.path("net.c")).unwrap();
    std::fs::remove_file(place.path("net.h")).unwrap();
    place.ok(&format!("export m.tflite -o fits.c --ram {arena}"));
    place.fails(&format!("export m.tflite -o net.c --ram {}", arena - 1), 1, &["m.tflite", "--ram", "node `"]);
    place.fails("export m.tflite -o net.c --flash 1000", 1, &["--flash", "node `"]);
}

#[test]
fn what_is_no_integer_model_is_refused_by_name() {
    let place = quantized();
    place.fails("export digits_cnn.onnx -o net.c", 1, &["digits_cnn.onnx", "float32"]);
    place.ok("quantize digits_cnn.onnx -o d.tflite --data digits.npz --mode dynamic");
    place.fails("export d.tflite -o net.c", 1, &["d.tflite"]);
    place.fails("export m.tflite -o net.cpp", 2, &["net.cpp", ".c"]);
    place.fails("export m.tflite -o net.c --name 1st", 1, &["1st"]);
    place.fails("export m.tflite -o none/net.c", 1, &["none/net.c"]);
}

#[test]
fn an_operator_left_in_float_is_named() {
    let place = Place::new();
    let layers = place.json("compare digits_cnn.onnx digits_cnn.onnx --data digits.npz --samples 1");
    let conv = layers["layers"].as_array().unwrap().iter().rfind(|l| l["op"] == "Conv2d").unwrap();
    let node = conv["node"].as_str().unwrap();
    place.ok(&format!("quantize digits_cnn.onnx -o m.tflite --data digits.npz --exclude {node}"));
    place.fails("export m.tflite -o net.c", 1, &["1 node(s)", "(Conv2d)", "float32"]);
}
