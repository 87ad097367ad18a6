//! Removal of nodes that do nothing.

use fewbits_graph::ops::BinaryKind;
use fewbits_graph::{Activation, Graph, NodeId, Op, Result, ValueId};

use super::Context;
use super::edit::Edit;

/// Removes identities: `Identity` itself, casts to the same type, reshapes, transposes, paddings,
/// slices and expansions that change nothing, `x + 0`, `x × 1`, splits into one part, concatenations
/// of one, and a clamp of what its producer's fused activation already clamps.
pub(super) fn remove_identities(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if let Some(same) = unchanged_input(&edit, node)
            && edit.same_domain(same, edit.out(node))
            && edit.shape(same) == edit.shape(edit.out(node))
        {
            edit.bypass(node, same);
        }
    }
    edit.finish()
}

/// The input that the node hands on, provided that types and shapes agree.
fn unchanged_input(edit: &Edit<'_>, id: NodeId) -> Option<ValueId> {
    let x = edit.input(id, 0)?;
    let same = match edit.op(id) {
        // The caller compares shapes: the elements of these stand in the same order in any case.
        Op::Identity(_)
        | Op::Cast(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Expand(_) => true,
        Op::Transpose(op) => op.perm.iter().enumerate().all(|(i, &p)| i == p),
        Op::Pad(_) => edit.integers(edit.input(id, 1)?)?.iter().all(|&p| p == 0),
        Op::Slice(_) => takes_all(edit, id)?,
        Op::Tile(_) => edit.integers(edit.input(id, 1)?)?.iter().all(|&n| n == 1),
        Op::Split(op) => op.sizes.len() == 1,
        Op::Concat(op) => edit.node(id).inputs.len() == 1 && op.activation == Activation::None,
        Op::Binary(op) if op.activation == Activation::None => return neutral_operand(edit, id, op.kind),
        Op::Unary(op) => already_clamped(edit, x, super::activation::clamp_range(op.kind)?),
        _ => false,
    };
    same.then_some(x)
}

/// Steps of 1 from the start; that nothing is cut off at the end is what the equal shape says.
fn takes_all(edit: &Edit<'_>, id: NodeId) -> Option<bool> {
    let all = |slot: usize, wanted: i64| Some(edit.integers(edit.input(id, slot)?)?.iter().all(|&n| n == wanted));
    Some(all(1, 0)? && all(4, 1)?)
}

/// `x` of `x + 0`, `x − 0`, `x × 1`, `x ÷ 1`, `x` to the power of 1.
fn neutral_operand(edit: &Edit<'_>, id: NodeId, kind: BinaryKind) -> Option<ValueId> {
    let (a, b) = (edit.input(id, 0)?, edit.input(id, 1)?);
    let (neutral, commutes) = match kind {
        BinaryKind::Add => (0.0, true),
        BinaryKind::Sub => (0.0, false),
        BinaryKind::Mul => (1.0, true),
        BinaryKind::Div | BinaryKind::Pow => (1.0, false),
        _ => return None,
    };
    let is_neutral = |v: ValueId| match edit.constant(v).filter(|_| edit.value(v).quant.is_none()) {
        Some(t) if t.elements() > 0 => t.to_f32().iter().all(|&n| n == neutral),
        _ => false,
    };
    if is_neutral(b) {
        return Some(a);
    }
    (commutes && is_neutral(a)).then_some(b)
}

/// Whether `x` is produced with a fused activation whose range lies in `range`. Only for floating
/// point: on integer edges a clamp node may also change the scale.
fn already_clamped(edit: &Edit<'_>, x: ValueId, range: (f32, f32)) -> bool {
    let fused = edit.producer(x).and_then(|p| edit.op(p).activation()).map(Activation::range);
    edit.is_f32(x) && fused.is_some_and(|(min, max)| min >= range.0 && max <= range.1)
}
