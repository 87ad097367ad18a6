//! Half precision: stored in constants, computed as single precision.
//!
//! The engine computes in `f32`; what half precision saves is storage. So edges of a half model are
//! widened (its public inputs and outputs keep their type behind a cast), while constants that an
//! operator reads as weights stay half and feed it directly.

use fewbits_graph::ops::Cast;
use fewbits_graph::{DType, Graph, NodeId, Op, Result, Tensor, ValueId};

use super::Context;
use super::edit::Edit;

/// Whether an operator can read a constant narrower than its activations in that slot.
pub(super) fn is_weight_slot(op: &Op, slot: usize) -> bool {
    match op {
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) | Op::MatMul(_) => {
            slot == 1
        }
        Op::Gather(_) => slot == 0,
        _ => false,
    }
}

fn is_half(edit: &Edit<'_>, v: ValueId) -> bool {
    edit.value(v).dtype == DType::F16 && edit.value(v).quant.is_none()
}

fn widened(data: &Tensor) -> Tensor {
    Tensor::new(data.shape().to_vec(), data.to_f32())
}

/// Turns `F16` edges into `F32` ones.
pub(super) fn widen_half_edges(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let (inputs, outputs) = (graph.inputs.clone(), graph.outputs.clone());
    let mut edit = Edit::new(graph);
    for input in inputs {
        widen_input(&mut edit, input);
    }
    for node in edit.nodes() {
        widen_node(&mut edit, node);
    }
    for output in outputs {
        widen_output(&mut edit, output);
    }
    edit.finish()
}

fn is_cast(edit: &Edit<'_>, node: NodeId) -> bool {
    matches!(edit.op(node), Op::Cast(_))
}

fn widen_input(edit: &mut Edit<'_>, input: ValueId) {
    if !is_half(edit, input) || edit.readers(input).iter().all(|&n| is_cast(edit, n)) {
        return;
    }
    let value = edit.value(input);
    let (name, shape) = (format!("{}_f32", value.name), value.shape.clone());
    let wide = edit.add_value(&name, DType::F32, shape, None);
    edit.redirect(input, wide);
    edit.add_node(&name, Cast { to: DType::F32 }, &[Some(input)], wide);
}

/// Widens what a node reads and what it declares to write; inference follows from there.
fn widen_node(edit: &mut Edit<'_>, node: NodeId) {
    let out = edit.out(node);
    if let Op::Cast(Cast { to: DType::F16 }) = edit.op(node)
        && !edit.is_output(out)
    {
        *edit.op_mut(node) = Cast { to: DType::F32 }.into();
        return;
    }
    if is_cast(edit, node) || matches!(edit.op(node), Op::Dequantize(_)) {
        return;
    }
    for slot in 0..edit.node(node).inputs.len() {
        if let Some(v) = edit.input(node, slot).filter(|&v| is_half(edit, v) && !is_weight_slot(edit.op(node), slot))
            && let Some(wide) = edit.constant(v).map(widened)
        {
            edit.set_constant(node, slot, wide, None, "");
        }
    }
    if matches!(edit.op(node), Op::Gather(_)) && is_half(edit, out) && !edit.is_output(out) {
        edit.value_mut(out).dtype = DType::F32;
    }
}

/// Puts a cast before a half output, unless that is what produces it.
fn widen_output(edit: &mut Edit<'_>, output: ValueId) {
    let Some(node) = edit.producer(output).filter(|_| is_half(edit, output)) else { return };
    if is_cast(edit, node) {
        if let Some(x) = edit.input(node, 0).filter(|&x| edit.is_f32(x) && !edit.readers(output).is_empty()) {
            edit.redirect(output, x);
        }
        return;
    }
    let slot = edit.node(node).outputs.iter().position(|&v| v == output).unwrap_or(0);
    let value = edit.value(output);
    let (name, shape) = (format!("{}_f32", value.name), value.shape.clone());
    let wide = edit.add_value(&name, DType::F32, shape, None);
    edit.set_output(node, slot, wide);
    edit.redirect(output, wide);
    edit.add_node(&format!("{name}_cast"), Cast { to: DType::F16 }, &[Some(wide)], output);
}

/// Lets half constants behind a conversion to `f32` feed weight inputs directly; what else reads
/// the conversion gets an `f32` constant.
pub(super) fn feed_half_weights(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let widens = matches!(edit.op(node), Op::Dequantize(_) | Op::Cast(Cast { to: DType::F32 }));
        let out = edit.out(node);
        let Some(half) = edit.input(node, 0).filter(|&v| widens && is_half(&edit, v) && !edit.is_output(out)) else {
            continue;
        };
        let Some(wide) = edit.constant(half).map(widened) else { continue };
        for reader in edit.readers(out).to_vec() {
            for slot in 0..edit.node(reader).inputs.len() {
                if edit.input(reader, slot) == Some(out) && is_weight_slot(edit.op(reader), slot) {
                    edit.set_input(reader, slot, Some(half));
                }
            }
        }
        edit.remove(node);
        edit.value_mut(out).data = Some(wide);
    }
    edit.finish()
}
