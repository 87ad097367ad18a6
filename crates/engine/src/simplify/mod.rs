//! Rewriting a graph into the form that the engine and the quantizer want.
//!
//! [`simplify`] runs a fixed list of small passes until none of them finds anything. Each pass
//! keeps what the graph computes, up to the rounding of reordered floating-point arithmetic, and
//! the names, types and shapes of the public inputs and outputs. Where nodes merge, the surviving
//! node keeps the name of the main one (the convolution) and its output the name of the last one,
//! so that readers still find it.

mod activation;
mod affine;
mod constants;
mod edit;
mod expand;
mod flatten;
mod half;
mod identity;
mod linear;
mod lower;
mod pad;
mod patterns;
mod qdq;
mod shapes;
mod transpose;

use fewbits_graph::{DType, Graph, Op, Quantization, Tensor};

pub use lower::lower_for_quantization;

use crate::Result;

/// Rounds of the pass list after which the graph is taken as it is. Real models settle in three or
/// four; the bound is there for graphs made to be rewritten for ever.
const MAX_ROUNDS: usize = 24;

/// What [`simplify`] may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimplifyOptions {
    /// Let 8-bit constants that are dequantized into the weights of an operator with floating-point
    /// activations feed the operator directly: the *dynamic range* form, whose kernels also quantize
    /// the activations on the fly, which changes the numbers. Off: the `Dequantize` stays.
    pub weights_only_as_dynamic: bool,
    /// Largest result of constant folding in bytes; larger ones only if they are at most four
    /// times as large as the constants they come from.
    pub largest_constant: usize,
}

impl Default for SimplifyOptions {
    fn default() -> Self {
        SimplifyOptions { weights_only_as_dynamic: false, largest_constant: 1 << 20 }
    }
}

/// Computes one node from constant inputs: operator, inputs, declared types of the outputs.
type Evaluate = fn(&Op, &[Option<&Tensor>], &[(DType, Option<Quantization>)]) -> Result<Vec<Tensor>>;

/// What every pass is given beside the graph.
struct Context<'a> {
    options: &'a SimplifyOptions,
    evaluate: Evaluate,
}

/// A rewriting; returns whether it changed anything.
type Pass = fn(&mut Graph, &Context<'_>) -> fewbits_graph::Result<bool>;

/// The passes in their order: numbers first, then the patterns that later passes would break up
/// (a bias folded into a convolution hides a hard sigmoid's `x + 3`), then layout and arithmetic,
/// quantization last, when activations are where the integer operators have them.
const PASSES: &[Pass] = &[
    constants::fold_known_integers,
    constants::fold_constants,
    identity::remove_identities,
    expand::drop_needless_expands,
    half::widen_half_edges,
    half::feed_half_weights,
    patterns::gated::fuse_gated,
    patterns::exponential::fuse_exponential,
    patterns::hard_sigmoid::fuse_hard_sigmoid,
    patterns::layer_norm::fuse_layer_norm,
    patterns::layer_norm::absorb_scale_and_bias,
    patterns::l2_norm::fuse_l2_norm,
    patterns::global_pool::fuse_global_pool,
    transpose::merge_transposes,
    transpose::cancel_through_elementwise,
    transpose::transpose_to_reshape,
    shapes::merge_reshapes,
    linear::matmul_to_fully_connected,
    flatten::permute_weights,
    affine::fold_after,
    affine::fold_before,
    activation::clamp_from_min_max,
    activation::fuse_activations,
    pad::fuse_pads,
    qdq::dynamic::fuse_dynamic_integer,
    qdq::unsigned::signed_edges,
    qdq::blocks::join_blocks,
    qdq::constants::fold_quantized_constants,
    qdq::edges::merge_domain_changes,
    qdq::movement::move_domain_changes,
    qdq::fuse::fuse_integer_operators,
    qdq::weights::feed_integer_weights,
];

/// Simplifies a graph: constants folded, no-ops and transposes removed, batch-norms and biases in
/// the weights, activations in the operators, exporters' spellings of GELU, layer normalisation and
/// the like as one operator, and Q/DQ pairs as integer edges.
///
/// # Errors
/// [`crate::Error::Graph`] if the graph is inconsistent.
pub fn simplify(graph: Graph, options: &SimplifyOptions) -> Result<Graph> {
    simplify_with(graph, &Context { options, evaluate: crate::evaluate_node })
}

fn simplify_with(mut graph: Graph, context: &Context<'_>) -> Result<Graph> {
    graph.sort()?;
    graph.prune();
    graph.infer()?;
    for _ in 0..MAX_ROUNDS {
        let mut changed = false;
        for pass in PASSES {
            changed |= pass(&mut graph, context)?;
        }
        if !changed {
            break;
        }
    }
    graph.validate()?;
    Ok(graph)
}
