//! Unsigned 8-bit edges as signed ones.

use fewbits_graph::ops::Requantize;
use fewbits_graph::{DType, Graph, NodeId, Op, Quantization, Result, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::{signed, signed_quantization};

/// Turns quantized `uint8` values inside the graph into `int8`, zero point less 128; constants are
/// encoded anew. The integer kernels and TFLite's 8-bit rules know signed edges only. Public inputs
/// and outputs keep their type behind a `Requantize`.
pub(in super::super) fn signed_edges(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for v in edit.values() {
        let Some(quant) = edit.value(v).quant.clone().filter(|_| edit.value(v).dtype == DType::U8) else { continue };
        if edit.is_input(v) {
            behind_input(&mut edit, v, &quant);
        } else if edit.is_output(v) {
            before_output(&mut edit, v, &quant);
        } else if edit.producer(v).is_none_or(|p| !reads_raw(edit.op(p))) {
            inside(&mut edit, v, &quant);
        }
    }
    edit.finish()
}

/// Operators that take 8-bit elements as plain numbers, whatever parameters the edge has.
fn reads_raw(op: &Op) -> bool {
    matches!(op, Op::Cast(_) | Op::MatMulInteger(_) | Op::ConvInteger(_) | Op::OneHot(_))
}

/// Nodes that take 8-bit elements as plain numbers, or hand them on into an edge without
/// parameters, where nothing would say that they have moved by 128.
fn needs_unsigned(edit: &Edit<'_>, node: NodeId) -> bool {
    let plain = |&v: &ValueId| edit.value(v).dtype == DType::U8 && edit.value(v).quant.is_none();
    reads_raw(edit.op(node)) || edit.node(node).outputs.iter().any(plain)
}

fn add_signed(edit: &mut Edit<'_>, v: ValueId, quant: &Quantization) -> ValueId {
    let value = edit.value(v);
    let (name, shape) = (format!("{}_int8", value.name), value.shape.clone());
    edit.add_value(&name, DType::I8, shape, Some(signed_quantization(quant)))
}

fn behind_input(edit: &mut Edit<'_>, v: ValueId, quant: &Quantization) {
    let stays = |n: NodeId| needs_unsigned(edit, n) || matches!(edit.op(n), Op::Requantize(_));
    let readers: Vec<_> = edit.readers(v).iter().copied().filter(|&n| !stays(n)).collect();
    if readers.is_empty() {
        return;
    }
    let inner = add_signed(edit, v, quant);
    for node in readers {
        for slot in 0..edit.node(node).inputs.len() {
            if edit.input(node, slot) == Some(v) {
                edit.set_input(node, slot, Some(inner));
            }
        }
    }
    let name = edit.value(inner).name.clone();
    edit.add_node(&name, Requantize, &[Some(v)], inner);
}

fn before_output(edit: &mut Edit<'_>, v: ValueId, quant: &Quantization) {
    let Some(node) = edit.producer(v) else { return };
    if reads_raw(edit.op(node)) || matches!(edit.op(node), Op::Requantize(_)) {
        return;
    }
    let slot = edit.node(node).outputs.iter().position(|&o| o == v).unwrap_or(0);
    let inner = add_signed(edit, v, quant);
    edit.set_output(node, slot, inner);
    edit.redirect(v, inner);
    let name = format!("{}_uint8", edit.value(v).name);
    edit.add_node(&name, Requantize, &[Some(inner)], v);
}

fn inside(edit: &mut Edit<'_>, v: ValueId, quant: &Quantization) {
    if let Some(data) = edit.constant(v) {
        let Some(data) = signed(data) else { return };
        edit.value_mut(v).data = Some(data);
    }
    let raw: Vec<_> = edit.readers(v).iter().copied().filter(|&n| needs_unsigned(edit, n)).collect();
    if !raw.is_empty() {
        let value = edit.value(v);
        let (name, shape) = (format!("{}_uint8", value.name), value.shape.clone());
        let unsigned = edit.add_value(&name, DType::U8, shape, Some(quant.clone()));
        for node in raw {
            for slot in 0..edit.node(node).inputs.len() {
                if edit.input(node, slot) == Some(v) {
                    edit.set_input(node, slot, Some(unsigned));
                }
            }
        }
        edit.add_node(&name, Requantize, &[Some(v)], unsigned);
    }
    let value = edit.value_mut(v);
    (value.dtype, value.quant) = (DType::I8, Some(signed_quantization(quant)));
}
