//! Operators on elements of two or more tensors.

use fewbits_graph::ops::{Binary, BinaryKind, Cast, Compare, CompareKind, Logical, LogicalKind, Where};
use fewbits_graph::{Activation, Op};

use super::context::Import;
use crate::Result;
use crate::schema::enums::{Builtin, dtype_from_code};
use crate::schema::options::{AddOptions, CastOptions, DivOptions, MulOptions, SubOptions};

fn binary(cx: &mut Import<'_>, kind: BinaryKind, activation: i8) -> Result<()> {
    let activation = cx.activation(activation)?;
    cx.emit_same(Binary { kind, activation }, 2)
}

pub(super) fn add(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<AddOptions>()?;
    binary(cx, BinaryKind::Add, o.activation)
}

pub(super) fn sub(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<SubOptions>()?;
    binary(cx, BinaryKind::Sub, o.activation)
}

pub(super) fn mul(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<MulOptions>()?;
    binary(cx, BinaryKind::Mul, o.activation)
}

pub(super) fn div(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<DivOptions>()?;
    binary(cx, BinaryKind::Div, o.activation)
}

/// Those without a fused activation.
pub(super) fn plain_binary(cx: &mut Import<'_>) -> Result<()> {
    let kind = match cx.site.builtin {
        Builtin::POW => BinaryKind::Pow,
        Builtin::MINIMUM => BinaryKind::Min,
        Builtin::MAXIMUM => BinaryKind::Max,
        Builtin::SQUARED_DIFFERENCE => BinaryKind::SquaredDifference,
        Builtin::FLOOR_DIV => BinaryKind::FloorDiv,
        Builtin::FLOOR_MOD => BinaryKind::FloorMod,
        other => return Err(cx.fail(format!("{} is not arithmetic", other.name()))),
    };
    cx.emit_same(Binary { kind, activation: Activation::None }, 2)
}

/// The sum of any number of tensors, as a chain of sums.
pub(super) fn add_n(cx: &mut Import<'_>) -> Result<()> {
    let count = cx.site.inputs.len();
    if count < 2 {
        return Err(cx.fail("it needs at least two inputs"));
    }
    let add = Binary { kind: BinaryKind::Add, activation: Activation::None };
    let (mut sum, like) = (cx.input(0)?, cx.output(0)?);
    for i in 1..count - 1 {
        let next = cx.input(i)?;
        sum = cx.emit_helper(&format!("sum_{i}"), add.clone(), &[Some(sum), Some(next)], like);
    }
    let last = cx.input(count - 1)?;
    cx.emit(add, &[Some(sum), Some(last)])
}

pub(super) fn compare(cx: &mut Import<'_>) -> Result<()> {
    let kind = match cx.site.builtin {
        Builtin::EQUAL => CompareKind::Equal,
        Builtin::NOT_EQUAL => CompareKind::NotEqual,
        Builtin::LESS => CompareKind::Less,
        Builtin::LESS_EQUAL => CompareKind::LessOrEqual,
        Builtin::GREATER => CompareKind::Greater,
        Builtin::GREATER_EQUAL => CompareKind::GreaterOrEqual,
        other => return Err(cx.fail(format!("{} is not a comparison", other.name()))),
    };
    cx.emit_same(Compare { kind }, 2)
}

pub(super) fn logical(cx: &mut Import<'_>) -> Result<()> {
    let kind = if cx.site.builtin == Builtin::LOGICAL_AND { LogicalKind::And } else { LogicalKind::Or };
    cx.emit_same(Logical { kind }, 2)
}

pub(super) fn select(cx: &mut Import<'_>) -> Result<()> {
    let (condition, a) = (cx.rank(0)?, cx.rank(1)?);
    // The old operator aligns a vector of conditions with the first axis, not with the last.
    if cx.site.builtin == Builtin::SELECT && condition == 1 && a > 1 {
        return Err(cx.fail("a vector of conditions for the rows of a matrix is not supported"));
    }
    cx.emit_same(Where, 3)
}

pub(super) fn cast(cx: &mut Import<'_>) -> Result<()> {
    let to = cx.graph.value(cx.output(0)?).dtype;
    // Without attributes the output's type says it all; with them they must agree.
    if cx.site.options.is_some() {
        let o = cx.options::<CastOptions>()?;
        let declared = dtype_from_code(o.to);
        if declared.is_some() && (o.from, o.to) != (0, 0) && declared != Some(to) {
            return Err(cx.fail(format!("it casts to a type other than that of its output, {to}")));
        }
    }
    cx.emit_same(Op::Cast(Cast { to }), 1)
}
