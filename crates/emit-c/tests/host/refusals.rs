//! What cannot be written is said by name, all at once.

use fewbits_emit_c::{Error, Options, emit};
use fewbits_graph::ops::{Dequantize, FullyConnected, LogSoftmax, Quantize, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Quantization, Shape};

use crate::common::Net;

#[test]
fn operators_without_c_are_listed_together() {
    let mut net = Net::new(1);
    let x = net.input(&[2, 4], 0.1, 0);
    let a = net.node(LogSoftmax { axis: 1 }, &[x], 16.0 / 256.0, 127);
    let b = net.node(Unary { kind: UnaryKind::Relu }, &[a], 16.0 / 256.0, 127);
    let c = net.node(LogSoftmax { axis: 1 }, &[b], 16.0 / 256.0, 127);
    let graph = net.finish(&[c]);
    let Error::Unsupported(nodes) = emit(&graph, &Options::default()).unwrap_err() else { panic!("another error") };
    let names: Vec<&str> = nodes.iter().map(|n| n.node.as_str()).collect();
    assert_eq!(names, ["node0", "node2"]);
    let text = Error::Unsupported(nodes).to_string();
    assert!(text.contains("node `node2` (LogSoftmax)"), "{text}");
}

#[test]
fn float_operators_and_float_ports_are_refused() {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[4]));
    let y = graph.add_node("act", Unary { kind: UnaryKind::Relu }, &[Some(x)], "y");
    graph.outputs.push(y);
    graph.infer().unwrap();
    let error = emit(&graph, &Options::default()).unwrap_err();
    assert!(matches!(&error, Error::Interface { value, .. } if value == "x"), "{error}");
    graph.value_mut(x).dtype = DType::I8;
    graph.value_mut(x).quant = Some(Quantization::per_tensor(0.1, 0));
    graph.infer().unwrap();
    assert!(matches!(emit(&graph, &Options::default()).unwrap_err(), Error::Interface { value, .. } if value == "y"));
}

/// The changes of domain around a float operator are not listed beside it.
#[test]
fn an_operator_left_in_float_is_named_alone() {
    let mut net = Net::new(1);
    let x = net.input(&[4], 0.1, 0);
    let float = net.node(Dequantize, &[x], 1.0, 0);
    let act = net.node(Unary { kind: UnaryKind::Relu }, &[float], 1.0, 0);
    for v in [float, act] {
        (net.graph.value_mut(v).dtype, net.graph.value_mut(v).quant) = (DType::F32, None);
    }
    let y = net.node(Quantize, &[act], 0.1, 0);
    let z = net.node(Unary { kind: UnaryKind::Relu }, &[y], 0.1, 0);
    let graph = net.finish(&[z]);
    let Error::Unsupported(nodes) = emit(&graph, &Options::default()).unwrap_err() else { panic!("another error") };
    assert_eq!(nodes.len(), 1);
    assert!(nodes[0].node == "node1" && nodes[0].what.contains("float32"), "{}", nodes[0]);
}

#[test]
fn empty_tensors_are_refused() {
    let mut net = Net::new(1);
    let x = net.input(&[0, 4], 0.1, 0);
    let y = net.node(Unary { kind: UnaryKind::Relu }, &[x], 0.1, 0);
    let error = emit(&net.finish(&[y]), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("without elements") && error.contains("node0"), "{error}");
}

#[test]
fn free_shapes_are_refused() {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::I8, Shape(vec![fewbits_graph::Dim::symbol("N")]));
    graph.value_mut(x).quant = Some(Quantization::per_tensor(0.1, 0));
    graph.outputs.push(x);
    let error = emit(&graph, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("`x`") && error.contains("--input-shape"), "{error}");
}

#[test]
fn limits_name_what_asks_for_most() {
    let mut net = Net::new(1);
    let x = net.input(&[1, 64], 0.1, 0);
    let (w, v) = (net.weights(&[300, 64], 0), net.weights(&[2, 300], 0));
    let a = net.node(FullyConnected { activation: Activation::None }, &[x, w], 0.9, 0);
    let b = net.node(FullyConnected { activation: Activation::None }, &[a, v], 0.9, 0);
    let graph = net.finish(&[b]);
    let limit = |ram, flash| emit(&graph, &Options { ram, flash, ..Options::default() });
    let cost = limit(None, None).unwrap().cost;
    assert_eq!(cost.arena, 300);
    assert!(limit(Some(300), Some(cost.flash())).is_ok());
    let ram = limit(Some(299), None).unwrap_err().to_string();
    assert!(ram.contains("300 bytes, more than the 299 of --ram") && ram.contains("node0"), "{ram}");
    let flash = limit(None, Some(cost.flash() - 1)).unwrap_err().to_string();
    assert!(flash.contains("--flash") && flash.contains("`node0` (FullyConnected)"), "{flash}");
}
