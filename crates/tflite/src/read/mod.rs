//! TFLite file → graph.

mod activation;
mod bias;
mod context;
mod conv;
mod elementwise;
mod linear;
mod model;
mod movement;
mod operators;
mod pool;
mod quantize;
mod reduce;
mod reshape;
mod resize;
mod slice;
mod tensors;

use std::path::Path;
use std::sync::Arc;

use fewbits_graph::Graph;

use crate::{Error, Result};

/// Names of the built-in TFLite operators that [`read`] understands, in alphabetical order.
pub fn supported_operators() -> Vec<&'static str> {
    let mut names: Vec<_> = operators::OPERATORS.iter().map(|(builtin, _)| builtin.name()).collect();
    names.sort_unstable();
    names
}

/// Reads a TFLite file.
///
/// Values keep the names of the file's tensors (made unique by a suffix where they repeat), nodes
/// are named after their first output. "SAME" and "VALID" padding become numbers. Dimensions that
/// the file marks as unknown become symbols: `batch` for the first. Float16 constants that a
/// `DEQUANTIZE` widens feed their readers directly.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::UnsupportedOperators`] with all operators
/// that are not known, and others that name the tensor or node at fault.
pub fn read(path: &Path) -> Result<Graph> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    model::import(&Arc::new(bytes))
}

/// Reads a TFLite model from the bytes of its file. The bytes are copied once; constants of the
/// graph then share them.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: &[u8]) -> Result<Graph> {
    model::import(&Arc::new(bytes.to_vec()))
}
