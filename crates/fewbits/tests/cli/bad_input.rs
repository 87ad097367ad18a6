//! Bad input: each case is a clear error in one line, and no output file.

use crate::common::Place;
use fewbits::graph::ops::{Binary, BinaryKind};
use fewbits::graph::{Activation, DType, Dim, Graph, Shape, Tensor};

const OUT: &str = "-o out.onnx --data digits.npz";

#[test]
fn files_that_are_not_there() {
    let place = Place::new();
    place.fails(&format!("quantize none.onnx {OUT}"), 1, &["none.onnx", "No such file"]);
    place.fails("quantize digits_cnn.onnx -o out.onnx --data none.npz", 1, &["none.npz", "No such file"]);
    place.fails("quantize digits_cnn.onnx -o out.onnx --data digits.npz --recipe none.toml", 1, &["none.toml"]);
    place.fails("evaluate none.tflite --data digits.npz", 1, &["none.tflite"]);
    place.fails("inspect none.onnx", 1, &["none.onnx"]);
}

#[test]
fn outputs_that_cannot_be_meant_or_written() {
    let place = Place::new();
    place.fails("quantize digits_cnn.onnx -o out.pt --data digits.npz", 2, &["out.pt", ".onnx or .tflite"]);
    place.fails("quantize digits_cnn.onnx -o digits_cnn.onnx --data digits.npz", 2, &["digits_cnn.onnx", "itself"]);
    place.fails("quantize digits_cnn.onnx -o ./digits_cnn.onnx", 2, &["itself"]);
    place.fails("quantize digits_cnn.onnx -o none/out.onnx --data digits.npz", 1, &["cannot write", "none/out.onnx"]);
    std::fs::create_dir(place.path("dir.onnx")).unwrap();
    place.fails("quantize digits_cnn.onnx -o dir.onnx --data digits.npz", 1, &["dir.onnx", "directory"]);
    assert_eq!(place.bytes("digits_cnn.onnx").len(), 799_254);
}

#[test]
fn truncated_models() {
    let place = Place::new();
    let onnx = place.bytes("digits_cnn.onnx");
    place.ok("quantize digits_cnn.onnx -o float16.tflite --mode float16");
    let tflite = place.bytes("float16.tflite");
    for share in [0, 1, 10, 50, 90, 99] {
        place.write("cut.onnx", &onnx[..onnx.len() * share / 100]);
        place.fails(&format!("quantize cut.onnx {OUT}"), 1, &["cut.onnx"]);
        place.write("cut.tflite", &tflite[..tflite.len() * share / 100]);
        place.fails(&format!("quantize cut.tflite {OUT}"), 1, &["cut.tflite"]);
    }
}

#[test]
fn bit_flips_never_panic() {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o float16.tflite --mode float16");
    for name in ["digits_cnn.onnx", "float16.tflite"] {
        let bytes = place.bytes(name);
        let flipped = format!("flipped.{}", name.rsplit_once('.').unwrap().1);
        // The first and last bytes are structure; weights lie between.
        for at in (0..60).map(|i| i * 7).chain((1..20).map(|i| bytes.len() - 13 * i)) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            place.write(&flipped, &bytes);
            let ran = place.fewbits(&format!("inspect {flipped}"));
            assert!(matches!(ran.code, Some(0 | 1)), "byte {at} of {name}: {:?} {}", ran.code, ran.stderr);
            assert!(ran.code == Some(0) || ran.stderr.contains(&flipped), "byte {at} of {name}: {}", ran.stderr);
        }
    }
}

#[test]
fn files_that_are_no_models() {
    let place = Place::new();
    place.write("text.onnx", b"this is not a model at all");
    place.write("text.tflite", b"this is not a model at all");
    place.fails(&format!("quantize text.onnx {OUT}"), 1, &["text.onnx"]);
    place.fails(&format!("quantize text.tflite {OUT}"), 1, &["text.tflite"]);
    place.fails("quantize digits.npz -o out.onnx", 2, &["digits.npz", ".onnx or .tflite"]);
}

#[test]
fn weights_that_are_not_finite() {
    let place = Place::new();
    let bytes = place.bytes("digits_cnn.onnx");
    // Weights are the bulk of the file; one of four neighbouring places is aligned with an element
    // (the others change two elements into odd, finite numbers).
    let middle = bytes.len() / 2;
    for (name, value) in [("NaN", f32::NAN), ("infinity", f32::INFINITY)] {
        let refused = (middle..middle + 4).filter(|&at| {
            let mut bytes = bytes.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            place.write("bad.onnx", &bytes);
            let ran = place.fewbits("quantize bad.onnx -o out.onnx --mode float16");
            let named = ran.stderr.contains("bad.onnx") && ran.stderr.contains(name) && ran.stderr.contains("node `");
            ran.code == Some(1) && named && !place.path("out.onnx").exists() || {
                let _ = std::fs::remove_file(place.path("out.onnx"));
                false
            }
        });
        assert!(refused.count() >= 1, "{name}");
    }
}

#[test]
fn data_that_does_not_fit() {
    let place = Place::new();
    let quantize = |data: &str| format!("quantize digits_cnn.onnx -o out.onnx --data {data}");
    place.write_npy("wide.npy", &Tensor::new(vec![4, 1, 8, 9], vec![1f32; 288]));
    place.fails(&quantize("wide.npy"), 1, &["wide.npy", "image", "[N, 1, 8, 8]", "9"]);
    place.write_npy("complex.npy", &Tensor::new(vec![2, 1, 8, 8], vec![1f32; 128]));
    let mut bytes = place.bytes("complex.npy");
    let at = bytes.windows(3).position(|w| w == b"<f4").unwrap();
    bytes[at..at + 3].copy_from_slice(b"<c4");
    place.write("complex.npy", &bytes);
    place.fails(&quantize("complex.npy"), 1, &["complex.npy"]);
    place.write_npy("short.npy", &Tensor::new(vec![4, 1, 8, 8], vec![1f32; 256]));
    let bytes = place.bytes("short.npy");
    place.write("short.npy", &bytes[..bytes.len() - 100]);
    place.fails(&quantize("short.npy"), 1, &["short.npy"]);
    place.write("text.npz", b"no archive");
    place.fails(&quantize("text.npz"), 1, &["text.npz"]);
    place.write("data.csv", b"1,2,3\n");
    place.fails(&quantize("data.csv"), 1, &["data.csv", ".npz"]);
    std::fs::create_dir_all(place.path("npys")).unwrap();
    place.write_npy("npys/a.npy", &Tensor::new(vec![2, 3], vec![1f32; 6]));
    place.fails(&quantize("npys"), 1, &["npys", "image"]);
}

#[test]
fn data_that_is_not_finite_or_empty() {
    let place = Place::new();
    let quantize = |data: &str| format!("quantize digits_cnn.onnx -o out.onnx --data {data}");
    for (name, value) in [("nan.npy", f32::NAN), ("inf.npy", f32::NEG_INFINITY)] {
        let mut pixels = vec![1f32; 5 * 64];
        pixels[3 * 64 + 7] = value;
        place.write_npy(name, &Tensor::new(vec![5, 1, 8, 8], pixels));
        place.fails(&quantize(name), 1, &[name, "sample 3", "finite"]);
    }
    place.write_npy("empty.npy", &Tensor::new(vec![0, 1, 8, 8], Vec::<f32>::new()));
    place.fails(&quantize("empty.npy"), 1, &["empty.npy", "no data"]);
    std::fs::create_dir(place.path("nothing")).unwrap();
    place.fails(&quantize("nothing"), 1, &["nothing"]);
    place.fails(&format!("{} --samples 0", quantize("digits.npz")), 2, &["--samples 0"]);
}

#[test]
fn activations_that_become_nan_are_named() {
    let place = Place::new();
    let mut graph = Graph { name: "product".to_owned(), ..Graph::default() };
    let x = graph.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), Dim::Fixed(4)]));
    let large = graph.add_constant("large", Tensor::new(vec![4], vec![1e30f32; 4]));
    let binary = |kind| Binary { kind, activation: Activation::None };
    let product = graph.add_node("multiply", binary(BinaryKind::Mul), &[Some(x), Some(large)], "product");
    // Infinity minus infinity.
    let y = graph.add_node("subtract", binary(BinaryKind::Sub), &[Some(product), Some(x)], "rest");
    let y = graph.add_node("difference", binary(BinaryKind::Sub), &[Some(product), Some(y)], "y");
    graph.outputs.push(y);
    graph.infer().unwrap();
    fewbits::write_model(&graph, &place.path("product.onnx")).unwrap();
    place.write_npy("huge.npy", &Tensor::new(vec![3, 4], vec![1e20f32; 12]));
    let line = "quantize product.onnx -o out.onnx --data huge.npy";
    place.fails(line, 1, &["product.onnx", "`y`", "NaN", "calibration sample 0"]);
}

/// An 8 × 8 grayscale PNG, stored without compression.
fn png(pixel: impl Fn(usize) -> u8) -> Vec<u8> {
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
        !bytes.iter().fold(!0u32, |crc, &b| (0..8).fold(crc ^ u32::from(b), |crc, _| step(crc)))
    }
    fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], data: &[u8]) {
        out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let start = out.len();
        out.extend(kind);
        out.extend(data);
        let sum = crc(&out[start..]);
        out.extend(sum.to_be_bytes());
    }
    let rows: Vec<u8> = (0..8)
        .flat_map(|y| std::iter::once(0).chain((0..8).map(move |x| y * 8 + x).map(&pixel).collect::<Vec<_>>()))
        .collect();
    let (a, b) =
        rows.iter().fold((1u32, 0u32), |(a, b), &v| ((a + u32::from(v)) % 65521, (a + u32::from(v) + b) % 65521));
    let length = u16::try_from(rows.len()).unwrap();
    let mut zlib = vec![0x78, 0x01, 0x01];
    zlib.extend(length.to_le_bytes());
    zlib.extend((!length).to_le_bytes());
    zlib.extend(&rows);
    zlib.extend((b << 16 | a).to_be_bytes());
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut out, b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0]);
    chunk(&mut out, b"IDAT", &zlib);
    chunk(&mut out, b"IEND", &[]);
    out
}

#[test]
fn an_image_that_does_not_decode_stops_unless_asked_to_go_on() {
    let place = Place::new();
    std::fs::create_dir(place.path("pics")).unwrap();
    for i in 0..6usize {
        place.write(&format!("pics/{i}.png"), &png(|at| u8::try_from((at * (i + 3)) % 17).unwrap()));
    }
    let broken = &png(|_| 1)[..40];
    place.write("pics/2.png", broken);
    place.write("d.toml", b"images = 'pics'\n[preprocess]\nsize = 8\ncolor = 'gray'\n");
    let line = "quantize digits_cnn.onnx -o out.onnx --data d.toml";
    place.fails(line, 1, &["2.png", "cannot be used"]);
    let report = place.json(&format!("{line} --on-bad-image skip"));
    assert_eq!(report["skipped"], 1);
    assert_eq!(report["calibration_samples"].as_u64().unwrap() + report["samples"].as_u64().unwrap(), 5);
}

#[test]
fn requests_that_contradict_themselves() {
    let place = Place::new();
    place.fails("quantize digits_cnn.onnx -o out.onnx --mode int8", 2, &["--data"]);
    place.fails("quantize digits_cnn.onnx -o out.onnx --mode float16 --io int8", 2, &["--io"]);
    place.fails("quantize digits_cnn.onnx -o out.onnx --max-drop 1", 2, &["--max-drop"]);
    let exclude = format!("quantize digits_cnn.onnx {OUT} --exclude nosuchnode");
    place.fails(&exclude, 1, &["nosuchnode"]);
    place.fails("bench digits_cnn.onnx --input-shape x=1x1x8x8", 1, &["there is no input `x`", "image"]);
    place.fails("bench digits_cnn.onnx --input-shape image=1x1x8x9", 1, &["image", "[1, 1, 8, 9]"]);
}

#[test]
fn quantizing_twice_is_refused() {
    let place = Place::new();
    place.ok("quantize digits_cnn.onnx -o m.tflite --data digits.npz");
    place.fails("quantize m.tflite -o out.tflite --data digits.npz", 1, &["m.tflite", "quantized already"]);
}
