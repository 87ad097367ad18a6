//! TFLite files to fewbits graphs and back.
//!
//! The file format is declared in `schema`: tables by slot number over the `flatbuffers` crate's
//! verifier and builder. [`read()`] turns every operator into one of the graph's; padding becomes
//! numbers, masks become slices, so that nothing in the graph depends on where it came from.
//! [`write()`] turns every node into one operator, or into several where TFLite has none for it.

mod error;
mod read;
mod schema;
mod write;

pub use error::{Error, Result, UnsupportedOperator};
pub use read::{read, read_bytes, supported_operators};
pub use write::{to_bytes, write};
