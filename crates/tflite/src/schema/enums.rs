//! Numbers of the schema's enumerations.

use fewbits_graph::{Activation, DType};

macro_rules! builtin {
    ($($name:ident),* $(,)?) => {
        /// The built-in operators that this crate knows by name, in the order of their codes from 0.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)] // The names of the schema.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub(crate) enum Builtin { $($name),* }

        impl Builtin {
            const ALL: &[(Builtin, &'static str)] = &[$((Builtin::$name, stringify!($name))),*];
        }
    };
}

builtin! {
    ADD, AVERAGE_POOL_2D, CONCATENATION, CONV_2D, DEPTHWISE_CONV_2D, DEPTH_TO_SPACE, DEQUANTIZE,
    EMBEDDING_LOOKUP, FLOOR, FULLY_CONNECTED, HASHTABLE_LOOKUP, L2_NORMALIZATION, L2_POOL_2D,
    LOCAL_RESPONSE_NORMALIZATION, LOGISTIC, LSH_PROJECTION, LSTM, MAX_POOL_2D, MUL, RELU, RELU_N1_TO_1, RELU6,
    RESHAPE, RESIZE_BILINEAR, RNN, SOFTMAX, SPACE_TO_DEPTH, SVDF, TANH, CONCAT_EMBEDDINGS, SKIP_GRAM, CALL,
    CUSTOM, EMBEDDING_LOOKUP_SPARSE, PAD, UNIDIRECTIONAL_SEQUENCE_RNN, GATHER, BATCH_TO_SPACE_ND,
    SPACE_TO_BATCH_ND, TRANSPOSE, MEAN, SUB, DIV, SQUEEZE, UNIDIRECTIONAL_SEQUENCE_LSTM, STRIDED_SLICE,
    BIDIRECTIONAL_SEQUENCE_RNN, EXP, TOPK_V2, SPLIT, LOG_SOFTMAX, DELEGATE, BIDIRECTIONAL_SEQUENCE_LSTM, CAST,
    PRELU, MAXIMUM, ARG_MAX, MINIMUM, LESS, NEG, PADV2, GREATER, GREATER_EQUAL, LESS_EQUAL, SELECT, SLICE, SIN,
    TRANSPOSE_CONV, SPARSE_TO_DENSE, TILE, EXPAND_DIMS, EQUAL, NOT_EQUAL, LOG, SUM, SQRT, RSQRT, SHAPE, POW,
    ARG_MIN, FAKE_QUANT, REDUCE_PROD, REDUCE_MAX, PACK, LOGICAL_OR, ONE_HOT, LOGICAL_AND, LOGICAL_NOT, UNPACK,
    REDUCE_MIN, FLOOR_DIV, REDUCE_ANY, SQUARE, ZEROS_LIKE, FILL, FLOOR_MOD, RANGE, RESIZE_NEAREST_NEIGHBOR,
    LEAKY_RELU, SQUARED_DIFFERENCE, MIRROR_PAD, ABS, SPLIT_V, UNIQUE, CEIL, REVERSE_V2, ADD_N, GATHER_ND, COS,
    WHERE, RANK, ELU, REVERSE_SEQUENCE, MATRIX_DIAG, QUANTIZE, MATRIX_SET_DIAG, ROUND, HARD_SWISH, IF, WHILE,
    NON_MAX_SUPPRESSION_V4, NON_MAX_SUPPRESSION_V5, SCATTER_ND, SELECT_V2, DENSIFY, SEGMENT_SUM, BATCH_MATMUL,
    PLACEHOLDER_FOR_GREATER_OP_CODES, CUMSUM, CALL_ONCE, BROADCAST_TO, RFFT2D, CONV_3D, IMAG, REAL, COMPLEX_ABS,
    HASHTABLE, HASHTABLE_FIND, HASHTABLE_IMPORT, HASHTABLE_SIZE, REDUCE_ALL, CONV_3D_TRANSPOSE, VAR_HANDLE,
    READ_VARIABLE, ASSIGN_VARIABLE, BROADCAST_ARGS, RANDOM_STANDARD_NORMAL, BUCKETIZE, RANDOM_UNIFORM,
    MULTINOMIAL, GELU, DYNAMIC_UPDATE_SLICE, RELU_0_TO_1, UNSORTED_SEGMENT_PROD, UNSORTED_SEGMENT_MAX,
    UNSORTED_SEGMENT_SUM, ATAN2, UNSORTED_SEGMENT_MIN, SIGN, BITCAST, BITWISE_XOR, RIGHT_SHIFT,
}

/// The code that stands in the old 8-bit field when the real one does not fit there.
pub(crate) const PLACEHOLDER_CODE: i8 = 127;

impl Builtin {
    /// The operator with that code.
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).map(|(b, _)| *b)
    }

    /// Its code.
    pub(crate) fn code(self) -> i32 {
        self as i32
    }

    /// Its name in the schema.
    pub(crate) fn name(self) -> &'static str {
        // Codes are positions in the list.
        usize::try_from(self.code()).ok().and_then(|i| Self::ALL.get(i)).map_or("", |(_, name)| name)
    }
}

/// Element types by code: those that the graph has.
const TYPES: &[(i8, DType)] = &[
    (0, DType::F32),
    (1, DType::F16),
    (2, DType::I32),
    (3, DType::U8),
    (4, DType::I64),
    (6, DType::Bool),
    (7, DType::I16),
    (9, DType::I8),
    (10, DType::F64),
    (17, DType::I4),
];

/// Names of all element types by code, for messages.
const TYPE_NAMES: &[&str] = &[
    "FLOAT32",
    "FLOAT16",
    "INT32",
    "UINT8",
    "INT64",
    "STRING",
    "BOOL",
    "INT16",
    "COMPLEX64",
    "INT8",
    "FLOAT64",
    "COMPLEX128",
    "UINT64",
    "RESOURCE",
    "VARIANT",
    "UINT32",
    "UINT16",
    "INT4",
    "BFLOAT16",
];

/// The element type with that code.
pub(crate) fn dtype_from_code(code: i8) -> Option<DType> {
    TYPES.iter().find(|(c, _)| *c == code).map(|(_, t)| *t)
}

/// The code of an element type.
pub(crate) fn dtype_code(dtype: DType) -> i8 {
    // Every element type of the graph stands in the list.
    TYPES.iter().find(|(_, t)| *t == dtype).map_or(0, |(c, _)| *c)
}

/// The schema's name of an element type, or its number.
pub(crate) fn type_name(code: i8) -> String {
    let name = usize::try_from(code).ok().and_then(|i| TYPE_NAMES.get(i));
    name.map_or_else(|| format!("type {code}"), |n| (*n).to_owned())
}

/// Padding computed from sizes so that the output has `⌈size ÷ stride⌉` elements.
pub(crate) const PADDING_SAME: i8 = 0;
/// No padding.
pub(crate) const PADDING_VALID: i8 = 1;

/// Mirror padding without the border.
pub(crate) const MIRROR_REFLECT: i8 = 0;
/// Mirror padding with the border.
pub(crate) const MIRROR_SYMMETRIC: i8 = 1;

/// The fused activation with that code; `None` for those that the graph does not have (hyperbolic
/// tangent and sign bit).
pub(crate) fn activation_from_code(code: i8) -> Option<Activation> {
    match code {
        0 => Some(Activation::None),
        1 => Some(Activation::Relu),
        2 => Some(Activation::ReluN1To1),
        3 => Some(Activation::Relu6),
        _ => None,
    }
}

/// The code of a fused activation.
pub(crate) fn activation_code(activation: Activation) -> i8 {
    match activation {
        Activation::None => 0,
        Activation::Relu => 1,
        Activation::ReluN1To1 => 2,
        Activation::Relu6 => 3,
    }
}
