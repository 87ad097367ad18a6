//! What the readers understand.

use fewbits_report::{Operator, Operators};

/// The operators of both formats, for `fewbits operators` and the README.
pub fn supported_operators() -> Operators {
    let onnx = fewbits_onnx::supported_operators().into_iter().map(|operator| {
        let dot = if operator.domain.is_empty() { "" } else { "." };
        Operator {
            name: format!("{}{dot}{}", operator.domain, operator.name),
            versions: format!("{} to {}", operator.since, operator.last),
        }
    });
    let tflite = fewbits_tflite::supported_operators().into_iter().map(str::to_owned);
    Operators { onnx: onnx.collect(), tflite: tflite.collect() }
}
