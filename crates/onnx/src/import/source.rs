//! Constants, shapes, and operators that make tensors from numbers.

use fewbits_graph::ops::{Binary, BinaryKind, Fill, Gather, OneHot, Range, Reshape, ShapeOf};
use fewbits_graph::{Activation, DType, Tensor};

use super::node::NodeReader;
use crate::layout::Layout;
use crate::{Result, tensor};

/// Constant, in all its forms but text and sparse ones.
pub(super) fn constant(node: &mut NodeReader<'_>) -> Result<()> {
    let value = if let Some(t) = node.attribute("value").and_then(|a| a.t.as_ref()) {
        tensor::read(t, &node.importer.external)?
    } else if let Some(a) = node.attribute("value_float") {
        Tensor::scalar(a.f.unwrap_or(0.0))
    } else if let Some(a) = node.attribute("value_int") {
        Tensor::scalar(a.i.unwrap_or(0))
    } else if let Some(a) = node.attribute("value_floats") {
        Tensor::new(vec![a.floats.len()], a.floats.clone())
    } else if let Some(a) = node.attribute("value_ints") {
        Tensor::from_ints(&a.ints)
    } else {
        return Err(node.error("the constant is neither a dense tensor nor numbers"));
    };
    node.fold(value)
}

/// ConstantOfShape.
pub(super) fn constant_of_shape(node: &mut NodeReader<'_>) -> Result<()> {
    let value = match node.attribute("value").and_then(|a| a.t.as_ref()) {
        Some(t) => tensor::read(t, &node.importer.external)?,
        None => Tensor::scalar(0f32),
    };
    let value = value.reshaped(Vec::new()).ok_or_else(|| node.error("the value must have one element"))?;
    let shape = node.plain(0)?;
    let value = node.new_constant("value", value);
    node.emit(Fill, &[Some(shape), Some(value)], Layout::Plain)?;
    Ok(())
}

/// Shape, of the axes `start..end` since opset 15.
pub(super) fn shape(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let clamp = |at: i64| {
        let at = if at < 0 { at.saturating_add(signed) } else { at };
        usize::try_from(at.clamp(0, signed)).unwrap_or(0)
    };
    let (start, end) = (clamp(node.int_or("start", 0)), clamp(node.int_or("end", signed)));
    let end = end.max(start);
    // The sizes of a channels-last value are picked, rather than the value transposed for them.
    let input = node.input(0)?;
    if let (None, Some(x)) =
        (node.importer.existing(input, Layout::Plain), node.importer.existing(input, Layout::ChannelsLast))
    {
        let sizes = node.inner(ShapeOf { start: 0, end: rank, dtype: DType::I64 }, &[Some(x)], "stored")?;
        let axes = (start..end).map(|a| i64::try_from(Layout::ChannelsLast.stored_axis(a, rank)).unwrap_or(0));
        let axes = node.new_constant("axes", Tensor::from_ints(&axes.collect::<Vec<_>>()));
        node.emit(Gather { axis: 0 }, &[Some(sizes), Some(axes)], Layout::Plain)?;
        return Ok(());
    }
    let x = node.plain(0)?;
    node.emit(ShapeOf { start, end, dtype: DType::I64 }, &[Some(x)], Layout::Plain)?;
    Ok(())
}

/// Size, the product of the shape.
pub(super) fn size(node: &mut NodeReader<'_>) -> Result<()> {
    let rank = node.rank(0)?;
    let x = node.value(0, node.layout(0))?;
    let mut total = node.new_constant("one", Tensor::from_ints(&[1]));
    for axis in 0..rank {
        let dim = node.inner(ShapeOf { start: axis, end: axis + 1, dtype: DType::I64 }, &[Some(x)], "dim")?;
        let times = Binary { kind: BinaryKind::Mul, activation: Activation::None };
        total = node.inner(times, &[Some(total), Some(dim)], "product")?;
    }
    let scalar = node.new_constant("scalar", Tensor::from_ints(&[]));
    node.emit(Reshape { allow_zero: false }, &[Some(total), Some(scalar)], Layout::Plain)?;
    Ok(())
}

/// OneHot.
pub(super) fn one_hot(node: &mut NodeReader<'_>) -> Result<()> {
    let axis = node.axis(node.int_or("axis", -1), node.rank(0)? + 1)?;
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?), Some(node.plain(2)?)];
    node.emit(OneHot { axis }, &inputs, Layout::Plain)?;
    Ok(())
}

/// Range.
pub(super) fn range(node: &mut NodeReader<'_>) -> Result<()> {
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?), Some(node.plain(2)?)];
    node.emit(Range, &inputs, Layout::Plain)?;
    Ok(())
}
