//! [`Graph`] → ONNX bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use fewbits_graph::{DType, Dim, Granularity, Graph, Op, Value, ops::PadMode, ops::PoolKind};
use prost::Message;

use crate::export::{self, emitter::Emitter, emitter::Form};
use crate::proto::{
    DimensionProto, DimensionValue, GraphProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};
use crate::{Error, Result, tensor};

/// Protobuf's own limit on a message.
const LARGEST_FILE: usize = 0x7fff_ffff;

/// Writes a graph as an ONNX model file. An existing file is replaced only when the new one is
/// complete.
///
/// Quantized edges are written as `QuantizeLinear` and `DequantizeLinear` around float operators;
/// int8 weights with float activations as `DynamicQuantizeLinear` and integer products. The
/// operator set is 17, or 19 or 21 where an operator or a 4-bit, 16-bit or block-wise type needs
/// it.
///
/// # Errors
/// [`Error::File`] around what is wrong.
pub fn write(graph: &Graph, path: &Path) -> Result<()> {
    to_bytes(graph).and_then(|bytes| replace(path, &bytes)).map_err(|e| e.in_file(path))
}

/// The bytes of the ONNX model that [`write`] writes.
///
/// # Errors
/// [`Error::Export`] for a node without a form in ONNX; [`Error::Model`] for a model beyond 2 GiB.
pub fn to_bytes(graph: &Graph) -> Result<Vec<u8>> {
    graph.validate()?;
    let opset = needed_opset(graph);
    let mut emitter = Emitter::new(graph, opset);
    for node in &graph.nodes {
        export::write(&mut emitter, node)?;
    }
    for &output in &graph.outputs {
        finish_output(&mut emitter, output)?;
    }
    let proto = GraphProto {
        node: emitter.nodes,
        name: if graph.name.is_empty() { "main".to_owned() } else { graph.name.clone() },
        initializer: emitter.initializers,
        input: graph.inputs.iter().map(|&v| value_info(graph.value(v))).collect(),
        output: graph.outputs.iter().map(|&v| value_info(graph.value(v))).collect(),
        ..GraphProto::default()
    };
    let model = ModelProto {
        // Versions of the file format that came with these operator sets.
        ir_version: Some(match opset {
            ..19 => 8,
            19..21 => 9,
            _ => 10,
        }),
        producer_name: "fewbits".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(proto),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: opset }],
        ..ModelProto::default()
    };
    let size = model.encoded_len();
    if size > LARGEST_FILE {
        return Err(Error::model(format!("the model would take {size} bytes; a protobuf file holds at most 2 GiB")));
    }
    Ok(model.encode_to_vec())
}

/// The smallest operator set, from 17, that has all that the graph needs.
fn needed_opset(graph: &Graph) -> i64 {
    let wide = |v: &Value| match &v.quant {
        Some(q) => matches!(v.dtype, DType::I4 | DType::I16) || matches!(q.granularity, Granularity::Blocked { .. }),
        None => v.dtype == DType::I4,
    };
    if graph.values.iter().any(wide) {
        return 21;
    }
    let newer = graph.nodes.iter().any(|n| match &n.op {
        Op::Pad(pad) => pad.mode == PadMode::Wrap,
        Op::Pool2d(pool) => matches!(pool.kind, PoolKind::Average { .. }) && pool.dilation != [1, 1],
        _ => false,
    });
    if newer { 19 } else { 17 }
}

/// Makes sure that a public output exists under its name, in its own layout.
fn finish_output(emitter: &mut Emitter<'_>, output: fewbits_graph::ValueId) -> Result<()> {
    let name = emitter.graph.value(output).name.clone();
    if emitter.graph.inputs.contains(&output) {
        return Err(Error::tensor(name, "is both an input and an output; put an Identity between them"));
    }
    let constant = emitter.is_constant(output);
    let held = emitter.raw(output, Form::Stored)?;
    // A constant under its own name is an initializer, which may be an output as it is.
    if held != name && !constant {
        emitter.extra("Identity", vec![held], name, Vec::new());
    }
    Ok(())
}

fn value_info(value: &Value) -> ValueInfoProto {
    let dim = value.shape.0.iter().map(|d| DimensionProto {
        value: Some(match d {
            Dim::Fixed(n) => DimensionValue::Value(i64::try_from(*n).unwrap_or(i64::MAX)),
            Dim::Symbol(s) => DimensionValue::Param(s.to_string()),
        }),
    });
    let ty =
        TensorTypeProto { elem_type: tensor::code(value.dtype), shape: Some(TensorShapeProto { dim: dim.collect() }) };
    ValueInfoProto { name: value.name.clone(), r#type: Some(TypeProto { tensor_type: Some(ty) }) }
}

/// Replaces a file: the bytes go to a temporary file in the same folder, which then takes the
/// name. The temporary file is removed on failure.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_name(path)?;
    let attempt = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    attempt().map_err(|e| {
        // The first error is the one to report; an open that failed left nothing to remove.
        if e.kind() != std::io::ErrorKind::AlreadyExists {
            let _ = std::fs::remove_file(&temporary);
        }
        Error::io("cannot write the model", e)
    })
}

/// A name beside `path` that differs between processes and between calls.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| Error::model("the path to write to names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.{}.tmp", std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(hidden))
}
