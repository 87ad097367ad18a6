//! What a model file holds.

use std::collections::BTreeMap;
use std::path::Path;

use fewbits_engine::macs;
use fewbits_graph::{Granularity, Graph, Quantization, Value, ValueId};
use fewbits_report::{Edge, Inspect, OpCount, Port, Storage};

use crate::{Result, fix_input_shapes, read_model, run_shapes, size_on_disk};

/// Reads a model and counts. Multiply-accumulates are those of a run with the given input shapes;
/// dimensions that stay free are 1 for the batch and 16 elsewhere, which a note says.
///
/// # Errors
/// A file that cannot be read; an input shape that does not fit.
pub fn inspect_file(path: &Path, input_shapes: &[(String, Vec<usize>)], edges: bool) -> Result<Inspect> {
    let mut graph = read_model(path)?;
    let bytes = size_on_disk(path, &graph)?;
    fix_input_shapes(&mut graph, input_shapes).map_err(|what| crate::Error::model(path, what))?;
    let (shapes, chosen) = run_shapes(&graph, None);
    let sized = graph.with_input_shapes(&shapes);
    let mut notes = Vec::new();
    match &sized {
        Err(e) => notes.push(format!("multiply-accumulates are not counted: {e}")),
        Ok(_) if !chosen.is_empty() => {
            notes.push(format!(
                "multiply-accumulates are counted with {} (--input-shape sets others)",
                chosen.join(", ")
            ));
        }
        Ok(_) => {}
    }
    let (operators, total) = operators(sized.as_ref().unwrap_or(&graph));
    Ok(Inspect {
        model: path.display().to_string(),
        name: graph.name.clone(),
        bytes,
        inputs: graph.inputs.iter().map(|&id| port(graph.value(id))).collect(),
        outputs: graph.outputs.iter().map(|&id| port(graph.value(id))).collect(),
        nodes: graph.nodes.len() as u64,
        operators,
        parameters: parameters(&graph),
        macs: sized.is_ok().then_some(total),
        storage: storage(&graph),
        edges: edges.then(|| all_edges(&graph)),
        notes,
    })
}

fn port(value: &Value) -> Port {
    Port {
        name: value.name.clone(),
        dtype: value.dtype.to_string(),
        shape: value.shape.0.iter().map(ToString::to_string).collect(),
        quantization: value.quant.as_ref().map(quantization_text),
    }
}

/// Operators by frequency, then name; and the multiply-accumulates of all.
fn operators(graph: &Graph) -> (Vec<OpCount>, u64) {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for node in &graph.nodes {
        let count = counts.entry(node.op.name()).or_default();
        count.0 += 1;
        count.1 = count.1.saturating_add(macs(graph, node).unwrap_or(0));
    }
    let total = counts.values().fold(0u64, |sum, c| sum.saturating_add(c.1));
    let mut counts: Vec<OpCount> =
        counts.into_iter().map(|(op, (count, macs))| OpCount { op: op.to_owned(), count, macs }).collect();
    counts.sort_by_key(|c| std::cmp::Reverse(c.count));
    (counts, total)
}

/// Elements of constants that stand for real numbers; indices and shapes are no parameters.
fn parameters(graph: &Graph) -> u64 {
    let real = |v: &&Value| v.dtype.is_float() || v.quant.is_some();
    let constants = graph.values.iter().filter(real).filter_map(|v| v.data.as_ref());
    constants.map(|t| t.elements() as u64).sum()
}

fn storage(graph: &Graph) -> Vec<Storage> {
    let mut by_dtype: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
    for tensor in graph.values.iter().filter_map(|v| v.data.as_ref()) {
        let sums = by_dtype.entry(tensor.dtype()).or_default();
        *sums = (sums.0 + 1, sums.1 + tensor.elements() as u64, sums.2 + tensor.bytes().len() as u64);
    }
    let entry = |(dtype, (tensors, elements, bytes)): (fewbits_graph::DType, _)| Storage {
        dtype: dtype.to_string(),
        tensors,
        elements,
        bytes,
    };
    let mut storage: Vec<Storage> = by_dtype.into_iter().map(entry).collect();
    storage.sort_by_key(|s| std::cmp::Reverse(s.bytes));
    storage
}

fn all_edges(graph: &Graph) -> Vec<Edge> {
    let producers = graph.producers();
    let source = |id: ValueId, value: &Value| match producers[id.0] {
        Some(node) => graph.node(node).op.name(),
        None if value.data.is_some() => "constant",
        None if graph.inputs.contains(&id) => "input",
        None => "unused",
    };
    let edge = |id: ValueId| {
        let value = graph.value(id);
        Edge {
            name: value.name.clone(),
            source: source(id, value).to_owned(),
            dtype: value.dtype.to_string(),
            shape: value.shape.to_string(),
            quantization: value.quant.as_ref().map(quantization_text),
        }
    };
    graph.value_ids().map(edge).collect()
}

/// Quantization parameters as a phrase: `scale 0.05, zero point -3`, or the range of the scales.
pub fn quantization_text(quant: &Quantization) -> String {
    if let Some((scale, zero_point)) = quant.as_per_tensor() {
        return format!("scale {scale}, zero point {zero_point}");
    }
    let smallest = quant.scales.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = quant.scales.iter().copied().fold(0.0, f32::max);
    let zero = if quant.is_symmetric() { "" } else { ", with zero points" };
    let n = quant.scales.len();
    match quant.granularity {
        Granularity::PerTensor => format!("{n} scales"),
        Granularity::PerChannel { axis } => format!("{n} scales {smallest}…{largest} along axis {axis}{zero}"),
        Granularity::Blocked { axis, size } => {
            format!("{n} scales {smallest}…{largest}, blocks of {size} along axis {axis}{zero}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::ops::FullyConnected;
    use fewbits_graph::{Activation, DType, Dim, Shape, Tensor};

    fn graph() -> Graph {
        let mut graph = Graph::default();
        let x = graph.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), Dim::Fixed(4)]));
        let w = graph.add_constant("w", Tensor::new(vec![3, 4], vec![0.5f32; 12]));
        let op = FullyConnected { activation: Activation::None };
        let y = graph.add_node("fc", op, &[Some(x), Some(w)], "y");
        graph.add_constant("shape", Tensor::from_ints(&[1, 3]));
        graph.outputs.push(y);
        graph.infer().unwrap();
        graph
    }

    #[test]
    fn counts_are_those_of_the_graph() {
        let mut graph = graph();
        assert_eq!(parameters(&graph), 12);
        let storage = storage(&graph);
        assert_eq!((storage[0].dtype.as_str(), storage[0].bytes, storage[1].elements), ("float32", 48, 2));
        fix_input_shapes(&mut graph, &[("x".into(), vec![5, 4])]).unwrap();
        let (operators, total) = operators(&graph);
        assert_eq!((operators.len(), operators[0].count, total), (1, 1, 60));
    }

    #[test]
    fn edges_say_where_they_come_from() {
        let sources: Vec<(String, String)> = all_edges(&graph()).into_iter().map(|e| (e.name, e.source)).collect();
        let wanted = [("x", "input"), ("w", "constant"), ("y", "FullyConnected"), ("shape", "constant")];
        assert_eq!(sources, wanted.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn quantization_is_a_phrase() {
        assert_eq!(quantization_text(&Quantization::per_tensor(0.5, -3)), "scale 0.5, zero point -3");
        let channels = Quantization::per_channel(0, vec![0.25, 0.5]);
        assert_eq!(quantization_text(&channels), "2 scales 0.25…0.5 along axis 0");
    }
}
