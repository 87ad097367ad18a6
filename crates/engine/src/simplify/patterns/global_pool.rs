//! Average pooling over the whole map as a mean.

use fewbits_graph::ops::{Pool2d, PoolKind, Reduce, ReduceKind};
use fewbits_graph::{Activation, Graph, NodeId, Op, Result};

use super::super::Context;
use super::super::edit::Edit;

/// Replaces average pooling whose only window is the whole map by a mean over height and width.
/// On integer edges pooling and mean round differently, so there it stays.
pub(in super::super) fn fuse_global_pool(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if is_global(&edit, node) {
            let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: true };
            let x = edit.input(node, 0);
            edit.replace(node, mean, &[x]);
        }
    }
    edit.finish()
}

fn is_global(edit: &Edit<'_>, node: NodeId) -> bool {
    let (Op::Pool2d(op), Some(x)) = (edit.op(node), edit.input(node, 0)) else { return false };
    let size = |axis: usize| edit.shape(x).0.get(axis).and_then(fewbits_graph::Dim::fixed);
    let Some((height, width)) = size(1).zip(size(2)) else { return false };
    edit.is_f32(x) && averages_everything(op, height, width)
}

fn averages_everything(op: &Pool2d, height: usize, width: usize) -> bool {
    matches!(op.kind, PoolKind::Average { .. })
        && op.kernel == [height, width]
        && op.padding == [0; 4]
        && op.dilation == [1, 1]
        && op.activation == Activation::None
}
