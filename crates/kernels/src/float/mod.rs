//! Float kernels: f32 arithmetic, f16/bf16 storage, and the data movement all types share.
//!
//! Tensors are dense row-major slices; spatial ones are NHWC. Kernels know sizes, not graphs.
//! Wrong slice lengths are a caller's bug and panic; the only data-dependent failure, an index
//! read from a tensor, is returned as an [`IndexError`](movement::IndexError).
//!
//! Every result is independent of the number of threads: work is split so that one output element
//! is always computed by the same sequence of operations. A function runs in the current `rayon`
//! pool, on the calling thread alone when the pool has one thread or the work is small.

mod dispatch;
mod parallel;

pub mod binary;
pub mod conv;
pub mod conv_transpose;
pub mod depthwise;
pub mod fake_quantize;
pub mod gemm;
pub mod grad;
pub mod half;
pub mod linear;
pub mod movement;
pub mod narrow;
pub mod norm;
pub mod pool;
pub mod reduce;
pub mod resize;
pub mod softmax;
pub mod unary;
pub mod vmath;

/// Closed interval to which a kernel limits its results: the fused activation.
///
/// NaN passes through unchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// Lower bound, `-inf` for none.
    pub min: f32,
    /// Upper bound, `+inf` for none.
    pub max: f32,
}

impl Clamp {
    /// No limit.
    pub const NONE: Self = Self { min: f32::NEG_INFINITY, max: f32::INFINITY };
    /// `max(x, 0)`.
    pub const RELU: Self = Self { min: 0.0, max: f32::INFINITY };
    /// `min(max(x, 0), 6)`.
    pub const RELU6: Self = Self { min: 0.0, max: 6.0 };

    /// The value limited to the interval.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        // Comparisons, not f32::max: those would turn NaN into a bound.
        let x = if x < self.min { self.min } else { x };
        if x > self.max { self.max } else { x }
    }

    /// Whether the interval is the whole line, so that applying it can be skipped.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}
