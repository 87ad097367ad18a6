//! Reductions and other operators along axes.

use fewbits_graph::ops::{ArgReduce, CumSum, Identity, L2Norm, LogSoftmax, Reduce, ReduceKind, Softmax, TopK};
use fewbits_graph::{Activation, DType};

use super::context::Import;
use crate::Result;
use crate::schema::enums::Builtin;
use crate::schema::options::{CumsumOptions, L2NormOptions, ReducerOptions, SoftmaxOptions};

/// Smallest divisor of the runtime's float kernel for `L2_NORMALIZATION`.
const L2_EPSILON: f32 = 1e-6;

/// The last axis of input 0.
fn last_axis(cx: &Import<'_>) -> Result<usize> {
    cx.rank(0)?.checked_sub(1).ok_or_else(|| cx.fail("its input has no axis"))
}

pub(super) fn softmax(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<SoftmaxOptions>()?;
    let axis = last_axis(cx)?;
    cx.emit_same(Softmax { axis, beta: o.beta }, 1)
}

pub(super) fn log_softmax(cx: &mut Import<'_>) -> Result<()> {
    let axis = last_axis(cx)?;
    cx.emit_same(LogSoftmax { axis }, 1)
}

pub(super) fn l2_normalization(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<L2NormOptions>()?;
    if cx.activation(o.activation)? != Activation::None {
        return Err(cx.fail("a fused activation is not supported here"));
    }
    let axis = last_axis(cx)?;
    cx.emit_same(L2Norm { axis, epsilon: L2_EPSILON }, 1)
}

pub(super) fn reduce(cx: &mut Import<'_>) -> Result<()> {
    let kind = match cx.site.builtin {
        Builtin::MEAN => ReduceKind::Mean,
        Builtin::SUM => ReduceKind::Sum,
        Builtin::REDUCE_MAX => ReduceKind::Max,
        Builtin::REDUCE_MIN => ReduceKind::Min,
        Builtin::REDUCE_PROD => ReduceKind::Prod,
        other => return Err(cx.fail(format!("{} is not a reduction", other.name()))),
    };
    let axes = cx.axes(&cx.ints(1)?, cx.rank(0)?)?;
    let keep_dims = cx.options::<ReducerOptions>()?.keep_dims;
    cx.emit_same(Reduce { kind, axes, keep_dims }, 1)
}

fn arg_reduce(cx: &mut Import<'_>, largest: bool) -> Result<()> {
    let axis = cx.axis(cx.int(1)?, cx.rank(0)?)?;
    let dtype = index_type(cx, 0)?;
    cx.emit_same(ArgReduce { largest, axis, keep_dims: false, select_last: false, dtype }, 1)
}

/// The integer type of output `i`.
fn index_type(cx: &Import<'_>, i: usize) -> Result<DType> {
    match cx.graph.value(cx.output(i)?).dtype {
        dtype @ (DType::I32 | DType::I64) => Ok(dtype),
        other => Err(cx.fail(format!("its indices are {other}, expected int32 or int64"))),
    }
}

pub(super) fn arg_max(cx: &mut Import<'_>) -> Result<()> {
    arg_reduce(cx, true)
}

pub(super) fn arg_min(cx: &mut Import<'_>) -> Result<()> {
    arg_reduce(cx, false)
}

pub(super) fn topk_v2(cx: &mut Import<'_>) -> Result<()> {
    let k = usize::try_from(cx.int(1)?).map_err(|_| cx.fail("k is negative"))?;
    let (axis, dtype) = (last_axis(cx)?, index_type(cx, 1)?);
    cx.emit_same(TopK { k, axis, largest: true, dtype }, 1)
}

pub(super) fn cumsum(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<CumsumOptions>()?;
    if cx.rank(0)? == 0 {
        return cx.emit_same(Identity, 1);
    }
    let axis = cx.axis(cx.int(1)?, cx.rank(0)?)?;
    cx.emit_same(CumSum { axis, exclusive: o.exclusive, reverse: o.reverse }, 1)
}
