//! Integer kernels: int8 activations (NHWC, `real = (q - zero_point) * scale`), int8 symmetric
//! weights, int32 sums.
//!
//! Layers with constant weights are objects that pack them once for an [`Isa`](crate::isa::Isa)
//! and then run on slices: [`PackedConv`], [`PackedDepthwise`], [`PackedDense`],
//! [`PackedTransposeConv`]. Each has three outputs: int8 through a [`Requant`], float through a
//! [`FloatOutput`] (dynamic range), and the raw int32 sums. Runs allocate nothing; they take
//! scratch bytes from the caller. Results are the same bits on every instruction set and for every
//! number of threads.
//!
//! Lengths are the caller's contract: a slice that does not fit panics.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod binary;
mod broadcast;
mod conv;
mod dense;
mod depthwise;
mod epilogue;
pub mod fixed;
mod gemm;
mod lines;
mod lut;
mod matmul;
mod mean;
mod pool;
mod prelu;
mod quantize;
mod requant;
mod resize;
mod softmax;
mod transpose_conv;
mod vectorize;

pub use binary::{Affine, Binary, SumMultipliers, product_multiplier};
pub use broadcast::Broadcast;
pub use conv::PackedConv;
pub use dense::{PackedDense, WeightOrder};
pub use depthwise::PackedDepthwise;
pub use epilogue::FloatOutput;
pub use lut::Lut256;
pub use matmul::{MatMul, Operands};
pub use mean::Mean;
pub use pool::{average_pool, max_pool};
pub use prelu::Prelu;
pub use quantize::{
    DequantizedInt, QuantizedInt, dequantize, dequantize_per_channel, quantize, quantize_per_channel,
    quantize_row_dynamic,
};
pub use requant::{FixedMultiplier, Requant, Rounding, doubling_high_mul, rounding_shift_right};
pub use resize::{Coordinates, NearestRounding, ResizeShape, resize_bilinear, resize_nearest};
pub use softmax::{LogSoftmax, Softmax};
pub use transpose_conv::PackedTransposeConv;

use crate::registry::KernelInfo;

/// Kernels with code of their own for each instruction set.
const TILED: [(&str, &str); 10] = [
    ("i8_depthwise_1x1_scalar", "depthwise"),
    ("i8_depthwise_8x16_avx2", "depthwise"),
    ("i8_depthwise_8x8_avx2", "depthwise"),
    ("i8_gemm_6x16_avx2", "gemm"),
    ("i8_gemm_6x16_scalar", "gemm"),
    ("i8_gemm_6x8_avx2", "gemm"),
    ("i8_gemm_8x16_avx512vnni", "gemm"),
    ("i8_gemm_8x32_avx512vnni", "gemm"),
    ("i8_lut_1x1_scalar", "lut"),
    ("i8_lut_1x32_avx2", "lut"),
];

/// Kernels compiled once for any CPU and once for AVX2: the two names, and the family.
const VECTORIZED: [(&str, &str, &str); 13] = [
    ("i8_average_pool_1x1_scalar", "i8_average_pool_1x8_avx2", "pool"),
    ("i8_binary_1x1_scalar", "i8_binary_1x8_avx2", "elementwise"),
    ("i16_dequantize_1x1_scalar", "i16_dequantize_1x8_avx2", "dequantize"),
    ("i32_dequantize_1x1_scalar", "i32_dequantize_1x8_avx2", "dequantize"),
    ("i8_dequantize_1x1_scalar", "i8_dequantize_1x8_avx2", "dequantize"),
    ("u8_dequantize_1x1_scalar", "u8_dequantize_1x8_avx2", "dequantize"),
    ("i8_max_pool_1x1_scalar", "i8_max_pool_1x32_avx2", "pool"),
    ("i8_mean_1x1_scalar", "i8_mean_1x8_avx2", "reduce"),
    ("i8_prelu_1x1_scalar", "i8_prelu_1x8_avx2", "elementwise"),
    ("i8_quantize_1x1_scalar", "i8_quantize_1x8_avx2", "quantize"),
    ("i16_quantize_1x1_scalar", "i16_quantize_1x8_avx2", "quantize"),
    ("u8_quantize_1x1_scalar", "u8_quantize_1x8_avx2", "quantize"),
    ("i8_resize_bilinear_1x1_scalar", "i8_resize_bilinear_1x8_avx2", "resize"),
];

/// Kernels that are the same code on every CPU.
const PORTABLE: [(&str, &str); 3] = [
    ("i8_log_softmax_1x1_scalar", "softmax"),
    ("i8_resize_nearest_1x1_scalar", "resize"),
    ("i8_softmax_1x1_scalar", "softmax"),
];

/// Every integer kernel, in no particular order; see [`crate::registry::kernels`].
pub fn kernels() -> Vec<KernelInfo> {
    let both = VECTORIZED
        .iter()
        .flat_map(|(scalar, avx2, family)| [KernelInfo::new(scalar, family), KernelInfo::new(avx2, family)]);
    let own = TILED.iter().chain(&PORTABLE);
    own.map(|(name, family)| KernelInfo::new(name, family)).chain(both).collect()
}
