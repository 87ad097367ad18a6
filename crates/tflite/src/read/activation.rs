//! Functions of single elements.

use fewbits_graph::ops::{PRelu, Unary, UnaryKind};

use super::context::Import;
use crate::Result;
use crate::schema::enums::Builtin;
use crate::schema::options::{GeluOptions, LeakyReluOptions};

/// Those without attributes.
pub(super) fn unary(cx: &mut Import<'_>) -> Result<()> {
    let kind = match cx.site.builtin {
        Builtin::RELU => UnaryKind::Relu,
        Builtin::RELU6 => UnaryKind::Clip { min: 0.0, max: 6.0 },
        Builtin::RELU_N1_TO_1 => UnaryKind::Clip { min: -1.0, max: 1.0 },
        Builtin::RELU_0_TO_1 => UnaryKind::Clip { min: 0.0, max: 1.0 },
        Builtin::ELU => UnaryKind::Elu { alpha: 1.0 },
        Builtin::HARD_SWISH => UnaryKind::HardSwish,
        Builtin::LOGISTIC => UnaryKind::Sigmoid,
        Builtin::TANH => UnaryKind::Tanh,
        Builtin::EXP => UnaryKind::Exp,
        Builtin::LOG => UnaryKind::Log,
        Builtin::SQRT => UnaryKind::Sqrt,
        Builtin::RSQRT => UnaryKind::Rsqrt,
        Builtin::SQUARE => UnaryKind::Square,
        Builtin::NEG => UnaryKind::Neg,
        Builtin::ABS => UnaryKind::Abs,
        Builtin::SIGN => UnaryKind::Sign,
        Builtin::FLOOR => UnaryKind::Floor,
        Builtin::CEIL => UnaryKind::Ceil,
        Builtin::ROUND => UnaryKind::Round,
        Builtin::SIN => UnaryKind::Sin,
        Builtin::COS => UnaryKind::Cos,
        Builtin::LOGICAL_NOT => UnaryKind::Not,
        other => return Err(cx.fail(format!("{} is not a function of elements", other.name()))),
    };
    cx.emit_same(Unary { kind }, 1)
}

pub(super) fn gelu(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<GeluOptions>()?;
    cx.emit_same(Unary { kind: UnaryKind::Gelu { tanh: o.approximate } }, 1)
}

pub(super) fn leaky_relu(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<LeakyReluOptions>()?;
    cx.emit_same(Unary { kind: UnaryKind::LeakyRelu { alpha: o.alpha } }, 1)
}

pub(super) fn prelu(cx: &mut Import<'_>) -> Result<()> {
    cx.emit_same(PRelu, 2)
}
