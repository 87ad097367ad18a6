//! Weight-only quantization: integer weights of 2 to 8 bits, everything else float. Nothing is quantized
//! on the fly, so all that is lost is what rounding the weights loses.
//!
//! Few bits need scales for fewer weights than a channel has: matrices may get one for each block of
//! consecutive inputs of an output (the *group-wise* form of ZeroQuant, Yao et al., NeurIPS 2022), which
//! is also the form of ONNX's blocked `DequantizeLinear`.

use std::collections::BTreeMap;

use fewbits_graph::ops::Dequantize;
use fewbits_graph::{DType, Granularity, Graph, Node, Op, Quantization, Shape, Tensor, ValueId};
use serde::{Deserialize, Serialize};

use crate::bias::{correct_float_bias, dequantized};
use crate::dynamic::float_weights;
use crate::plan::excluded_nodes;
use crate::rounding::{Filters, Integers};
use crate::tables::quantize_tables;
use crate::weights::candidate_scales;
use crate::{Format, Recipe, Result, Statistics, WeightRounding, WeightScales};

/// Inputs of an output that share a scale: a power of two of at least 16, which is what runtimes have
/// kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct BlockSize(usize);

impl TryFrom<usize> for BlockSize {
    type Error = String;

    fn try_from(size: usize) -> std::result::Result<Self, String> {
        if size >= 16 && size.is_power_of_two() {
            Ok(BlockSize(size))
        } else {
            Err(format!("blocks of {size} weights: a power of two from 16 is possible"))
        }
    }
}

impl From<BlockSize> for usize {
    fn from(size: BlockSize) -> usize {
        size.0
    }
}

/// Gives the weights of convolutions and fully-connected layers integer types, behind a `Dequantize`.
///
/// There is one scale for a channel (for the tensor, if `recipe.per_tensor`), or for each block of
/// `recipe.block` inputs of an output of a fully-connected layer; the last block may be shorter, but in
/// TFLite, where such layers have a scale for a channel. All values of the type are used, −8 of 4 bits
/// too. Embedding tables get int8 rows. With `statistics` of the graph, biases take back what rounding
/// shifts.
///
/// # Errors
/// If `recipe.exclude` names a node that does not exist.
pub fn quantize_weight_only(
    graph: &Graph,
    statistics: Option<&Statistics>,
    recipe: &Recipe,
    format: Format,
) -> Result<Graph> {
    let excluded = excluded_nodes(graph, recipe)?;
    let mut out = graph.clone();
    // By layout too: two kinds of layers may share a tensor.
    let mut done: BTreeMap<(ValueId, usize, usize), (ValueId, Vec<f64>)> = BTreeMap::new();
    let mut conversions: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
    for index in 0..out.nodes.len() {
        let node = &out.nodes[index];
        let Some(id) = float_weights(&out, node).filter(|_| !excluded.contains(node.name.as_str())) else { continue };
        let value = out.value(id).clone();
        let Some((data, filters)) = value.data.as_ref().and_then(|d| Some((d, Filters::of(&node.op, d.shape())?)))
        else {
            continue;
        };
        let block = block_of(&node.op, filters, recipe, format);
        let (new, rounded) = done.entry((id, filters.axis, block.unwrap_or(0))).or_insert_with(|| {
            let (tensor, quant) = quantize_blocks(data, filters, block, recipe);
            let rounded = dequantized(&tensor, &quant);
            let stored = out.add_constant(format!("{}_int{}", value.name, u8::from(recipe.weights)), tensor);
            out.value_mut(stored).quant = Some(quant);
            let real = out.add_value(format!("{}_dequantized", value.name), DType::F32, Shape::fixed(data.shape()));
            conversions.entry(index).or_default().push(Node {
                name: format!("{}_dequantize", value.name),
                op: Dequantize.into(),
                inputs: vec![Some(stored)],
                outputs: vec![real],
            });
            (real, rounded)
        });
        out.nodes[index].inputs[1] = Some(*new);
        correct_float_bias(&mut out, index, data, rounded, statistics, recipe);
    }
    let nodes = std::mem::take(&mut out.nodes).into_iter().enumerate();
    out.nodes =
        nodes.flat_map(|(i, node)| conversions.remove(&i).unwrap_or_default().into_iter().chain([node])).collect();
    quantize_tables(&mut out, &excluded);
    out.prune();
    out.infer()?;
    out.validate()?;
    Ok(out)
}

/// Names of the fully-connected layers of a weight-only graph that were to have blocks of `size` and have
/// a scale for each channel instead.
pub fn layers_without_blocks(graph: &Graph, size: BlockSize) -> Vec<String> {
    let producers = graph.producers();
    let per_channel = |node: &&Node| {
        let stored = || {
            let conversion = graph.node(producers[node.inputs.get(1).copied().flatten()?.0]?);
            let value = graph.value(conversion.inputs.first().copied().flatten()?);
            Some((value.quant.as_ref()?.granularity, value.data.as_ref()?.shape().last().copied()?))
        };
        let long = |(granularity, inputs)| !matches!(granularity, Granularity::Blocked { .. }) && inputs > size.0;
        matches!(node.op, Op::FullyConnected(_)) && stored().is_some_and(long)
    };
    graph.nodes.iter().filter(per_channel).map(|node| node.name.clone()).collect()
}

/// The blocks of a layer, `None` for none.
fn block_of(op: &Op, filters: Filters<'_>, recipe: &Recipe, format: Format) -> Option<usize> {
    let block = recipe.block.map(usize::from).filter(|_| matches!(op, Op::FullyConnected(_)))?;
    let inputs = *filters.shape.last()?;
    // In TFLite, blocks are the rows of a matrix that is reshaped.
    let expressible = format == Format::Onnx || inputs.is_multiple_of(block);
    (inputs > block && expressible).then_some(block)
}

/// Weights in integers of `recipe.weights` bits, stored as int8, and their parameters.
fn quantize_blocks(
    weights: &Tensor,
    filters: Filters<'_>,
    block: Option<usize>,
    recipe: &Recipe,
) -> (Tensor, Quantization) {
    let data = weights.to_f32();
    let Some(size) = block else {
        let axis = (!recipe.per_tensor).then_some(filters.axis);
        let mut quant = match axis {
            Some(axis) => Quantization::per_channel(axis, vec![1.0; filters.shape[axis]]),
            None => Quantization::per_tensor(1.0, 0),
        };
        let rounded = quantize_in(&data, filters, &mut quant, recipe);
        return (Tensor::new(filters.shape.to_vec(), rounded), quant);
    };
    // A block is a row of its own, the last of an output filled up with zeros.
    let inputs = filters.shape[1];
    let rows = inputs.div_ceil(size) * filters.shape[0];
    let mut padded = Vec::with_capacity(rows * size);
    for row in data.chunks_exact(inputs) {
        padded.extend_from_slice(row);
        padded.resize(padded.len().next_multiple_of(size), 0.0);
    }
    let (shape, mut quant) = ([rows, size], Quantization::per_channel(0, vec![1.0; rows]));
    let rounded = quantize_in(&padded, Filters { shape: &shape, axis: 0, taps_meet: true }, &mut quant, recipe);
    let whole = rounded.chunks_exact(inputs.next_multiple_of(size));
    let rounded: Vec<i8> = whole.flat_map(|row| &row[..inputs]).copied().collect();
    quant.granularity = Granularity::Blocked { axis: 1, size };
    (Tensor::new(filters.shape.to_vec(), rounded), quant)
}

/// Chooses the scales of `quant` and rounds.
fn quantize_in(data: &[f32], filters: Filters<'_>, quant: &mut Quantization, recipe: &Recipe) -> Vec<i8> {
    let grid = Integers::all_of(recipe.weights);
    let parameter = quant.parameter_of(filters.shape);
    let mut groups: Vec<Vec<f32>> = vec![Vec::new(); quant.scales.len()];
    data.iter().enumerate().for_each(|(i, &x)| groups[parameter(i)].push(x));
    let method = recipe.weight_scales.resolved(recipe.weights);
    quant.scales.iter_mut().zip(&groups).for_each(|(scale, group)| *scale = best_scale(group, grid, method));
    let real = |i: usize| f64::from(data[i]) / f64::from(quant.scales[parameter(i)]);
    let mut rounded: Vec<i8> = (0..data.len()).map(|i| grid.nearest(real(i))).collect();
    if recipe.weight_rounding == WeightRounding::Balanced {
        filters.balance(&grid, real, &mut rounded);
    }
    rounded
}

/// The scale of weights that share one.
fn best_scale(weights: &[f32], grid: Integers, method: WeightScales) -> f32 {
    let needed = |x: &f32| if *x < 0.0 { x / f32::from(grid.smallest) } else { x / f32::from(grid.largest) };
    let least = weights.iter().map(needed).fold(0.0f32, f32::max);
    // Any scale holds zeros.
    let Some(candidates) = candidate_scales(weights, grid.largest).filter(|_| least.is_normal()) else { return 1.0 };
    if method != WeightScales::Mse {
        return least;
    }
    let error = |scale: f32| -> f64 {
        let one = |&x: &f32| {
            (f64::from(grid.nearest(f64::from(x) / f64::from(scale))) * f64::from(scale) - f64::from(x)).powi(2)
        };
        weights.iter().map(one).sum()
    };
    let tried = candidates.chain([least]).map(|scale| (error(scale), scale));
    tried.reduce(|a, b| if b.0 < a.0 { b } else { a }).map_or(least, |(_, scale)| scale)
}
