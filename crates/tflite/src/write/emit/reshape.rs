//! Operators that change shapes.

use fewbits_graph::ops::{ShapeOf, Squeeze, Transpose, Unsqueeze};
use fewbits_graph::{DType, Shape};

use super::parts::{Attributes, TensorIndex};
use super::site::Site;
use crate::Result;
use crate::schema::enums::{Builtin, dtype_code};
use crate::schema::options::{CastOptions, ReshapeOptions, ShapeOptions, SqueezeOptions, StridedSliceOptions};

/// Everything that keeps the elements' order: the output's shape says what to do.
pub(super) fn reshape(at: &mut Site<'_, '_>) -> Result<()> {
    let target = at.result()?.shape.clone();
    let x = at.operand(0)?;
    if target.0.iter().filter(|d| d.fixed().is_none()).count() > 1 {
        let shape = run_time_shape(at)?;
        return at.write(Builtin::RESHAPE, Attributes::none(), &[x, shape]);
    }
    let sizes = target.0.iter().map(|d| d.fixed().map_or(Ok(-1), i64::try_from));
    let sizes = sizes.collect::<std::result::Result<Vec<_>, _>>().map_err(|_| at.fail("its shape is too large"))?;
    let new_shape = sizes.iter().map(|&s| i32::try_from(s)).collect::<std::result::Result<Vec<_>, _>>();
    let new_shape = new_shape.map_err(|_| at.fail("its shape does not fit 32 bits"))?;
    let shape = at.vector("shape", &sizes)?;
    at.write(Builtin::RESHAPE, Attributes::of(ReshapeOptions { new_shape: Some(new_shape) }), &[x, shape])
}

/// The shape operand where its values are known only while running.
fn run_time_shape(at: &mut Site<'_, '_>) -> Result<Option<TensorIndex>> {
    let shape = at.result()?.shape.clone();
    let operand = at.node.inputs.get(1).copied().flatten().map(|_| at.value(1)).transpose()?;
    match operand {
        Some(value) if value.data.is_none() && value.dtype == DType::I32 => at.operand(1),
        Some(value) if value.data.is_none() && value.dtype == DType::I64 => {
            let wide = at.operand(1)?;
            let narrow = at.temporary("shape", DType::I32, value.shape.clone())?;
            let options = CastOptions { from: dtype_code(DType::I64), to: dtype_code(DType::I32) };
            at.emit.operator(Builtin::CAST, Attributes::of(options), &[wide], &[narrow])?;
            Ok(Some(narrow))
        }
        _ => Err(at.fail(format!("more than one dimension of {shape} is unknown; fix the input sizes"))),
    }
}

pub(super) fn squeeze(at: &mut Site<'_, '_>, op: &Squeeze) -> Result<()> {
    if op.axes.is_empty() {
        // No axes would mean all of size 1.
        return reshape(at);
    }
    let dims = op.axes.iter().map(|&a| at.attribute("axis", a)).collect::<Result<Vec<_>>>()?;
    let x = at.operand(0)?;
    at.write(Builtin::SQUEEZE, Attributes::of(SqueezeOptions { squeeze_dims: Some(dims) }), &[x])
}

pub(super) fn unsqueeze(at: &mut Site<'_, '_>, op: &Unsqueeze) -> Result<()> {
    let &[axis] = op.axes.as_slice() else {
        return reshape(at);
    };
    let (x, axis) = (at.operand(0)?, at.integer("axis", axis)?);
    at.write(Builtin::EXPAND_DIMS, Attributes::none(), &[x, axis])
}

pub(super) fn broadcast_to(at: &mut Site<'_, '_>) -> Result<()> {
    let x = at.operand(0)?;
    let shape = match at.result()?.shape.to_fixed() {
        Some(dims) => at.sizes("shape", &dims)?,
        None => run_time_shape(at)?,
    };
    at.write(Builtin::BROADCAST_TO, Attributes::none(), &[x, shape])
}

pub(super) fn transpose(at: &mut Site<'_, '_>, op: &Transpose) -> Result<()> {
    let (x, perm) = (at.operand(0)?, at.sizes("perm", &op.perm)?);
    at.write(Builtin::TRANSPOSE, Attributes::none(), &[x, perm])
}

/// The whole shape, then a slice of it.
pub(super) fn shape(at: &mut Site<'_, '_>, op: &ShapeOf) -> Result<()> {
    let rank = at.value(0)?.shape.rank();
    let x = at.operand(0)?;
    let attributes = Attributes::of(ShapeOptions { out_type: dtype_code(op.dtype) });
    if (op.start, op.end) == (0, rank) {
        return at.write(Builtin::SHAPE, attributes, &[x]);
    }
    let whole = at.temporary("whole", op.dtype, Shape::fixed(&[rank]))?;
    at.emit.operator(Builtin::SHAPE, attributes, &[x], &[whole])?;
    let (begin, end) = (at.sizes("begin", &[op.start])?, at.sizes("end", &[op.end])?);
    let operands = [Some(whole), begin, end, at.sizes("strides", &[1])?];
    at.write(Builtin::STRIDED_SLICE, Attributes::of(StridedSliceOptions::default()), &operands)
}
