//! The hard sigmoid, `min(max(αx + β, 0), 1)` (Courbariaux et al. 2016), from its primitives.

use fewbits_graph::ops::{Unary, UnaryKind};
use fewbits_graph::{Activation, Graph, NodeId, Op, Result, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::algebra::{clamped, is_close, whole_line};

/// Slopes in use: 1/6 (MobileNetV3, PyTorch) and 0.2 (Keras, ONNX). Others are left as they are.
const SLOPES: [f64; 2] = [1.0 / 6.0, 0.2];

/// Replaces the last node of `min(max(x + 3, 0), 6) ÷ 6`, `min(max(x/6 + 0.5, 0), 1)` and the like.
pub(in super::super) fn fuse_hard_sigmoid(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if let Some((x, kind)) = hard_sigmoid(&edit, node) {
            edit.replace(node, Unary { kind }, &[Some(x)]);
        }
    }
    edit.finish()
}

fn hard_sigmoid(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, UnaryKind)> {
    let out = edit.out(root);
    match edit.op(root) {
        Op::Binary(op) if op.activation == Activation::None => {}
        Op::Unary(op) if matches!(op.kind, UnaryKind::Clip { .. }) => {}
        _ => return None,
    }
    let scaled = whole_line(edit, out);
    let clamp = clamped(edit, scaled.base).filter(|c| c.min == 0.0 && is_close(scaled.a * c.max, 1.0))?;
    if scaled.b != 0.0 || !edit.is_f32(out) {
        return None;
    }
    clamp.lines(edit, 2).into_iter().find_map(|line| {
        let slope = SLOPES.into_iter().find(|&s| is_close(scaled.a * line.a, s))?;
        let kind = UnaryKind::HardSigmoid { alpha: slope as f32, beta: 0.5 };
        (is_close(scaled.a * line.b, 0.5) && edit.shape(line.base) == edit.shape(out)).then_some((line.base, kind))
    })
}
