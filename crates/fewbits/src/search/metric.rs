//! What a model's outputs mean.

use fewbits_graph::{Graph, Op, Shape, ValueId};
use fewbits_quantize::{Constraint, Format, constraint};

/// Whether the model's first output of more than one number a sample is a choice between classes: it
/// comes from a soft-max, or from the last layer of a network whose output is no copy of its input.
///
/// Vectors (embeddings), images and reconstructions have a largest element too, but nobody reads it.
pub(crate) fn classifies(graph: &Graph) -> bool {
    let long = |shape: &Shape| shape.0.iter().skip(1).filter(|d| d.fixed() != Some(1)).count();
    let Some(&output) = graph.outputs.iter().find(|&&id| long(&graph.value(id).shape) > 0) else { return false };
    let copies = |&input: &ValueId| same_sizes(&graph.value(input).shape, &graph.value(output).shape);
    let producers = graph.producers();
    let mut at = output;
    while let Some(node) = producers[at.0].map(|id| graph.node(id)) {
        match &node.op {
            Op::Softmax(_) | Op::LogSoftmax(_) => return true,
            Op::FullyConnected(_) | Op::Conv2d(_) => {
                return long(&graph.value(output).shape) == 1 && !graph.inputs.iter().any(copies);
            }
            // Pooled, reshaped: the same numbers, or means of them.
            op if constraint(op, Format::Onnx) == Some(Constraint::SameAsInputs) => match node.inputs[..] {
                [Some(input), ..] => at = input,
                _ => return false,
            },
            _ => return false,
        }
    }
    false
}

/// Whether both have the same number of elements a sample.
fn same_sizes(a: &Shape, b: &Shape) -> bool {
    let of_sample = |shape: &Shape| -> Option<usize> { shape.0.iter().skip(1).map(|d| d.fixed()).product() };
    of_sample(a).is_some() && of_sample(a) == of_sample(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::ops::{FullyConnected, Reshape, Softmax, Unary, UnaryKind};
    use fewbits_graph::{Activation, DType, Tensor};

    /// One layer of `outputs` classes, with an operator behind it.
    fn network(outputs: usize, last: Option<Op>) -> Graph {
        let mut graph = Graph::default();
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 4]));
        let w = graph.add_constant("w", Tensor::new(vec![outputs, 4], vec![1.0f32; 4 * outputs]));
        let dense = FullyConnected { activation: Activation::None };
        let mut y = graph.add_node("dense", dense, &[Some(x), Some(w)], "y");
        if let Some(op) = last {
            y = match op {
                Op::Reshape(_) => {
                    let shape = graph.add_constant("shape", Tensor::from_ints(&[1, 1, outputs as i64]));
                    graph.add_node("last", op, &[Some(y), Some(shape)], "z")
                }
                op => graph.add_node("last", op, &[Some(y)], "z"),
            };
        }
        graph.outputs = vec![y];
        graph.infer().unwrap();
        graph
    }

    #[test]
    fn classes_come_from_a_soft_max_or_a_last_layer() {
        assert!(classifies(&network(10, None)));
        assert!(classifies(&network(10, Some(Softmax { axis: 1, beta: 1.0 }.into()))));
        assert!(classifies(&network(4, Some(Softmax { axis: 1, beta: 1.0 }.into()))), "four classes of four features");
        assert!(classifies(&network(10, Some(Reshape { allow_zero: false }.into()))));
        assert!(!classifies(&network(4, None)), "a reconstruction");
        assert!(!classifies(&network(1, None)), "a number");
        assert!(!classifies(&network(10, Some(Unary { kind: UnaryKind::Tanh }.into()))));
        assert!(!classifies(&Graph::default()));
    }
}
