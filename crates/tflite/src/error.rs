//! What can go wrong between a TFLite file and a graph.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An operator of a file that this crate does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedOperator {
    /// Its name in the schema, or that of the custom operator.
    pub name: String,
    /// The version of its semantics that the file asks for.
    pub version: i32,
    /// How many nodes use it.
    pub count: usize,
    /// Name of the first such node's output.
    pub first: String,
}

impl fmt::Display for UnsupportedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (version {}, {} nodes, first at `{}`)", self.name, self.version, self.count, self.first)
    }
}

/// A file that cannot be read, or a graph that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes do not start like a TFLite file.
    #[error("not a TFLite file: bytes 4 to 8 should be `TFL3`")]
    NotTflite,
    /// The bytes are no valid flatbuffer of this format, or indices in it lead nowhere.
    #[error("damaged TFLite file: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// The schema version is not the one in use.
    #[error("TFLite schema version {version}; only version 3 is known")]
    Version {
        /// The file's version.
        version: u32,
    },
    /// Operators that this crate does not know, all of the model at once.
    #[error("unsupported operators: {}", list(operators))]
    UnsupportedOperators {
        /// The operators, by name.
        operators: Vec<UnsupportedOperator>,
    },
    /// The model uses something other than an operator that this crate does not read.
    #[error("the model has {what}, which is not supported")]
    UnsupportedFeature {
        /// The feature, in words.
        what: String,
    },
    /// A tensor of the file that cannot become a value.
    #[error("tensor `{tensor}`: {what}")]
    Tensor {
        /// Tensor name.
        tensor: String,
        /// What is wrong.
        what: String,
    },
    /// An operator of the file whose inputs or attributes do not fit.
    #[error("node `{node}` ({op}): {what}")]
    Node {
        /// Node name.
        node: String,
        /// The operator's name in the schema.
        op: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The graph is inconsistent.
    #[error(transparent)]
    Graph(#[from] fewbits_graph::Error),
    /// A node that TFLite cannot express.
    #[error("node `{node}` ({op}) cannot be written to TFLite: {what}")]
    Unwritable {
        /// Node name.
        node: String,
        /// The graph's operator.
        op: &'static str,
        /// Why, and what to do instead.
        what: String,
    },
    /// A value that TFLite cannot express.
    #[error("value `{value}` cannot be written to TFLite: {what}")]
    UnwritableValue {
        /// Value name.
        value: String,
        /// Why, and what to do instead.
        what: String,
    },
    /// The file would exceed what 32-bit offsets can address.
    #[error("the model takes {bytes} bytes; a TFLite file holds less than 2 GiB: quantize it, or write .onnx instead")]
    TooLarge {
        /// Bytes of its constants.
        bytes: u64,
    },
}

fn list(operators: &[UnsupportedOperator]) -> String {
    operators.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
