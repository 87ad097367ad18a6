//! Reductions, soft-max and selections along axes.

use fewbits_graph::ops::{
    ArgReduce, CumSum, Flatten, Identity, LogSoftmax, Reduce, ReduceKind, Reshape, ShapeOf, Softmax, TopK, Unary,
    UnaryKind,
};
use fewbits_graph::{DType, Op};

use super::elementwise::operand;
use super::node::NodeReader;
use super::reshape::rest;
use crate::Result;
use crate::layout::Layout;

/// Reduce…, with axes as an attribute or, in newer versions, as input 1.
pub(super) fn reduce(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = match node.proto.op_type.as_str() {
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMean" => ReduceKind::Mean,
        "ReduceMin" => ReduceKind::Min,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceSum" => ReduceKind::Sum,
        "ReduceSumSquare" => ReduceKind::SumSquare,
        other => return Err(node.error(format!("{other} is no reduction"))),
    };
    let rank = node.rank(0)?;
    let axes = match (node.ints("axes"), node.has(1)) {
        (Some(axes), _) => axes,
        (None, true) => node.constant_ints(1)?,
        (None, false) => Vec::new(),
    };
    let keep_dims = node.flag("keepdims", true);
    let mut axes = node.axes(&axes, rank)?;
    if axes.is_empty() {
        if node.flag("noop_with_empty_axes", false) {
            return unreduced(node, kind);
        }
        axes = (0..rank).collect();
    }
    let (source, out) = reduced_layouts(node, rank, &axes, keep_dims);
    let x = node.value(0, source)?;
    let mut stored: Vec<usize> = axes.iter().map(|&a| source.stored_axis(a, rank)).collect();
    stored.sort_unstable();
    stored.dedup();
    node.emit(Reduce { kind, axes: stored, keep_dims }, &[Some(x)], out)?;
    Ok(())
}

/// A reduction of no axis: the sum of one number, taken as the reduction takes it.
fn unreduced(node: &mut NodeReader<'_>, kind: ReduceKind) -> Result<()> {
    let (x, layout) = operand(node)?;
    let op: Op = match kind {
        ReduceKind::L1 | ReduceKind::L2 => Unary { kind: UnaryKind::Abs }.into(),
        ReduceKind::LogSum => Unary { kind: UnaryKind::Log }.into(),
        ReduceKind::SumSquare => Unary { kind: UnaryKind::Square }.into(),
        // The others give a single number back; log(exp(x)) is x as well.
        ReduceKind::LogSumExp
        | ReduceKind::Max
        | ReduceKind::Mean
        | ReduceKind::Min
        | ReduceKind::Prod
        | ReduceKind::Sum => Identity.into(),
    };
    node.emit(op, &[Some(x)], layout)?;
    Ok(())
}

/// In which layout to read the input of a reduction, and which one the output then has.
fn reduced_layouts(node: &NodeReader<'_>, rank: usize, axes: &[usize], keep_dims: bool) -> (Layout, Layout) {
    let layout = node.layout(0);
    match if keep_dims { Some(layout) } else { rest(layout, rank, axes) } {
        Some(out) => (layout, out),
        None => (Layout::Plain, Layout::Plain),
    }
}

/// ArgMax and ArgMin.
pub(super) fn arg(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let axis = node.axis(node.int_or("axis", 0), rank)?;
    let keep_dims = node.flag("keepdims", true);
    let (source, out) = reduced_layouts(node, rank, &[axis], keep_dims);
    let x = node.value(0, source)?;
    let op = ArgReduce {
        largest: node.proto.op_type == "ArgMax",
        axis: source.stored_axis(axis, rank),
        keep_dims,
        select_last: node.flag("select_last_index", false),
        dtype: DType::I64,
    };
    node.emit(op, &[Some(x)], out)?;
    Ok(())
}

/// TopK, with `k` as an attribute (before opset 10) or as input 1.
pub(super) fn top_k(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let axis = node.axis(node.int_or("axis", -1), rank)?;
    let k = match node.int("k") {
        Some(k) => Some(k),
        None => node.constant_ints(1)?.first().copied(),
    };
    let k = k.and_then(|k| usize::try_from(k).ok()).ok_or_else(|| node.error("k is missing or negative"))?;
    let (x, layout) = operand(node)?;
    let op = TopK { k, axis: layout.stored_axis(axis, rank), largest: node.flag("largest", true), dtype: DType::I64 };
    node.emit_many(op, &[Some(x)], layout, 2)
}

/// CumSum.
pub(super) fn cumulative_sum(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let axis = node.constant_ints(1)?.first().copied().ok_or_else(|| node.error("the axis is missing"))?;
    let axis = node.axis(axis, rank)?;
    let (x, layout) = operand(node)?;
    let (exclusive, reverse) = (node.flag("exclusive", false), node.flag("reverse", false));
    node.emit(CumSum { axis: layout.stored_axis(axis, rank), exclusive, reverse }, &[Some(x)], layout)?;
    Ok(())
}

fn softmax_op(node: &NodeReader<'_>, axis: usize) -> Op {
    match node.proto.op_type.as_str() {
        "LogSoftmax" => LogSoftmax { axis }.into(),
        _ => Softmax { axis, beta: 1.0 }.into(),
    }
}

/// Softmax and LogSoftmax. Before opset 13 the input is seen as a matrix, cut at `axis`.
pub(super) fn softmax(node: &mut NodeReader<'_>) -> Result<()> {
    let shape = node.shape(0)?;
    let rank = shape.rank();
    let old = node.opset < 13;
    let axis = node.axis(node.int_or("axis", if old { 1 } else { -1 }), rank)?;
    let single_axis = !old || shape.0[axis + 1..].iter().all(|d| d.fixed() == Some(1));
    if single_axis {
        let (x, layout) = operand(node)?;
        node.emit(softmax_op(node, layout.stored_axis(axis, rank)), &[Some(x)], layout)?;
        return Ok(());
    }
    let x = node.plain(0)?;
    let shape = node.inner(ShapeOf { start: 0, end: rank, dtype: DType::I64 }, &[Some(x)], "shape")?;
    let matrix = node.inner(Flatten { axis }, &[Some(x)], "matrix")?;
    let rows = node.main_step(softmax_op(node, 1), &[Some(matrix)], "rows")?;
    node.emit(Reshape { allow_zero: true }, &[Some(rows), Some(shape)], Layout::Plain)?;
    Ok(())
}
