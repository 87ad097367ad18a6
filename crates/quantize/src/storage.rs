//! How weights of few bits are stored.

use std::collections::BTreeSet;

use fewbits_graph::{DType, Graph, Node, Op, Tensor, ValueId};

use crate::Format;

/// Stores int8 weights that fit 4 bits as int4, two a byte, where the runtimes of `format` compute the
/// same with them. Returns the names of the layers whose weights fit and stay bytes.
///
/// It is the last thing to do to a quantized graph: what moves weights expects bytes.
pub fn pack_weights(graph: &mut Graph, format: Format) -> Vec<String> {
    let (mut packed, mut kept) = (BTreeSet::new(), BTreeSet::new());
    let mut left = Vec::new();
    for node in &graph.nodes {
        let Some(id) = weights(graph, node).filter(|&id| fits(graph, id)) else { continue };
        if takes_int4(graph, node, format) {
            packed.insert(id);
        } else {
            kept.insert(id);
            left.push(node.name.clone());
        }
    }
    for id in packed.difference(&kept) {
        let value = graph.value_mut(*id);
        if let Some(data) = value.data.as_ref().and_then(narrowed) {
            (value.dtype, value.data) = (DType::I4, Some(data));
        }
    }
    left
}

fn narrowed(data: &Tensor) -> Option<Tensor> {
    Tensor::from_nibbles(data.shape().to_vec(), &data.as_slice::<i8>()?)
}

/// The stored weights of a node: of a layer, or what a conversion makes float.
fn weights(graph: &Graph, node: &Node) -> Option<ValueId> {
    let slot = match node.op {
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) | Op::MatMul(_) => 1,
        Op::Dequantize(_) => 0,
        _ => return None,
    };
    let id = node.inputs.get(slot).copied().flatten()?;
    let value = graph.value(id);
    (value.data.is_some() && value.dtype == DType::I8 && value.quant.is_some()).then_some(id)
}

fn fits(graph: &Graph, id: ValueId) -> bool {
    let value = graph.value(id);
    let points = value.quant.iter().flat_map(|q| &q.zero_points);
    let small = |data: &Tensor| data.as_slice::<i8>().is_some_and(|q| q.iter().all(|q| (-8..=7).contains(q)));
    points.into_iter().all(|z| (-8..=7).contains(z)) && value.data.as_ref().is_some_and(small)
}

/// Whether the runtimes of a format take int4 weights of a node and compute the same with them: tried
/// with ONNX Runtime 1.32 and LiteRT 2.3.
fn takes_int4(graph: &Graph, node: &Node, format: Format) -> bool {
    match (format, &node.op) {
        (_, Op::Dequantize(_)) => true,
        // Dynamic quantization is spelled with MatMulInteger and ConvInteger, which read bytes.
        (Format::Onnx, _) => node.inputs[0].is_some_and(|x| !graph.value(x).dtype.is_float()),
        (Format::Tflite, op) => matches!(op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::FullyConnected(_)),
    }
}
