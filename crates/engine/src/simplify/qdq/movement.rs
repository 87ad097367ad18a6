//! Domain changes moved past operators that only move elements.

use fewbits_graph::ops::{Dequantize, PadMode, PoolKind, ResizeMode};
use fewbits_graph::{Activation, DType, Graph, NodeId, Op, Quantization, Result, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::super::linear::permuted_quantization;
use super::dequantized_from;

/// Moves `Dequantize` down and `Quantize` up past reshapes, transposes, slices, gathers, maximum
/// pooling and the like. These compute the same on integers with the same parameters, and the
/// changes of domain end up where an operator waits for them, or meet and vanish. Each step moves
/// one change in one direction only, so it comes to an end.
pub(in super::super) fn move_domain_changes(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if moves_elements(&edit, node) {
            let _ = dequantize_below(&mut edit, node).or_else(|| quantize_above(&mut edit, node));
        }
    }
    edit.finish()
}

/// Whether each element of the outputs is an element of input 0, or stands for the number 0.
fn moves_elements(edit: &Edit<'_>, node: NodeId) -> bool {
    match edit.op(node) {
        Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Expand(_)
        | Op::Transpose(_)
        | Op::Identity(_)
        | Op::Slice(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::GatherNd(_)
        | Op::Split(_)
        | Op::Tile(_)
        | Op::SpaceToDepth(_)
        | Op::DepthToSpace(_) => true,
        Op::Pad(op) => {
            let zero = edit.input(node, 2).is_none_or(|v| edit.scalar(v) == Some(0.0));
            zero || op.mode != PadMode::Constant
        }
        Op::Pool2d(op) => op.kind == PoolKind::Max && op.activation == Activation::None,
        Op::Resize(op) => matches!(op.mode, ResizeMode::Nearest(_)),
        _ => false,
    }
}

/// Parameters of the node's output when its input has `quant`.
fn moved_quantization(op: &Op, quant: &Quantization) -> Option<Quantization> {
    match op {
        Op::Transpose(op) => permuted_quantization(quant, &op.perm),
        Op::Identity(_) => Some(quant.clone()),
        _ => quant.as_per_tensor().map(|_| quant.clone()),
    }
}

/// On integer edges padding is the zero point, without being told.
fn drop_fill(edit: &mut Edit<'_>, node: NodeId) {
    if matches!(edit.op(node), Op::Pad(_)) && edit.input(node, 2).is_some() {
        edit.set_input(node, 2, None);
    }
}

fn dequantize_below(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let x = dequantized_from(edit, edit.input(node, 0)?)?;
    let dtype = edit.value(x).dtype;
    let quant = moved_quantization(edit.op(node), edit.value(x).quant.as_ref()?)?;
    if !matches!(dtype, DType::I8 | DType::U8) {
        return None;
    }
    edit.set_input(node, 0, Some(x));
    drop_fill(edit, node);
    for (slot, real) in edit.node(node).outputs.clone().into_iter().enumerate() {
        let value = edit.value(real);
        let (name, shape) = (value.name.clone(), value.shape.clone());
        let inner = edit.add_value(&format!("{name}_quantized"), dtype, shape, Some(quant.clone()));
        edit.set_output(node, slot, inner);
        edit.add_node(&format!("{name}_dequantize"), Dequantize, &[Some(inner)], real);
    }
    Some(())
}

fn quantize_above(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let (x, out) = (edit.input(node, 0)?, edit.out(node));
    let quantize = edit.sole_reader(out).filter(|&q| matches!(edit.op(q), Op::Quantize(_)))?;
    let target = edit.value(edit.out(quantize)).clone();
    let per_tensor = target.quant.as_ref()?.as_per_tensor().is_some();
    let computed = edit.constant(x).is_none() && edit.is_f32(x) && edit.sole_reader(x).is_some();
    if !per_tensor || !computed || edit.node(node).outputs.len() != 1 {
        return None;
    }
    let (name, shape) = (format!("{}_quantized", edit.value(x).name), edit.shape(x).clone());
    let inner = edit.add_value(&name, target.dtype, shape, target.quant);
    move_up(edit, node, quantize, x, inner);
    drop_fill(edit, node);
    Some(())
}

/// `x → node → quantize → y` becomes `x → quantize → inner → node → y`.
fn move_up(edit: &mut Edit<'_>, node: NodeId, quantize: NodeId, x: ValueId, inner: ValueId) {
    let y = edit.out(quantize);
    edit.set_input(quantize, 0, Some(x));
    edit.set_output(quantize, 0, inner);
    edit.set_input(node, 0, Some(inner));
    edit.set_output(node, 0, y);
}
