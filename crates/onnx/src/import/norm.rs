//! Normalisations.

use fewbits_graph::ops::{BatchNorm, BinaryKind, GroupNorm, L2Norm, LayerNorm, Reduce, ReduceKind};
use fewbits_graph::{Activation, Tensor, ValueId};

use super::elementwise::{arithmetic, operand};
use super::node::NodeReader;
use crate::Result;
use crate::layout::Layout;

fn refuse_extra_outputs(node: &NodeReader<'_>) -> Result<()> {
    match node.proto.output.iter().skip(1).any(|o| !o.is_empty()) {
        true => Err(node.error("only the first output is supported; the others exist in training only")),
        false => Ok(()),
    }
}

/// BatchNormalization with fixed statistics.
pub(super) fn batch(node: &mut NodeReader<'_>) -> Result<()> {
    if node.flag("training_mode", false) || node.int("spatial") == Some(0) {
        return Err(node.error("export the model in inference mode, with statistics a channel"));
    }
    refuse_extra_outputs(node)?;
    let epsilon = node.float_or("epsilon", 1e-5);
    let mut inputs = vec![Some(node.last(0)?)];
    for i in 1..5 {
        inputs.push(Some(node.plain(i)?));
    }
    node.emit(BatchNorm { epsilon, activation: Activation::None }, &inputs, Layout::ChannelsLast)?;
    Ok(())
}

/// InstanceNormalization: as many groups as channels.
pub(super) fn instance(node: &mut NodeReader<'_>) -> Result<()> {
    let channels = node.shape(1)?.elements();
    let groups = channels.ok_or_else(|| node.error("the number of channels must be fixed"))?;
    let epsilon = node.float_or("epsilon", 1e-5);
    let inputs = [Some(node.last(0)?), Some(node.plain(1)?), Some(node.plain(2)?)];
    node.emit(GroupNorm { groups, epsilon }, &inputs, Layout::ChannelsLast)?;
    Ok(())
}

/// GroupNormalization. Before opset 21, scale and bias have one element a group.
pub(super) fn group(node: &mut NodeReader<'_>) -> Result<()> {
    let groups = node.int_or("num_groups", 0);
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0);
    let groups = groups.ok_or_else(|| node.error("num_groups must be a positive number"))?;
    let shape = node.shape(0)?;
    let channels = shape.0.get(1).and_then(fewbits_graph::Dim::fixed).filter(|c| c.is_multiple_of(groups));
    let channels =
        channels.ok_or_else(|| node.error("num_groups does not divide the channels, or they are not fixed"))?;
    let epsilon = node.float_or("epsilon", 1e-5);
    let x = node.last(0)?;
    let (scale, bias) = match node.opset < 21 && groups != channels {
        true => (repeated(node, 1, "scale", channels)?, repeated(node, 2, "bias", channels)?),
        false => (node.plain(1)?, node.plain(2)?),
    };
    node.emit(GroupNorm { groups, epsilon }, &[Some(x), Some(scale), Some(bias)], Layout::ChannelsLast)?;
    Ok(())
}

/// Input `i`, of one element a group, as one element a channel.
fn repeated(node: &mut NodeReader<'_>, i: usize, what: &str, channels: usize) -> Result<ValueId> {
    let data = node.tensor(i).map(Tensor::to_f32).filter(|d| !d.is_empty() && channels.is_multiple_of(d.len()));
    let data = data.ok_or_else(|| node.error(format!("the {what} must be a constant of one element a group")))?;
    let each = channels / data.len();
    let data = data.iter().flat_map(|&v| std::iter::repeat_n(v, each)).collect();
    Ok(node.new_constant(what, Tensor::new::<f32>(vec![channels], data)))
}

/// LayerNormalization.
pub(super) fn layer(node: &mut NodeReader<'_>) -> Result<()> {
    refuse_extra_outputs(node)?;
    let axis = node.axis(node.int_or("axis", -1), node.rank(0)?)?;
    let epsilon = node.float_or("epsilon", 1e-5);
    let inputs = [Some(node.plain(0)?), node.optional(1)?, node.optional(2)?];
    node.emit(LayerNorm { axis, epsilon }, &inputs, Layout::Plain)?;
    Ok(())
}

/// LpNormalization with p = 1 or 2.
pub(super) fn lp(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let axis = node.axis(node.int_or("axis", -1), rank)?;
    let (x, layout) = operand(node)?;
    let axis = layout.stored_axis(axis, rank);
    if node.int_or("p", 2) == 2 {
        // The divisor of an all-zero vector does not matter, it must only not be 0.
        node.emit(L2Norm { axis, epsilon: f32::MIN_POSITIVE }, &[Some(x)], layout)?;
        return Ok(());
    }
    let norm = Reduce { kind: ReduceKind::L1, axes: vec![axis], keep_dims: true };
    let norm = node.inner(norm, &[Some(x)], "norm")?;
    let least = node.new_constant("least", Tensor::scalar(f32::MIN_POSITIVE));
    let norm = node.inner(arithmetic(BinaryKind::Max), &[Some(norm), Some(least)], "divisor")?;
    node.emit(arithmetic(BinaryKind::Div), &[Some(x), Some(norm)], layout)?;
    Ok(())
}
