//! TFLite bytes: reading gives a graph or an error; what we write of the graph is read again;
//! simplification does not panic.
#![no_main]

use fewbits_fuzz::{is_small, simplify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(graph) = fewbits_tflite::read_bytes(data) else { return };
    if !is_small(&graph) {
        return;
    }
    if let Ok(bytes) = fewbits_tflite::to_bytes(&graph)
        && let Err(e) = fewbits_tflite::read_bytes(&bytes)
    {
        panic!("what was written is not read: {e}");
    }
    simplify(graph);
});
