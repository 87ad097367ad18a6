//! Reductions, soft-max and selections along axes.

use fewbits_graph::ops::{ArgReduce, CumSum, LogSoftmax, Reduce, ReduceKind, Softmax, TopK};
use fewbits_graph::{DType, Node, Tensor};

use super::attribute::{int, signed, size};
use super::elementwise::operand;
use super::emitter::{Emitter, Form};
use super::input;
use crate::layout::to_first;
use crate::proto::AttributeProto;
use crate::{Result, tensor};

/// The form of a result whose ONNX axes are those of the input in `form` without the stored axes
/// `removed`; `None` if it is neither form.
pub(super) fn rest(form: Form, rank: usize, removed: &[usize]) -> Option<Form> {
    let kept: Vec<usize> = (0..rank).map(|axis| form.stored(axis, rank)).filter(|s| !removed.contains(s)).collect();
    let ascending = |axes: &[usize]| axes.windows(2).all(|w| w[0] < w[1]);
    if ascending(&kept) {
        return Some(Form::Stored);
    }
    let mut sorted = kept.clone();
    sorted.sort_unstable();
    let first: Vec<usize> = to_first(kept.len()).iter().map(|&p| sorted[p]).collect();
    (first == kept).then_some(Form::First)
}

/// The forms of input and result of a reduction.
fn forms(w: &Emitter<'_>, node: &Node, axes: &[usize], keep_dims: bool) -> Result<(Form, Form)> {
    let x = input(node, 0)?;
    let form = w.own_form(x);
    let out = if keep_dims { Some(form) } else { rest(form, w.rank(x), axes) };
    Ok(out.map_or((Form::Stored, Form::Stored), |out| (form, out)))
}

/// Reduce; means over all spatial axes are written as global pooling.
pub(super) fn reduce(w: &mut Emitter<'_>, node: &Node, op: &Reduce) -> Result<()> {
    let x = input(node, 0)?;
    let rank = w.rank(x);
    if op.axes.is_empty() {
        let (x, form) = operand(w, node)?;
        let out = w.result(node, 0, form)?;
        w.node(node, "Identity", vec![x], vec![out], Vec::new());
        return Ok(());
    }
    let (form, out_form) = forms(w, node, &op.axes, op.keep_dims)?;
    let x = w.float(x, form)?;
    let out = w.result(node, 0, out_form)?;
    let global = op.keep_dims && form == Form::First && rank > 2 && op.axes.iter().copied().eq(1..rank - 1);
    let operator = match op.kind {
        ReduceKind::Mean if global => "GlobalAveragePool",
        ReduceKind::Max if global => "GlobalMaxPool",
        ReduceKind::Sum => "ReduceSum",
        ReduceKind::Mean => "ReduceMean",
        ReduceKind::Max => "ReduceMax",
        ReduceKind::Min => "ReduceMin",
        ReduceKind::Prod => "ReduceProd",
        ReduceKind::L1 => "ReduceL1",
        ReduceKind::L2 => "ReduceL2",
        ReduceKind::SumSquare => "ReduceSumSquare",
        ReduceKind::LogSum => "ReduceLogSum",
        ReduceKind::LogSumExp => "ReduceLogSumExp",
    };
    if operator.starts_with("Global") {
        w.node(node, operator, vec![x], vec![out], Vec::new());
        return Ok(());
    }
    let mut axes: Vec<i64> = op.axes.iter().map(|&a| signed(form.axis(a, rank))).collect();
    axes.sort_unstable();
    let mut inputs = vec![x];
    let mut attributes = vec![int("keepdims", op.keep_dims.into())];
    // The axes became an input in opset 13 for sums, in 18 for the others.
    if op.kind == ReduceKind::Sum || w.opset >= 18 {
        inputs.push(w.int_vector(&axes)?);
    } else {
        attributes.push(super::attribute::ints("axes", &axes));
    }
    w.node(node, operator, inputs, vec![out], attributes);
    Ok(())
}

/// Writes an operator whose output `index` is int64 in ONNX; where the graph wants int32 a `Cast`
/// follows.
fn index_result(
    w: &mut Emitter<'_>,
    node: &Node,
    index: usize,
    dtype: DType,
    form: Form,
) -> Result<(String, Option<String>)> {
    let out = w.result(node, index, form)?;
    match dtype {
        DType::I32 => Ok((w.fresh(), Some(out))),
        _ => Ok((out, None)),
    }
}

fn narrow(w: &mut Emitter<'_>, wide: String, narrow: Option<String>) {
    if let Some(out) = narrow {
        let to = int("to", tensor::code(DType::I32).into());
        w.extra("Cast", vec![wide], out, vec![to]);
    }
}

/// ArgReduce.
pub(super) fn arg(w: &mut Emitter<'_>, node: &Node, op: &ArgReduce) -> Result<()> {
    let x = input(node, 0)?;
    let rank = w.rank(x);
    let (form, out_form) = forms(w, node, &[op.axis], op.keep_dims)?;
    let x = w.float(x, form)?;
    let (wide, out) = index_result(w, node, 0, op.dtype, out_form)?;
    let attributes = vec![
        size("axis", form.axis(op.axis, rank)),
        int("keepdims", op.keep_dims.into()),
        int("select_last_index", op.select_last.into()),
    ];
    w.node(node, if op.largest { "ArgMax" } else { "ArgMin" }, vec![x], vec![wide.clone()], attributes);
    narrow(w, wide, out);
    Ok(())
}

/// TopK.
pub(super) fn top_k(w: &mut Emitter<'_>, node: &Node, op: &TopK) -> Result<()> {
    let rank = w.rank(input(node, 0)?);
    let (x, form) = operand(w, node)?;
    let k = w.int_vector(&[signed(op.k)])?;
    let values = w.result(node, 0, form)?;
    let (indices, out) = match node.outputs.len() {
        1 => (String::new(), None),
        _ => index_result(w, node, 1, op.dtype, form)?,
    };
    let attributes = vec![size("axis", form.axis(op.axis, rank)), int("largest", op.largest.into()), int("sorted", 1)];
    w.node(node, "TopK", vec![x, k], vec![values, indices.clone()], attributes);
    narrow(w, indices, out);
    Ok(())
}

fn along(w: &mut Emitter<'_>, node: &Node, operator: &str, x: String, form: Form, axis: usize) -> Result<()> {
    let axis = form.axis(axis, w.rank(input(node, 0)?));
    let out = w.result(node, 0, form)?;
    w.node(node, operator, vec![x], vec![out], vec![size("axis", axis)]);
    Ok(())
}

/// Softmax.
pub(super) fn softmax(w: &mut Emitter<'_>, node: &Node, op: &Softmax) -> Result<()> {
    let (mut x, form) = operand(w, node)?;
    if op.beta != 1.0 {
        let beta = w.scalar(op.beta)?;
        x = w.step("Mul", vec![x, beta], Vec::new());
    }
    along(w, node, "Softmax", x, form, op.axis)
}

/// LogSoftmax.
pub(super) fn log_softmax(w: &mut Emitter<'_>, node: &Node, op: &LogSoftmax) -> Result<()> {
    let (x, form) = operand(w, node)?;
    along(w, node, "LogSoftmax", x, form, op.axis)
}

/// CumSum.
pub(super) fn cumulative_sum(w: &mut Emitter<'_>, node: &Node, op: &CumSum) -> Result<()> {
    let (x, form) = operand(w, node)?;
    let axis = signed(form.axis(op.axis, w.rank(input(node, 0)?)));
    let axis = w.literal(&Tensor::scalar(axis))?;
    let out = w.result(node, 0, form)?;
    let attributes: Vec<AttributeProto> =
        vec![int("exclusive", op.exclusive.into()), int("reverse", op.reverse.into())];
    w.node(node, "CumSum", vec![x, axis], vec![out], attributes);
    Ok(())
}
