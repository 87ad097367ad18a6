//! Every bug that was found once: the real binary in a fresh directory.

use crate::common::Place;

/// Integer pixels are real numbers to a float model. A uint8 model with other parameters than
/// scale 1 must be given them quantized, not as they are: measured as they are, agreement was noise.
#[test]
fn integer_pixels_are_quantized_for_a_uint8_model() {
    let place = Place::new();
    let report = place.json("quantize digits_cnn.onnx -o m.tflite --data digits.npz --io uint8");
    assert!(report["agreement"].as_f64().unwrap() >= 0.98, "{report}");
}
