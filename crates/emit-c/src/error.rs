//! What can stand in the way of a C file.

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A node for which there is no C, and why.
pub use fewbits_engine::Unsupported;

fn list(nodes: &[Unsupported]) -> String {
    nodes.iter().map(|n| format!("\n  {n}")).collect()
}

/// An error of this crate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The graph is inconsistent.
    #[error(transparent)]
    Graph(#[from] fewbits_graph::Error),
    /// Nodes that cannot become integer C: all of the model's at once.
    #[error("{} node(s) cannot be written as integer C:{}", .0.len(), list(.0))]
    Unsupported(Vec<Unsupported>),
    /// A public input or output is of a type that the C interface does not have.
    #[error("`{value}` is {got}; the C interface takes int8, uint8, or float that is quantized at once")]
    Interface {
        /// Name of the input or output.
        value: String,
        /// Its type.
        got: String,
    },
    /// A size is not known before running.
    #[error("`{value}` has the free shape {shape}; fix it with --input-shape")]
    FreeShape {
        /// Name of the value.
        value: String,
        /// Its shape.
        shape: String,
    },
    /// The name is no C identifier.
    #[error("`{name}` cannot name C functions; use letters, digits and underscores, and no keyword")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// The activations need more memory than there is.
    #[error(
        "the model needs an arena of {needed} bytes, more than the {limit} of --ram: most at node `{node}` ({op}), \
         {at_node} bytes; use a smaller input, fewer channels there, or a target with more memory"
    )]
    Ram {
        /// Bytes of the arena.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
        /// The node at which most memory is in use.
        node: String,
        /// Its operator.
        op: &'static str,
        /// Bytes in use there.
        at_node: usize,
    },
    /// Weights and code need more memory than there is.
    #[error(
        "the model needs about {needed} bytes of flash, more than the {limit} of --flash: most for node `{node}` \
         ({op}), {at_node} bytes; use a smaller model, or a target with more memory"
    )]
    Flash {
        /// Bytes of weights, tables and (estimated) code.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
        /// The node with the largest share.
        node: String,
        /// Its operator.
        op: &'static str,
        /// Bytes of that share.
        at_node: usize,
    },
}
