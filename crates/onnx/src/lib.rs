//! ONNX files to fewbits graphs and back.
