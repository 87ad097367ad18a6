//! What can be wrong with a graph.

use crate::{DType, Shape};

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An inconsistency in a graph. Every variant names the node or value at fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A node has fewer or more inputs than its operator takes.
    #[error("node `{node}` ({op}): expected {expected} inputs, got {got}")]
    InputCount {
        /// Node name.
        node: String,
        /// Operator name.
        op: &'static str,
        /// What the operator takes, in words.
        expected: String,
        /// Inputs present.
        got: usize,
    },
    /// An input's shape does not fit the operator.
    #[error("node `{node}` ({op}): {what}; input `{input}` has shape {shape}")]
    BadShape {
        /// Node name.
        node: String,
        /// Operator name.
        op: &'static str,
        /// The rule that is broken.
        what: String,
        /// Name of the offending input.
        input: String,
        /// Its shape.
        shape: Shape,
    },
    /// An input's element type does not fit the operator.
    #[error("node `{node}` ({op}): input `{input}` is {dtype}, expected {expected}")]
    BadDType {
        /// Node name.
        node: String,
        /// Operator name.
        op: &'static str,
        /// Name of the offending input.
        input: String,
        /// Its element type.
        dtype: DType,
        /// What the operator takes, in words.
        expected: String,
    },
    /// An attribute is out of range for the shapes at hand.
    #[error("node `{node}` ({op}): {what}")]
    BadAttribute {
        /// Node name.
        node: String,
        /// Operator name.
        op: &'static str,
        /// The rule that is broken.
        what: String,
    },
    /// The output shape depends on values that are known only while running.
    #[error(
        "node `{node}` ({op}): the output shape depends on the values of `{input}`, which are not constant; \
         export the model with fixed shapes or fold its shape arithmetic"
    )]
    DataDependentShape {
        /// Node name.
        node: String,
        /// Operator name.
        op: &'static str,
        /// The input whose values would be needed.
        input: String,
    },
    /// The product of a tensor's dimensions does not fit into memory addressing.
    #[error("value `{value}`: the size of shape {shape} overflows")]
    SizeOverflow {
        /// Value name.
        value: String,
        /// Its shape.
        shape: Shape,
    },
    /// A node reads a value that no earlier node, input or constant provides.
    #[error("node `{node}` reads `{value}`, which nothing before it provides (a cycle, or a missing producer)")]
    Undefined {
        /// Node name.
        node: String,
        /// Value name.
        value: String,
    },
    /// Two producers write the same value.
    #[error("value `{value}` has two producers (the second is node `{node}`)")]
    TwoProducers {
        /// Value name.
        value: String,
        /// The second producer.
        node: String,
    },
    /// The nodes cannot be ordered.
    #[error("the graph has a cycle through node `{node}`")]
    Cycle {
        /// A node on the cycle.
        node: String,
    },
    /// A graph output has no producer.
    #[error("graph output `{value}` is never computed")]
    MissingOutput {
        /// Value name.
        value: String,
    },
    /// A value's quantization parameters contradict its type or shape.
    #[error("value `{value}`: bad quantization parameters: {what}")]
    BadQuantization {
        /// Value name.
        value: String,
        /// The rule that is broken.
        what: String,
    },
    /// A constant's bytes contradict its type or shape.
    #[error("constant `{value}`: {what}")]
    BadConstant {
        /// Value name.
        value: String,
        /// The rule that is broken.
        what: String,
    },
}
