//! Matrix products.

use fewbits_graph::ops::{BinaryKind, FullyConnected, MatMul, MatMulInteger};
use fewbits_graph::{Activation, Op, Tensor, ValueId};

use super::constant::{Constant, Relay, Then};
use super::elementwise::arithmetic;
use super::node::NodeReader;
use crate::Result;
use crate::layout::Layout;

/// Gemm: `alpha × A' × B' + beta × C`. With a constant `B` it is a fully-connected layer.
pub(super) fn gemm(node: &mut NodeReader<'_>) -> Result<()> {
    if node.rank(0)? != 2 || node.rank(1)? != 2 {
        return Err(node.error("expected matrices"));
    }
    let (alpha, beta) = (node.float_or("alpha", 1.0), node.float_or("beta", 1.0));
    let (trans_a, trans_b) = (node.flag("transA", false), node.flag("transB", false));
    let out = node.shape(1)?.0[usize::from(!trans_b)].fixed();
    let a = node.plain(0)?;
    if node.constant(1).is_none() || trans_a {
        let b = node.plain(1)?;
        let op = MatMul { transpose_a: trans_a, transpose_b: trans_b };
        return with_addend(node, op.into(), vec![Some(a), Some(b)], alpha, beta);
    }
    let perm = if trans_b { vec![0, 1] } else { vec![1, 0] };
    let relay = Relay::permute(perm);
    let folded = alpha == 1.0 || scale_constant(node, 1, alpha);
    let name = scaled_name(node, 1, if folded { alpha } else { 1.0 })?;
    let w = node.importer.materialize_weights(&name, &relay)?;
    let op = FullyConnected { activation: Activation::None };
    let is_bias = node.has(2) && bias_fits(node, out)? && (beta == 1.0 || scale_constant(node, 2, beta));
    if folded && (!node.has(2) || is_bias) {
        let bias = match is_bias {
            true => Some(bias(node, beta)?),
            false => None,
        };
        node.emit(op, &[Some(a), Some(w), bias], Layout::Plain)?;
        return Ok(());
    }
    let alpha = if folded { 1.0 } else { alpha };
    with_addend(node, op.into(), vec![Some(a), Some(w), None], alpha, beta)
}

/// Whether input 2 has one element for each output.
fn bias_fits(node: &NodeReader<'_>, out: Option<usize>) -> Result<bool> {
    let shape = node.shape(2)?;
    let row = shape.rank() == 1 || (shape.rank() == 2 && node.constant(2).is_some() && shape.0[0].fixed() == Some(1));
    Ok(row && out.is_some() && shape.elements() == out)
}

/// Registers constant input `i` times `factor`; false if it is no float constant.
fn scale_constant(node: &mut NodeReader<'_>, i: usize, factor: f32) -> bool {
    let Some(constant) = node.constant(i).filter(|c| c.quant.is_none() && matches!(c.then, Then::Nothing)).cloned()
    else {
        return false;
    };
    let data: Vec<f32> = constant.tensor.to_f32().iter().map(|v| v * factor).collect();
    let tensor = Tensor::new(constant.tensor.shape().to_vec(), data);
    match scaled_name(node, i, factor) {
        Ok(name) => {
            node.importer.add_constant(&name, Constant { tensor, ..constant });
            true
        }
        Err(_) => false,
    }
}

fn scaled_name(node: &NodeReader<'_>, i: usize, factor: f32) -> Result<String> {
    let name = node.input(i)?;
    Ok(if factor == 1.0 { name.to_owned() } else { format!("{name}_times_{factor}") })
}

/// Input 2 times `beta` as a vector.
fn bias(node: &mut NodeReader<'_>, beta: f32) -> Result<ValueId> {
    if node.constant(2).is_none() {
        return node.plain(2);
    }
    let name = scaled_name(node, 2, beta)?;
    let shape = node.shape(2)?;
    let relay = match (shape.rank(), shape.elements()) {
        (2, Some(n)) => Relay { join: Some(vec![n]), ..Relay::none() },
        _ => Relay::none(),
    };
    node.importer.materialize_weights(&name, &relay)
}

/// `alpha × op(inputs) + beta × C`, step by step.
fn with_addend(node: &mut NodeReader<'_>, op: Op, inputs: Vec<Option<ValueId>>, alpha: f32, beta: f32) -> Result<()> {
    if alpha == 1.0 && (!node.has(2) || beta == 0.0) {
        node.emit(op, &inputs, Layout::Plain)?;
        return Ok(());
    }
    let mut y = node.main_step(op, &inputs, "product")?;
    if alpha != 1.0 {
        let alpha = node.new_constant("alpha", Tensor::scalar(alpha));
        let times = arithmetic(BinaryKind::Mul);
        if !node.has(2) {
            node.emit(times, &[Some(y), Some(alpha)], Layout::Plain)?;
            return Ok(());
        }
        y = node.inner(times, &[Some(y), Some(alpha)], "scaled")?;
    }
    let mut c = node.plain(2)?;
    if beta != 1.0 {
        let beta = node.new_constant("beta", Tensor::scalar(beta));
        c = node.inner(arithmetic(BinaryKind::Mul), &[Some(c), Some(beta)], "addend")?;
    }
    node.emit(arithmetic(BinaryKind::Add), &[Some(y), Some(c)], Layout::Plain)?;
    Ok(())
}

/// MatMul. With a constant matrix on the right it is a fully-connected layer.
pub(super) fn matmul(node: &mut NodeReader<'_>) -> Result<()> {
    let a = node.plain(0)?;
    if node.constant(1).is_some() && node.rank(1)? == 2 && node.rank(0)? > 0 && node.constant(0).is_none() {
        let w = node.weights(1, &Relay::permute(vec![1, 0]))?;
        node.emit(FullyConnected { activation: Activation::None }, &[Some(a), Some(w), None], Layout::Plain)?;
        return Ok(());
    }
    let b = node.plain(1)?;
    node.emit(MatMul::default(), &[Some(a), Some(b)], Layout::Plain)?;
    Ok(())
}

/// MatMulInteger: 8-bit inputs, zero points at run time.
pub(super) fn matmul_integer(node: &mut NodeReader<'_>) -> Result<()> {
    let inputs = [Some(node.plain(0)?), Some(node.plain(1)?), node.optional(2)?, node.optional(3)?];
    node.emit(MatMulInteger, &inputs, Layout::Plain)?;
    Ok(())
}
