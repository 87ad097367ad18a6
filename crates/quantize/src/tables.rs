//! Embedding tables: int8 rows, each with its own scale.

use std::collections::BTreeSet;

use fewbits_graph::ops::{Binary, BinaryKind, Cast, Gather};
use fewbits_graph::{Activation, DType, Graph, Node, Op, Shape, Tensor, ValueId};

use crate::dynamic::SMALLEST_WEIGHTS;
use crate::{WeightBits, WeightScales, quantize_weights};

/// Stores every large table that is gathered by rows as int8, with the scales in a vector that is
/// gathered beside it: `row = cast(gather(table)) × gather(scales)`.
///
/// Rows differ in magnitude by orders (of MiniLM's position embedding, one scale for all keeps
/// 15 dB, one a row 39 dB), and the four operators exist in every runtime, which a per-row
/// dequantization of the gathered part does not.
pub(crate) fn quantize_tables(graph: &mut Graph, excluded: &BTreeSet<&str>) {
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        match table(graph, &node).filter(|_| !excluded.contains(node.name.as_str())) {
            Some(id) => nodes.extend(gather_rows(graph, node, id)),
            None => nodes.push(node),
        }
    }
    graph.nodes = nodes;
}

/// The table of a gather by rows, if it is a large float matrix.
pub(crate) fn table(graph: &Graph, node: &Node) -> Option<ValueId> {
    let Op::Gather(Gather { axis: 0 }) = node.op else { return None };
    let id = node.inputs[0]?;
    let data = graph.value(id).data.as_ref()?;
    let fits = data.dtype() == DType::F32 && data.shape().len() == 2 && data.elements() >= SMALLEST_WEIGHTS;
    fits.then_some(id)
}

fn gather_rows(graph: &mut Graph, node: Node, id: ValueId) -> Vec<Node> {
    let source = graph.value(id).clone();
    let Some(data) = &source.data else { return vec![node] };
    let (rows, quant) = quantize_weights(data, Some(0), WeightScales::Max, WeightBits::default(), |_| 0.0);
    let scales = Tensor::new(vec![quant.scales.len(), 1], quant.scales);
    let table = graph.add_constant(format!("{}_int8", source.name), rows);
    let scales = graph.add_constant(format!("{}_scale", source.name), scales);
    let output = node.outputs[0];
    let name = graph.value(output).name.clone();
    let mut edge = |suffix: &str, dtype| graph.add_value(format!("{name}_{suffix}"), dtype, Shape::default());
    let (rows, float, scale) = (edge("int8", DType::I8), edge("cast", DType::F32), edge("scale", DType::F32));
    let gather = |suffix: &str, table, out| Node {
        name: format!("{}{suffix}", node.name),
        op: Gather { axis: 0 }.into(),
        inputs: vec![Some(table), node.inputs[1]],
        outputs: vec![out],
    };
    let scaled = Binary { kind: BinaryKind::Mul, activation: Activation::None };
    vec![
        gather("", table, rows),
        gather("_scale", scales, scale),
        Node {
            name: format!("{}_cast", node.name),
            op: Cast { to: DType::F32 }.into(),
            inputs: vec![Some(rows)],
            outputs: vec![float],
        },
        Node {
            name: format!("{}_rows", node.name),
            op: scaled.into(),
            inputs: vec![Some(float), Some(scale)],
            outputs: vec![output],
        },
    ]
}
