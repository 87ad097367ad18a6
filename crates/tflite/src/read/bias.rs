//! Scales of biases that the file leaves out.

use fewbits_graph::{DType, Granularity, Graph, Op, Quantization, Value, ValueId};

/// Gives 32-bit constant biases without scales those that follow from the operator: that of the
/// input times those of the weights (TFLite's 8-bit quantization specification). Runtimes' own
/// kernels do not read them, so some converters save the space.
pub(super) fn restore_scales(graph: &mut Graph) {
    let missing: Vec<_> = (0..graph.nodes.len()).filter_map(|node| Some((node, missing(graph, node)?))).collect();
    for (node, (bias, quant)) in missing {
        let value = graph.value(bias);
        let target = match (&value.quant, value.data.clone()) {
            // A bias of two operators with different scales becomes two biases.
            (Some(other), Some(data)) if *other != quant => {
                let name = format!("{}/{}", graph.nodes[node].name, value.name);
                graph.add_constant(name, data)
            }
            _ => bias,
        };
        graph.value_mut(target).quant = Some(quant);
        graph.nodes[node].inputs[2] = Some(target);
    }
}

/// The bias of node number `node` and its scales, if the file has none.
fn missing(graph: &Graph, node: usize) -> Option<(ValueId, Quantization)> {
    let node = &graph.nodes[node];
    let weighted =
        matches!(node.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_));
    let &[Some(x), Some(w), Some(bias)] = node.inputs.as_slice() else { return None };
    let (x, w, value) = (graph.value(x), graph.value(w), graph.value(bias));
    let integers = x.dtype == DType::I8 && w.dtype == DType::I8 && value.dtype == DType::I32;
    if !weighted || !integers || value.quant.is_some() {
        return None;
    }
    scales(x, w, value.data.as_ref()?.elements()).map(|quant| (bias, quant))
}

fn scales(x: &Value, w: &Value, channels: usize) -> Option<Quantization> {
    let (scale, _) = x.quant.as_ref()?.as_per_tensor()?;
    let scales: Vec<f32> = w.quant.as_ref()?.scales.iter().map(|s| s * scale).collect();
    let valid = scales.iter().all(|s| s.is_finite() && *s > 0.0);
    let granularity = match scales.len() {
        1 => Granularity::PerTensor,
        n if n == channels => Granularity::PerChannel { axis: 0 },
        _ => return None,
    };
    let zero_points = vec![0; scales.len()];
    valid.then_some(Quantization { granularity, scales, zero_points })
}
