//! ONNX files to fewbits graphs and back.

mod error;
mod export;
mod import;
mod layout;
pub mod proto;
mod reader;
mod storage;
mod tensor;
mod writer;

pub use error::{Error, Result, UnsupportedOperator};
pub use import::{SupportedOperator, supported_operators};
pub use reader::{read, read_bytes};
pub use writer::{to_bytes, write};
