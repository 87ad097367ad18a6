//! What several tests need.

use std::path::PathBuf;

use fewbits_graph::{DType, Graph, Op, Quantization, Shape, Tensor, Value, ValueId};

/// The shared `.tflite` models in alphabetical order; none, with a note, where they are absent.
///
/// # Panics
/// In CI, where they must be there.
#[allow(clippy::print_stdout)] // Who runs the tests should see what did not run.
pub(crate) fn shared_models() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        assert!(std::env::var_os("CI").is_none(), "../shared is absent");
        println!("skipped: ../shared is absent");
        return Vec::new();
    };
    let paths = entries.map(|e| e.expect("the folder is readable").path());
    let mut models: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "tflite")).collect();
    models.sort();
    assert!(!models.is_empty(), "no .tflite file in {}", folder.display());
    models
}

/// A graph in construction, with one node that is looked at.
pub(crate) struct Case {
    pub(crate) graph: Graph,
}

impl Case {
    /// An empty graph.
    pub(crate) fn new() -> Self {
        Case { graph: Graph { name: "case".to_owned(), ..Graph::default() } }
    }

    /// A float input.
    pub(crate) fn input(&mut self, shape: &[usize]) -> ValueId {
        self.typed_input(DType::F32, shape)
    }

    /// An input of a type.
    pub(crate) fn typed_input(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        self.graph.add_input("x", dtype, Shape::fixed(shape))
    }

    /// An int8 input.
    pub(crate) fn int8_input(&mut self, shape: &[usize], quant: Quantization) -> ValueId {
        let id = self.typed_input(DType::I8, shape);
        self.graph.value_mut(id).quant = Some(quant);
        id
    }

    /// A float constant with distinct elements.
    pub(crate) fn weights(&mut self, shape: &[usize]) -> ValueId {
        let n = shape.iter().product::<usize>();
        let data = (0..n).map(|i| i as f32 * 0.125 - 1.0).collect();
        self.graph.add_constant("w", Tensor::new(shape.to_vec(), data))
    }

    /// An int8 constant with distinct elements.
    pub(crate) fn int8_weights(&mut self, shape: &[usize], quant: Quantization) -> ValueId {
        let n = shape.iter().product::<usize>();
        let data = (0..n).map(|i| i8::try_from(i % 255).map_or(-7, |v| v)).collect::<Vec<i8>>();
        let id = self.graph.add_constant("w", Tensor::new(shape.to_vec(), data));
        self.graph.value_mut(id).quant = Some(quant);
        id
    }

    /// An int32 constant with scales.
    pub(crate) fn bias(&mut self, n: usize, quant: Quantization) -> ValueId {
        let id = self.graph.add_constant("b", Tensor::new(vec![n], vec![5i32; n]));
        self.graph.value_mut(id).quant = Some(quant);
        id
    }

    /// A constant vector of integers.
    pub(crate) fn ints(&mut self, values: &[i64]) -> ValueId {
        self.graph.add_constant("k", Tensor::from_ints(values))
    }

    /// Finishes with a node of `outputs` outputs.
    pub(crate) fn node(mut self, op: impl Into<Op>, inputs: &[ValueId], outputs: usize) -> Graph {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let first = self.graph.add_node("y", op, &inputs, "y");
        self.graph.outputs = vec![first];
        for i in 1..outputs {
            let more = self.graph.add_value(format!("y{i}"), DType::F32, Shape::default());
            self.graph.outputs.push(more);
        }
        let last = self.graph.nodes.last_mut().expect("it was just added");
        last.outputs = self.graph.outputs.clone();
        self.graph.infer().expect("the case is consistent");
        self.graph
    }

    /// Finishes with a node whose output is an integer edge.
    pub(crate) fn quantized(
        mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
        dtype: DType,
        quant: Quantization,
    ) -> Graph {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let out = self.graph.add_node("y", op, &inputs, "y");
        self.graph.outputs = vec![out];
        let value = self.graph.value_mut(out);
        (value.dtype, value.quant) = (dtype, Some(quant));
        self.graph.infer().expect("the case is consistent");
        self.graph
    }
}

/// A value without its name where it is a constant: those of axes and sizes get new names.
fn describe(value: &Value) -> String {
    let head = format!("{} {} {:?}", value.dtype, value.shape, value.quant);
    match &value.data {
        // Index constants are 64-bit in the graph and 32-bit in the file.
        Some(data) if value.quant.is_none() && data.to_i64().is_some() => {
            format!("constant {} {:?}", value.shape, data.to_i64())
        }
        Some(data) => format!("constant {head} {:?}", data.bytes()),
        None => format!("{} {head}", value.name),
    }
}

/// The graph as text, without the numbers of its values.
pub(crate) fn canonical(graph: &Graph) -> Vec<String> {
    let of = |id: &ValueId| describe(graph.value(*id));
    let mut lines = vec![graph.name.clone()];
    lines.extend(graph.inputs.iter().map(|v| format!("input {}", of(v))));
    for node in &graph.nodes {
        let inputs: Vec<_> = node.inputs.iter().map(|v| v.as_ref().map(of)).collect();
        let outputs: Vec<_> = node.outputs.iter().map(of).collect();
        lines.push(format!("{} {:?} {inputs:?} -> {outputs:?}", node.name, node.op));
    }
    lines.extend(graph.outputs.iter().map(|v| format!("output {}", of(v))));
    lines
}
