//! Reductions and other operators along axes.

use fewbits_graph::ops::{ArgReduce, CumSum, Reduce, ReduceKind, Softmax, TopK};

use super::parts::Attributes;
use super::site::Site;
use crate::Result;
use crate::schema::enums::{Builtin, dtype_code};
use crate::schema::options::{
    ArgMaxOptions, ArgMinOptions, CumsumOptions, L2NormOptions, ReducerOptions, SoftmaxOptions,
};

pub(super) fn reduce(at: &mut Site<'_, '_>, op: &Reduce) -> Result<()> {
    let builtin = match op.kind {
        ReduceKind::Sum => Builtin::SUM,
        ReduceKind::Mean => Builtin::MEAN,
        ReduceKind::Max => Builtin::REDUCE_MAX,
        ReduceKind::Min => Builtin::REDUCE_MIN,
        ReduceKind::Prod => Builtin::REDUCE_PROD,
        other => return Err(at.fail(format!("TFLite has no {other:?}; write .onnx instead"))),
    };
    let (x, axes) = (at.operand(0)?, at.sizes("axes", &op.axes)?);
    at.write(builtin, Attributes::of(ReducerOptions { keep_dims: op.keep_dims }), &[x, axes])
}

pub(super) fn arg_reduce(at: &mut Site<'_, '_>, op: &ArgReduce) -> Result<()> {
    let (x, axis) = (at.operand(0)?, at.integer("axis", op.axis)?);
    let output_type = dtype_code(op.dtype);
    match op.largest {
        true => at.write(Builtin::ARG_MAX, Attributes::of(ArgMaxOptions { output_type }), &[x, axis]),
        false => at.write(Builtin::ARG_MIN, Attributes::of(ArgMinOptions { output_type }), &[x, axis]),
    }
}

pub(super) fn topk(at: &mut Site<'_, '_>, op: &TopK) -> Result<()> {
    let (x, k) = (at.operand(0)?, at.integer("k", op.k)?);
    at.write(Builtin::TOPK_V2, Attributes::none(), &[x, k])
}

pub(super) fn softmax(at: &mut Site<'_, '_>, op: &Softmax) -> Result<()> {
    let x = at.operand(0)?;
    at.write(Builtin::SOFTMAX, Attributes::of(SoftmaxOptions { beta: op.beta }), &[x])
}

pub(super) fn log_softmax(at: &mut Site<'_, '_>) -> Result<()> {
    let x = at.operand(0)?;
    at.write(Builtin::LOG_SOFTMAX, Attributes::none(), &[x])
}

pub(super) fn l2_normalization(at: &mut Site<'_, '_>) -> Result<()> {
    let x = at.operand(0)?;
    at.write(Builtin::L2_NORMALIZATION, Attributes::of(L2NormOptions::default()), &[x])
}

pub(super) fn cumsum(at: &mut Site<'_, '_>, op: &CumSum) -> Result<()> {
    let (x, axis) = (at.operand(0)?, at.integer("axis", op.axis)?);
    let options = CumsumOptions { exclusive: op.exclusive, reverse: op.reverse };
    at.write(Builtin::CUMSUM, Attributes::of(options), &[x, axis])
}
