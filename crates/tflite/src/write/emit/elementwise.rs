//! Operators on elements.

use fewbits_graph::ops::{Binary, BinaryKind, Cast, Compare, CompareKind, Logical, LogicalKind, UnaryKind};
use fewbits_graph::{Activation, DType};

use super::parts::Attributes;
use super::site::Site;
use crate::Result;
use crate::schema::enums::{Builtin, activation_code, dtype_code};
use crate::schema::options::{
    AddOptions, CastOptions, DivOptions, GeluOptions, LeakyReluOptions, MulOptions, SubOptions,
};
use crate::write::lower;

/// Runtimes accept such a file and then refuse to run it.
const NOT_64_BIT: &str = "TFLite computes it for no 64-bit integers; cast to int32, or write .onnx instead";

pub(super) fn binary(at: &mut Site<'_, '_>, op: &Binary) -> Result<()> {
    let activation = activation_code(op.activation);
    // 16-bit sums are of any scale, not of powers of two.
    let wide = at.value(0)?.dtype == DType::I16 && at.value(0)?.quant.is_some();
    let (builtin, attributes) = match op.kind {
        BinaryKind::Add => (
            Builtin::ADD,
            Attributes::of(AddOptions { activation, pot_scale_int16: !wide }).since(if wide { 3 } else { 1 }),
        ),
        BinaryKind::Sub => (
            Builtin::SUB,
            Attributes::of(SubOptions { activation, pot_scale_int16: !wide }).since(if wide { 5 } else { 1 }),
        ),
        BinaryKind::Mul => (Builtin::MUL, Attributes::of(MulOptions { activation })),
        BinaryKind::Div if at.value(0)?.dtype == DType::I64 => return Err(at.fail(NOT_64_BIT)),
        BinaryKind::Div => (Builtin::DIV, Attributes::of(DivOptions { activation })),
        BinaryKind::Pow => (Builtin::POW, Attributes::none()),
        BinaryKind::Min => (Builtin::MINIMUM, Attributes::none()),
        BinaryKind::Max => (Builtin::MAXIMUM, Attributes::none()),
        BinaryKind::SquaredDifference => (Builtin::SQUARED_DIFFERENCE, Attributes::none()),
        BinaryKind::FloorDiv => (Builtin::FLOOR_DIV, Attributes::none()),
        BinaryKind::FloorMod => (Builtin::FLOOR_MOD, Attributes::none()),
        BinaryKind::Mod => return Err(at.fail("TFLite has no such remainder; write .onnx instead")),
    };
    let operands = at.operands()?;
    at.write(builtin, attributes, &operands)
}

pub(super) fn compare(at: &mut Site<'_, '_>, op: &Compare) -> Result<()> {
    let builtin = match op.kind {
        CompareKind::Equal => Builtin::EQUAL,
        CompareKind::NotEqual => Builtin::NOT_EQUAL,
        CompareKind::Less => Builtin::LESS,
        CompareKind::LessOrEqual => Builtin::LESS_EQUAL,
        CompareKind::Greater => Builtin::GREATER,
        CompareKind::GreaterOrEqual => Builtin::GREATER_EQUAL,
    };
    let operands = at.operands()?;
    at.write(builtin, Attributes::none(), &operands)
}

pub(super) fn logical(at: &mut Site<'_, '_>, op: &Logical) -> Result<()> {
    let builtin = match op.kind {
        LogicalKind::And => Builtin::LOGICAL_AND,
        LogicalKind::Or => Builtin::LOGICAL_OR,
        LogicalKind::Xor => Builtin::NOT_EQUAL,
    };
    let operands = at.operands()?;
    at.write(builtin, Attributes::none(), &operands)
}

pub(super) fn unary(at: &mut Site<'_, '_>, kind: UnaryKind) -> Result<()> {
    let builtin = match kind {
        UnaryKind::Relu => Builtin::RELU,
        UnaryKind::Clip { min, max } => match Activation::from_range(min, max) {
            Some(Activation::Relu) => Builtin::RELU,
            Some(Activation::Relu6) => Builtin::RELU6,
            Some(Activation::ReluN1To1) => Builtin::RELU_N1_TO_1,
            Some(Activation::None) | None => return Err(at.fail(format!("no operator clamps to [{min}, {max}]"))),
        },
        UnaryKind::LeakyRelu { alpha } => {
            let x = at.operand(0)?;
            return at.write(Builtin::LEAKY_RELU, Attributes::of(LeakyReluOptions { alpha }), &[x]);
        }
        UnaryKind::Gelu { tanh } => {
            let x = at.operand(0)?;
            return at.write(Builtin::GELU, Attributes::of(GeluOptions { approximate: tanh }), &[x]);
        }
        UnaryKind::Elu { alpha: 1.0 } => Builtin::ELU,
        UnaryKind::HardSwish => Builtin::HARD_SWISH,
        UnaryKind::Sigmoid => Builtin::LOGISTIC,
        UnaryKind::Tanh => Builtin::TANH,
        UnaryKind::Exp => Builtin::EXP,
        UnaryKind::Log => Builtin::LOG,
        UnaryKind::Sqrt => Builtin::SQRT,
        UnaryKind::Rsqrt => Builtin::RSQRT,
        UnaryKind::Square => Builtin::SQUARE,
        UnaryKind::Neg => Builtin::NEG,
        UnaryKind::Abs if at.value(0)?.dtype == DType::I64 => return Err(at.fail(NOT_64_BIT)),
        UnaryKind::Abs => Builtin::ABS,
        UnaryKind::Sign => Builtin::SIGN,
        UnaryKind::Floor => Builtin::FLOOR,
        UnaryKind::Ceil => Builtin::CEIL,
        UnaryKind::Round => Builtin::ROUND,
        UnaryKind::Sin => Builtin::SIN,
        UnaryKind::Cos => Builtin::COS,
        UnaryKind::Not => Builtin::LOGICAL_NOT,
        other => return Err(at.fail(format!("TFLite has no {other:?}; write .onnx instead"))),
    };
    let x = at.operand(0)?;
    at.write(builtin, Attributes::none(), &[x])
}

pub(super) fn prelu(at: &mut Site<'_, '_>) -> Result<()> {
    let operands = at.operands()?;
    at.write(Builtin::PRELU, Attributes::none(), &operands)
}

pub(super) fn cast(at: &mut Site<'_, '_>, op: &Cast) -> Result<()> {
    let x = at.raw(lower::input(at.node, 0)?)?;
    let from = at.value(0)?.dtype;
    // Half constants have an operator of their own, which every runtime folds.
    if from == DType::F16 && op.to == DType::F32 && at.value(0)?.data.is_some() {
        return at.write(Builtin::DEQUANTIZE, Attributes::none(), &[Some(x)]);
    }
    let options = CastOptions { from: dtype_code(from), to: dtype_code(op.to) };
    at.write(Builtin::CAST, Attributes::of(options), &[Some(x)])
}

pub(super) fn select(at: &mut Site<'_, '_>) -> Result<()> {
    let operands = at.operands()?;
    at.write(Builtin::SELECT_V2, Attributes::none(), &operands)
}
