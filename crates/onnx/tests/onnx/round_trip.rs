//! What is written is read back as the same graph, and has no transpose that the source had not.

use crate::common::{network, shared_models};
use fewbits_graph::ops::{Conv2d, FullyConnected, Transpose, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Granularity, Graph, Op, Quantization, Shape, Tensor, ValueId};
use fewbits_onnx::proto::ModelProto;
use prost::Message;

fn transposes(bytes: &[u8]) -> usize {
    let model = ModelProto::decode(bytes).unwrap();
    model.graph.unwrap().node.iter().filter(|n| n.op_type == "Transpose").count()
}

fn operators(bytes: &[u8]) -> Vec<String> {
    ModelProto::decode(bytes).unwrap().graph.unwrap().node.into_iter().map(|n| n.op_type).collect()
}

/// Names, operators, constants, and public values, without regard to the order of values.
fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!(a.nodes.len(), b.nodes.len());
    for (x, y) in a.nodes.iter().zip(&b.nodes) {
        assert_eq!((&x.name, &x.op), (&y.name, &y.op));
        for (v, w) in x.inputs.iter().zip(&y.inputs) {
            let (v, w) = (v.map(|v| a.value(v)), w.map(|w| b.value(w)));
            assert_eq!(v.map(|v| (&v.shape, v.dtype, &v.quant)), w.map(|w| (&w.shape, w.dtype, &w.quant)));
            assert_eq!(v.and_then(|v| v.data.as_ref()), w.and_then(|w| w.data.as_ref()), "{}", x.name);
        }
    }
    let public = |g: &Graph, ids: &[ValueId]| -> Vec<(String, Shape, DType)> {
        ids.iter().map(|&v| (g.value(v).name.clone(), g.value(v).shape.clone(), g.value(v).dtype)).collect()
    };
    assert_eq!(public(a, &a.inputs), public(b, &b.inputs));
    assert_eq!(public(a, &a.outputs), public(b, &b.outputs));
}

#[test]
fn a_network_comes_back_without_transposes() {
    let graph = network().read().unwrap();
    let bytes = fewbits_onnx::to_bytes(&graph).unwrap();
    assert_eq!(transposes(&bytes), 0);
    assert_same(&graph, &fewbits_onnx::read_bytes(bytes, None).unwrap());
}

#[test]
fn shared_models_come_back_without_new_transposes() {
    let Some(folder) = shared_models() else { return };
    let mut models: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    models.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    assert!(!models.is_empty());
    for path in models {
        let graph = fewbits_onnx::read(&path).unwrap();
        let bytes = fewbits_onnx::to_bytes(&graph).unwrap();
        assert!(transposes(&bytes) <= transposes(&std::fs::read(&path).unwrap()), "{}", path.display());
        assert_same(&graph, &fewbits_onnx::read_bytes(bytes, None).unwrap());
    }
}

/// An int8 convolution with fused ReLU between a channels-first input and output.
fn integer_graph() -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::I8, Shape::fixed(&[1, 2, 4, 4]));
    let x_last = g.add_node("to_last", Transpose { perm: vec![0, 2, 3, 1] }, &[Some(x)], "x_last");
    let w = g.add_constant("w", Tensor::new::<i8>(vec![3, 1, 1, 2], vec![1, 2, 3, 4, 5, 6]));
    let b = g.add_constant("b", Tensor::new::<i32>(vec![3], vec![7, 8, 9]));
    let conv = Conv2d { stride: [1; 2], dilation: [1; 2], padding: [0; 4], groups: 1, activation: Activation::Relu };
    let y = g.add_node("conv", conv, &[Some(x_last), Some(w), Some(b)], "c");
    let out = g.add_node("to_first", Transpose { perm: vec![0, 3, 1, 2] }, &[Some(y)], "y");
    let edge = Quantization::per_tensor(0.5, 3);
    for v in [x, x_last] {
        g.value_mut(v).quant = Some(edge.clone());
    }
    for v in [y, out] {
        g.value_mut(v).quant = Some(Quantization::per_tensor(0.25, -1));
    }
    g.value_mut(w).quant = Some(Quantization::per_channel(0, vec![0.1, 0.2, 0.4]));
    g.value_mut(b).quant = Some(Quantization::per_channel(0, vec![0.05, 0.1, 0.2]));
    g.outputs.push(out);
    g.infer().unwrap();
    g.validate().unwrap();
    g
}

#[test]
fn integer_edges_are_written_as_float_operators_between_scales() {
    let bytes = fewbits_onnx::to_bytes(&integer_graph()).unwrap();
    let expected = ["DequantizeLinear", "DequantizeLinear", "Conv", "Relu", "QuantizeLinear"];
    assert_eq!(operators(&bytes), expected);
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    let graph = model.graph.unwrap();
    let tensor = |name: &str| graph.initializer.iter().find(|t| t.name == name).unwrap();
    assert_eq!((tensor("w").data_type, tensor("w").dims.as_slice()), (3, [3, 2, 1, 1].as_slice()));
    assert_eq!(graph.node[2].name, "conv");
    assert_eq!(graph.node[4].output, ["y"]);
    assert_eq!(graph.output[0].r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().elem_type, 3);
}

#[test]
fn an_integer_bias_is_stored_as_the_floats_that_it_stands_for() {
    let bytes = fewbits_onnx::to_bytes(&integer_graph()).unwrap();
    let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let bias = graph.initializer.iter().find(|t| t.name == "b").unwrap();
    let raw: Vec<u8> = [7.0 * 0.05f32, 8.0 * 0.1, 9.0 * 0.2].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!((bias.data_type, bias.raw_data.as_deref()), (1, Some(raw.as_slice())));
    assert_eq!(graph.node[2].input[2], "b");
}

#[test]
fn an_integer_bias_beyond_float_precision_stays_an_integer() {
    let mut graph = integer_graph();
    let b = graph.find_value("b").unwrap();
    graph.value_mut(b).data = Some(Tensor::new::<i32>(vec![3], vec![7, 1 << 21, 9]));
    let bytes = fewbits_onnx::to_bytes(&graph).unwrap();
    assert_eq!(operators(&bytes).iter().filter(|o| *o == "DequantizeLinear").count(), 3);
    let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let bias = graph.initializer.iter().find(|t| t.name == "b").unwrap();
    assert_eq!((bias.data_type, bias.dims.as_slice()), (6, [3].as_slice()));
}

#[test]
fn what_the_source_does_not_have_takes_little_text() {
    let mut graph = integer_graph();
    // A name that the writer would invent.
    let taken = graph.find_value("b").unwrap();
    graph.value_mut(taken).name = "t0".to_owned();
    let bytes = fewbits_onnx::to_bytes(&graph).unwrap();
    let source: Vec<String> = graph.values.iter().map(|v| v.name.clone()).collect();
    let proto = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    assert!(proto.value_info.is_empty());
    let mut made: Vec<String> = proto.initializer.iter().map(|t| t.name.clone()).collect();
    made.extend(proto.node.iter().flat_map(|n| n.output.clone()));
    let count = made.len();
    assert!(made.iter().all(|n| source.contains(n) || n.len() < 4), "{made:?}");
    made.sort();
    made.dedup();
    assert_eq!(made.len(), count, "a name is used twice");
    let named: Vec<&str> = proto.node.iter().map(|n| n.name.as_str()).filter(|n| !n.is_empty()).collect();
    assert_eq!(named, ["conv"]);
    let weights = proto.node.iter().find(|n| n.input[0] == "w").unwrap();
    assert_eq!(weights.input.len(), 2, "a zero point of 0 is left out");
}

#[test]
fn readers_of_an_integer_edge_share_its_conversion_and_its_parameters() {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::I8, Shape::fixed(&[2, 4]));
    let unary = |kind| Unary { kind };
    let a = g.add_node("tanh", unary(UnaryKind::Tanh), &[Some(x)], "a");
    let b = g.add_node("sigmoid", unary(UnaryKind::Sigmoid), &[Some(x)], "b");
    for v in [x, a, b] {
        g.value_mut(v).quant = Some(Quantization::per_tensor(0.0078125, 5));
        g.value_mut(v).dtype = DType::I8;
    }
    g.outputs.extend([a, b]);
    g.validate().unwrap();
    let bytes = fewbits_onnx::to_bytes(&g).unwrap();
    assert_eq!(operators(&bytes), ["DequantizeLinear", "Tanh", "QuantizeLinear", "Sigmoid", "QuantizeLinear"]);
    let proto = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    assert_eq!(proto.initializer.len(), 2, "one scale and one zero point");
}

fn linear(weights: Tensor, quant: Option<Quantization>) -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape::fixed(&[2, 4]));
    let w = g.add_constant("w", weights);
    g.value_mut(w).quant = quant;
    let b = g.add_constant("b", Tensor::new::<f32>(vec![2], vec![1.0, 2.0]));
    let y = g.add_node("fc", FullyConnected { activation: Activation::None }, &[Some(x), Some(w), Some(b)], "y");
    g.outputs.push(y);
    g.infer().unwrap();
    g
}

#[test]
fn dynamic_range_is_written_as_integer_product_and_read_back() {
    let weights = Tensor::new::<i8>(vec![2, 4], vec![1, -2, 3, -4, 5, -6, 7, -8]);
    let graph = linear(weights, Some(Quantization::per_channel(0, vec![0.5, 0.25])));
    let bytes = fewbits_onnx::to_bytes(&graph).unwrap();
    let expected = ["DynamicQuantizeLinear", "Mul", "MatMulInteger", "Cast", "Mul", "Add"];
    assert_eq!(operators(&bytes), expected);
    assert_same(&graph, &fewbits_onnx::read_bytes(bytes, None).unwrap());
}

#[test]
fn half_precision_weights_are_stored_half_and_read_back() {
    let half = |v: f32| half::f16::from_f32(v);
    let weights = Tensor::new(vec![2, 4], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0].map(half).to_vec());
    let graph = linear(weights, None);
    let bytes = fewbits_onnx::to_bytes(&graph).unwrap();
    assert_eq!(operators(&bytes), ["Cast", "Gemm"]);
    assert_same(&graph, &fewbits_onnx::read_bytes(bytes, None).unwrap());
}

#[test]
fn four_bit_blocks_raise_the_operator_set() {
    let weights = Tensor::from_bytes(DType::I4, vec![2, 4], vec![0x21, 0x43, 0x65, 0x87].into()).unwrap();
    let quant = Quantization {
        granularity: Granularity::Blocked { axis: 1, size: 2 },
        scales: vec![0.1, 0.2, 0.3, 0.4],
        zero_points: vec![0; 4],
    };
    let bytes = fewbits_onnx::to_bytes(&linear(weights.clone(), Some(quant.clone()))).unwrap();
    assert_eq!(ModelProto::decode(bytes.as_slice()).unwrap().opset_import[0].version, 21);
    assert_eq!(operators(&bytes), ["DequantizeLinear", "MatMul", "Add"]);
    let again = fewbits_onnx::read_bytes(bytes, None).unwrap();
    let w = again.value(again.find_value("w").unwrap());
    assert_eq!((w.data.as_ref(), w.quant.as_ref()), (Some(&weights), Some(&quant)));
    assert!(matches!(again.nodes[0].op, Op::Dequantize(_)));
}

#[test]
fn writing_replaces_a_file_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, b"old").unwrap();
    let graph = network().read().unwrap();
    fewbits_onnx::write(&graph, &path).unwrap();
    assert_same(&graph, &fewbits_onnx::read(&path).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(fewbits_onnx::write(&graph, &folder.path().join("absent/model.onnx")).is_err());
}
