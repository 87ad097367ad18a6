//! Real models: what is written again is what was read.

use crate::common::{canonical, shared_models};
use fewbits_graph::{DType, Op};
use fewbits_tflite::{read, read_bytes, to_bytes, write};

#[test]
fn what_is_written_is_what_was_read() {
    for path in shared_models() {
        let graph = read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let bytes = to_bytes(&graph).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let again = read_bytes(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(canonical(&graph), canonical(&again), "{}", path.display());
        assert_eq!(bytes, to_bytes(&again).expect("it was written before"), "{}", path.display());
    }
}

#[test]
fn int8_models_have_integer_edges() {
    for path in shared_models() {
        let name = path.file_name().and_then(|n| n.to_str()).expect("names are text").to_owned();
        if !name.contains("int8") {
            continue;
        }
        let graph = read(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_))) {
            let value = |i: usize| graph.value(node.inputs[i].expect("convolutions have three inputs"));
            let (x, w, bias) = (value(0), value(1), value(2));
            assert_eq!((x.dtype, w.dtype, bias.dtype), (DType::I8, DType::I8, DType::I32), "{name} {}", node.name);
            let quants = [x, w, bias].map(|v| v.quant.as_ref().expect("integer edges have scales"));
            assert!(quants[1].is_symmetric() && quants[2].is_symmetric());
            // The scale of a bias is that of the products it is added to.
            for (b, w) in quants[2].scales.iter().zip(&quants[1].scales) {
                let product = w * quants[0].scales[0];
                assert!((b - product).abs() <= product * 1e-5, "{name} {}: {b} against {product}", node.name);
            }
        }
    }
}

#[test]
fn files_are_replaced_whole() {
    let Some(path) = shared_models().into_iter().next() else { return };
    let graph = read(&path).expect("shared models are readable");
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let target = folder.path().join("model.tflite");
    std::fs::write(&target, b"old").expect("the folder is writable");
    write(&graph, &target).expect("the model is writable");
    assert_eq!(canonical(&graph), canonical(&read(&target).expect("it was just written")));
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder exists").count(), 1, "no temporary file stays");
    let missing = folder.path().join("none").join("model.tflite");
    assert!(write(&graph, &missing).is_err());
}
