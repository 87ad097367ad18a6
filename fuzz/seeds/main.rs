//! Writes the first corpus of each target: small models and files of every kind that the parsers
//! know, from which the fuzzer starts.
//!
//! `cargo run --example seeds`, from this folder. Nothing is taken from elsewhere: graphs are built
//! here and written by our own writers; the demo's assets are added.

mod graphs;
mod onnx;
mod texts;

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("corpus");
    let assets = root.join("../crates/fewbits/assets");
    models(&corpus)?;
    arrays(&corpus, &assets)?;
    for (name, text) in texts::texts() {
        put(&corpus, "config", &name, text.as_bytes())?;
    }
    Ok(())
}

fn put(corpus: &Path, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = corpus.join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("seed-{name}")), bytes)
}

/// Each graph in both formats, where the format has it, and each ONNX operator.
fn models(corpus: &Path) -> Result<()> {
    for (name, graph) in graphs::graphs() {
        let files = [("onnx", fewbits_onnx::to_bytes(&graph).ok()), ("tflite", fewbits_tflite::to_bytes(&graph).ok())];
        if files.iter().all(|(_, bytes)| bytes.is_none()) {
            return Err(Error::other(format!("no format has a form for {name}")));
        }
        for (target, bytes) in files {
            if let Some(bytes) = bytes {
                put(corpus, target, &name, &bytes)?;
            }
        }
    }
    for (name, bytes) in onnx::operators() {
        put(corpus, "onnx", &name, &bytes)?;
    }
    Ok(())
}

/// Arrays of every element type and order, and archives of them.
fn arrays(corpus: &Path, assets: &Path) -> Result<()> {
    let digits: PathBuf = assets.join("digits.npz");
    put(corpus, "npz", "digits", &std::fs::read(digits)?)?;
    let types = ["<f4", ">f4", "<f8", "<f2", "|u1", "|i1", "<u2", ">i2", "<i4", "<u4", "<i8", "<u8", "|b1"];
    for (i, descr) in types.iter().enumerate() {
        for (shape, elements) in [("(3,)", 3), ("(2, 3)", 6), ("(2, 4)", 8), ("(2, 1, 2, 2)", 8), ("(2, 2, 1)", 4)] {
            for fortran in [false, true] {
                let array = texts::npy(descr, fortran, shape, elements);
                put(corpus, "npy", &format!("{i}-{elements}-{}-{fortran}", shape.len()), &array)?;
                let names = if elements == 8 { ["ids", "mask", "labels"] } else { ["image", "labels", "test"] };
                let labels =
                    texts::npy("<i8", false, &format!("({},)", &shape[1..2]), usize::from(shape.as_bytes()[1] - b'0'));
                let members = [(names[0], &array), (names[1], &array), (names[2], &labels)];
                let archive = texts::stored_zip(&members.map(|(n, b)| (format!("{n}.npy"), b.as_slice())));
                put(corpus, "npz", &format!("{i}-{elements}-{}-{fortran}", shape.len()), &archive)?;
            }
        }
    }
    Ok(())
}
