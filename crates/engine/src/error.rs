//! What can go wrong while compiling or running a graph.

use std::fmt;

use fewbits_graph::{DType, Shape};

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A node that the engine cannot execute, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Node name.
    pub node: String,
    /// Operator name.
    pub op: &'static str,
    /// What about it is not supported.
    pub what: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}` ({}): {}", self.node, self.op, self.what)
    }
}

fn list(nodes: &[Unsupported]) -> String {
    nodes.iter().map(|n| format!("\n  {n}")).collect()
}

/// An error of the engine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The graph is inconsistent, or its shapes contradict the inputs.
    #[error(transparent)]
    Graph(#[from] fewbits_graph::Error),
    /// Nodes that the engine cannot execute: all of the model's at once.
    #[error("the engine cannot run {} node(s) of the model:{}", .0.len(), list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A run was given the wrong number of inputs.
    #[error("the model takes {expected} input(s), got {got}")]
    InputCount {
        /// Inputs of the model.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// A run's input has another element type than the model declares.
    #[error("input `{input}`: the model takes {expected}, got {got}; convert the data first")]
    InputType {
        /// Input name.
        input: String,
        /// The declared type.
        expected: DType,
        /// The type given.
        got: DType,
    },
    /// A shape is still symbolic although all inputs have sizes.
    #[error("value `{value}` has shape {shape}, which the input shapes do not determine")]
    UnknownShape {
        /// Value name.
        value: String,
        /// Its shape.
        shape: Shape,
    },
    /// A value that depends on data points outside of a tensor.
    #[error("node `{node}` ({op}): {what}")]
    BadData {
        /// Node name.
        node: String,
        /// Operator name.
        op: &'static str,
        /// What is wrong with the data.
        what: String,
    },
    /// The intermediate values do not fit into memory.
    #[error("the intermediate values need {bytes} bytes, more than can be allocated; use a smaller batch")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The environment asks for an instruction set that this CPU lacks.
    #[error(transparent)]
    Isa(#[from] fewbits_kernels::isa::IsaError),
    /// The thread pool cannot be started.
    #[error("cannot start {threads} worker threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// What the system says.
        reason: String,
    },
}
