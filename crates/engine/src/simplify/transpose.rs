//! Transpose algebra: fewer and cheaper transposes.

use fewbits_graph::ops::{Identity, Reshape, Transpose};
use fewbits_graph::{Dim, Granularity, Graph, NodeId, Op, Result, Tensor, ValueId};

use super::Context;
use super::edit::Edit;
use super::shapes::reshape_target;

/// Element-wise operators that a transpose is looked for behind.
const MAX_DEPTH: usize = 12;

/// The permutation of the transpose that produces `v`.
fn perm_of<'e>(edit: &'e Edit<'_>, v: ValueId) -> Option<(NodeId, &'e [usize])> {
    let node = edit.producer(v)?;
    match edit.op(node) {
        Op::Transpose(op) => Some((node, &op.perm)),
        _ => None,
    }
}

fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

/// `out[i] = first[second[i]]`: what two transposes in a row do.
fn composed(first: &[usize], second: &[usize]) -> Vec<usize> {
    second.iter().map(|&p| first[p]).collect()
}

/// The permutation that undoes `perm`.
pub(super) fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &p)| inverse[p] = i);
    inverse
}

/// Merges a transpose with the one before it. (Pairs that cancel become identities, which
/// [`super::identity`] removes.)
pub(super) fn merge_transposes(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let Op::Transpose(op) = edit.op(node) else { continue };
        let Some(x) = edit.input(node, 0) else { continue };
        let merged = perm_of(&edit, x)
            .and_then(|(before, perm)| Some((edit.input(before, 0)?, Transpose { perm: composed(perm, &op.perm) })));
        if let Some((source, merged)) = merged.filter(|(s, _)| edit.same_domain(*s, x)) {
            edit.replace(node, merged, &[Some(source)]);
        }
    }
    edit.finish()
}

/// Removes a transpose whose input is computed element by element from values that inverse
/// transposes produced: the element-wise operators then work in the layout from before these.
pub(super) fn cancel_through_elementwise(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let Op::Transpose(op) = edit.op(node) else { continue };
        let perm = op.perm.clone();
        let Some(x) = edit.input(node, 0) else { continue };
        // Directly behind another transpose is the business of `merge_transposes`.
        if perm_of(&edit, x).is_none() && liftable(&edit, x, &perm, MAX_DEPTH) {
            lift(&mut edit, x, &perm);
            edit.replace(node, Identity, &[Some(x)]);
        }
    }
    edit.finish()
}

fn is_elementwise(edit: &Edit<'_>, node: NodeId) -> bool {
    let per_channel =
        |v: &ValueId| edit.value(*v).quant.as_ref().is_some_and(|q| q.granularity != Granularity::PerTensor);
    let node = edit.node(node);
    let kind = matches!(
        node.op,
        Op::Unary(_)
            | Op::Cast(_)
            | Op::Binary(_)
            | Op::Quantize(_)
            | Op::Dequantize(_)
            | Op::Requantize(_)
            | Op::Identity(_)
    );
    kind && !node.inputs.iter().flatten().chain(&node.outputs).any(per_channel)
}

/// Whether `v` transposed by `perm` can be had by removing transposes alone.
fn liftable(edit: &Edit<'_>, v: ValueId, perm: &[usize], depth: usize) -> bool {
    if let Some((node, before)) = perm_of(edit, v) {
        return before.len() == perm.len()
            && is_identity(&composed(before, perm))
            && edit.input(node, 0).is_some_and(|source| edit.same_domain(source, v));
    }
    let Some(node) = edit.sole_producer(v).filter(|&n| depth > 0 && is_elementwise(edit, n)) else { return false };
    let rank = edit.shape(v).rank();
    let inputs = edit.node(node).inputs.clone();
    let mut moving = inputs.iter().flatten().filter(|&&i| edit.constant(i).is_none()).peekable();
    let constants = inputs.iter().flatten().filter(|&&i| edit.constant(i).is_some());
    moving.peek().is_some()
        && moving.all(|&i| edit.shape(i).rank() == rank && liftable(edit, i, perm, depth - 1))
        && constants.into_iter().all(|&c| transposed_constant(edit, c, perm).is_some())
}

/// A constant operand in the other layout, with leading axes added where broadcasting implied them.
fn transposed_constant(edit: &Edit<'_>, v: ValueId, perm: &[usize]) -> Option<Tensor> {
    let data = edit.constant(v)?;
    if data.elements() == 1 {
        return Some(data.clone());
    }
    let mut shape = vec![1; perm.len().checked_sub(data.shape().len())?];
    shape.extend_from_slice(data.shape());
    data.reshaped(shape)?.transposed(perm)
}

/// Rewrites the producers of `v` so that it comes out transposed by `perm`.
fn lift(edit: &mut Edit<'_>, v: ValueId, perm: &[usize]) {
    let shape = edit.shape(v).permuted(perm);
    if let Some(shape) = shape {
        edit.value_mut(v).shape = shape;
    }
    let Some(node) = edit.producer(v) else { return };
    for slot in 0..edit.node(node).inputs.len() {
        let Some(x) = edit.input(node, slot) else { continue };
        if let Some(data) = transposed_constant(edit, x, perm) {
            let quant = edit.value(x).quant.clone();
            edit.set_constant(node, slot, data, quant, "");
        } else if let Some((before, _)) = perm_of(edit, x) {
            let source = edit.input(before, 0);
            edit.set_input(node, slot, source);
        } else {
            lift(edit, x, perm);
        }
    }
}

/// Turns a transpose that only moves axes of size 1 into a reshape, which moves no data and merges
/// with its neighbours.
pub(super) fn transpose_to_reshape(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let Op::Transpose(op) = edit.op(node) else { continue };
        let Some(x) = edit.input(node, 0) else { continue };
        let source = edit.shape(x);
        let long: Vec<usize> = op.perm.iter().copied().filter(|&p| source.0[p] != Dim::Fixed(1)).collect();
        let per_tensor = edit.value(x).quant.as_ref().is_none_or(|q| q.granularity == Granularity::PerTensor);
        if !long.is_sorted() || is_identity(&op.perm) || !per_tensor {
            continue;
        }
        if let Some(target) = reshape_target(source, edit.shape(edit.out(node))) {
            let shape = edit.add_constant(&format!("{}_shape", edit.node(node).name), Tensor::from_ints(&target));
            edit.replace(node, Reshape { allow_zero: false }, &[Some(x), Some(shape)]);
        }
    }
    edit.finish()
}
