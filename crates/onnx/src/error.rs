//! What can go wrong between an ONNX file and a graph.

use std::fmt;
use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An operator that the reader does not know, with the nodes that use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedOperator {
    /// Domain; empty for the standard operators.
    pub domain: String,
    /// Operator name.
    pub operator: String,
    /// Version of its operator set that the model imports.
    pub opset: i64,
    /// Names of the nodes.
    pub nodes: Vec<String>,
}

impl fmt::Display for UnsupportedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.domain.is_empty() { "" } else { "." };
        write!(f, "{}{dot}{} (opset {}): {}", self.domain, self.operator, self.opset, self.nodes.join(", "))
    }
}

fn list(operators: &[UnsupportedOperator]) -> String {
    operators.iter().map(|op| format!("\n  {op}")).collect()
}

/// Why a model cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error in the file `path`.
    #[error("{}: {source}", path.display())]
    File {
        /// The model file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// The file cannot be opened, read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The bytes are no ONNX model.
    #[error("not an ONNX model, or a damaged one: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The model as a whole cannot be read.
    #[error("{what}")]
    Model {
        /// The rule that is broken, and what to do.
        what: String,
    },
    /// The model uses operators that the reader does not know: all of them.
    #[error("the model uses {} unsupported operator(s):{}", .operators.len(), list(operators))]
    Unsupported {
        /// The operators.
        operators: Vec<UnsupportedOperator>,
    },
    /// A constant or a declared value is wrong.
    #[error("tensor `{tensor}`: {what}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// The rule that is broken.
        what: String,
    },
    /// A node cannot be read.
    #[error("node `{node}` ({operator}): {what}")]
    Node {
        /// Node name.
        node: String,
        /// Operator name.
        operator: String,
        /// The rule that is broken, and what to do.
        what: String,
    },
    /// The nodes of the file cannot be ordered, or do not fit each other.
    #[error(transparent)]
    Graph(#[from] fewbits_graph::Error),
    /// A node of a graph has no form in ONNX.
    #[error("node `{node}` ({operator}) cannot be written to ONNX: {what}")]
    Export {
        /// Node name.
        node: String,
        /// Operator name.
        operator: &'static str,
        /// Why.
        what: String,
    },
}

impl Error {
    pub(crate) fn model(what: impl Into<String>) -> Self {
        Error::Model { what: what.into() }
    }

    pub(crate) fn tensor(tensor: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Tensor { tensor: tensor.into(), what: what.into() }
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Error::Io { what: what.into(), source }
    }

    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        Error::File { path: path.to_owned(), source: Box::new(self) }
    }
}
