//! Weights that stay integers: the `Dequantize` of a constant is not carried out where all that reads
//! it are layers whose kernel unpacks weights as it goes.

use fewbits_graph::{DType, Granularity, Graph, Node, Op, Quantization, Value, ValueId};
use fewbits_kernels::float::narrow::PackedNarrow;

/// For each value the integer constant that it stands for, if it is never made float.
pub(crate) fn deferred(graph: &Graph) -> Vec<Option<ValueId>> {
    let mut stored: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::Dequantize(_))) {
        if let (&[Some(x)], &[out]) = (node.inputs.as_slice(), node.outputs.as_slice())
            && is_packable(graph.value(x))
            && is_f32(graph.value(out))
        {
            stored[out.0] = Some(x);
        }
    }
    let mut read = vec![false; graph.values.len()];
    for node in &graph.nodes {
        for (slot, id) in node.inputs.iter().enumerate() {
            let Some(id) = id else { continue };
            read[id.0] = true;
            if stored[id.0].is_some() && !(slot == 1 && unpacks(graph, node)) {
                stored[id.0] = None;
            }
        }
    }
    for (id, stored) in stored.iter_mut().enumerate() {
        if !read[id] || graph.outputs.contains(&ValueId(id)) {
            *stored = None;
        }
    }
    stored
}

/// Inputs of an output that share a scale, in a matrix `[n, k]`; `None` for scales that lie otherwise.
pub(crate) fn block_of(quant: &Quantization, k: usize) -> Option<usize> {
    match quant.granularity {
        Granularity::PerTensor | Granularity::PerChannel { axis: 0 } => Some(k.max(1)),
        Granularity::Blocked { axis: 1, size } => Some(size),
        _ => None,
    }
}

/// Whether the kernel has a form for these weights.
fn is_packable(value: &Value) -> bool {
    let (Some(data), Some(quant)) = (&value.data, &value.quant) else { return false };
    let &[_, k] = data.shape() else { return false };
    matches!(data.dtype(), DType::I8 | DType::I4) && block_of(quant, k).is_some_and(|b| PackedNarrow::takes(k, b))
}

fn is_f32(value: &Value) -> bool {
    value.dtype == DType::F32 && value.quant.is_none()
}

/// Whether a node is a fully-connected layer on floats with a constant bias, or none.
fn unpacks(graph: &Graph, node: &Node) -> bool {
    let float = |id: &ValueId| is_f32(graph.value(*id));
    let bias = node.inputs.get(2).copied().flatten();
    matches!(node.op, Op::FullyConnected(_))
        && node.inputs.first().is_some_and(|x| x.as_ref().is_some_and(float))
        && node.outputs.iter().all(float)
        && bias.is_none_or(|b| graph.value(b).data.is_some() && float(&b))
}
