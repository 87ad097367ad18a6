//! Matrix products.

use fewbits_graph::ops::{FullyConnected, MatMul};
use fewbits_graph::{DType, Granularity, Node, Tensor};

use super::attribute::{int, ints};
use super::emitter::{Emitter, Form, zero_points};
use super::{input, optional};
use crate::{Result, tensor};

/// Whether a node has float activations and constant int8 weights that integer operators take:
/// dynamic quantization.
pub(super) fn dynamic_weights(w: &Emitter<'_>, node: &Node) -> bool {
    let (Ok(x), Ok(weights)) = (input(node, 0), input(node, 1)) else { return false };
    let (x, weights) = (w.graph.value(x), w.graph.value(weights));
    let matrix = weights.shape.rank() == 2;
    let fits = weights.quant.as_ref().is_some_and(|q| match q.granularity {
        Granularity::PerTensor => true,
        // ConvInteger has one zero point for all channels.
        Granularity::PerChannel { axis } => axis == 0 && (matrix || q.is_symmetric()),
        Granularity::Blocked { .. } => false,
    });
    x.dtype == DType::F32 && x.quant.is_none() && weights.dtype == DType::I8 && weights.data.is_some() && fits
}

/// FullyConnected → Gemm for matrices, else MatMul and Add; with int8 weights and float
/// activations → MatMulInteger.
///
/// Matrices behind a conversion from 4 bits or blocks are MatMul's, too: ONNX Runtime makes that pair
/// its MatMulNBits, and would unpack those of a Gemm in every run (seen: 0.25 ms and 1.8).
pub(super) fn fully_connected(w: &mut Emitter<'_>, node: &Node, _op: &FullyConnected) -> Result<()> {
    if dynamic_weights(w, node) {
        return dynamic(w, node);
    }
    let (x, weights) = (input(node, 0)?, input(node, 1)?);
    let a = w.float(x, Form::Stored)?;
    let weight_only = w.graph.value(x).dtype.is_float() && w.is_narrow(weights);
    if w.rank(x) == 2 && !weight_only {
        let b = w.weights(weights, &[0, 1])?;
        let c = match optional(node, 2) {
            Some(bias) => w.bias(bias)?,
            None => String::new(),
        };
        let out = w.result(node, 0, Form::Stored)?;
        w.node(node, "Gemm", vec![a, b, c], vec![out], vec![int("transB", 1)]);
        return Ok(());
    }
    let b = w.weights(weights, &[1, 0])?;
    let Some(bias) = optional(node, 2) else {
        let out = w.result(node, 0, Form::Stored)?;
        w.node(node, "MatMul", vec![a, b], vec![out], Vec::new());
        return Ok(());
    };
    let product = w.step("MatMul", vec![a, b], Vec::new());
    let bias = w.float(bias, Form::Stored)?;
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "Add", vec![product, bias], vec![out], Vec::new());
    Ok(())
}

/// The form of ONNX Runtime's `quantize_dynamic`, which it fuses into one kernel.
fn dynamic(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let (x, weights) = (input(node, 0)?, input(node, 1)?);
    let [quantized, scale, zero_point] = w.dynamic(x, Form::Stored)?;
    let quant = w.graph.value(weights).quant.clone();
    let quant = quant.ok_or_else(|| super::error(node, "expected quantized weights"))?;
    let b = w.unsigned_weights(weights, &[1, 0])?;
    let channels = quant.scales.len();
    let shape = if channels == 1 { Vec::new() } else { vec![channels] };
    let moved: Vec<i32> = quant.zero_points.iter().map(|z| z.saturating_add(128)).collect();
    let zeros = zero_points(DType::U8, shape.clone(), &moved);
    let zeros = zeros.ok_or_else(|| super::error(node, "a zero point is out of range"))?;
    let zeros = w.literal(&zeros)?;
    let scales = w.literal(&Tensor::new(shape, quant.scales.clone()))?;
    let factor = w.step("Mul", vec![scale, scales], Vec::new());
    let product = w.main_step(node, "MatMulInteger", vec![quantized, b, zero_point, zeros], Vec::new());
    let product = w.step("Cast", vec![product], vec![int("to", tensor::code(DType::F32).into())]);
    let Some(bias) = optional(node, 2) else {
        let out = w.result(node, 0, Form::Stored)?;
        w.extra("Mul", vec![product, factor], out, Vec::new());
        return Ok(());
    };
    let product = w.step("Mul", vec![product, factor], Vec::new());
    let bias = w.float(bias, Form::Stored)?;
    let out = w.result(node, 0, Form::Stored)?;
    w.extra("Add", vec![product, bias], out, Vec::new());
    Ok(())
}

/// MatMul; transposed matrices of rank 2 → Gemm, others get a Transpose.
pub(super) fn matmul(w: &mut Emitter<'_>, node: &Node, op: &MatMul) -> Result<()> {
    let (a, b) = (input(node, 0)?, input(node, 1)?);
    let (rank_a, rank_b) = (w.rank(a), w.rank(b));
    let (mut a, mut b) = (w.float(a, Form::Stored)?, w.float(b, Form::Stored)?);
    if (op.transpose_a || op.transpose_b) && rank_a == 2 && rank_b == 2 {
        let attributes = vec![int("transA", op.transpose_a.into()), int("transB", op.transpose_b.into())];
        let out = w.result(node, 0, Form::Stored)?;
        w.node(node, "Gemm", vec![a, b], vec![out], attributes);
        return Ok(());
    }
    if op.transpose_a && rank_a > 1 {
        a = swapped(w, a, rank_a);
    }
    if op.transpose_b && rank_b > 1 {
        b = swapped(w, b, rank_b);
    }
    let out = w.result(node, 0, Form::Stored)?;
    w.node(node, "MatMul", vec![a, b], vec![out], Vec::new());
    Ok(())
}

fn swapped(w: &mut Emitter<'_>, x: String, rank: usize) -> String {
    let mut perm: Vec<i64> = (0..super::attribute::signed(rank)).collect();
    perm.swap(rank - 1, rank - 2);
    w.step("Transpose", vec![x], vec![ints("perm", &perm)])
}

/// MatMulInteger.
pub(super) fn matmul_integer(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let mut inputs = Vec::new();
    for i in 0..4 {
        inputs.push(match optional(node, i) {
            Some(id) => w.raw(id, Form::Stored)?,
            None => String::new(),
        });
    }
    let out = w.claim(node.outputs[0], Form::Stored);
    w.node(node, "MatMulInteger", inputs, vec![out], Vec::new());
    Ok(())
}
