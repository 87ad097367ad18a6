//! Damaged files give errors or consistent graphs, never a panic.

use crate::common::{Case, shared_models};
use fewbits_graph::ops::{Conv2d, Reshape};
use fewbits_graph::{Activation, Graph};
use fewbits_tflite::{Error, read_bytes, to_bytes};

/// A small model with a convolution, a constant shape, attributes of several kinds.
fn small() -> Vec<u8> {
    let mut case = Case::new();
    let (x, w) = (case.input(&[1, 6, 6, 2]), case.weights(&[4, 3, 3, 2]));
    let conv =
        Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1, 1, 1, 1], groups: 1, activation: Activation::Relu6 };
    let hidden = case.graph.add_node("hidden", conv, &[Some(x), Some(w)], "hidden");
    let shape = case.ints(&[1, -1]);
    let graph: Graph = case.node(Reshape { allow_zero: true }, &[hidden, shape], 1);
    to_bytes(&graph).expect("the model is writable")
}

/// A fixed sequence of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n).expect("sizes fit")).expect("it is below n")
    }
}

/// Reads; a graph that comes out must be consistent and writable or refused with an error.
fn survive(bytes: &[u8]) -> bool {
    match read_bytes(bytes) {
        Ok(graph) => {
            graph.validate().expect("the reader returns consistent graphs");
            // Writing may refuse, but must not panic either.
            let _ = to_bytes(&graph);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[test]
fn every_truncation_of_a_small_file_is_survived() {
    let whole = small();
    assert!(survive(&whole));
    for len in 0..whole.len() {
        survive(&whole[..len]);
    }
    // Without the tables at its end, no file is whole.
    assert!((0..whole.len() / 2).all(|len| read_bytes(&whole[..len]).is_err()));
}

#[test]
fn flipped_bits_of_a_small_file_are_survived() {
    let whole = small();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        survive(&bytes);
    }
}

#[test]
fn random_damage_to_a_small_file_is_survived() {
    let whole = small();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(8) {
            let at = random.below(bytes.len());
            bytes[at] = [0, 1, 0x7F, 0x80, 0xFF, bytes[at].wrapping_add(1)][random.below(6)];
        }
        read += usize::from(survive(&bytes));
    }
    assert!(read > 0, "some damage is harmless, such as to weights");
}

#[test]
fn damaged_shared_models_are_survived() {
    let mut random = Random(42);
    for path in shared_models() {
        let whole = std::fs::read(&path).expect("shared models are readable");
        if whole.len() > 400_000 {
            continue;
        }
        for _ in 0..40 {
            survive(&whole[..random.below(whole.len())]);
        }
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..16 {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            survive(&bytes);
        }
    }
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    assert!(matches!(read_bytes(b""), Err(Error::NotTflite)));
    assert!(matches!(read_bytes(b"\x08\0\0\0ONNX........"), Err(Error::NotTflite)));
    assert!(matches!(read_bytes(b"\xFF\xFF\xFF\xFFTFL3"), Err(Error::Damaged { .. })));
    // A root without fields says nothing, not even its version.
    assert!(matches!(read_bytes(b"\x00\0\0\0TFL3"), Err(Error::Version { version: 0 })));
}
