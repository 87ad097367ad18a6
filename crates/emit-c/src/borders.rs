//! The public inputs and outputs: floats that are quantized at once become integers, so that the C
//! has no float but in its optional wrappers.

use fewbits_graph::{DType, Graph, NodeId, Op, ValueId};

use crate::{Error, Result};

/// A public input or output of the C.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name in the model.
    pub name: String,
    /// `I8` or `U8`.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub dims: Vec<usize>,
    /// Real value of one step.
    pub scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i32,
    /// Whether the model declares it as float.
    pub float: bool,
}

impl Port {
    /// Number of elements, and of bytes.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Takes `Quantize` off the public inputs and `Dequantize` off the outputs; their ports.
pub(crate) fn integer_borders(graph: &mut Graph) -> Result<(Vec<Port>, Vec<Port>)> {
    let float = |graph: &Graph, ids: &[ValueId]| -> Vec<(String, bool)> {
        ids.iter().map(|&v| (graph.value(v).name.clone(), graph.value(v).dtype.is_float())).collect()
    };
    let (inputs, outputs) = (float(graph, &graph.inputs), float(graph, &graph.outputs));
    for input in graph.inputs.clone() {
        quantized_at_once(graph, input);
    }
    for i in 0..graph.outputs.len() {
        dequantized_last(graph, i);
    }
    graph.prune();
    let inputs = ports(graph, &graph.inputs, inputs)?;
    let outputs = ports(graph, &graph.outputs, outputs)?;
    Ok((inputs, outputs))
}

/// An input whose only readers are `Quantize` nodes of one result takes the type of that result.
fn quantized_at_once(graph: &mut Graph, input: ValueId) {
    let readers = graph.consumers().swap_remove(input.0);
    let result = |id: &NodeId| {
        let node = graph.node(*id);
        let out = graph.value(*node.outputs.first()?);
        (matches!(node.op, Op::Quantize(_))).then(|| (out.dtype, out.quant.clone()))
    };
    let results: Option<Vec<_>> = readers.iter().map(result).collect();
    let Some(results) = results else { return };
    let Some(first) = results.first().filter(|_| graph.value(input).dtype.is_float()) else { return };
    if graph.outputs.contains(&input) || results.iter().any(|r| r != first) {
        return;
    }
    let (dtype, quant) = first.clone();
    for reader in readers {
        let out = graph.node(reader).outputs[0];
        graph.replace_uses(out, input);
    }
    let value = graph.value_mut(input);
    (value.dtype, value.quant) = (dtype, quant);
}

/// An output that a `Dequantize` node makes is what that node reads.
fn dequantized_last(graph: &mut Graph, index: usize) {
    let output = graph.outputs[index];
    let Some(producer) = graph.producers()[output.0] else { return };
    let node = graph.node(producer);
    if let (Op::Dequantize(_), Some(&Some(source))) = (&node.op, node.inputs.first()) {
        graph.outputs[index] = source;
    }
}

fn ports(graph: &Graph, ids: &[ValueId], declared: Vec<(String, bool)>) -> Result<Vec<Port>> {
    let port = |(&id, (name, float)): (&ValueId, (String, bool))| {
        let value = graph.value(id);
        let quant = value.quant.as_ref().and_then(|q| q.as_per_tensor());
        let integer = matches!(value.dtype, DType::I8 | DType::U8);
        let Some((scale, zero_point)) = quant.filter(|_| integer) else {
            return Err(Error::Interface { value: name, got: value.dtype.to_string() });
        };
        let dims = value.shape.to_fixed();
        let dims = dims.ok_or_else(|| Error::FreeShape { value: name.clone(), shape: value.shape.to_string() })?;
        Ok(Port { name, dtype: value.dtype, dims, scale, zero_point, float })
    };
    ids.iter().zip(declared).map(port).collect()
}
