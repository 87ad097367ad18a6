//! Layer normalisation (Ba et al. 2016) from means and squares.

use fewbits_graph::ops::{BinaryKind, LayerNorm, Reduce, ReduceKind, UnaryKind};
use fewbits_graph::{Activation, Dim, Graph, NodeId, Op, Result, Tensor, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::algebra::whole_line;

/// `y` of `y²`, however it is squared.
pub(super) fn squared(edit: &Edit<'_>, v: ValueId) -> Option<ValueId> {
    if let Some((UnaryKind::Square, y)) = edit.unary(v) {
        return Some(y);
    }
    if let Some((y, z)) = edit.binary(v, BinaryKind::Mul) {
        return (y == z).then_some(y);
    }
    let (y, exponent) = edit.binary(v, BinaryKind::Pow)?;
    (edit.scalar(exponent) == Some(2.0)).then_some(y)
}

/// `v` of `√v`.
pub(super) fn square_root(edit: &Edit<'_>, s: ValueId) -> Option<ValueId> {
    if let Some((UnaryKind::Sqrt, v)) = edit.unary(s) {
        return Some(v);
    }
    let (v, exponent) = edit.binary(s, BinaryKind::Pow)?;
    (edit.scalar(exponent) == Some(0.5)).then_some(v)
}

/// `v` of `1 ÷ √v`.
pub(super) fn inverse_root(edit: &Edit<'_>, r: ValueId) -> Option<ValueId> {
    match edit.unary(r) {
        Some((UnaryKind::Rsqrt, v)) => return Some(v),
        Some((UnaryKind::Reciprocal, s)) => return square_root(edit, s),
        _ => {}
    }
    if let Some((one, s)) = edit.binary(r, BinaryKind::Div) {
        return square_root(edit, s).filter(|_| edit.scalar(one) == Some(1.0));
    }
    let (v, exponent) = edit.binary(r, BinaryKind::Pow)?;
    (edit.scalar(exponent) == Some(-0.5)).then_some(v)
}

/// `(d, v)` of `d ÷ √v` or `d × (1 ÷ √v)`.
pub(super) fn over_root(edit: &Edit<'_>, out: ValueId) -> Option<(ValueId, ValueId)> {
    if let Some((d, s)) = edit.binary(out, BinaryKind::Div) {
        return Some((d, square_root(edit, s)?));
    }
    let (a, b) = edit.binary(out, BinaryKind::Mul)?;
    inverse_root(edit, b).map(|v| (a, v)).or_else(|| inverse_root(edit, a).map(|v| (b, v)))
}

/// Input and attributes of the reduction with kept axes that produces `v`.
pub(super) fn reduction<'e>(edit: &'e Edit<'_>, v: ValueId, kind: ReduceKind) -> Option<(ValueId, &'e Reduce)> {
    let node = edit.producer(v)?;
    match edit.op(node) {
        Op::Reduce(op) if op.kind == kind && op.keep_dims => Some((edit.input(node, 0)?, op)),
        _ => None,
    }
}

/// `x` and the axes of `x − mean(x)`.
fn centred<'e>(edit: &'e Edit<'_>, d: ValueId) -> Option<(ValueId, &'e [usize])> {
    let (x, m) = edit.binary(d, BinaryKind::Sub)?;
    let (from, op) = reduction(edit, m, ReduceKind::Mean)?;
    (from == x).then_some((x, &op.axes))
}

/// Replaces the last node of `(x − mean) ÷ √(mean((x − mean)²) + ε)` over the trailing axes by a
/// `LayerNorm` without scale and bias.
pub(in super::super) fn fuse_layer_norm(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if let Some((x, norm)) = layer_norm(&edit, node) {
            edit.replace(node, norm, &[Some(x)]);
        }
    }
    edit.finish()
}

fn layer_norm(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, LayerNorm)> {
    let out = edit.out(root);
    let (d, v) = over_root(edit, out)?;
    let (x, axes) = centred(edit, d)?;
    let variance = whole_line(edit, v);
    let (square, op) = reduction(edit, variance.base, ReduceKind::Mean)?;
    let of_same = match edit.binary(square, BinaryKind::SquaredDifference) {
        Some((a, m)) => {
            a == x && reduction(edit, m, ReduceKind::Mean).is_some_and(|(x2, op)| x2 == x && op.axes == axes)
        }
        // Some exporters write the difference down twice.
        None => centred(edit, squared(edit, square)?)? == (x, axes),
    };
    let rank = edit.shape(x).rank();
    let trailing = axes.first().is_some_and(|&first| axes.iter().copied().eq(first..rank));
    if !of_same || !trailing || op.axes != axes || variance.a != 1.0 || variance.b < 0.0 || !edit.is_f32(out) {
        return None;
    }
    Some((x, LayerNorm { axis: axes[0], epsilon: variance.b as f32 }))
}

/// Takes a multiplication by a constant behind a `LayerNorm` as its scale, and an addition as its
/// bias, where nothing else reads the values between.
pub(in super::super) fn absorb_scale_and_bias(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        absorb(&mut edit, node);
    }
    edit.finish()
}

fn absorb(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let Op::Binary(op) = edit.op(node) else { return None };
    let slot = match (op.kind, op.activation) {
        (BinaryKind::Mul, Activation::None) => 1,
        (BinaryKind::Add, Activation::None) => 2,
        _ => return None,
    };
    let (a, b) = (edit.input(node, 0)?, edit.input(node, 1)?);
    [(a, b), (b, a)].into_iter().find_map(|(x, c)| {
        let main = edit.sole_producer(x)?;
        let Op::LayerNorm(norm) = edit.op(main) else { return None };
        // A scale after a bias would scale the bias too.
        let free = edit.input(main, slot).is_none() && edit.input(main, 2).is_none();
        let parameter = parameter(edit, c, &edit.shape(x).0[norm.axis..])?;
        if !free || edit.shape(x) != edit.shape(edit.out(node)) {
            return None;
        }
        let constant = edit.add_constant(&edit.value(c).name.clone(), parameter);
        edit.set_input(main, slot, Some(constant));
        edit.absorb(main, node);
        Some(())
    })
}

/// A constant as one number for each position of the normalised axes.
fn parameter(edit: &Edit<'_>, c: ValueId, axes: &[Dim]) -> Option<Tensor> {
    let data = edit.floats(c)?;
    let shape: Vec<usize> = axes.iter().map(Dim::fixed).collect::<Option<_>>()?;
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    let significant = |dims: &[usize]| dims.iter().copied().skip_while(|&d| d == 1).collect::<Vec<_>>();
    match data.as_slice() {
        &[one] => Some(Tensor::new(shape, vec![one; elements])),
        _ if significant(edit.constant(c)?.shape()) == significant(&shape) => Some(Tensor::new(shape, data)),
        _ => None,
    }
}
