//! Transposes before flattening, moved into the weights behind it.

use fewbits_graph::{Dim, Granularity, Graph, NodeId, Op, Quantization, Result, ValueId};

use super::Context;
use super::edit::Edit;
use super::linear::{permuted_quantization, set_weights, weights_of};
use super::transpose::inverse;

/// A channels-first model flattens `[N, C, H, W]` before its first fully-connected layer; stored
/// channels-last that is a transpose before the flattening. Its effect on the layer is a fixed
/// order of the weights' columns, so the columns are reordered once and the transpose goes.
pub(super) fn permute_weights(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if matches!(edit.op(node), Op::FullyConnected(_)) {
            absorb_transpose(&mut edit, node);
        }
    }
    edit.finish()
}

fn absorb_transpose(edit: &mut Edit<'_>, layer: NodeId) -> Option<()> {
    let (reshape, transpose) = flattened_transpose(edit, edit.input(layer, 0)?)?;
    let (x, flat) = (edit.input(transpose, 0)?, edit.out(reshape));
    let Op::Transpose(op) = edit.op(transpose) else { return None };
    let perm = op.perm.clone();
    // The rows must be the same ones: the leading axis stays, the others become the columns.
    let from = edit.shape(edit.out(transpose)).clone();
    let columns: Option<Vec<usize>> = from.0.get(1..)?.iter().map(Dim::fixed).collect();
    let columns = columns?;
    let rows_kept = perm.first() == Some(&0) && edit.shape(flat).rank() == 2 && edit.shape(flat).0[0] == from.0[0];
    let weights = weights_of(edit, layer, 1)?;
    let value = edit.value(weights.constant);
    let data = value.data.as_ref()?;
    let &[out, inner] = data.shape() else { return None };
    if !rows_kept || inner != columns.iter().product::<usize>() {
        return None;
    }
    let mut shape = vec![out];
    shape.extend_from_slice(&columns);
    let data = data.reshaped(shape)?.transposed(&inverse(&perm))?.reshaped(vec![out, inner])?;
    let quant = match &value.quant {
        // Columns change places, the rows with their scales do not.
        Some(q) => Some(permuted_quantization(q, &[0, 1]).filter(|_| !by_column(q))?),
        None => None,
    };
    set_weights(edit, layer, 1, &weights, data, quant);
    edit.set_input(reshape, 0, Some(x));
    Some(())
}

fn by_column(quant: &Quantization) -> bool {
    matches!(quant.granularity, Granularity::PerChannel { axis } if axis != 0)
}

/// The flattening and the transpose before it, above `v`, with nothing but element-wise functions
/// between and behind, all of them read once.
fn flattened_transpose(edit: &Edit<'_>, v: ValueId) -> Option<(NodeId, NodeId)> {
    let mut at = edit.sole_producer(v)?;
    while is_function(edit.op(at)) {
        at = edit.sole_producer(edit.input(at, 0)?)?;
    }
    let reshape = matches!(edit.op(at), Op::Reshape(_) | Op::Flatten(_)).then_some(at)?;
    let transpose = edit.sole_producer(edit.input(reshape, 0)?)?;
    matches!(edit.op(transpose), Op::Transpose(_)).then_some((reshape, transpose))
}

fn is_function(op: &Op) -> bool {
    matches!(op, Op::Unary(_) | Op::Identity(_) | Op::Quantize(_) | Op::Dequantize(_) | Op::Requantize(_))
}
