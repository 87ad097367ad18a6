//! The finished file.

use fewbits_graph::{Graph, ValueId};

use super::emit::Parts;
use crate::schema::model::{Model, SignatureDef, SubGraph, TensorMap};
use crate::schema::table::{BUFFER_ALIGNMENT, Blob, Builder, Table};
use crate::schema::{FILE_IDENTIFIER, VERSION};
use crate::{Error, Result};

/// The entry point that runtimes look for.
const SIGNATURE: &str = "serving_default";
/// More than a tensor, or an operator with its attributes, takes beside names and data.
const TABLE_BYTES: usize = 512;
/// Offsets are 32-bit and signed.
const LARGEST_FILE: u64 = (1 << 31) - (1 << 16);

/// Assembles the file.
pub(super) fn finish(graph: &Graph, parts: Parts) -> Result<Vec<u8>> {
    let bytes = estimate(&parts);
    let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
    if bytes > LARGEST_FILE {
        return Err(Error::TooLarge { bytes });
    }
    let tensors_of =
        |ids: &[ValueId]| -> Vec<i32> { ids.iter().filter_map(|v| parts.index[v.0]).map(|t| t.0).collect() };
    let (inputs, outputs) = (tensors_of(&graph.inputs), tensors_of(&graph.outputs));
    let signature = SignatureDef {
        inputs: names(graph, &graph.inputs, &inputs),
        outputs: names(graph, &graph.outputs, &outputs),
        signature_key: Some(SIGNATURE.to_owned()),
        subgraph_index: 0,
    };
    let main = SubGraph {
        tensors: parts.tensors,
        inputs,
        outputs,
        operators: parts.operators,
        name: Some(graph.name.clone()),
    };
    let model = Model {
        version: VERSION,
        operator_codes: parts.codes,
        subgraphs: vec![main],
        description: Some("fewbits".to_owned()),
        buffers: parts.buffers,
        metadata: None,
        signature_defs: Some(vec![signature]),
    };
    let mut builder = Builder::with_capacity(capacity);
    let root = model.write(&mut builder);
    builder.finish(root, Some(FILE_IDENTIFIER));
    Ok(builder.finished_data().to_vec())
}

fn names(graph: &Graph, ids: &[ValueId], tensors: &[i32]) -> Vec<TensorMap> {
    let entry = |(id, &tensor): (&ValueId, &i32)| TensorMap {
        name: Some(graph.value(*id).name.clone()),
        tensor_index: u32::try_from(tensor).unwrap_or_default(),
    };
    ids.iter().zip(tensors).map(entry).collect()
}

/// An upper bound of the file's size.
fn estimate(parts: &Parts) -> u64 {
    let data = parts.buffers.iter().map(|b| match &b.data {
        Blob::Write(tensor) => tensor.bytes().len() + BUFFER_ALIGNMENT + TABLE_BYTES,
        Blob::None | Blob::InFile { .. } => TABLE_BYTES,
    });
    let tensors = parts.tensors.iter().map(|t| {
        let scales = t.quantization.as_ref().and_then(|q| q.scale.as_ref()).map_or(0, Vec::len);
        t.name.as_ref().map_or(0, |n| 3 * n.len()) + 16 * (scales + t.shape.len()) + TABLE_BYTES
    });
    let operators = parts.operators.iter().map(|o| 8 * (o.inputs.len() + o.outputs.len()) + TABLE_BYTES);
    // A sum of sizes in memory fits 64 bits.
    data.chain(tensors).chain(operators).map(|n| n as u64).sum::<u64>() + 4096
}
