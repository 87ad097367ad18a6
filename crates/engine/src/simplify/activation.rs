//! Clamps as fused activations.

use fewbits_graph::ops::{BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Activation, Graph, NodeId, Op, Result};

use super::Context;
use super::edit::Edit;

/// The interval a function clamps to, if that is all it does.
pub(super) fn clamp_range(kind: UnaryKind) -> Option<(f32, f32)> {
    match kind {
        UnaryKind::Relu => Some((0.0, f32::INFINITY)),
        UnaryKind::Clip { min, max } if min <= max => Some((min, max)),
        _ => None,
    }
}

fn clamp((min, max): (f32, f32)) -> Unary {
    match Activation::from_range(min, max) {
        Some(Activation::Relu) => Unary { kind: UnaryKind::Relu },
        _ => Unary { kind: UnaryKind::Clip { min, max } },
    }
}

/// Turns `Min` and `Max` with constants of one element into clamps, and a clamp of a clamp into one.
pub(super) fn clamp_from_min_max(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        one_sided(&mut edit, node);
        merge_clamps(&mut edit, node);
    }
    edit.finish()
}

fn one_sided(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let Op::Binary(op) = edit.op(node) else { return None };
    let bounds: fn(f32) -> (f32, f32) = match (op.kind, op.activation) {
        (BinaryKind::Max, Activation::None) => |n| (n, f32::INFINITY),
        (BinaryKind::Min, Activation::None) => |n| (f32::NEG_INFINITY, n),
        _ => return None,
    };
    let (a, b) = (edit.input(node, 0)?, edit.input(node, 1)?);
    let (x, bound) = match (edit.scalar(b), edit.scalar(a)) {
        (Some(n), None) => (a, n),
        (None, Some(n)) => (b, n),
        _ => return None,
    };
    let plain = edit.is_f32(x) && !bound.is_nan() && edit.shape(x) == edit.shape(edit.out(node));
    if plain {
        edit.replace(node, clamp(bounds(bound)), &[Some(x)]);
    }
    plain.then_some(())
}

fn clamp_of(edit: &Edit<'_>, node: NodeId) -> Option<(f32, f32)> {
    match edit.op(node) {
        Op::Unary(op) => clamp_range(op.kind),
        _ => None,
    }
}

fn merge_clamps(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let (min, max) = clamp_of(edit, node)?;
    let x = edit.input(node, 0).filter(|&x| edit.is_f32(x))?;
    let before = edit.producer(x)?;
    let (low, high) = clamp_of(edit, before)?;
    let source = edit.input(before, 0)?;
    let both = (low.clamp(min, max), high.clamp(min, max));
    edit.replace(node, clamp(both), &[Some(source)]);
    Some(())
}

/// Moves ReLU, ReLU6 and the clamp to [−1, 1] into the operator before, if that can have one and
/// nothing else reads its output. On integer edges only where the clamp does not also change the
/// scale, for then the operator would round once instead of twice.
pub(super) fn fuse_activations(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        fuse(&mut edit, node);
    }
    edit.finish()
}

fn fuse(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let (min, max) = clamp_of(edit, node)?;
    let activation = Activation::from_range(min, max)?;
    let x = edit.input(node, 0)?;
    let main = edit.sole_producer(x)?;
    let fits = edit.same_domain(x, edit.out(node)) && (edit.is_f32(x) || edit.value(x).quant.is_some());
    // No kernel family clamps while it concatenates, and file formats know fused activations of the
    // four basic operations only.
    let able = match edit.op(main) {
        Op::Concat(_) => false,
        Op::Binary(op) => {
            matches!(op.kind, BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Div)
        }
        _ => true,
    };
    if !fits || !able || edit.op(main).activation() != Some(Activation::None) {
        return None;
    }
    if let Some(place) = edit.op_mut(main).activation_mut() {
        *place = activation;
    }
    edit.absorb(main, node);
    Some(())
}
