//! Arithmetic, comparisons and functions of each element.

use fewbits_graph::ops::{
    Binary, BinaryKind, Cast, Compare, CompareKind, Identity, Logical, LogicalKind, Unary, UnaryKind, Where,
};
use fewbits_graph::{Activation, DType, Tensor, ValueId};

use super::constant::{Constant, Then};
use super::node::NodeReader;
use crate::layout::Layout;
use crate::{Result, tensor};

pub(super) fn arithmetic(kind: BinaryKind) -> Binary {
    Binary { kind, activation: Activation::None }
}

/// Add, Sub, Mul, Div, Pow.
pub(super) fn binary(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = match node.proto.op_type.as_str() {
        "Add" => BinaryKind::Add,
        "Sub" => BinaryKind::Sub,
        "Mul" => BinaryKind::Mul,
        "Div" => BinaryKind::Div,
        _ => BinaryKind::Pow,
    };
    let (mut values, layout) = node.broadcast(&[0, 1])?;
    // The exponent may have another type than the base.
    let (base, exponent) = (node.dtype(0)?, node.dtype(1)?);
    if kind == BinaryKind::Pow && base != exponent {
        values[1] = node.inner(Cast { to: base }, &[Some(values[1])], "exponent")?;
    }
    node.emit(arithmetic(kind), &[Some(values[0]), Some(values[1])], layout)?;
    Ok(())
}

/// Mod: `fmod` follows the dividend's sign.
pub(super) fn modulo(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = if node.flag("fmod", false) { BinaryKind::Mod } else { BinaryKind::FloorMod };
    let (values, layout) = node.broadcast(&[0, 1])?;
    node.emit(arithmetic(kind), &[Some(values[0]), Some(values[1])], layout)?;
    Ok(())
}

/// Sum, Mean, Min, Max of any number of inputs, as a chain.
pub(super) fn variadic(node: &mut NodeReader<'_>) -> Result<()> {
    let operator = node.proto.op_type.clone();
    let kind = match operator.as_str() {
        "Min" => BinaryKind::Min,
        "Max" => BinaryKind::Max,
        _ => BinaryKind::Add,
    };
    let count = node.proto.input.len();
    let (values, layout) = node.broadcast(&(0..count).collect::<Vec<_>>())?;
    let Some((&first, rest)) = values.split_first() else {
        return Err(node.error("there are no inputs"));
    };
    let Some((&last, middle)) = rest.split_last() else {
        node.emit(Identity, &[Some(first)], layout)?;
        return Ok(());
    };
    let mut total = first;
    for &value in middle {
        total = node.inner(arithmetic(kind), &[Some(total), Some(value)], "partial")?;
    }
    if operator != "Mean" {
        node.emit(arithmetic(kind), &[Some(total), Some(last)], layout)?;
        return Ok(());
    }
    total = node.inner(arithmetic(kind), &[Some(total), Some(last)], "sum")?;
    let divisor = node.new_constant("count", Tensor::scalar(count as f32));
    node.emit(arithmetic(BinaryKind::Div), &[Some(total), Some(divisor)], layout)?;
    Ok(())
}

/// Comparisons.
pub(super) fn compare(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = match node.proto.op_type.as_str() {
        "Equal" => CompareKind::Equal,
        "Less" => CompareKind::Less,
        "LessOrEqual" => CompareKind::LessOrEqual,
        "Greater" => CompareKind::Greater,
        _ => CompareKind::GreaterOrEqual,
    };
    let (values, layout) = node.broadcast(&[0, 1])?;
    node.emit(Compare { kind }, &[Some(values[0]), Some(values[1])], layout)?;
    Ok(())
}

/// And, Or, Xor.
pub(super) fn logical(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = match node.proto.op_type.as_str() {
        "And" => LogicalKind::And,
        "Or" => LogicalKind::Or,
        _ => LogicalKind::Xor,
    };
    let (values, layout) = node.broadcast(&[0, 1])?;
    node.emit(Logical { kind }, &[Some(values[0]), Some(values[1])], layout)?;
    Ok(())
}

/// Where.
pub(super) fn select(node: &mut NodeReader<'_>) -> Result<()> {
    let (values, layout) = node.broadcast(&[0, 1, 2])?;
    node.emit(Where, &[Some(values[0]), Some(values[1]), Some(values[2])], layout)?;
    Ok(())
}

/// Input 0 in the layout that suits an operator which treats every element by itself.
pub(super) fn operand(node: &mut NodeReader<'_>) -> Result<(ValueId, Layout)> {
    let (values, layout) = node.broadcast(&[0])?;
    Ok((values[0], layout))
}

/// Functions without attributes.
pub(super) fn unary(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = match node.proto.op_type.as_str() {
        "Abs" => UnaryKind::Abs,
        "Ceil" => UnaryKind::Ceil,
        "Cos" => UnaryKind::Cos,
        "Erf" => UnaryKind::Erf,
        "Exp" => UnaryKind::Exp,
        "Floor" => UnaryKind::Floor,
        "Log" => UnaryKind::Log,
        "Mish" => UnaryKind::Mish,
        "Neg" => UnaryKind::Neg,
        "Not" => UnaryKind::Not,
        "Reciprocal" => UnaryKind::Reciprocal,
        "Relu" => UnaryKind::Relu,
        "Round" => UnaryKind::Round,
        "Sigmoid" => UnaryKind::Sigmoid,
        "Sign" => UnaryKind::Sign,
        "Sin" => UnaryKind::Sin,
        "Softplus" => UnaryKind::Softplus,
        "Softsign" => UnaryKind::Softsign,
        "Sqrt" => UnaryKind::Sqrt,
        "Tanh" => UnaryKind::Tanh,
        other => return Err(node.error(format!("{other} is no function of one element"))),
    };
    let (x, layout) = operand(node)?;
    node.emit(Unary { kind }, &[Some(x)], layout)?;
    Ok(())
}

/// Identity, and Dropout, which does nothing in inference.
pub(super) fn identity(node: &mut NodeReader<'_>) -> Result<()> {
    if node.proto.output.get(1).is_some_and(|mask| !mask.is_empty()) {
        return Err(node.error("the mask output is not supported: it exists in training only"));
    }
    if let Some(constant) = node.constant(0).cloned() {
        let out = node.output(0)?;
        node.importer.add_constant(&out, constant);
        return Ok(());
    }
    let (x, layout) = operand(node)?;
    node.emit(Identity, &[Some(x)], layout)?;
    Ok(())
}

/// Cast and CastLike. A half-precision constant that is cast to float stays a half-precision
/// constant for operators that read such weights.
pub(super) fn cast(node: &mut NodeReader<'_>) -> Result<()> {
    let to = match node.int("to") {
        Some(code) => i32::try_from(code).ok().and_then(tensor::dtype),
        None => Some(node.dtype(1)?),
    };
    let to = to.ok_or_else(|| node.error("the target type is not supported"))?;
    if let Some(constant) = node.constant(0)
        && matches!(constant.then, Then::Nothing)
        && (constant.tensor.dtype(), to) == (DType::F16, DType::F32)
    {
        let then = Then::Cast { node: node.name.clone() };
        let constant = Constant { then, ..constant.clone() };
        let out = node.output(0)?;
        node.importer.add_constant(&out, constant);
        return Ok(());
    }
    let (x, layout) = operand(node)?;
    node.emit(Cast { to }, &[Some(x)], layout)?;
    Ok(())
}
