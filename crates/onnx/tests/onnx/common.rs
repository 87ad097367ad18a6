//! Small ONNX models, built from our own messages.

use std::path::PathBuf;

use bytes::Bytes;
use fewbits_onnx::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use prost::Message;

/// A model under construction.
pub(crate) struct Builder {
    pub(crate) model: ModelProto,
}

impl Builder {
    pub(crate) fn new(opset: i64) -> Self {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
        Builder {
            model: ModelProto {
                ir_version: Some(8),
                opset_import,
                graph: Some(GraphProto { name: "test".into(), ..GraphProto::default() }),
                ..ModelProto::default()
            },
        }
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.get_or_insert_default()
    }

    pub(crate) fn input(mut self, name: &str, code: i32, dims: &[i64]) -> Self {
        let info = info(name, code, dims);
        self.graph().input.push(info);
        self
    }

    pub(crate) fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: name.into(), r#type: None });
        self
    }

    pub(crate) fn floats(mut self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.graph().initializer.push(raw_tensor(name, 1, dims, raw));
        self
    }

    pub(crate) fn ints(mut self, name: &str, data: &[i64]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let dims = [i64::try_from(data.len()).unwrap()];
        self.graph().initializer.push(raw_tensor(name, 7, &dims, raw));
        self
    }

    pub(crate) fn raw(mut self, name: &str, code: i32, dims: &[i64], raw: Vec<u8>) -> Self {
        self.graph().initializer.push(raw_tensor(name, code, dims, raw));
        self
    }

    pub(crate) fn node(self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> Self {
        self.named_node("", op, inputs, outputs, attributes)
    }

    pub(crate) fn named_node(
        mut self,
        name: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> Self {
        self.graph().node.push(NodeProto {
            name: name.into(),
            op_type: op.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: outputs.iter().map(|s| s.to_string()).collect(),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }

    pub(crate) fn read(&self) -> fewbits_onnx::Result<fewbits_graph::Graph> {
        fewbits_onnx::read_bytes(self.bytes(), None)
    }
}

pub(crate) fn info(name: &str, code: i32, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&d| {
        let value = if d < 0 { DimensionValue::Param("N".into()) } else { DimensionValue::Value(d) };
        DimensionProto { value: Some(value) }
    });
    let ty = TensorTypeProto { elem_type: code, shape: Some(TensorShapeProto { dim: dim.collect() }) };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(ty) }) }
}

pub(crate) fn raw_tensor(name: &str, code: i32, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: code,
        dims: dims.to_vec(),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type: 7, ..AttributeProto::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value), r#type: 2, ..AttributeProto::default() }
}

/// The folder of shared models, or `None` after saying that it is absent.
pub(crate) fn shared_models() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var_os("CI").is_none(), "../shared is absent, which is a failure in CI");
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: ../shared is absent");
    None
}

/// A small network: convolution, depthwise convolution, sum, global pooling, linear layer.
pub(crate) fn network() -> Builder {
    let weights: Vec<f32> = (0..4 * 3 * 3 * 3).map(|i| (i as f32 * 0.37).sin()).collect();
    let depthwise: Vec<f32> = (0..4 * 9).map(|i| (i as f32 * 0.11).cos()).collect();
    let linear: Vec<f32> = (0..5 * 4).map(|i| i as f32 * 0.1 - 1.0).collect();
    Builder::new(17)
        .input("x", 1, &[-1, 3, 8, 8])
        .floats("w", &[4, 3, 3, 3], &weights)
        .floats("b", &[4], &[0.1, 0.2, 0.3, 0.4])
        .floats("dw", &[4, 1, 3, 3], &depthwise)
        .floats("scale", &[4, 1, 1], &[1.0, 2.0, 3.0, 4.0])
        .floats("fc", &[5, 4], &linear)
        .floats("fb", &[5], &[0.0; 5])
        .named_node("conv", "Conv", &["x", "w", "b"], &["c"], vec![ints("pads", &[1; 4])])
        .named_node("relu", "Relu", &["c"], &["r"], vec![])
        .named_node("depthwise", "Conv", &["r", "dw"], &["d"], vec![ints("pads", &[1; 4]), int("group", 4)])
        .named_node("add", "Add", &["d", "r"], &["a"], vec![])
        .named_node("mul", "Mul", &["a", "scale"], &["m"], vec![])
        .named_node("pool", "GlobalAveragePool", &["m"], &["p"], vec![])
        .named_node("flatten", "Flatten", &["p"], &["f"], vec![])
        .named_node("linear", "Gemm", &["f", "fc", "fb"], &["y"], vec![int("transB", 1)])
        .output("y")
}
