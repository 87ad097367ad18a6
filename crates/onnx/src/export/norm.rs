//! Normalisations.

use fewbits_graph::ops::{BatchNorm, GroupNorm, L2Norm, LayerNorm};
use fewbits_graph::{Node, Shape, Tensor};

use super::attribute::{float, int, signed, size};
use super::elementwise::operand;
use super::emitter::{Emitter, Form};
use super::{input, optional};
use crate::Result;
use crate::import::constant::Relay;

/// BatchNorm.
pub(super) fn batch(w: &mut Emitter<'_>, node: &Node, op: &BatchNorm) -> Result<()> {
    let mut inputs = vec![w.float(input(node, 0)?, Form::First)?];
    for i in 1..5 {
        inputs.push(w.float(input(node, i)?, Form::Stored)?);
    }
    let out = w.result(node, 0, Form::First)?;
    w.node(node, "BatchNormalization", inputs, vec![out], vec![float("epsilon", op.epsilon)]);
    Ok(())
}

/// LayerNorm. ONNX requires a scale: ones stand in for an absent one.
pub(super) fn layer(w: &mut Emitter<'_>, node: &Node, op: &LayerNorm) -> Result<()> {
    let id = input(node, 0)?;
    let x = w.float(id, Form::Stored)?;
    let scale = match optional(node, 1) {
        Some(scale) => w.float(scale, Form::Stored)?,
        None => {
            let dims = Shape(w.graph.value(id).shape.0[op.axis..].to_vec()).to_fixed();
            let dims = dims.ok_or_else(|| super::error(node, "the normalised axes must be fixed"))?;
            let count = dims.iter().product();
            w.literal(&Tensor::new(dims, vec![1f32; count]))?
        }
    };
    let bias = match optional(node, 2) {
        Some(bias) => w.float(bias, Form::Stored)?,
        None => String::new(),
    };
    let out = w.result(node, 0, Form::Stored)?;
    let attributes = vec![size("axis", op.axis), float("epsilon", op.epsilon)];
    w.node(node, "LayerNormalization", vec![x, scale, bias], vec![out], attributes);
    Ok(())
}

/// GroupNorm: with a group a channel → InstanceNormalization; from opset 21 GroupNormalization;
/// before it, instance normalisation of a tensor with groups as channels.
pub(super) fn group(w: &mut Emitter<'_>, node: &Node, op: &GroupNorm) -> Result<()> {
    let id = input(node, 0)?;
    let (x, scale, bias) = (w.float(id, Form::First)?, input(node, 1)?, input(node, 2)?);
    let channels = w.graph.value(scale).shape.elements();
    let epsilon = float("epsilon", op.epsilon);
    if channels == Some(op.groups) || w.opset >= 21 {
        let inputs = vec![x, w.float(scale, Form::Stored)?, w.float(bias, Form::Stored)?];
        let out = w.result(node, 0, Form::First)?;
        match channels == Some(op.groups) {
            true => w.node(node, "InstanceNormalization", inputs, vec![out], vec![epsilon]),
            false => {
                let attributes = vec![epsilon, size("num_groups", op.groups)];
                w.node(node, "GroupNormalization", inputs, vec![out], attributes);
            }
        }
        return Ok(());
    }
    let shape = w.step("Shape", vec![x.clone()], Vec::new());
    let grouped = w.int_vector(&[0, signed(op.groups), -1])?;
    let x = w.step("Reshape", vec![x, grouped], Vec::new());
    let ones = w.literal(&Tensor::new(vec![op.groups], vec![1f32; op.groups]))?;
    let zeros = w.literal(&Tensor::new(vec![op.groups], vec![0f32; op.groups]))?;
    let x = w.step("InstanceNormalization", vec![x, ones, zeros], vec![epsilon]);
    let x = w.step("Reshape", vec![x, shape], Vec::new());
    let (scale, bias) = (per_channel(w, node, id, scale)?, per_channel(w, node, id, bias)?);
    let x = w.step("Mul", vec![x, scale], Vec::new());
    let out = w.result(node, 0, Form::First)?;
    w.node(node, "Add", vec![x, bias], vec![out], Vec::new());
    Ok(())
}

/// A vector as it broadcasts along the channels of a channels-first tensor.
fn per_channel(
    w: &mut Emitter<'_>,
    node: &Node,
    x: fewbits_graph::ValueId,
    vector: fewbits_graph::ValueId,
) -> Result<String> {
    let spatial = w.rank(x).saturating_sub(2);
    let count = w.graph.value(vector).shape.elements();
    let count = count.ok_or_else(|| super::error(node, "scale and bias must have a fixed size"))?;
    let mut shape = vec![count];
    shape.extend(vec![1; spatial]);
    if w.is_constant(vector) {
        return w.constant(vector, &Relay { join: Some(shape), ..Relay::none() });
    }
    let vector = w.float(vector, Form::Stored)?;
    let shape = w.int_vector(&shape.iter().map(|&d| signed(d)).collect::<Vec<_>>())?;
    Ok(w.step("Reshape", vec![vector, shape], Vec::new()))
}

/// L2Norm; where the smallest divisor matters, step by step.
pub(super) fn l2(w: &mut Emitter<'_>, node: &Node, op: &L2Norm) -> Result<()> {
    let (x, form) = operand(w, node)?;
    let axis = form.axis(op.axis, w.rank(input(node, 0)?));
    // ONNX leaves all-zero vectors as they are, as a negligible divisor does.
    if op.epsilon <= f32::MIN_POSITIVE {
        let out = w.result(node, 0, form)?;
        w.node(node, "LpNormalization", vec![x], vec![out], vec![size("axis", axis), int("p", 2)]);
        return Ok(());
    }
    let mut inputs = vec![x.clone()];
    let mut attributes = vec![int("keepdims", 1)];
    match w.opset >= 18 {
        true => inputs.push(w.int_vector(&[signed(axis)])?),
        false => attributes.push(super::attribute::sizes("axes", &[axis])),
    }
    let norm = w.step("ReduceL2", inputs, attributes);
    let least = w.scalar(op.epsilon)?;
    let divisor = w.step("Max", vec![norm, least], Vec::new());
    let out = w.result(node, 0, form)?;
    w.node(node, "Div", vec![x, divisor], vec![out], Vec::new());
    Ok(())
}
