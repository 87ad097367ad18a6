//! Arithmetic, comparisons and functions of each element.

use fewbits_graph::ops::{Binary, BinaryKind, Cast, Compare, CompareKind, Logical, LogicalKind, Unary, UnaryKind};
use fewbits_graph::{DType, Node, ValueId};

use super::attribute::{float, int, text};
use super::emitter::{Emitter, Form};
use super::input;
use crate::proto::AttributeProto;
use crate::{Result, tensor};

/// All inputs of a node, which must be present.
fn operands(node: &Node) -> Result<Vec<ValueId>> {
    (0..node.inputs.len()).map(|i| input(node, i)).collect()
}

/// Writes an operator that broadcasts its inputs.
fn simple(w: &mut Emitter<'_>, node: &Node, operator: &str, attributes: Vec<AttributeProto>) -> Result<()> {
    let (inputs, form) = w.broadcast(&operands(node)?)?;
    let out = w.result(node, 0, form)?;
    w.node(node, operator, inputs, vec![out], attributes);
    Ok(())
}

/// Binary.
pub(super) fn binary(w: &mut Emitter<'_>, node: &Node, op: &Binary) -> Result<()> {
    let operator = match op.kind {
        BinaryKind::Add => "Add",
        BinaryKind::Sub => "Sub",
        BinaryKind::Mul => "Mul",
        BinaryKind::Div => "Div",
        BinaryKind::Pow => "Pow",
        BinaryKind::Min => "Min",
        BinaryKind::Max => "Max",
        BinaryKind::Mod => return simple(w, node, "Mod", vec![int("fmod", 1)]),
        BinaryKind::SquaredDifference => return squared_difference(w, node),
        BinaryKind::FloorDiv | BinaryKind::FloorMod => return floored(w, node, op.kind),
    };
    simple(w, node, operator, Vec::new())
}

fn squared_difference(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let (inputs, form) = w.broadcast(&operands(node)?)?;
    let difference = w.step("Sub", inputs, Vec::new());
    let out = w.result(node, 0, form)?;
    w.node(node, "Mul", vec![difference.clone(), difference], vec![out], Vec::new());
    Ok(())
}

/// `⌊a ÷ b⌋`, and `a − ⌊a ÷ b⌋ × b`. Integers have `Mod`; their `Div` rounds towards zero, so the
/// quotient is that of what `Mod` leaves divisible.
fn floored(w: &mut Emitter<'_>, node: &Node, kind: BinaryKind) -> Result<()> {
    let value = w.graph.value(input(node, 0)?);
    let real = value.quant.is_some() || value.dtype.is_float();
    let (inputs, form) = w.broadcast(&operands(node)?)?;
    let (a, b) = (inputs[0].clone(), inputs[1].clone());
    if !real {
        let out = w.result(node, 0, form)?;
        if kind == BinaryKind::FloorMod {
            w.node(node, "Mod", vec![a, b], vec![out], Vec::new());
            return Ok(());
        }
        let rest = w.step("Mod", vec![a.clone(), b.clone()], Vec::new());
        let whole = w.step("Sub", vec![a, rest], Vec::new());
        w.node(node, "Div", vec![whole, b], vec![out], Vec::new());
        return Ok(());
    }
    let quotient = w.step("Div", vec![a.clone(), b.clone()], Vec::new());
    let out = w.result(node, 0, form)?;
    if kind == BinaryKind::FloorDiv {
        w.node(node, "Floor", vec![quotient], vec![out], Vec::new());
        return Ok(());
    }
    let floor = w.step("Floor", vec![quotient], Vec::new());
    let product = w.step("Mul", vec![floor, b], Vec::new());
    w.node(node, "Sub", vec![a, product], vec![out], Vec::new());
    Ok(())
}

/// Compare.
pub(super) fn compare(w: &mut Emitter<'_>, node: &Node, op: &Compare) -> Result<()> {
    let operator = match op.kind {
        CompareKind::Equal => "Equal",
        CompareKind::Less => "Less",
        CompareKind::LessOrEqual => "LessOrEqual",
        CompareKind::Greater => "Greater",
        CompareKind::GreaterOrEqual => "GreaterOrEqual",
        CompareKind::NotEqual => {
            let (inputs, form) = w.broadcast(&operands(node)?)?;
            let equal = w.step("Equal", inputs, Vec::new());
            let out = w.result(node, 0, form)?;
            w.node(node, "Not", vec![equal], vec![out], Vec::new());
            return Ok(());
        }
    };
    simple(w, node, operator, Vec::new())
}

/// Logical.
pub(super) fn logical(w: &mut Emitter<'_>, node: &Node, op: &Logical) -> Result<()> {
    let operator = match op.kind {
        LogicalKind::And => "And",
        LogicalKind::Or => "Or",
        LogicalKind::Xor => "Xor",
    };
    simple(w, node, operator, Vec::new())
}

/// Where.
pub(super) fn select(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    simple(w, node, "Where", Vec::new())
}

/// PRelu.
pub(super) fn prelu(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    simple(w, node, "PRelu", Vec::new())
}

/// Identity.
pub(super) fn identity(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let x = input(node, 0)?;
    let form = w.own_form(x);
    let raw = w.raw(x, form)?;
    let out = w.claim(node.outputs[0], form);
    w.node(node, "Identity", vec![raw], vec![out], Vec::new());
    Ok(())
}

/// Cast, as plain numbers.
pub(super) fn cast(w: &mut Emitter<'_>, node: &Node, op: &Cast) -> Result<()> {
    let x = input(node, 0)?;
    let half = w.graph.value(x).dtype == DType::F16 && w.graph.value(x).data.is_some();
    if half && op.to == DType::F32 && !w.graph.outputs.contains(&node.outputs[0]) {
        w.convert(node.outputs[0], x);
        return Ok(());
    }
    let form = w.own_form(x);
    let raw = w.raw(x, form)?;
    let out = w.claim(node.outputs[0], form);
    w.node(node, "Cast", vec![raw], vec![out], vec![int("to", tensor::code(op.to).into())]);
    Ok(())
}

/// How a function of one element is written.
enum Form1 {
    /// As one operator.
    One(&'static str, Vec<AttributeProto>),
    /// As several.
    Many,
}

fn spelling(w: &Emitter<'_>, kind: UnaryKind) -> Form1 {
    let plain = |name| Form1::One(name, Vec::new());
    match kind {
        UnaryKind::Relu => plain("Relu"),
        UnaryKind::LeakyRelu { alpha } => Form1::One("LeakyRelu", vec![float("alpha", alpha)]),
        UnaryKind::Elu { alpha } => Form1::One("Elu", vec![float("alpha", alpha)]),
        UnaryKind::Selu { alpha, gamma } => Form1::One("Selu", vec![float("alpha", alpha), float("gamma", gamma)]),
        UnaryKind::HardSwish => plain("HardSwish"),
        UnaryKind::HardSigmoid { alpha, beta } => {
            Form1::One("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)])
        }
        UnaryKind::Sigmoid => plain("Sigmoid"),
        UnaryKind::Tanh => plain("Tanh"),
        UnaryKind::Gelu { tanh } if w.opset >= 20 => {
            Form1::One("Gelu", vec![text("approximate", if tanh { "tanh" } else { "none" })])
        }
        UnaryKind::Mish if w.opset >= 18 => plain("Mish"),
        UnaryKind::Softplus => plain("Softplus"),
        UnaryKind::Softsign => plain("Softsign"),
        UnaryKind::Exp => plain("Exp"),
        UnaryKind::Log => plain("Log"),
        UnaryKind::Sqrt => plain("Sqrt"),
        UnaryKind::Reciprocal => plain("Reciprocal"),
        UnaryKind::Neg => plain("Neg"),
        UnaryKind::Abs => plain("Abs"),
        UnaryKind::Sign => plain("Sign"),
        UnaryKind::Floor => plain("Floor"),
        UnaryKind::Ceil => plain("Ceil"),
        UnaryKind::Round => plain("Round"),
        UnaryKind::Erf => plain("Erf"),
        UnaryKind::Sin => plain("Sin"),
        UnaryKind::Cos => plain("Cos"),
        UnaryKind::Not => plain("Not"),
        UnaryKind::Clip { .. }
        | UnaryKind::Gelu { .. }
        | UnaryKind::Mish
        | UnaryKind::Silu
        | UnaryKind::Rsqrt
        | UnaryKind::Square => Form1::Many,
    }
}

/// Unary.
pub(super) fn unary(w: &mut Emitter<'_>, node: &Node, op: &Unary) -> Result<()> {
    if let Form1::One(operator, attributes) = spelling(w, op.kind) {
        return simple(w, node, operator, attributes);
    }
    let x = input(node, 0)?;
    let form = w.own_form(x);
    let half = w.graph.value(x).dtype == DType::F16 && !w.is_constant(x);
    if half {
        return Err(super::error(node, "needs single precision; simplify the graph first"));
    }
    let x = w.float(x, form)?;
    let (operator, inputs) = match op.kind {
        UnaryKind::Clip { min, max } => ("Clip", clip_inputs(w, x, min, max)?),
        UnaryKind::Silu => {
            let gate = w.step("Sigmoid", vec![x.clone()], Vec::new());
            ("Mul", vec![x, gate])
        }
        UnaryKind::Rsqrt => ("Reciprocal", vec![w.step("Sqrt", vec![x], Vec::new())]),
        UnaryKind::Mish => {
            let soft = w.step("Softplus", vec![x.clone()], Vec::new());
            let gate = w.step("Tanh", vec![soft], Vec::new());
            ("Mul", vec![x, gate])
        }
        UnaryKind::Gelu { tanh } => {
            let gate = if tanh { tanh_gate(w, &x)? } else { erf_gate(w, &x)? };
            ("Mul", vec![x, gate])
        }
        _ => ("Mul", vec![x.clone(), x]),
    };
    let out = w.result(node, 0, form)?;
    w.node(node, operator, inputs, vec![out], Vec::new());
    Ok(())
}

/// Infinite bounds are left out.
fn clip_inputs(w: &mut Emitter<'_>, x: String, min: f32, max: f32) -> Result<Vec<String>> {
    let min = if min == f32::NEG_INFINITY { String::new() } else { w.scalar(min)? };
    let max = if max == f32::INFINITY { String::new() } else { w.scalar(max)? };
    Ok(vec![x, min, max])
}

/// `0.5 × (1 + erf(x ÷ √2))`.
fn erf_gate(w: &mut Emitter<'_>, x: &str) -> Result<String> {
    let root = w.scalar(std::f32::consts::SQRT_2)?;
    let scaled = w.step("Div", vec![x.to_owned(), root], Vec::new());
    let erf = w.step("Erf", vec![scaled], Vec::new());
    half_of_one_plus(w, erf)
}

/// `0.5 × (1 + tanh(√(2/π) × (x + 0.044715 x³)))`.
fn tanh_gate(w: &mut Emitter<'_>, x: &str) -> Result<String> {
    let (cubic, factor) = (w.scalar(0.044_715)?, w.scalar((2.0 / std::f32::consts::PI).sqrt())?);
    let square = w.step("Mul", vec![x.to_owned(), x.to_owned()], Vec::new());
    let cube = w.step("Mul", vec![square, x.to_owned()], Vec::new());
    let small = w.step("Mul", vec![cube, cubic], Vec::new());
    let sum = w.step("Add", vec![x.to_owned(), small], Vec::new());
    let scaled = w.step("Mul", vec![sum, factor], Vec::new());
    let tanh = w.step("Tanh", vec![scaled], Vec::new());
    half_of_one_plus(w, tanh)
}

fn half_of_one_plus(w: &mut Emitter<'_>, x: String) -> Result<String> {
    let (one, half) = (w.scalar(1.0)?, w.scalar(0.5)?);
    let sum = w.step("Add", vec![x, one], Vec::new());
    Ok(w.step("Mul", vec![sum, half], Vec::new()))
}

/// The form of input 0 and its real numbers, for operators that keep its shape.
pub(super) fn operand(w: &mut Emitter<'_>, node: &Node) -> Result<(String, Form)> {
    let x = input(node, 0)?;
    let form = w.own_form(x);
    Ok((w.float(x, form)?, form))
}
