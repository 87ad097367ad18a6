//! Which values of a graph are best written channels-first.

use fewbits_graph::{Graph, Op};

use crate::layout::to_first;

/// Operators that ONNX defines on channels-first tensors only.
fn is_spatial(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv2d(_)
            | Op::DepthwiseConv2d(_)
            | Op::ConvTranspose2d(_)
            | Op::ConvInteger(_)
            | Op::Pool2d(_)
            | Op::Resize(_)
            | Op::BatchNorm(_)
            | Op::GroupNorm(_)
            | Op::SpaceToDepth(_)
            | Op::DepthToSpace(_)
    )
}

/// Operators that work in any order of axes.
fn is_indifferent(op: &Op) -> bool {
    matches!(
        op,
        Op::Binary(_)
            | Op::Unary(_)
            | Op::Compare(_)
            | Op::Logical(_)
            | Op::PRelu(_)
            | Op::Where(_)
            | Op::Cast(_)
            | Op::Identity(_)
            | Op::Pad(_)
            | Op::Slice(_)
            | Op::Split(_)
            | Op::Concat(_)
            | Op::Reduce(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Quantize(_)
            | Op::Dequantize(_)
            | Op::Requantize(_)
            | Op::DynamicQuantize(_)
    )
}

/// For each value, whether it is written channels-first where either form would do: it leads to an
/// operator on channels-first tensors, or is combined with what comes from one.
pub(super) fn wants_first(graph: &Graph) -> Vec<bool> {
    let mut wanted = vec![false; graph.values.len()];
    let mut born = vec![false; graph.values.len()];
    for node in &graph.nodes {
        let from_first = node.inputs.iter().flatten().any(|v| born[v.0]);
        if is_spatial(&node.op) || (is_indifferent(&node.op) && from_first) {
            node.outputs.iter().for_each(|v| born[v.0] = true);
        }
    }
    for node in graph.nodes.iter().rev() {
        let leads = node.outputs.iter().any(|v| wanted[v.0]);
        let joins = node.inputs.iter().flatten().any(|v| born[v.0]);
        let turned_back = matches!(&node.op, Op::Transpose(t) if t.perm.len() > 2 && t.perm == to_first(t.perm.len()));
        if is_spatial(&node.op) || turned_back {
            node.inputs.iter().take(1).flatten().for_each(|v| wanted[v.0] = true);
        } else if is_indifferent(&node.op) && (leads || joins) {
            node.inputs.iter().flatten().for_each(|v| wanted[v.0] = true);
        }
    }
    wanted
}
