//! Versions of operators: runtimes refuse a version that they do not know, and older ones some
//! types of a version that had them not.

use fewbits_graph::{DType, Granularity};

use super::emit::TensorInfo;
use crate::schema::enums::Builtin;

/// The version that the types of an operator's tensors ask for. Attributes may ask for more.
pub(super) fn version(builtin: Builtin, inputs: &[Option<&TensorInfo>], outputs: &[&TensorInfo]) -> i32 {
    let dtype = |i: usize| inputs.get(i).copied().flatten().map(|t| t.dtype);
    let out = outputs.first().map(|t| t.dtype);
    match builtin {
        Builtin::CONV_2D | Builtin::DEPTHWISE_CONV_2D | Builtin::FULLY_CONNECTED | Builtin::TRANSPOSE_CONV => {
            weighted(builtin, inputs)
        }
        Builtin::DEQUANTIZE => match dtype(0) {
            Some(DType::I4) => 6,
            Some(DType::I8) if inputs[0].is_some_and(is_per_channel) => 5,
            Some(DType::F16 | DType::I16) => 3,
            Some(DType::I8) => 2,
            _ => 1,
        },
        Builtin::QUANTIZE => match out {
            Some(DType::I4) => 4,
            Some(DType::I16) => 2,
            _ if outputs.iter().any(|t| is_per_channel(t)) => 3,
            _ => 1,
        },
        Builtin::CAST => match (dtype(0), out) {
            (Some(DType::I4), _) => 6,
            (Some(DType::F64 | DType::F16), _) | (_, Some(DType::F64 | DType::F16)) => 5,
            (Some(DType::I8), _) | (_, Some(DType::I8)) => 3,
            _ => 1,
        },
        Builtin::MUL => match dtype(0) {
            Some(DType::I64) => 5,
            Some(DType::I16) => 4,
            _ if product_grows(inputs, outputs) => 3,
            Some(DType::I8) => 2,
            _ => 1,
        },
        // The value stands at input 1; input 0 is the axis or the shape.
        Builtin::SPLIT => by_type(dtype(1), &[(DType::I8, 2), (DType::I32, 3), (DType::I16, 4)]),
        Builtin::FILL => by_type(dtype(1), &[(DType::Bool, 2), (DType::I8, 3), (DType::I16, 3), (DType::F16, 4)]),
        Builtin::BROADCAST_TO => by_type(dtype(0), &[(DType::I8, 3), (DType::I16, 3)]).max(2),
        _ => by_type(dtype(0), type_versions(builtin)).max(rank_version(builtin, inputs)),
    }
}

fn by_type(dtype: Option<DType>, versions: &[(DType, i32)]) -> i32 {
    versions.iter().find(|(t, _)| Some(*t) == dtype).map_or(1, |(_, v)| *v)
}

/// Versions by the type of the first input, where that decides; 1 for other types.
fn type_versions(builtin: Builtin) -> &'static [(DType, i32)] {
    use DType::{Bool, I8, I16, I32, I64, U8};
    match builtin {
        Builtin::ADD => &[(I8, 2), (I16, 3), (I64, 4)],
        Builtin::SUB => &[(I8, 2), (I64, 4), (I16, 5)],
        Builtin::MAX_POOL_2D
        | Builtin::AVERAGE_POOL_2D
        | Builtin::SOFTMAX
        | Builtin::MEAN
        | Builtin::MIRROR_PAD
        | Builtin::REDUCE_MAX
        | Builtin::REDUCE_MIN
        | Builtin::RELU6
        | Builtin::RSQRT
        | Builtin::TANH
        | Builtin::LOGISTIC
        | Builtin::PAD
        | Builtin::PADV2
        | Builtin::PACK
        | Builtin::BATCH_MATMUL
        | Builtin::LESS
        | Builtin::GREATER_EQUAL
        | Builtin::TOPK_V2
        | Builtin::CONCATENATION => &[(I8, 2), (I16, 3)],
        Builtin::RELU => &[(I8, 2), (U8, 2), (I16, 3)],
        Builtin::MAXIMUM | Builtin::MINIMUM => &[(I8, 2), (I16, 4)],
        Builtin::GATHER => &[(I8, 2), (Bool, 3), (I16, 4)],
        Builtin::TRANSPOSE => &[(I8, 2), (Bool, 3), (I16, 5)],
        Builtin::SLICE => &[(I8, 2), (I16, 4)],
        Builtin::STRIDED_SLICE => &[(I8, 2), (Bool, 3)],
        Builtin::RESIZE_BILINEAR | Builtin::RESIZE_NEAREST_NEIGHBOR => &[(I8, 2), (I16, 4)],
        Builtin::FLOOR_DIV => &[(DType::F32, 2), (I8, 3), (I16, 3)],
        Builtin::FLOOR_MOD => &[(I8, 2), (I16, 2)],
        Builtin::ABS => &[(I8, 2), (U8, 2), (I16, 3), (I32, 5)],
        Builtin::SIGN => &[(I32, 2)],
        Builtin::EQUAL => &[(I8, 2), (I16, 4)],
        Builtin::LEAKY_RELU => &[(I16, 2)],
        Builtin::RANGE => &[(I64, 2)],
        Builtin::GATHER_ND => &[(I16, 3), (Bool, 5)],
        Builtin::ARG_MAX | Builtin::ARG_MIN => &[(I8, 2), (Bool, 3)],
        Builtin::TILE => &[(I8, 3)],
        Builtin::EXP | Builtin::LOG | Builtin::REDUCE_PROD => &[(I8, 2), (I16, 2)],
        Builtin::GELU => &[(I8, 2), (U8, 2)],
        Builtin::NOT_EQUAL
        | Builtin::GREATER
        | Builtin::LESS_EQUAL
        | Builtin::L2_NORMALIZATION
        | Builtin::SPACE_TO_DEPTH
        | Builtin::DEPTH_TO_SPACE
        | Builtin::SPLIT_V
        | Builtin::SUM
        | Builtin::LOG_SOFTMAX
        | Builtin::SQUARED_DIFFERENCE => &[(I8, 2)],
        _ => &[],
    }
}

/// Versions that came with more dimensions.
fn rank_version(builtin: Builtin, inputs: &[Option<&TensorInfo>]) -> i32 {
    let ranks = || inputs.iter().flatten().map(|t| t.shape.rank());
    let first = ranks().next().unwrap_or(0);
    let broadcasts = matches!(inputs, [Some(a), Some(b), ..] if a.shape != b.shape);
    let wide = broadcasts && ranks().any(|r| r > 4);
    match builtin {
        Builtin::TRANSPOSE if first > 5 => 6,
        Builtin::TRANSPOSE | Builtin::PAD | Builtin::PADV2 | Builtin::STRIDED_SLICE if first > 4 => 4,
        Builtin::SLICE if first > 4 => 5,
        Builtin::MAXIMUM | Builtin::MINIMUM | Builtin::SUB if wide => 3,
        Builtin::DIV if wide => 2,
        _ => 1,
    }
}

fn is_per_channel(tensor: &TensorInfo) -> bool {
    tensor.quant.as_ref().is_some_and(|q| matches!(q.granularity, Granularity::PerChannel { .. }))
}

/// Whether the rescaling of a product is by 1 or more, which early versions had not.
fn product_grows(inputs: &[Option<&TensorInfo>], outputs: &[&TensorInfo]) -> bool {
    let scale = |t: &TensorInfo| t.quant.as_ref()?.as_per_tensor().map(|(s, _)| s);
    match (inputs, outputs) {
        ([Some(a), Some(b)], [out]) => {
            matches!((scale(a), scale(b), scale(out)), (Some(a), Some(b), Some(o)) if a * b / o >= 1.0)
        }
        _ => false,
    }
}

/// Operators with weights: `x` and weights stand at inputs 0 and 1, of the transposed convolution
/// at 2 and 1.
fn weighted(builtin: Builtin, inputs: &[Option<&TensorInfo>]) -> i32 {
    let x = if builtin == Builtin::TRANSPOSE_CONV { 2 } else { 0 };
    let at = |i: usize| inputs.get(i).copied().flatten();
    let per_channel = at(1).is_some_and(is_per_channel);
    let (x, w) = (at(x).map(|t| t.dtype), at(1).map(|t| t.dtype));
    let int4 = w == Some(DType::I4);
    match (builtin, x) {
        (Builtin::TRANSPOSE_CONV, _) if inputs.len() == 4 => 3,
        (Builtin::TRANSPOSE_CONV, _) if w == Some(DType::I8) => 2,
        (Builtin::CONV_2D | Builtin::DEPTHWISE_CONV_2D, Some(DType::I8)) if int4 => 7,
        (Builtin::CONV_2D | Builtin::DEPTHWISE_CONV_2D, Some(DType::I8)) => 3,
        (Builtin::CONV_2D, Some(DType::I16)) => 4,
        (Builtin::DEPTHWISE_CONV_2D, Some(DType::I16)) => 5,
        (Builtin::CONV_2D, Some(DType::F32)) if w == Some(DType::I8) => 2 + 3 * i32::from(per_channel),
        (Builtin::DEPTHWISE_CONV_2D, Some(DType::F32)) if w == Some(DType::I8) => 4 + 2 * i32::from(per_channel),
        (Builtin::FULLY_CONNECTED, Some(DType::F32)) if w == Some(DType::I8) => 9 + 3 * i32::from(per_channel),
        (Builtin::FULLY_CONNECTED, _) if int4 => 10,
        (Builtin::FULLY_CONNECTED, Some(DType::I16)) => 7,
        (Builtin::FULLY_CONNECTED, Some(DType::I8)) => 4,
        _ => 1,
    }
}
