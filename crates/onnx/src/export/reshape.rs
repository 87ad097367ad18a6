//! Operators that change a tensor's shape, not its elements.

use fewbits_graph::ops::{Flatten, Reshape, ShapeOf, Squeeze, Transpose, Unsqueeze};
use fewbits_graph::{DType, Dim, Node, ValueId};

use super::attribute::{int, signed, size, sizes};
use super::emitter::{Emitter, Form};
use super::input;
use super::reduce::rest;
use crate::layout::{is_identity, to_first};
use crate::{Result, tensor};

/// Whether both forms of a value have the same elements in the same order.
fn same_order(w: &Emitter<'_>, id: ValueId) -> bool {
    let dims = &w.graph.value(id).shape.0;
    let one = |d: &Dim| *d == Dim::Fixed(1);
    dims.len() < 3 || dims[1..dims.len() - 1].iter().all(one) || dims.last().is_some_and(one)
}

/// Reshape.
pub(super) fn reshape(w: &mut Emitter<'_>, node: &Node, op: &Reshape) -> Result<()> {
    let (id, shape) = (input(node, 0)?, input(node, 1)?);
    let sizes = w.graph.value(shape).data.as_ref().and_then(fewbits_graph::Tensor::to_i64);
    // A size of 0 copies an axis, which is another one in the other form.
    let copies = !op.allow_zero && sizes.is_none_or(|s| s.iter().skip(1).any(|&d| d == 0));
    // A shape that is computed copies nothing in practice, but it might: better one transpose.
    let form = if same_order(w, id) && !copies { w.own_form(id) } else { Form::Stored };
    let form = if form == Form::Stored && computed_without_zeros(w, node, id, shape) { w.own_form(id) } else { form };
    let inputs = vec![w.float(id, form)?, w.int64(shape)?];
    let out = w.result(node, 0, Form::Stored)?;
    let attributes = if op.allow_zero { vec![int("allowzero", 1)] } else { Vec::new() };
    w.node(node, "Reshape", inputs, vec![out], attributes);
    Ok(())
}

/// Whether a run-time shape is a concatenation in which only the first part is not a known,
/// positive or inferred size.
fn computed_without_zeros(w: &Emitter<'_>, node: &Node, id: ValueId, shape: ValueId) -> bool {
    let producer = w.graph.nodes.iter().find(|n| n.outputs.contains(&shape));
    let Some(fewbits_graph::Node { op: fewbits_graph::Op::Concat(_), inputs, .. }) = producer else { return false };
    let known = |v: &Option<ValueId>| {
        let data = v.and_then(|v| w.graph.value(v).data.as_ref()).and_then(fewbits_graph::Tensor::to_i64);
        data.is_some_and(|d| !d.contains(&0))
    };
    node.outputs.len() == 1 && same_order(w, id) && inputs.iter().skip(1).all(known)
}

/// Flatten.
pub(super) fn flatten(w: &mut Emitter<'_>, node: &Node, op: &Flatten) -> Result<()> {
    let id = input(node, 0)?;
    let form = if same_order(w, id) && op.axis <= 1 { w.own_form(id) } else { Form::Stored };
    let x = w.float(id, form)?;
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "Flatten", vec![x], vec![out], vec![size("axis", op.axis)]);
    Ok(())
}

/// Squeeze.
pub(super) fn squeeze(w: &mut Emitter<'_>, node: &Node, op: &Squeeze) -> Result<()> {
    let id = input(node, 0)?;
    let rank = w.rank(id);
    let own = w.own_form(id);
    let (form, out_form) = rest(own, rank, &op.axes).map_or((Form::Stored, Form::Stored), |out| (own, out));
    let mut axes: Vec<i64> = op.axes.iter().map(|&a| signed(form.axis(a, rank))).collect();
    axes.sort_unstable();
    let inputs = vec![w.float(id, form)?, w.int_vector(&axes)?];
    let out = w.result(node, 0, out_form)?;
    w.node(node, "Squeeze", inputs, vec![out], Vec::new());
    Ok(())
}

/// Unsqueeze. New spatial axes of a channels-first tensor stay spatial.
pub(super) fn unsqueeze(w: &mut Emitter<'_>, node: &Node, op: &Unsqueeze) -> Result<()> {
    let id = input(node, 0)?;
    let rank = w.rank(id) + op.axes.len();
    let spatial = op.axes.iter().all(|&a| a > 0 && a + 1 < rank);
    // [N, C] to [N, 1, 1, C] is [N, C, 1, 1] with channels first.
    let widened = w.rank(id) == 2 && rank > 2;
    let first = spatial && (w.prefers_first(id) || (widened && w.wants_first(node.outputs[0])));
    let form = if first { Form::First } else { Form::Stored };
    let mut axes: Vec<i64> = op.axes.iter().map(|&a| signed(form.axis(a, rank))).collect();
    axes.sort_unstable();
    let inputs = vec![w.float(id, form)?, w.int_vector(&axes)?];
    let out = w.result(node, 0, form)?;
    w.node(node, "Unsqueeze", inputs, vec![out], Vec::new());
    Ok(())
}

/// Expand.
pub(super) fn expand(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let inputs = vec![w.float(input(node, 0)?, Form::Stored)?, w.int64(input(node, 1)?)?];
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "Expand", inputs, vec![out], Vec::new());
    Ok(())
}

/// Transpose. One between the two forms of a value is no node, unless it makes a public output.
pub(super) fn transpose(w: &mut Emitter<'_>, node: &Node, op: &Transpose) -> Result<()> {
    let id = input(node, 0)?;
    let rank = op.perm.len();
    let form = w.own_form(id);
    let x = w.raw(id, form)?;
    // The tensor's axes that make up the stored output, and those that make it up channels-first.
    let stored: Vec<usize> = op.perm.iter().map(|&p| form.axis(p, rank)).collect();
    let first: Vec<usize> = to_first(rank).iter().map(|&p| stored[p]).collect();
    let public = w.graph.outputs.contains(&node.outputs[0]);
    let name = &w.graph.value(node.outputs[0]).name;
    if is_identity(&stored) && (!public || x == *name) {
        w.alias(node, Form::Stored, x);
        return Ok(());
    }
    if rank > 2 && is_identity(&first) && !public && w.wants_first(node.outputs[0]) {
        w.alias(node, Form::First, x);
        return Ok(());
    }
    let out = w.claim(node.outputs[0], Form::Stored);
    match is_identity(&stored) {
        true => w.node(node, "Identity", vec![x], vec![out], Vec::new()),
        false => w.node(node, "Transpose", vec![x], vec![out], vec![sizes("perm", &stored)]),
    }
    Ok(())
}

/// ShapeOf. Of a channels-first tensor the sizes are picked in stored order.
pub(super) fn shape_of(w: &mut Emitter<'_>, node: &Node, op: &ShapeOf) -> Result<()> {
    let id = input(node, 0)?;
    let rank = w.rank(id);
    let form = w.own_form(id);
    let x = w.raw(id, form)?;
    let out = w.claim(node.outputs[0], Form::Stored);
    let wide = if op.dtype == DType::I32 { w.fresh() } else { out.clone() };
    let axes: Vec<i64> = (op.start..op.end).map(|a| signed(form.axis(a, rank))).collect();
    if axes.windows(2).all(|p| p[1] == p[0] + 1) {
        let start = axes.first().copied().unwrap_or(0);
        let range = match form == Form::Stored && op.start == 0 && op.end == rank {
            true => Vec::new(),
            false => vec![int("start", start), int("end", start + signed(axes.len()))],
        };
        w.node(node, "Shape", vec![x], vec![wide.clone()], range);
    } else {
        let all = w.step("Shape", vec![x], Vec::new());
        let axes = w.int_vector(&axes)?;
        w.node(node, "Gather", vec![all, axes], vec![wide.clone()], Vec::new());
    }
    if wide != out {
        let to = int("to", tensor::code(DType::I32).into());
        w.extra("Cast", vec![wide], out, vec![to]);
    }
    Ok(())
}
