//! What can go wrong while a graph is quantized.

use fewbits_graph::Error as GraphError;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A graph, data or recipe that cannot be quantized.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A weight is NaN or infinite.
    #[error("constant `{value}` of node `{node}` holds {what} at element {index}; repair or retrain the model")]
    BadWeight {
        /// Constant name.
        value: String,
        /// A node that reads it.
        node: String,
        /// "NaN" or "infinity".
        what: &'static str,
        /// First such element.
        index: usize,
    },
    /// An activation became NaN while calibrating.
    #[error("value `{value}` becomes NaN on calibration sample {sample}; check the data and its preprocessing")]
    BadActivation {
        /// Value name.
        value: String,
        /// Index of the sample.
        sample: usize,
    },
    /// No calibration sample was given.
    #[error("the calibration set is empty: full-integer quantization needs at least one sample")]
    NoSamples,
    /// `--exclude` or an override names a node that does not exist.
    #[error("there is no node named `{name}`{hint}")]
    UnknownNode {
        /// The name given.
        name: String,
        /// The nearest name, as a sentence, or empty.
        hint: String,
    },
    /// An override names a node without weights.
    #[error(
        "the recipe overrides the weights of `{node}`, but {op} has none; only convolutions and fully-connected layers do"
    )]
    NoWeights {
        /// The name given.
        node: String,
        /// Its operator.
        op: &'static str,
    },
    /// Integer inputs and outputs were asked for, but an operator has no integer form.
    #[error("integer-only output is not possible: these operators have no int8 form: {nodes}")]
    FloatLeft {
        /// The nodes, with their operators.
        nodes: String,
    },
    /// A recipe file is not understood.
    #[error("recipe {file}: {what}")]
    BadRecipe {
        /// File name.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The graph is inconsistent.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The engine cannot run the graph.
    #[error(transparent)]
    Engine(#[from] fewbits_engine::Error),
}
