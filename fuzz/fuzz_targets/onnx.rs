//! ONNX bytes: reading gives a graph or an error; what we write of the graph is read again;
//! simplification does not panic.
#![no_main]

use fewbits_fuzz::{is_small, onnx_mutator, simplify};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| {
    let Ok(graph) = fewbits_onnx::read_bytes(data.to_vec(), None) else { return };
    if !is_small(&graph) {
        return;
    }
    if let Ok(bytes) = fewbits_onnx::to_bytes(&graph)
        && let Err(e) = fewbits_onnx::read_bytes(bytes, None)
    {
        panic!("what was written is not read: {e}");
    }
    simplify(graph);
});

// Half of the mutations are of the decoded message, which those of its bytes seldom leave intact.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0
        && let Some(mutated) = onnx_mutator::mutate(&data[..size], seed)
        && mutated.len() <= max_size
    {
        data[..mutated.len()].copy_from_slice(&mutated);
        return mutated.len();
    }
    fuzzer_mutate(data, size, max_size)
});
