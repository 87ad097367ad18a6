//! Reading and writing ONNX, on small models built from our own messages and on the shared ones.

mod common;
mod hostile;
mod reading;
mod round_trip;
