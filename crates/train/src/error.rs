//! What can go wrong while compiling or running a tape.

use std::fmt;

use fewbits_graph::{DType, Shape};

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A node that cannot be differentiated, and why.
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

/// An error of differentiation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The graph is inconsistent, or its shapes contradict the inputs.
    #[error(transparent)]
    Graph(#[from] fewbits_graph::Error),
    /// The part of the model that is not trained cannot be run.
    #[error("the part of the model that is not trained: {0}")]
    Engine(#[from] fewbits_engine::Error),
    /// Nodes between what is trained and the outputs that have no derivative: all at once.
    #[error("{} node(s) of the model cannot be differentiated:{}", .0.len(), list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A value to be trained is not a constant of floats.
    #[error("value `{value}` cannot be trained: {what}")]
    NotTrainable {
        /// Value name.
        value: String,
        /// Why not.
        what: String,
    },
    /// The gradient of a value was asked for that is not a float input of the model.
    #[error("value `{value}` is not a float32 input of the model, so there is no gradient of it to ask for")]
    NotAnInput {
        /// Value name.
        value: String,
    },
    /// A shape is still symbolic although all inputs have sizes.
    #[error("value `{value}` has shape {shape}, which the input shapes do not determine")]
    UnknownShape {
        /// Value name.
        value: String,
        /// Its shape.
        shape: Shape,
    },
    /// An output of the model is not of floats.
    #[error("output `{value}` is {dtype}; only float32 outputs can be differentiated")]
    OutputType {
        /// Value name.
        value: String,
        /// Its type.
        dtype: DType,
    },
    /// The wrong number of tensors.
    #[error("expected {expected} {what}, got {got}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// As many as the tape has.
        expected: usize,
        /// As many as were given.
        got: usize,
    },
    /// A tensor of the wrong size.
    #[error("{what} {index}: expected {expected} elements, got {got}")]
    Length {
        /// Which list it stands in.
        what: &'static str,
        /// Its place in the list.
        index: usize,
        /// Elements the tape was compiled for.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// A label that is not a class.
    #[error("row {row}: label {label} is not one of the {classes} classes")]
    Label {
        /// Row of the output.
        row: usize,
        /// The label.
        label: usize,
        /// Classes the output has.
        classes: usize,
    },
    /// An input of another type or shape than the tape was compiled for.
    #[error("input `{input}`: the tape was compiled for {expected}, got {got}")]
    Input {
        /// Input name.
        input: String,
        /// Type and shape of the tape's.
        expected: String,
        /// Type and shape given.
        got: String,
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
    /// A backward pass without a forward pass before it.
    #[error("there is no forward pass whose gradients could be computed; call `forward` first")]
    NoForward,
}
