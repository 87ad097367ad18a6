//! Folding of quantized constants.

use fewbits_graph::{DType, Granularity, Graph, NodeId, Op, Quantization, Result, Tensor};

use super::super::Context;
use super::super::edit::Edit;
use super::scales_along;

/// Quantizes constants that a `Quantize` reads (weights exported as floats behind a Q/DQ pair), and
/// moves the elements of quantized constants behind transposes and reshapes.
pub(in super::super) fn fold_quantized_constants(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let out = edit.out(node);
        if edit.is_output(out) {
            continue;
        }
        if let Some(data) = folded(&edit, node) {
            edit.remove(node);
            edit.value_mut(out).data = Some(data);
        }
    }
    edit.finish()
}

fn folded(edit: &Edit<'_>, node: NodeId) -> Option<Tensor> {
    let x = edit.input(node, 0)?;
    let (data, out) = (edit.constant(x)?, edit.value(edit.out(node)));
    let per_tensor = || out.quant.as_ref().is_some_and(|q| q.granularity == Granularity::PerTensor);
    match edit.op(node) {
        Op::Quantize(_) => quantized(data, out.quant.as_ref()?, out.dtype),
        // The parameters of both sides are the same by then: see `movement`.
        Op::Transpose(op) if out.quant.is_some() => data.transposed(&op.perm),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) if per_tensor() => {
            data.reshaped(out.shape.to_fixed()?)
        }
        _ => None,
    }
}

/// `saturate(round_half_even(x ÷ scale) + zero_point)` of each element; `None` for other than 8-bit
/// types and for block-wise scales.
fn quantized(data: &Tensor, quant: &Quantization, dtype: DType) -> Option<Tensor> {
    let numbers = data.dtype().is_float().then(|| data.to_f32())?;
    let axis = match quant.granularity {
        Granularity::PerTensor => 0,
        Granularity::PerChannel { axis } => axis,
        Granularity::Blocked { .. } => return None,
    };
    // A tensor without axes is one channel.
    let channels = data.shape().get(axis).copied().unwrap_or(1);
    let inner: usize = data.shape().iter().skip(axis + 1).product();
    let scales = scales_along(quant, axis, channels)?;
    let (low, high) = dtype.integer_range()?;
    let shape = data.shape().to_vec();
    let element = |(i, x): (usize, &f32)| {
        let channel = i / inner.max(1) % channels.max(1);
        let zero_point = quant.zero_points[if quant.zero_points.len() == 1 { 0 } else { channel }];
        // Saturation is what `as` does, too: a NaN becomes 0, infinities the bounds.
        ((x / scales[channel]).round_ties_even() as i64)
            .saturating_add(i64::from(zero_point))
            .clamp(low.into(), high.into())
    };
    let elements = numbers.iter().enumerate().map(element);
    // Both conversions are lossless after the clamp.
    match dtype {
        DType::I8 => Some(Tensor::new(shape, elements.map(|q| q as i8).collect())),
        DType::U8 => Some(Tensor::new(shape, elements.map(|q| q as u8).collect())),
        _ => None,
    }
}
