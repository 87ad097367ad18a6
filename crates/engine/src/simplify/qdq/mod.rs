//! Graphs quantized by other tools, turned into ours: integer edges instead of `Quantize` and
//! `Dequantize` pairs around floating-point operators.
//!
//! A Q/DQ graph says "this operator runs in integers" by dequantizing its inputs and quantizing its
//! output (Jacob et al. 2018; the form of ONNX Runtime, TensorRT and PyTorch exports). Here the
//! operator itself gets the integer edges.

pub(super) mod blocks;
pub(super) mod constants;
pub(super) mod dynamic;
pub(super) mod edges;
pub(super) mod fuse;
pub(super) mod movement;
pub(super) mod unsigned;
pub(super) mod weights;

use fewbits_graph::{DType, Granularity, Op, Quantization, Tensor, ValueId};

use super::edit::Edit;

/// The integer value that `v` is the dequantization of.
fn dequantized_from(edit: &Edit<'_>, v: ValueId) -> Option<ValueId> {
    let node = edit.producer(v)?;
    matches!(edit.op(node), Op::Dequantize(_)).then(|| edit.input(node, 0))?
}

/// Scale and zero point of an `int8` value with one of each.
fn int8_parameters(edit: &Edit<'_>, v: ValueId) -> Option<(f32, i32)> {
    let value = edit.value(v);
    value.quant.as_ref().filter(|_| value.dtype == DType::I8)?.as_per_tensor()
}

/// 8-bit constants with zero point 128 are the symmetric ones of signed type; in general
/// `q − zero point` stays as it is when 128 is taken off both.
fn signed(data: &Tensor) -> Option<Tensor> {
    let bytes = data.as_slice::<u8>().filter(|_| data.dtype() == DType::U8)?;
    let moved: Vec<i8> = bytes.iter().map(|b| (b ^ 0x80).cast_signed()).collect();
    Some(Tensor::new(data.shape().to_vec(), moved))
}

fn signed_quantization(quant: &Quantization) -> Quantization {
    Quantization { zero_points: quant.zero_points.iter().map(|z| z - 128).collect(), ..quant.clone() }
}

/// Scale of each index along `axis`, as often as there are indices; `None` if the scales lie along
/// another axis.
fn scales_along(quant: &Quantization, axis: usize, indices: usize) -> Option<Vec<f32>> {
    match quant.granularity {
        Granularity::PerTensor => Some(vec![*quant.scales.first()?; indices]),
        Granularity::PerChannel { axis: own } if own == axis && quant.scales.len() == indices => {
            Some(quant.scales.clone())
        }
        _ => None,
    }
}
