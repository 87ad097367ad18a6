//! Division by the Euclidean norm from its primitives.

use fewbits_graph::ops::{BinaryKind, L2Norm, ReduceKind, UnaryKind};
use fewbits_graph::{Graph, NodeId, Result, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::layer_norm::{inverse_root, reduction, square_root, squared};

/// Replaces the last node of `x ÷ max(‖x‖₂, ε)` and of `x × 1/√max(Σx², ε²)` along one axis.
pub(in super::super) fn fuse_l2_norm(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if let Some((x, norm)) = divided_by_norm(&edit, node).or_else(|| times_inverse_norm(&edit, node)) {
            edit.replace(node, norm, &[Some(x)]);
        }
    }
    edit.finish()
}

/// `(v, ε)` of `max(v, ε)`; `ε` 0 if there is no such bound.
fn bounded(edit: &Edit<'_>, v: ValueId) -> (ValueId, f32) {
    match edit.unary(v) {
        Some((UnaryKind::Clip { min, max: f32::INFINITY }, inner)) if min >= 0.0 => return (inner, min),
        _ => {}
    }
    match edit.binary(v, BinaryKind::Max).map(|(a, b)| (a, edit.scalar(b))) {
        Some((inner, Some(min))) if min >= 0.0 => (inner, min),
        _ => (v, 0.0),
    }
}

/// `x` and the axis of `Σx²`.
fn sum_of_squares(edit: &Edit<'_>, v: ValueId) -> Option<(ValueId, usize)> {
    let (x, op) = match reduction(edit, v, ReduceKind::SumSquare) {
        Some(found) => found,
        None => {
            let (square, op) = reduction(edit, v, ReduceKind::Sum)?;
            (squared(edit, square)?, op)
        }
    };
    match op.axes.as_slice() {
        &[axis] => Some((x, axis)),
        _ => None,
    }
}

/// `x` and the axis of `‖x‖₂`.
fn norm(edit: &Edit<'_>, v: ValueId) -> Option<(ValueId, usize)> {
    match reduction(edit, v, ReduceKind::L2) {
        Some((x, op)) => match op.axes.as_slice() {
            &[axis] => Some((x, axis)),
            _ => None,
        },
        None => sum_of_squares(edit, square_root(edit, v)?),
    }
}

fn divided_by_norm(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, L2Norm)> {
    let out = edit.out(root);
    let (x, divisor) = edit.binary(out, BinaryKind::Div)?;
    let (length, epsilon) = bounded(edit, divisor);
    if let Some((from, axis)) = norm(edit, length) {
        return (from == x && edit.is_f32(out)).then_some((x, L2Norm { axis, epsilon }));
    }
    // The bound may also stand under the root.
    let (squares, bound) = bounded(edit, square_root(edit, divisor)?);
    let (from, axis) = sum_of_squares(edit, squares)?;
    (from == x && edit.is_f32(out)).then_some((x, L2Norm { axis, epsilon: bound.sqrt() }))
}

fn times_inverse_norm(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, L2Norm)> {
    let out = edit.out(root);
    let (a, b) = edit.binary(out, BinaryKind::Mul)?;
    [(a, b), (b, a)].into_iter().find_map(|(x, inverse)| {
        let (squares, bound) = bounded(edit, inverse_root(edit, inverse)?);
        let (from, axis) = sum_of_squares(edit, squares)?;
        (from == x && edit.is_f32(out)).then_some((x, L2Norm { axis, epsilon: bound.sqrt() }))
    })
}
