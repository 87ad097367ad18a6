//! Shape arithmetic: what is known of small integer tensors before anything runs.

use crate::infer::{Ctx, TensorType};
use crate::ops::{BinaryKind, CompareKind};
use crate::{DType, Op, SymInt, fold_movement};

/// Longest integer tensor that is followed.
const LONGEST: usize = 64;

/// The elements of the node's first output, if they follow from its inputs' shapes and known
/// integers.
pub(crate) fn known_integers(op: &Op, ctx: &Ctx<'_>, out: &TensorType) -> Option<Vec<SymInt>> {
    if !matches!(out.dtype, DType::I32 | DType::I64 | DType::Bool) {
        return None;
    }
    let count = out.shape.elements().filter(|&n| n <= LONGEST)?;
    let ints = |i: usize| ctx.optional(i)?.ints;
    let values = match op {
        Op::ShapeOf(op) => ctx.optional(0)?.shape.0[op.start..op.end].iter().map(SymInt::from).collect(),
        Op::Cast(_) | Op::Identity(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Reshape(_) | Op::Flatten(_) => {
            ints(0)?.to_vec()
        }
        Op::Concat(op) if op.axis == 0 => {
            let parts: Option<Vec<_>> = (0..ctx.inputs.len()).map(ints).collect();
            parts?.concat()
        }
        Op::Gather(op) if op.axis == 0 && ctx.optional(0)?.shape.rank() == 1 => gather(ints(0)?, ints(1)?)?,
        Op::Slice(_) => fold_movement::slice(ctx)?,
        Op::Transpose(op) => fold_movement::transpose(ctx, &op.perm)?,
        Op::Binary(op) => binary(op.kind, ints(0)?, ints(1)?, count)?,
        Op::Compare(op) => compare(op.kind, ints(0)?, ints(1)?, count)?,
        Op::Where(_) => select(ints(0)?, ints(1)?, ints(2)?, count)?,
        Op::Fill(_) => vec![ints(1)?.first()?.clone(); count],
        Op::Expand(_) if ints(0)?.len() == 1 => vec![ints(0)?[0].clone(); count],
        Op::Range(_) => range(ctx, count)?,
        _ => return None,
    };
    (values.len() == count).then_some(values)
}

fn gather(x: &[SymInt], indices: &[SymInt]) -> Option<Vec<SymInt>> {
    let n = i64::try_from(x.len()).ok()?;
    let at = |i: &SymInt| {
        let i = i.known()?;
        x.get(usize::try_from(if i < 0 { i + n } else { i }).ok()?).cloned()
    };
    indices.iter().map(at).collect()
}

/// Element `i` of a vector that broadcasts as a scalar where it has one element.
fn at(x: &[SymInt], i: usize) -> Option<&SymInt> {
    if x.len() == 1 { x.first() } else { x.get(i) }
}

fn binary(kind: BinaryKind, a: &[SymInt], b: &[SymInt], count: usize) -> Option<Vec<SymInt>> {
    let apply = |a: &SymInt, b: &SymInt| match kind {
        BinaryKind::Add => Some(a.add(b)),
        BinaryKind::Sub => Some(a.sub(b)),
        BinaryKind::Mul => Some(a.mul(b)),
        BinaryKind::Div | BinaryKind::FloorDiv => Some(a.div(b)),
        BinaryKind::Min => Some(SymInt::Known(a.known()?.min(b.known()?))),
        BinaryKind::Max => Some(SymInt::Known(a.known()?.max(b.known()?))),
        _ => None,
    };
    (0..count).map(|i| apply(at(a, i)?, at(b, i)?)).collect()
}

fn compare(kind: CompareKind, a: &[SymInt], b: &[SymInt], count: usize) -> Option<Vec<SymInt>> {
    let holds = |a: &SymInt, b: &SymInt| match (kind, a.known(), b.known()) {
        (_, Some(a), Some(b)) => Some(match kind {
            CompareKind::Equal => a == b,
            CompareKind::NotEqual => a != b,
            CompareKind::Less => a < b,
            CompareKind::LessOrEqual => a <= b,
            CompareKind::Greater => a > b,
            CompareKind::GreaterOrEqual => a >= b,
        }),
        // A symbolic size is no negative number: `shape == -1` asks for the placeholder.
        (CompareKind::Equal, None, Some(n)) | (CompareKind::Equal, Some(n), None) if n < 0 => Some(false),
        _ => None,
    };
    (0..count).map(|i| holds(at(a, i)?, at(b, i)?).map(|h| SymInt::Known(i64::from(h)))).collect()
}

fn select(condition: &[SymInt], a: &[SymInt], b: &[SymInt], count: usize) -> Option<Vec<SymInt>> {
    (0..count).map(|i| at(if at(condition, i)?.known()? != 0 { a } else { b }, i).cloned()).collect()
}

fn range(ctx: &Ctx<'_>, count: usize) -> Option<Vec<SymInt>> {
    let one = |i: usize| ctx.optional(i)?.ints?.first()?.known();
    let (start, delta) = (one(0)?, one(2)?);
    (0..i64::try_from(count).ok()?).map(|i| Some(SymInt::Known(start.checked_add(i.checked_mul(delta)?)?))).collect()
}
