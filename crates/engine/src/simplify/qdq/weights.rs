//! 8-bit weights behind floating-point activations.

use fewbits_graph::{DType, Graph, NodeId, Op, Result};

use super::super::Context;
use super::super::edit::Edit;
use super::super::half::is_weight_slot;
use super::super::linear::weights_of;
use super::scales_along;

/// Lets dequantized `int8` constants feed weight inputs directly, if the options ask for it: see
/// [`SimplifyOptions::weights_only_as_dynamic`](super::super::SimplifyOptions). Only symmetric ones
/// with the scales where the kernels have them.
pub(in super::super) fn feed_integer_weights(graph: &mut Graph, context: &Context<'_>) -> Result<bool> {
    if !context.options.weights_only_as_dynamic {
        return Ok(false);
    }
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        for slot in [0, 1] {
            if is_weight_slot(edit.op(node), slot) {
                feed(&mut edit, node, slot);
            }
        }
    }
    edit.finish()
}

fn feed(edit: &mut Edit<'_>, node: NodeId, slot: usize) -> Option<()> {
    let axis = match edit.op(node) {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) | Op::Gather(_) => 0,
        Op::DepthwiseConv2d(_) => 3,
        // Products of activations have no weights; constant matrices are `FullyConnected` by now.
        _ => return None,
    };
    let weights = weights_of(edit, node, slot).filter(|w| w.dequantize.is_some())?;
    let value = edit.value(weights.constant);
    let quant = value.quant.as_ref().filter(|q| matches!(value.dtype, DType::I8 | DType::I4) && q.is_symmetric())?;
    scales_along(quant, axis, value.shape.0.get(axis)?.fixed()?)?;
    edit.set_input(node, slot, Some(weights.constant));
    Some(())
}
