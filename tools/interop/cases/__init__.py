"""Generated ONNX models, one module an operator family; each has `cases()`."""
