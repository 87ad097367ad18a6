//! The tables that make up a model file, with the schema's slots and defaults.

use super::table::{Blob, Present, UnionTable, table};

table! {
    /// The root of the file.
    Model {
        0 version: u32 = 0,
        1 operator_codes: Vec<OperatorCode>,
        2 subgraphs: Vec<SubGraph>,
        3 description: Option<String>,
        4 buffers: Vec<Buffer>,
        6 metadata: Option<Vec<Metadata>>,
        7 signature_defs: Option<Vec<SignatureDef>>,
    }

    /// An operator that the model uses, with the version of its semantics.
    OperatorCode {
        // Codes above 127 do not fit here; such files say 127 and use slot 3.
        0 deprecated_builtin_code: i8 = 0,
        1 custom_code: Option<String>,
        2 version: i32 = 1,
        3 builtin_code: i32 = 0,
    }

    /// A function of tensors.
    SubGraph {
        0 tensors: Vec<Tensor>,
        1 inputs: Vec<i32>,
        2 outputs: Vec<i32>,
        3 operators: Vec<Operator>,
        4 name: Option<String>,
    }

    /// A value.
    Tensor {
        0 shape: Vec<i32>,
        1 kind: i8 = 0,
        2 buffer: u32 = 0,
        3 name: Option<String>,
        4 quantization: Option<QuantizationParameters>,
        5 is_variable: bool = false,
        6 sparsity: Present,
        7 shape_signature: Option<Vec<i32>>,
        8 has_rank: bool = false,
        9 variant_tensors: Present,
        10 external_buffer: u32 = 0,
    }

    /// How a tensor's integers stand for real numbers.
    QuantizationParameters {
        2 scale: Option<Vec<f32>>,
        3 zero_point: Option<Vec<i64>>,
        4 details_kind: u8 = 0,
        6 quantized_dimension: i32 = 0,
    }

    /// An operator applied to tensors, by index; −1 is an absent optional input.
    Operator {
        0 opcode_index: u32 = 0,
        1 inputs: Vec<i32>,
        2 outputs: Vec<i32>,
        3 options_kind: u8 = 0,
        4 options: UnionTable,
    }

    /// Bytes of a constant. In files above 2 GiB they stand behind the flatbuffer, at `offset`.
    Buffer {
        0 data: Blob,
        1 offset: u64 = 0,
        2 size: u64 = 0,
    }

    /// Named extra data, in a buffer.
    Metadata {
        0 name: Option<String>,
        1 buffer: u32 = 0,
    }

    /// The public name of a tensor.
    TensorMap {
        0 name: Option<String>,
        1 tensor_index: u32 = 0,
    }

    /// A named entry point.
    SignatureDef {
        0 inputs: Vec<TensorMap>,
        1 outputs: Vec<TensorMap>,
        2 signature_key: Option<String>,
        4 subgraph_index: u32 = 0,
    }
}
