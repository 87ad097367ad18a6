//! Operators without an integer form, spelled in operators that have one.

use fewbits_graph::ops::{Binary, BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Node, Op, Shape, Tensor, ValueId};

use crate::{Format, Result};

/// Rewrites what has no integer form in `format` but is a combination of operators that do:
/// `silu(x) = x × sigmoid(x)` and, for TFLite, `hard_sigmoid(x) = relu6(6α·x + 6β) ÷ 6`.
///
/// To be done before calibration, so that the new edges are observed.
///
/// # Errors
/// Shape inference errors.
pub fn lower(mut graph: Graph, format: Format) -> Result<Graph> {
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        match &node.op {
            Op::Unary(Unary { kind: UnaryKind::Silu }) if format == Format::Tflite => {
                nodes.extend(silu(&mut graph, node))
            }
            &Op::Unary(Unary { kind: UnaryKind::HardSigmoid { alpha, beta } }) if format == Format::Tflite => {
                nodes.extend(hard_sigmoid(&mut graph, node, alpha, beta));
            }
            _ => nodes.push(node),
        }
    }
    graph.nodes = nodes;
    graph.infer()?;
    Ok(graph)
}

/// A new edge beside the node's output.
fn edge(graph: &mut Graph, node: &Node, suffix: &str) -> ValueId {
    let name = format!("{}_{suffix}", graph.value(node.outputs[0]).name);
    graph.add_value(name, DType::F32, Shape::default())
}

fn binary(kind: BinaryKind, activation: Activation) -> Op {
    Binary { kind, activation }.into()
}

fn silu(graph: &mut Graph, node: Node) -> [Node; 2] {
    let gate = edge(graph, &node, "sigmoid");
    let sigmoid = Node {
        name: format!("{}_sigmoid", node.name),
        op: Unary { kind: UnaryKind::Sigmoid }.into(),
        inputs: node.inputs.clone(),
        outputs: vec![gate],
    };
    let inputs = vec![node.inputs[0], Some(gate)];
    [sigmoid, Node { op: binary(BinaryKind::Mul, Activation::None), inputs, ..node }]
}

fn hard_sigmoid(graph: &mut Graph, node: Node, alpha: f32, beta: f32) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut x = node.inputs[0];
    let mut constant =
        |suffix: &str, value: f32| Some(graph.add_constant(format!("{}_{suffix}", node.name), Tensor::scalar(value)));
    let (slope, offset, sixth) =
        (constant("slope", 6.0 * alpha), constant("offset", 6.0 * beta), constant("sixth", 1.0 / 6.0));
    // The usual slope of 1/6 needs no multiplication.
    if (6.0 * alpha - 1.0).abs() > 1e-6 {
        let scaled = edge(graph, &node, "scaled");
        nodes.push(Node {
            name: format!("{}_scale", node.name),
            op: binary(BinaryKind::Mul, Activation::None),
            inputs: vec![x, slope],
            outputs: vec![scaled],
        });
        x = Some(scaled);
    }
    let clipped = edge(graph, &node, "relu6");
    nodes.push(Node {
        name: format!("{}_relu6", node.name),
        op: binary(BinaryKind::Add, Activation::Relu6),
        inputs: vec![x, offset],
        outputs: vec![clipped],
    });
    nodes.push(Node { op: binary(BinaryKind::Mul, Activation::None), inputs: vec![Some(clipped), sixth], ..node });
    nodes
}
