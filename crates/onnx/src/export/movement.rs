//! Operators that move elements.

use fewbits_graph::ops::{Concat, DepthToSpace, GatherNd, OneHot, Pad, PadMode, SpaceToDepth, Split};
use fewbits_graph::{Node, Tensor, ValueId};

use super::attribute::{signed, size, text};
use super::elementwise::operand;
use super::emitter::{Emitter, Form};
use super::{input, optional};
use crate::{Result, tensor};

/// The integers of a constant input.
fn constant_ints(w: &Emitter<'_>, node: &Node, i: usize) -> Result<Option<Vec<i64>>> {
    let value = w.graph.value(input(node, i)?);
    match &value.data {
        Some(data) => {
            data.to_i64().map(Some).ok_or_else(|| super::error(node, format!("input {i} must hold integers")))
        }
        None => Ok(None),
    }
}

/// Concat.
pub(super) fn concat(w: &mut Emitter<'_>, node: &Node, op: &Concat) -> Result<()> {
    let ids: Vec<ValueId> = (0..node.inputs.len()).map(|i| input(node, i)).collect::<Result<_>>()?;
    let first = ids.iter().any(|&v| w.prefers_first(v));
    let form = if first { Form::First } else { Form::Stored };
    let inputs = ids.iter().map(|&v| w.float(v, form)).collect::<Result<_>>()?;
    let axis = form.axis(op.axis, w.rank(input(node, 0)?));
    let out = w.result(node, 0, form)?;
    w.node(node, "Concat", inputs, vec![out], vec![size("axis", axis)]);
    Ok(())
}

/// Split.
pub(super) fn split(w: &mut Emitter<'_>, node: &Node, op: &Split) -> Result<()> {
    let (x, form) = operand(w, node)?;
    let axis = form.axis(op.axis, w.rank(input(node, 0)?));
    let sizes = w.int_vector(&op.sizes.iter().map(|&s| signed(s)).collect::<Vec<_>>())?;
    let outputs = (0..node.outputs.len()).map(|i| w.result(node, i, form)).collect::<Result<_>>()?;
    w.node(node, "Split", vec![x, sizes], outputs, vec![size("axis", axis)]);
    Ok(())
}

/// Slice.
pub(super) fn slice(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let id = input(node, 0)?;
    let rank = w.rank(id);
    let axes = constant_ints(w, node, 3)?;
    let form = if axes.is_some() { w.own_form(id) } else { Form::Stored };
    let x = w.float(id, form)?;
    let mut inputs = vec![x, w.int64(input(node, 1)?)?, w.int64(input(node, 2)?)?];
    inputs.push(match axes {
        Some(axes) => {
            let axes = axes.iter().map(|&a| {
                let at = usize::try_from(if a < 0 { a + signed(rank) } else { a }).unwrap_or(0);
                signed(form.axis(at, rank))
            });
            w.int_vector(&axes.collect::<Vec<_>>())?
        }
        None => w.int64(input(node, 3)?)?,
    });
    inputs.push(w.int64(input(node, 4)?)?);
    let out = w.result(node, 0, form)?;
    w.node(node, "Slice", inputs, vec![out], Vec::new());
    Ok(())
}

/// Pad.
pub(super) fn pad(w: &mut Emitter<'_>, node: &Node, op: &Pad) -> Result<()> {
    let mode = match op.mode {
        PadMode::Constant => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
        PadMode::Wrap if w.opset >= 19 => "wrap",
        PadMode::Wrap | PadMode::Symmetric => {
            return Err(super::error(node, format!("the mode {:?} has no form in ONNX", op.mode)));
        }
    };
    let id = input(node, 0)?;
    let rank = w.rank(id);
    let known = constant_ints(w, node, 1)?.filter(|p| p.len() == 2 * rank);
    let form = if known.is_some() { w.own_form(id) } else { Form::Stored };
    let x = w.float(id, form)?;
    let pads = match known {
        Some(stored) => {
            let order = (0..rank).map(|axis| form.stored(axis, rank));
            let (before, after): (Vec<i64>, Vec<i64>) = order.map(|s| (stored[s], stored[s + rank])).unzip();
            w.int_vector(&[before, after].concat())?
        }
        None => w.int64(input(node, 1)?)?,
    };
    let fill = match optional(node, 2) {
        Some(fill) => pad_value(w, node, id, fill)?,
        None => String::new(),
    };
    let out = w.result(node, 0, form)?;
    w.node(node, "Pad", vec![x, pads, fill], vec![out], vec![text("mode", mode)]);
    Ok(())
}

/// The fill value as a number of the padded tensor: that of an integer edge may be given as a plain
/// integer on that edge's scale.
fn pad_value(w: &mut Emitter<'_>, node: &Node, x: ValueId, fill: ValueId) -> Result<String> {
    let value = w.graph.value(fill);
    let edge = w.graph.value(x).quant.as_ref().and_then(fewbits_graph::Quantization::as_per_tensor);
    let (Some((scale, zero_point)), true) = (edge, value.quant.is_none() && !value.dtype.is_float()) else {
        return w.float(fill, Form::Stored);
    };
    let plain = value.data.as_ref().and_then(Tensor::to_i64).and_then(|v| v.first().copied());
    let plain = plain.ok_or_else(|| super::error(node, "the fill value of integers must be constant"))?;
    w.scalar((plain - i64::from(zero_point)) as f32 * scale)
}

/// Gather and GatherElements.
pub(super) fn gather(w: &mut Emitter<'_>, node: &Node, operator: &str, axis: usize) -> Result<()> {
    let (x, indices) = (input(node, 0)?, w.raw(input(node, 1)?, Form::Stored)?);
    let (table, rows) = (w.graph.value(x), w.graph.value(node.outputs[0]));
    // Rows of an integer table stay integers: the whole table is not to be dequantized for them.
    let integers = table.data.is_some() && rows.quant.is_some() && rows.quant == table.quant;
    let (x, out) = match integers {
        true => (w.raw(x, Form::Stored)?, w.claim(node.outputs[0], Form::Stored)),
        false => (w.float(x, Form::Stored)?, w.result(node, 0, Form::Stored)?),
    };
    let inputs = vec![x, indices];
    w.node(node, operator, inputs, vec![out], vec![size("axis", axis)]);
    Ok(())
}

/// GatherNd.
pub(super) fn gather_nd(w: &mut Emitter<'_>, node: &Node, op: &GatherNd) -> Result<()> {
    let inputs = vec![w.float(input(node, 0)?, Form::Stored)?, w.int64(input(node, 1)?)?];
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "GatherND", inputs, vec![out], vec![size("batch_dims", op.batch_dims)]);
    Ok(())
}

/// ScatterNd.
pub(super) fn scatter_nd(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let (x, updates) = (w.float(input(node, 0)?, Form::Stored)?, w.float(input(node, 2)?, Form::Stored)?);
    let indices = w.int64(input(node, 1)?)?;
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "ScatterND", vec![x, indices, updates], vec![out], Vec::new());
    Ok(())
}

/// Tile.
pub(super) fn tile(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let id = input(node, 0)?;
    let rank = w.rank(id);
    let known = constant_ints(w, node, 1)?.filter(|r| r.len() == rank);
    let form = if known.is_some() { w.own_form(id) } else { Form::Stored };
    let x = w.float(id, form)?;
    let repeats = match known {
        Some(stored) => {
            let repeats: Vec<i64> = (0..rank).map(|axis| stored[form.stored(axis, rank)]).collect();
            w.int_vector(&repeats)?
        }
        None => w.int64(input(node, 1)?)?,
    };
    let out = w.result(node, 0, form)?;
    w.node(node, "Tile", vec![x, repeats], vec![out], Vec::new());
    Ok(())
}

/// SpaceToDepth.
pub(super) fn space_to_depth(w: &mut Emitter<'_>, node: &Node, op: &SpaceToDepth) -> Result<()> {
    let x = w.float(input(node, 0)?, Form::First)?;
    let out = w.result(node, 0, Form::First)?;
    w.node(node, "SpaceToDepth", vec![x], vec![out], vec![size("blocksize", op.block)]);
    Ok(())
}

/// DepthToSpace.
pub(super) fn depth_to_space(w: &mut Emitter<'_>, node: &Node, op: &DepthToSpace) -> Result<()> {
    let x = w.float(input(node, 0)?, Form::First)?;
    let out = w.result(node, 0, Form::First)?;
    let mode = text("mode", if op.channel_first { "CRD" } else { "DCR" });
    w.node(node, "DepthToSpace", vec![x], vec![out], vec![size("blocksize", op.block), mode]);
    Ok(())
}

/// OneHot.
pub(super) fn one_hot(w: &mut Emitter<'_>, node: &Node, op: &OneHot) -> Result<()> {
    let inputs = (0..3).map(|i| w.raw(input(node, i)?, Form::Stored)).collect::<Result<_>>()?;
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "OneHot", inputs, vec![out], vec![size("axis", op.axis)]);
    Ok(())
}

/// Range.
pub(super) fn range(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let inputs = (0..3).map(|i| w.raw(input(node, i)?, Form::Stored)).collect::<Result<_>>()?;
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "Range", inputs, vec![out], Vec::new());
    Ok(())
}

/// Fill: with a constant → ConstantOfShape, else Expand.
pub(super) fn fill(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let shape = w.int64(input(node, 0)?)?;
    let id = input(node, 1)?;
    let value = w.graph.value(id);
    let constant: Option<Tensor> =
        value.data.as_ref().filter(|_| value.quant.is_none()).and_then(|t| t.reshaped(vec![1]));
    if let Some(constant) = constant {
        let out = w.result(node, 0, Form::Stored)?;
        let attribute = super::attribute::tensor("value", tensor::write("", &constant)?);
        w.node(node, "ConstantOfShape", vec![shape], vec![out], vec![attribute]);
        return Ok(());
    }
    let value = w.float(id, Form::Stored)?;
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "Expand", vec![value, shape], vec![out], Vec::new());
    Ok(())
}
