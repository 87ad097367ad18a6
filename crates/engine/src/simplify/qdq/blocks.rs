//! Block-wise scales as formats without them spell them.

use fewbits_graph::ops::Dequantize;
use fewbits_graph::{Granularity, Graph, NodeId, Op, Quantization, Result};

use super::super::Context;
use super::super::edit::Edit;
use super::super::linear::weights_of;

/// A constant `[rows, size]` with a scale for each row that is dequantized and then reshaped to
/// `[n, k]`, with whole rows in each of its own, is a matrix in blocks of `size`.
pub(in super::super) fn join_blocks(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if matches!(edit.op(node), Op::Reshape(_)) {
            let _ = join(&mut edit, node);
        }
    }
    edit.finish()
}

fn join(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let rows = weights_of(edit, node, 0).filter(|w| w.dequantize.is_some())?;
    let value = edit.value(rows.constant);
    let (data, quant) = (value.data.as_ref()?, value.quant.clone()?);
    let (&[_, size], &[n, k]) = (data.shape(), edit.shape(edit.out(node)).to_fixed()?.as_slice()) else { return None };
    let fits = quant.granularity == Granularity::PerChannel { axis: 0 } && k > size && k.checked_rem(size) == Some(0);
    let (data, name) = (data.reshaped(vec![n, k]).filter(|_| fits)?, value.name.clone());
    let joined = edit.add_constant(&name, data);
    edit.value_mut(joined).quant = Some(Quantization { granularity: Granularity::Blocked { axis: 1, size }, ..quant });
    edit.replace(node, Dequantize, &[Some(joined)]);
    Some(())
}
