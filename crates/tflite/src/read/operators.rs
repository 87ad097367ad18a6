//! Which built-in operator is read by what.

use super::context::Import;
use super::{activation, conv, elementwise, linear, movement, pool, quantize, reduce, reshape, resize, slice};
use crate::Result;
use crate::schema::enums::Builtin;

/// Reads one operator into the graph.
pub(super) type Importer = fn(&mut Import<'_>) -> Result<()>;

macro_rules! operators {
    ($($module:ident: $($name:ident => $import:ident),* $(,)?;)*) => {
        /// The operators that can be read.
        pub(super) static OPERATORS: &[(Builtin, Importer)] = &[
            $($((Builtin::$name, $module::$import as Importer)),*),*
        ];
    };
}

operators! {
    conv: CONV_2D => conv_2d, DEPTHWISE_CONV_2D => depthwise_conv_2d, TRANSPOSE_CONV => transpose_conv;
    pool: AVERAGE_POOL_2D => average_pool_2d, MAX_POOL_2D => max_pool_2d;
    linear: FULLY_CONNECTED => fully_connected, BATCH_MATMUL => batch_matmul;
    elementwise:
        ADD => add, SUB => sub, MUL => mul, DIV => div, POW => plain_binary, MINIMUM => plain_binary,
        MAXIMUM => plain_binary, SQUARED_DIFFERENCE => plain_binary, FLOOR_DIV => plain_binary,
        FLOOR_MOD => plain_binary, ADD_N => add_n, EQUAL => compare, NOT_EQUAL => compare, LESS => compare,
        LESS_EQUAL => compare, GREATER => compare, GREATER_EQUAL => compare, LOGICAL_AND => logical,
        LOGICAL_OR => logical, SELECT => select, SELECT_V2 => select, CAST => cast;
    activation:
        RELU => unary, RELU6 => unary, RELU_N1_TO_1 => unary, RELU_0_TO_1 => unary, ELU => unary,
        HARD_SWISH => unary, LOGISTIC => unary, TANH => unary, EXP => unary, LOG => unary, SQRT => unary,
        RSQRT => unary, SQUARE => unary, NEG => unary, ABS => unary, SIGN => unary, FLOOR => unary, CEIL => unary,
        ROUND => unary, SIN => unary, COS => unary, LOGICAL_NOT => unary, GELU => gelu, LEAKY_RELU => leaky_relu,
        PRELU => prelu;
    reduce:
        SOFTMAX => softmax, LOG_SOFTMAX => log_softmax, L2_NORMALIZATION => l2_normalization, MEAN => reduce,
        SUM => reduce, REDUCE_MAX => reduce, REDUCE_MIN => reduce, REDUCE_PROD => reduce, ARG_MAX => arg_max,
        ARG_MIN => arg_min, TOPK_V2 => topk_v2, CUMSUM => cumsum;
    movement:
        PAD => pad, PADV2 => pad, MIRROR_PAD => mirror_pad, CONCATENATION => concatenation, SPLIT => split,
        SPLIT_V => split_v, GATHER => gather, GATHER_ND => gather_nd, PACK => pack, UNPACK => unpack, TILE => tile,
        FILL => fill, RANGE => range, ONE_HOT => one_hot, SPACE_TO_DEPTH => space_to_depth,
        DEPTH_TO_SPACE => depth_to_space;
    slice: SLICE => slice, STRIDED_SLICE => strided_slice, REVERSE_V2 => reverse_v2;
    reshape:
        RESHAPE => reshape, SQUEEZE => squeeze, EXPAND_DIMS => expand_dims, TRANSPOSE => transpose,
        BROADCAST_TO => broadcast_to, SHAPE => shape;
    resize: RESIZE_BILINEAR => resize_bilinear, RESIZE_NEAREST_NEIGHBOR => resize_nearest_neighbor;
    quantize: QUANTIZE => quantize, DEQUANTIZE => dequantize;
}
