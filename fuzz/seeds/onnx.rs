//! One ONNX model for each operator and a few shapes of arguments. Many of them are wrong for
//! their operator: they are there so that the fuzzer has its name and its attributes at hand.

use bytes::Bytes;
use fewbits_onnx::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use prost::Message;

/// Arguments that between them suit most operators: `x` is float `[1, 4, 6, 6]`, `m` a float
/// matrix, `w` convolution weights, `k` an integer vector, `s` a scalar, `q` int8, `z` an int8
/// scalar.
const ARGUMENTS: &[&[&str]] = &[
    &["x"],
    &["x", "x"],
    &["x", "w"],
    &["x", "k"],
    &["m", "m", "s"],
    &["k", "x"],
    &["k"],
    &["x", "v", "v", "v", "v"],
    &["x", "s", "z"],
    &["q", "s", "z"],
    &["x", "k", "k", "k"],
    &["q", "s", "z", "q", "s", "z", "s", "z"],
    &["x", "", "f", "k"],
];

/// The models, by name.
pub(crate) fn operators() -> Vec<(String, Vec<u8>)> {
    let mut models = Vec::new();
    for op in fewbits_onnx::supported_operators() {
        for (i, arguments) in ARGUMENTS.iter().enumerate() {
            let version = [op.last, 17, 11][i % 3].clamp(op.since, op.last);
            let bytes = model(op.domain, op.name, version, arguments);
            // What is no model for the operator says little; a few of each kind are enough.
            if i < 2 || fewbits_onnx::read_bytes(bytes.clone(), None).is_ok() {
                models.push((format!("op-{}-{i}", op.name), bytes));
            }
        }
    }
    models
}

fn model(domain: &str, op: &str, version: i64, arguments: &[&str]) -> Vec<u8> {
    let outputs = match op {
        "Split" | "TopK" => vec!["y".to_owned(), "y2".to_owned()],
        "DynamicQuantizeLinear" => ["y", "y2", "y3"].map(str::to_owned).to_vec(),
        _ => vec!["y".to_owned()],
    };
    let node = NodeProto {
        name: "n".to_owned(),
        op_type: op.to_owned(),
        domain: domain.to_owned(),
        input: arguments.iter().map(|s| (*s).to_owned()).collect(),
        output: outputs,
        attribute: attributes(op),
        ..NodeProto::default()
    };
    let graph = GraphProto {
        name: "seed".to_owned(),
        node: vec![node],
        input: vec![input("x", 1, &[1, 4, 6, 6]), input("m", 1, &[3, 3])],
        output: vec![ValueInfoProto { name: "y".to_owned(), r#type: None }],
        initializer: constants(),
        ..GraphProto::default()
    };
    let domains = if domain.is_empty() { vec![""] } else { vec!["", domain] };
    let opset_import = domains
        .into_iter()
        .map(|d| OperatorSetIdProto { domain: d.to_owned(), version: if d.is_empty() { version } else { 1 } });
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: opset_import.collect(),
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// Attributes without which the operator is refused.
fn attributes(op: &str) -> Vec<AttributeProto> {
    let number = |name: &str, i: i64| AttributeProto {
        name: name.to_owned(),
        i: Some(i),
        r#type: 2,
        ..AttributeProto::default()
    };
    let numbers = |name: &str, ints: &[i64]| AttributeProto {
        name: name.to_owned(),
        ints: ints.to_vec(),
        r#type: 7,
        ..AttributeProto::default()
    };
    match op {
        "AveragePool" | "MaxPool" | "LpPool" => vec![numbers("kernel_shape", &[2, 2]), numbers("pads", &[1, 0, 0, 1])],
        "Conv" | "ConvInteger" | "ConvTranspose" | "QLinearConv" => vec![numbers("pads", &[1; 4]), number("group", 1)],
        "Cast" => vec![number("to", 1)],
        "Concat" | "Split" | "Softmax" | "Flatten" => vec![number("axis", 1)],
        "DepthToSpace" | "SpaceToDepth" => vec![number("blocksize", 2)],
        "Transpose" => vec![numbers("perm", &[0, 2, 3, 1])],
        "GroupNormalization" => vec![number("num_groups", 2)],
        "Constant" => vec![numbers("value_ints", &[1, 2])],
        _ => Vec::new(),
    }
}

fn input(name: &str, code: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| DimensionProto { value: Some(DimensionValue::Value(d)) }).collect();
    let ty = TensorTypeProto { elem_type: code, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(ty) }) }
}

fn constants() -> Vec<TensorProto> {
    let tensor = |name: &str, code: i32, dims: &[i64], raw: Vec<u8>| TensorProto {
        name: name.to_owned(),
        data_type: code,
        dims: dims.to_vec(),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    };
    let floats = |n: usize| (0..n).flat_map(|i| (0.25 + i as f32 * 0.125).to_le_bytes()).collect::<Vec<u8>>();
    let ints = |values: &[i64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    vec![
        tensor("w", 1, &[4, 4, 3, 3], floats(144)),
        tensor("v", 1, &[4], floats(4)),
        tensor("f", 1, &[4], [1f32, 1.0, 2.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
        tensor("k", 7, &[4], ints(&[1, 4, 6, 6])),
        tensor("s", 1, &[], floats(1)),
        tensor("q", 3, &[3, 3], vec![1, 2, 3, 4, 5, 6, 7, 8, 255]),
        tensor("z", 3, &[], vec![0]),
    ]
}
