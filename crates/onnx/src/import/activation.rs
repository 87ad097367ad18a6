//! Activations with attributes.

use fewbits_graph::ops::{BinaryKind, PRelu, Unary, UnaryKind};
use fewbits_graph::{DType, Tensor, ValueId};

use super::elementwise::{arithmetic, operand};
use super::node::NodeReader;
use crate::Result;

/// Functions whose attributes are all numbers.
pub(super) fn activation(node: &mut NodeReader<'_>) -> Result<()> {
    let kind = match node.proto.op_type.as_str() {
        "LeakyRelu" => UnaryKind::LeakyRelu { alpha: node.float_or("alpha", 0.01) },
        "Elu" => UnaryKind::Elu { alpha: node.float_or("alpha", 1.0) },
        // Defaults of the specification.
        "Selu" => {
            UnaryKind::Selu { alpha: node.float_or("alpha", 1.673_263_2), gamma: node.float_or("gamma", 1.050_701) }
        }
        "HardSigmoid" => {
            UnaryKind::HardSigmoid { alpha: node.float_or("alpha", 0.2), beta: node.float_or("beta", 0.5) }
        }
        "HardSwish" => UnaryKind::HardSwish,
        "Gelu" => UnaryKind::Gelu { tanh: node.text("approximate", "none") == "tanh" },
        "FastGelu" => UnaryKind::Gelu { tanh: true },
        "Swish" => return scaled_swish(node, node.float_or("alpha", 1.0)),
        "QuickGelu" => return scaled_swish(node, node.float_or("alpha", 1.702)),
        other => return Err(node.error(format!("{other} is no activation"))),
    };
    let (mut x, layout) = operand(node)?;
    if node.proto.op_type == "FastGelu" && node.has(1) {
        let bias = node.plain(1)?;
        x = node.inner(arithmetic(BinaryKind::Add), &[Some(x), Some(bias)], "bias")?;
    }
    node.emit(Unary { kind }, &[Some(x)], layout)?;
    Ok(())
}

/// `x × sigmoid(alpha × x)`.
fn scaled_swish(node: &mut NodeReader<'_>, alpha: f32) -> Result<()> {
    let (x, layout) = operand(node)?;
    if alpha == 1.0 {
        node.emit(Unary { kind: UnaryKind::Silu }, &[Some(x)], layout)?;
        return Ok(());
    }
    let alpha = node.new_constant("alpha", Tensor::scalar(alpha));
    let scaled = node.inner(arithmetic(BinaryKind::Mul), &[Some(x), Some(alpha)], "scaled")?;
    let gate = node.inner(Unary { kind: UnaryKind::Sigmoid }, &[Some(scaled)], "gate")?;
    node.emit(arithmetic(BinaryKind::Mul), &[Some(x), Some(gate)], layout)?;
    Ok(())
}

/// Clip, with bounds as attributes (before opset 11) or inputs. Bounds that are computed become
/// minimum and maximum nodes, as do bounds of integers, which `f32` may not hold exactly.
pub(super) fn clip(node: &mut NodeReader<'_>) -> Result<()> {
    let (x, layout) = operand(node)?;
    let known = |node: &NodeReader<'_>, i: usize, default: f32| match node.has(i) {
        true => node.scalar(i),
        false => Some(default),
    };
    let bounds = match node.opset < 11 {
        true => Some((node.float_or("min", f32::NEG_INFINITY), node.float_or("max", f32::INFINITY))),
        false => known(node, 1, f32::NEG_INFINITY).zip(known(node, 2, f32::INFINITY)),
    };
    let float = matches!(node.dtype(0)?, DType::F32 | DType::F16);
    match bounds {
        Some((min, max)) if float => {
            // The lowest and highest finite numbers are exporters' way to say "no bound".
            let min = if min == f32::MIN { f32::NEG_INFINITY } else { min };
            let max = if max == f32::MAX { f32::INFINITY } else { max };
            node.emit(Unary { kind: UnaryKind::Clip { min, max } }, &[Some(x)], layout)?;
            Ok(())
        }
        _ => {
            let (min, max) = (node.optional(1)?, node.optional(2)?);
            clip_by_values(node, x, layout, min, max)
        }
    }
}

fn clip_by_values(
    node: &mut NodeReader<'_>,
    x: ValueId,
    layout: crate::layout::Layout,
    min: Option<ValueId>,
    max: Option<ValueId>,
) -> Result<()> {
    match (min, max) {
        (Some(min), Some(max)) => {
            let x = node.inner(arithmetic(BinaryKind::Max), &[Some(x), Some(min)], "lower")?;
            node.emit(arithmetic(BinaryKind::Min), &[Some(x), Some(max)], layout)?;
        }
        (Some(min), None) => {
            node.emit(arithmetic(BinaryKind::Max), &[Some(x), Some(min)], layout)?;
        }
        (None, Some(max)) => {
            node.emit(arithmetic(BinaryKind::Min), &[Some(x), Some(max)], layout)?;
        }
        (None, None) => {
            node.emit(fewbits_graph::ops::Identity, &[Some(x)], layout)?;
        }
    }
    Ok(())
}

/// PRelu. The slope broadcasts to the input.
pub(super) fn prelu(node: &mut NodeReader<'_>) -> Result<()> {
    let (values, layout) = node.broadcast(&[0, 1])?;
    node.emit(PRelu, &[Some(values[0]), Some(values[1])], layout)?;
    Ok(())
}
