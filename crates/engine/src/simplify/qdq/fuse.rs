//! Operators between `Dequantize` and `Quantize` as operators on integer edges.

use fewbits_graph::ops::{BinaryKind, ReduceKind, UnaryKind};
use fewbits_graph::{DType, Granularity, Graph, NodeId, Op, Quantization, Result, Tensor, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::super::linear::weights_of;
use super::{dequantized_from, int8_parameters, scales_along};

/// Gives integer edges to the operators that have integer kernels, where all their data comes from
/// `Dequantize` of `int8` edges and their output goes to one `Quantize` to `int8` and nowhere else.
///
/// Weights must be symmetric constants, scaled as a whole or by output channel; those with zero
/// points leave the operator in floating point. Biases become `int32` with the scale of input times
/// weights (Jacob et al. 2018, section 2.4).
pub(in super::super) fn fuse_integer_operators(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if !edit.is_removed(node) {
            fuse(&mut edit, node);
        }
    }
    edit.finish()
}

/// How the inputs of an operator with integer kernels are stored.
enum Inputs {
    /// Data in these many leading slots.
    Data(usize),
    /// Data in slot 0, weights with this output axis in slot 1, an optional bias in slot 2.
    Layer { out_axis: usize },
}

fn integer_inputs(op: &Op, count: usize) -> Option<Inputs> {
    use BinaryKind::{Add, Max, Min, Mul, Sub};
    match op {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) => Some(Inputs::Layer { out_axis: 0 }),
        Op::DepthwiseConv2d(_) => Some(Inputs::Layer { out_axis: 3 }),
        Op::Binary(op) => matches!(op.kind, Add | Sub | Mul | Min | Max).then_some(Inputs::Data(2)),
        Op::MatMul(_) | Op::PRelu(_) => Some(Inputs::Data(2)),
        Op::Unary(op) => (op.kind != UnaryKind::Not).then_some(Inputs::Data(1)),
        Op::Reduce(op) => (op.kind == ReduceKind::Mean).then_some(Inputs::Data(1)),
        Op::Softmax(_) | Op::Pool2d(_) | Op::Resize(_) => Some(Inputs::Data(1)),
        Op::Concat(_) => Some(Inputs::Data(count)),
        _ => None,
    }
}

fn fuse(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let out = edit.out(node);
    let inputs = integer_inputs(edit.op(node), edit.node(node).inputs.len())?;
    let quantize = edit.sole_reader(out).filter(|&q| matches!(edit.op(q), Op::Quantize(_)))?;
    int8_parameters(edit, edit.out(quantize))?;
    match inputs {
        Inputs::Data(count) => {
            let sources: Option<Vec<ValueId>> = (0..count).map(|slot| int8_source(edit, node, slot)).collect();
            for (slot, source) in sources?.into_iter().enumerate() {
                edit.set_input(node, slot, Some(source));
            }
        }
        Inputs::Layer { out_axis } => fuse_layer(edit, node, out_axis)?,
    }
    edit.absorb(node, quantize);
    Some(())
}

/// The `int8` value that input `slot` is the dequantization of.
fn int8_source(edit: &Edit<'_>, node: NodeId, slot: usize) -> Option<ValueId> {
    let source = dequantized_from(edit, edit.input(node, slot)?)?;
    int8_parameters(edit, source).map(|_| source)
}

fn fuse_layer(edit: &mut Edit<'_>, node: NodeId, out_axis: usize) -> Option<()> {
    let x = int8_source(edit, node, 0)?;
    let (scale, _) = int8_parameters(edit, x)?;
    let weights = weights_of(edit, node, 1).filter(|w| w.dequantize.is_some())?;
    let value = edit.value(weights.constant);
    let quant = value.quant.clone().filter(|q| matches!(value.dtype, DType::I8 | DType::I4) && q.is_symmetric())?;
    let channels = value.shape.0.get(out_axis)?.fixed()?;
    let products: Vec<f32> = scales_along(&quant, out_axis, channels)?.iter().map(|w| w * scale).collect();
    let bias = match edit.input(node, 2) {
        Some(b) => Some((b, bias_constant(edit, b, &products)?)),
        None => None,
    };
    edit.set_input(node, 0, Some(x));
    edit.set_input(node, 1, Some(weights.constant));
    if let Some((old, data)) = bias {
        set_bias(edit, node, old, data, bias_quantization(&quant, products));
    }
    Some(())
}

/// The scales of a bias: one where the weights have one, else one for each channel.
fn bias_quantization(weights: &Quantization, products: Vec<f32>) -> Quantization {
    match weights.granularity {
        Granularity::PerTensor => Quantization::per_tensor(products.first().copied().unwrap_or(1.0), 0),
        _ => Quantization::per_channel(0, products),
    }
}

/// A bias, given as floats or as dequantized integers, in units of `scales`; `None` if it is not
/// constant or does not fit 32 bits.
fn bias_constant(edit: &Edit<'_>, bias: ValueId, scales: &[f32]) -> Option<Tensor> {
    let real: Vec<f64> = match edit.floats(bias) {
        Some(numbers) => numbers.into_iter().map(f64::from).collect(),
        None => dequantized_numbers(edit, dequantized_from(edit, bias)?)?,
    };
    let usable = real.len() == scales.len() && scales.iter().all(|s| s.is_finite() && *s > 0.0);
    let element = |(b, s): (&f64, &f32)| {
        let q = (b / f64::from(*s)).round_ties_even();
        // Exact: the bounds of i32 are f64 numbers.
        (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&q).then_some(q as i32)
    };
    let integers: Option<Vec<i32>> = real.iter().zip(scales).map(element).collect();
    integers.filter(|_| usable).map(|q| Tensor::new(vec![q.len()], q))
}

/// `(q − zero_point) × scale` of a constant vector.
fn dequantized_numbers(edit: &Edit<'_>, constant: ValueId) -> Option<Vec<f64>> {
    let value = edit.value(constant);
    let (integers, quant) = (value.data.as_ref()?.to_i64()?, value.quant.as_ref()?);
    let scales = scales_along(quant, 0, integers.len())?;
    let zero_point = |i: usize| quant.zero_points[if quant.zero_points.len() == 1 { 0 } else { i }];
    let real = |(i, &q): (usize, &i64)| (q - i64::from(zero_point(i))) as f64 * f64::from(scales[i]);
    Some(integers.iter().enumerate().map(real).collect())
}

/// Stores the bias under the name it had, where nothing else reads it.
fn set_bias(edit: &mut Edit<'_>, node: NodeId, old: ValueId, data: Tensor, quant: Quantization) {
    if let Some(stored) = dequantized_from(edit, old) {
        edit.set_input(node, 2, Some(stored));
        if let Some(dequantize) = edit.producer(old).filter(|_| edit.readers(old).is_empty() && !edit.is_output(old)) {
            edit.remove(dequantize);
        }
    }
    edit.set_constant(node, 2, data, Some(quant), "");
}
