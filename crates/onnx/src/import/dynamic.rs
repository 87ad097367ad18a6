//! Dynamic quantization read back: `DynamicQuantizeLinear` → `MatMulInteger` or `ConvInteger` →
//! `Cast` → `Mul` by the scales (→ `Add` of a bias), as ONNX Runtime's `quantize_dynamic` and our
//! writer spell it, is the float operator with 8-bit weights.

use fewbits_graph::ops::{BinaryKind, FullyConnected};
use fewbits_graph::{Activation, DType, Graph, Node, NodeId, Op, Quantization, Shape, Tensor, Value, ValueId};

use crate::Result;

/// The readers and producers of every value, as they are before any change.
struct Edges {
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
}

impl Edges {
    fn of(graph: &Graph) -> Self {
        Edges { producers: graph.producers(), consumers: graph.consumers() }
    }

    /// The only reader of a value that is no public output.
    fn only_reader<'g>(&self, graph: &'g Graph, value: ValueId) -> Option<&'g Node> {
        match self.consumers[value.0].as_slice() {
            &[one] if !graph.outputs.contains(&value) => Some(graph.node(one)),
            _ => None,
        }
    }
}

/// What was found around one integer product.
struct Match {
    node: NodeId,
    x: ValueId,
    weights: ValueId,
    zero_points: Vec<i32>,
    scales: Vec<f32>,
    bias: Option<ValueId>,
    out: ValueId,
    last: NodeId,
}

/// Collapses every occurrence of the pattern. Dead nodes are left to `Graph::prune`.
pub(crate) fn collapse(graph: &mut Graph) -> Result<()> {
    let edges = Edges::of(graph);
    let matches: Vec<Match> = graph.node_ids().filter_map(|n| find(graph, &edges, n)).collect();
    // Two products may share their weights: each gets its own, so none is changed under the other.
    for found in matches {
        rewrite(graph, &found);
    }
    Ok(())
}

fn find(graph: &Graph, edges: &Edges, id: NodeId) -> Option<Match> {
    let node = graph.node(id);
    if !matches!(node.op, Op::MatMulInteger(_) | Op::ConvInteger(_)) {
        return None;
    }
    let input = |i: usize| node.inputs.get(i).copied().flatten();
    let (quantized, weights) = (input(0)?, input(1)?);
    let source = graph.node(edges.producers[quantized.0]?);
    if !matches!(source.op, Op::DynamicQuantize(_))
        || source.outputs[0] != quantized
        || input(2) != Some(source.outputs[2])
    {
        return None;
    }
    let constant = graph.value(weights).data.as_ref()?;
    let rank = if matches!(node.op, Op::MatMulInteger(_)) { 2 } else { 4 };
    if constant.shape().len() != rank || !matches!(constant.dtype(), DType::I8 | DType::U8) {
        return None;
    }
    let channels = if rank == 2 { constant.shape()[1] } else { constant.shape()[0] };
    let zero_points = match input(3) {
        Some(z) => graph
            .value(z)
            .data
            .as_ref()?
            .to_i64()?
            .into_iter()
            .map(i32::try_from)
            .collect::<std::result::Result<_, _>>()
            .ok()?,
        None => vec![0],
    };
    let cast =
        edges.only_reader(graph, node.outputs[0]).filter(|n| matches!(&n.op, Op::Cast(c) if c.to == DType::F32))?;
    let (scales, out) = scales(graph, edges, cast.outputs[0], source.outputs[1])?;
    let fits = |n: usize| n == 1 || n == channels;
    if !fits(scales.len()) || !fits(zero_points.len()) {
        return None;
    }
    let (bias, out) = bias(graph, edges, out, channels).map_or((None, out), |(b, out)| (Some(b), out));
    let last = edges.producers[out.0]?;
    Some(Match { node: id, x: source.inputs[0]?, weights, zero_points, scales, bias, out, last })
}

fn is_mul(node: &Node) -> bool {
    matches!(&node.op, Op::Binary(b) if b.kind == BinaryKind::Mul && b.activation == Activation::None)
}

fn other_input(node: &Node, one: ValueId) -> Option<ValueId> {
    match *node.inputs.as_slice() {
        [Some(a), Some(b)] if a == one => Some(b),
        [Some(a), Some(b)] if b == one => Some(a),
        _ => None,
    }
}

/// The constant weight scales that `product` is multiplied with, besides the run-time `scale`, and
/// the result: `product × (scale × weights)` or `(product × scale) × weights`.
fn scales(graph: &Graph, edges: &Edges, product: ValueId, scale: ValueId) -> Option<(Vec<f32>, ValueId)> {
    let first = edges.only_reader(graph, product).filter(|n| is_mul(n))?;
    let factor = other_input(first, product)?;
    if factor == scale {
        let second = edges.only_reader(graph, first.outputs[0]).filter(|n| is_mul(n))?;
        let weights = graph.value(other_input(second, first.outputs[0])?).data.clone()?;
        return Some((channel_scales(&weights)?, second.outputs[0]));
    }
    let (both, layout) = moved_product(graph, edges, factor)?;
    let weights = graph.value(other_input(both, scale)?).data.clone()?;
    let weights = layout.iter().try_fold(weights, |t, op| match op {
        Op::Transpose(op) => t.transposed(&op.perm),
        Op::Unsqueeze(op) => {
            let mut shape = t.shape().to_vec();
            op.axes.iter().for_each(|&axis| shape.insert(axis.min(shape.len()), 1));
            t.reshaped(shape)
        }
        _ => None,
    });
    Some((channel_scales(&weights?)?, first.outputs[0]))
}

/// The elements of a float tensor that lies along the last axis only: of another shape it would not
/// be one scale an output channel.
fn channel_scales(weights: &Tensor) -> Option<Vec<f32>> {
    let vector = weights.elements() == 1 || weights.shape().last() == Some(&weights.elements());
    (vector && weights.dtype() == DType::F32).then(|| weights.to_f32())
}

/// The multiplication behind `value`, and the changes of layout between, first to last: scales of
/// shape `[C, 1, 1]` are brought to channels-last after they were multiplied.
fn moved_product<'g>(graph: &'g Graph, edges: &Edges, value: ValueId) -> Option<(&'g Node, Vec<&'g Op>)> {
    let mut node = graph.node(edges.producers[value.0]?);
    let mut layout = Vec::new();
    while matches!(node.op, Op::Transpose(_) | Op::Unsqueeze(_)) {
        layout.push(&node.op);
        node = graph.node(edges.producers[node.inputs[0]?.0]?);
    }
    layout.reverse();
    is_mul(node).then_some((node, layout))
}

/// A constant that is added to each output channel, and the sum.
fn bias(graph: &Graph, edges: &Edges, out: ValueId, channels: usize) -> Option<(ValueId, ValueId)> {
    let add = edges.only_reader(graph, out)?;
    let plain = matches!(&add.op, Op::Binary(b) if b.kind == BinaryKind::Add && b.activation == Activation::None);
    let bias = plain.then(|| other_input(add, out))??;
    let data = graph.value(bias).data.as_ref().filter(|t| t.dtype() == DType::F32)?;
    (data.elements() == channels && data.shape().last() == Some(&channels)).then_some((bias, add.outputs[0]))
}

/// Signed weights: unsigned ones are moved down by 128 together with their zero point.
fn signed_weights(tensor: &Tensor, zero_points: &[i32]) -> (Tensor, Vec<i32>) {
    match tensor.as_slice::<u8>().filter(|_| tensor.dtype() == DType::U8) {
        Some(data) => {
            let data = data.iter().map(|v| (v ^ 0x80).cast_signed()).collect();
            (Tensor::new::<i8>(tensor.shape().to_vec(), data), zero_points.iter().map(|z| z - 128).collect())
        }
        None => (tensor.clone(), zero_points.to_vec()),
    }
}

fn rewrite(graph: &mut Graph, found: &Match) {
    let Some(tensor) = graph.value(found.weights).data.clone() else { return };
    let (mut tensor, mut zero_points) = signed_weights(&tensor, &found.zero_points);
    let mut scales = found.scales.clone();
    let count = scales.len().max(zero_points.len());
    scales.resize(count, scales[0]);
    zero_points.resize(count, zero_points[0]);
    let mut quant = match count {
        1 => Quantization::per_tensor(scales[0], zero_points[0]),
        _ => Quantization::per_channel(0, scales),
    };
    quant.zero_points = zero_points;
    let op = match &graph.node(found.node).op {
        Op::ConvInteger(conv) => Op::Conv2d(conv.conv.clone()),
        _ => {
            let Some(transposed) = tensor.transposed(&[1, 0]) else { return };
            tensor = transposed;
            FullyConnected { activation: Activation::None }.into()
        }
    };
    let weights = ValueId(graph.values.len());
    let name = std::mem::take(&mut graph.value_mut(found.weights).name);
    let shape = Shape::fixed(tensor.shape());
    graph.values.push(Value { name: name.clone(), dtype: DType::I8, shape, quant: Some(quant), data: Some(tensor) });
    graph.value_mut(found.weights).name = format!("{name}_integer_{}", weights.0);
    let bias = found.bias.map(|b| vector_bias(graph, b));
    let name = graph.node(found.node).name.clone();
    let name = name.strip_suffix("_quant").map_or(name.clone(), str::to_owned);
    // The integer node and the last one of the pattern both go.
    let goes = |i: usize| i == found.node.0 || i == found.last.0;
    let taken = graph.nodes.iter().enumerate().any(|(i, n)| n.name == name && !goes(i));
    let name = if taken { graph.node(found.node).name.clone() } else { name };
    graph.nodes[found.node.0].name.push_str("_integer");
    graph.nodes[found.last.0] =
        Node { name, op, inputs: vec![Some(found.x), Some(weights), bias], outputs: vec![found.out] };
}

/// The bias as a vector.
fn vector_bias(graph: &mut Graph, bias: ValueId) -> ValueId {
    let data = graph.value(bias).data.as_ref();
    match data.filter(|t| t.shape().len() != 1).and_then(|t| t.reshaped(vec![t.elements()])) {
        Some(flat) => {
            let name = format!("{}_vector", graph.value(bias).name);
            graph.add_constant(name, flat)
        }
        None => bias,
    }
}
