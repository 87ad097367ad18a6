//! QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

use fewbits_graph::ops::{BinaryKind, Dequantize, DynamicQuantize, Quantize};
use fewbits_graph::{DType, Granularity, Quantization, Shape, Tensor, TensorBytes};

use super::constant::{Constant, Then};
use super::elementwise::{arithmetic, operand};
use super::node::NodeReader;
use crate::Result;
use crate::layout::Layout;
use crate::proto::data_type;

/// Scale (input `at`) and zero point (the one after it), for a tensor of `shape` in ONNX order.
/// `axis` is that of per-channel scales.
pub(super) fn parameters(node: &NodeReader<'_>, at: usize, shape: &Shape, axis: i64) -> Result<Quantization> {
    let scales = node.tensor(at).ok_or_else(|| node.error("the scale must be a constant"))?;
    let zero_points = match node.has(at + 1) {
        true => {
            let t = node.tensor(at + 1).ok_or_else(|| node.error("the zero point must be a constant"))?;
            let ints = t.to_i64().ok_or_else(|| node.error("a zero point must be an integer"))?;
            ints.into_iter().map(|z| i32::try_from(z).ok()).collect::<Option<Vec<i32>>>()
        }
        false => Some(vec![0; scales.elements()]),
    };
    let zero_points = zero_points.ok_or_else(|| node.error("a zero point is out of range"))?;
    if zero_points.len() != scales.elements() {
        return Err(node.error(format!("{} scales but {} zero points", scales.elements(), zero_points.len())));
    }
    let granularity = granularity(node, scales, shape, axis)?;
    Ok(Quantization { granularity, scales: scales.to_f32(), zero_points })
}

fn granularity(node: &NodeReader<'_>, scales: &Tensor, shape: &Shape, axis: i64) -> Result<Granularity> {
    let block = node.int_or("block_size", 0);
    if scales.elements() == 1 && block == 0 {
        return Ok(Granularity::PerTensor);
    }
    let axis = node.axis(axis, shape.rank())?;
    if block == 0 {
        return Ok(Granularity::PerChannel { axis });
    }
    let size = usize::try_from(block).map_err(|_| node.error("block_size is negative"))?;
    Ok(Granularity::Blocked { axis, size })
}

/// The parameters of the same tensor in another layout.
fn stored(quant: Quantization, layout: Layout, rank: usize) -> Quantization {
    let granularity = match quant.granularity {
        Granularity::PerChannel { axis } => Granularity::PerChannel { axis: layout.stored_axis(axis, rank) },
        other => other,
    };
    Quantization { granularity, ..quant }
}

/// The integer type that QuantizeLinear produces.
fn quantized_type(node: &NodeReader<'_>) -> Result<DType> {
    if node.has(2) {
        return match node.dtype(2)? {
            // uint16 constants are read as int32.
            DType::I32 => Err(node.error("16-bit unsigned quantization is not supported")),
            dtype => Ok(dtype),
        };
    }
    match i32::try_from(node.int_or("output_dtype", 0)).unwrap_or(-1) {
        0 | data_type::UINT8 => Ok(DType::U8),
        data_type::INT8 => Ok(DType::I8),
        data_type::INT16 => Ok(DType::I16),
        data_type::INT4 => Ok(DType::I4),
        other => Err(node.error(format!("output type {other} is not supported"))),
    }
}

/// QuantizeLinear. A constant is quantized at once.
pub(super) fn quantize(node: &mut NodeReader<'_>) -> Result<()> {
    let dtype = quantized_type(node)?;
    let shape = node.shape(0)?;
    let quant = parameters(node, 1, &shape, node.int_or("axis", 1))?;
    quant.check(dtype, &shape).map_err(|what| node.error(what))?;
    if let Some(tensor) = node.tensor(0).cloned()
        && let Some(tensor) = quantized(&tensor, dtype, &quant)
    {
        let out = node.output(0)?;
        let constant = Constant { tensor, quant: Some(quant), stored: out.clone(), then: Then::Nothing };
        node.importer.add_constant(&out, constant);
        return Ok(());
    }
    let blocked = matches!(quant.granularity, Granularity::Blocked { .. });
    let (x, layout) = if blocked { (node.plain(0)?, Layout::Plain) } else { operand(node)? };
    let quant = stored(quant, layout, shape.rank());
    node.emit_quantized(Quantize, &[Some(x)], layout, Some((dtype, quant)))?;
    Ok(())
}

/// The constant in integers; `None` for blocks and 4-bit types.
fn quantized(tensor: &Tensor, dtype: DType, quant: &Quantization) -> Option<Tensor> {
    let (low, high) = dtype.integer_range()?;
    let inner = match quant.granularity {
        Granularity::PerTensor => tensor.elements().max(1),
        Granularity::PerChannel { axis } => tensor.shape().get(axis + 1..)?.iter().product::<usize>().max(1),
        Granularity::Blocked { .. } => return None,
    };
    let ints = tensor.to_f32().into_iter().enumerate().map(|(i, v)| {
        let channel = (i / inner) % quant.scales.len();
        let q = (v / quant.scales[channel]).round_ties_even() + quant.zero_points[channel] as f32;
        // A saturating conversion; NaN becomes 0.
        (q as i32).clamp(low, high)
    });
    let bytes: Vec<u8> = match dtype {
        // The clamp above makes the low byte the whole number.
        DType::I8 | DType::U8 => ints.map(|q| q.to_le_bytes()[0]).collect(),
        DType::I16 => ints.flat_map(|q| [q.to_le_bytes()[0], q.to_le_bytes()[1]]).collect(),
        _ => return None,
    };
    Tensor::from_bytes(dtype, tensor.shape().to_vec(), TensorBytes::from(bytes))
}

/// DequantizeLinear. A constant keeps its integers, in whatever layout its readers ask for, with
/// an explicit node.
pub(super) fn dequantize(node: &mut NodeReader<'_>) -> Result<()> {
    let shape = node.shape(0)?;
    let quant = parameters(node, 1, &shape, node.int_or("axis", 1))?;
    if let Some(constant) = node.constant(0).filter(|c| matches!(c.then, Then::Nothing)).cloned() {
        quant.check(constant.tensor.dtype(), &shape).map_err(|what| node.error(what))?;
        let out = node.output(0)?;
        let then = Then::Dequantize { node: node.name.clone() };
        node.importer.add_constant(&out, Constant { quant: Some(quant), then, ..constant });
        return Ok(());
    }
    let blocked = matches!(quant.granularity, Granularity::Blocked { .. });
    let (x, layout) = if blocked { (node.plain(0)?, Layout::Plain) } else { operand(node)? };
    let quant = stored(quant, layout, shape.rank());
    let value = node.importer.graph.value(x);
    quant.check(value.dtype, &value.shape).map_err(|what| node.error(what))?;
    let value = node.importer.graph.value_mut(x);
    match value.quant.as_ref() {
        Some(present) if *present != quant => {
            let present = present.clone();
            reinterpreted(node, x, layout, &present, &quant)
        }
        present => {
            if present.is_none() {
                node.importer.set_quantization(x, &quant);
            }
            node.emit(Dequantize, &[Some(x)], layout)?;
            Ok(())
        }
    }
}

/// The integers of an edge read with other parameters than they were written with: an affine map
/// of the real numbers, `(r / s₁ + z₁ − z₂) × s₂`.
fn reinterpreted(
    node: &mut NodeReader<'_>,
    x: fewbits_graph::ValueId,
    layout: Layout,
    from: &Quantization,
    to: &Quantization,
) -> Result<()> {
    let (Some((s1, z1)), Some((s2, z2))) = (from.as_per_tensor(), to.as_per_tensor()) else {
        return Err(node.error("the scales of the values differ from those they were quantized with"));
    };
    let real = node.inner(Dequantize, &[Some(x)], "real")?;
    let factor = node.new_constant("factor", Tensor::scalar(s2 / s1));
    let offset = node.new_constant("offset", Tensor::scalar((z1 - z2) as f32 * s2));
    let scaled = node.inner(arithmetic(BinaryKind::Mul), &[Some(real), Some(factor)], "scaled")?;
    node.emit(arithmetic(BinaryKind::Add), &[Some(scaled), Some(offset)], layout)?;
    Ok(())
}

/// DynamicQuantizeLinear.
pub(super) fn dynamic(node: &mut NodeReader<'_>) -> Result<()> {
    let (x, layout) = operand(node)?;
    node.emit_many(DynamicQuantize, &[Some(x)], layout, 3)
}
