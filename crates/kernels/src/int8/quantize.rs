//! Float to integer and back: quantize, dequantize, and the row-wise quantization of dynamic range.

use super::vectorize::{clamp_low, round_small, vectorized};
use crate::isa::Isa;

/// An integer type that floats are quantized to.
pub trait QuantizedInt: Copy + sealed::Sealed {}

impl QuantizedInt for i8 {}
impl QuantizedInt for u8 {}
impl QuantizedInt for i16 {}

mod sealed {
    use super::{quantize_i8, quantize_i16, quantize_u8};
    use crate::isa::Isa;

    /// The kernel of each type.
    pub trait Sealed: Sized {
        fn quantize(isa: Isa, x: &[f32], scale: f32, zero_point: i32, out: &mut [Self]);
    }

    impl Sealed for i8 {
        fn quantize(isa: Isa, x: &[f32], scale: f32, zero_point: i32, out: &mut [Self]) {
            quantize_i8(isa, x, scale, zero_point, out);
        }
    }

    impl Sealed for u8 {
        fn quantize(isa: Isa, x: &[f32], scale: f32, zero_point: i32, out: &mut [Self]) {
            quantize_u8(isa, x, scale, zero_point, out);
        }
    }

    impl Sealed for i16 {
        fn quantize(isa: Isa, x: &[f32], scale: f32, zero_point: i32, out: &mut [Self]) {
            quantize_i16(isa, x, scale, zero_point, out);
        }
    }
}

/// `out = saturate(round(x / scale) + zero_point)`, rounding half to even (ONNX QuantizeLinear).
///
/// NaN becomes the lowest value of the type. `scale` is positive, `zero_point` a value of the type.
///
/// # Panics
/// If the lengths differ.
pub fn quantize<T: QuantizedInt>(isa: Isa, x: &[f32], scale: f32, zero_point: T, out: &mut [T])
where
    i32: From<T>,
{
    assert_eq!(x.len(), out.len(), "output");
    T::quantize(isa, x, scale, zero_point.into(), out);
}

/// As [`quantize`], with one scale and zero point for every index of one axis.
///
/// The tensor is `[outer, scales.len(), inner]`, the axis in the middle.
///
/// # Panics
/// If the lengths do not match.
pub fn quantize_per_channel<T: QuantizedInt>(
    isa: Isa,
    x: &[f32],
    scales: &[f32],
    zero_points: &[T],
    inner: usize,
    out: &mut [T],
) where
    i32: From<T>,
{
    assert_eq!(x.len(), out.len(), "output");
    assert_eq!(scales.len(), zero_points.len(), "zero points");
    assert_eq!(x.len() % (scales.len() * inner).max(1), 0, "channels");
    let rows = x.chunks_exact(inner.max(1)).zip(out.chunks_exact_mut(inner.max(1)));
    for (i, (x, out)) in rows.enumerate() {
        let c = i % scales.len();
        T::quantize(isa, x, scales[c], zero_points[c].into(), out);
    }
}

macro_rules! quantize_kernel {
    ($(#[$doc:meta])* $name:ident, $ty:ty) => {
        vectorized! {
            $(#[$doc])*
            fn $name<'a>(x: &'a [f32], scale: f32, zero_point: i32, out: &'a mut [$ty]) {
                // Clamping before the zero point is added, at bounds that are whole numbers,
                // saturates exactly as clamping after it would.
                let low = (<$ty>::MIN as i32 - zero_point) as f32;
                let high = (<$ty>::MAX as i32 - zero_point) as f32;
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = (round_small(clamp_low(x / scale, low, high)) + zero_point) as $ty;
                }
            }
        }
    };
}

quantize_kernel!(
    /// `i8_quantize_1x8_*`.
    quantize_i8,
    i8
);
quantize_kernel!(
    /// `u8_quantize_1x8_*`.
    quantize_u8,
    u8
);
quantize_kernel!(
    /// `i16_quantize_1x8_*`.
    quantize_i16,
    i16
);

/// An integer type that can be dequantized.
pub trait DequantizedInt: Copy + sealed_out::Sealed {}

impl DequantizedInt for i8 {}
impl DequantizedInt for u8 {}
impl DequantizedInt for i16 {}
impl DequantizedInt for i32 {}

mod sealed_out {
    use super::{dequantize_i8, dequantize_i16, dequantize_i32, dequantize_u8};
    use crate::isa::Isa;

    /// The kernel of each type.
    pub trait Sealed: Sized {
        fn dequantize(isa: Isa, q: &[Self], scale: f32, zero_point: Self, out: &mut [f32]);
    }

    macro_rules! sealed {
        ($ty:ty, $kernel:ident) => {
            impl Sealed for $ty {
                fn dequantize(isa: Isa, q: &[Self], scale: f32, zero_point: Self, out: &mut [f32]) {
                    $kernel(isa, q, scale, zero_point, out);
                }
            }
        };
    }

    sealed!(i8, dequantize_i8);
    sealed!(u8, dequantize_u8);
    sealed!(i16, dequantize_i16);
    sealed!(i32, dequantize_i32);
}

/// `out = (q - zero_point) * scale`, the difference exact in int32 (wrapping for int32 input).
///
/// # Panics
/// If the lengths differ.
pub fn dequantize<T: DequantizedInt>(isa: Isa, q: &[T], scale: f32, zero_point: T, out: &mut [f32]) {
    assert_eq!(q.len(), out.len(), "output");
    T::dequantize(isa, q, scale, zero_point, out);
}

/// As [`dequantize`], with one scale and zero point for every index of one axis.
///
/// The tensor is `[outer, scales.len(), inner]`, the axis in the middle.
///
/// # Panics
/// If the lengths do not match.
pub fn dequantize_per_channel<T: DequantizedInt>(
    isa: Isa,
    q: &[T],
    scales: &[f32],
    zero_points: &[T],
    inner: usize,
    out: &mut [f32],
) {
    assert_eq!(q.len(), out.len(), "output");
    assert_eq!(scales.len(), zero_points.len(), "zero points");
    assert_eq!(q.len() % (scales.len() * inner).max(1), 0, "channels");
    let rows = q.chunks_exact(inner.max(1)).zip(out.chunks_exact_mut(inner.max(1)));
    for (i, (q, out)) in rows.enumerate() {
        let c = i % scales.len();
        T::dequantize(isa, q, scales[c], zero_points[c], out);
    }
}

macro_rules! dequantize_kernel {
    ($(#[$doc:meta])* $name:ident, $ty:ty) => {
        vectorized! {
            $(#[$doc])*
            fn $name<'a>(q: &'a [$ty], scale: f32, zero_point: $ty, out: &'a mut [f32]) {
                for (out, &q) in out.iter_mut().zip(q) {
                    *out = i32::from(q).wrapping_sub(i32::from(zero_point)) as f32 * scale;
                }
            }
        }
    };
}

dequantize_kernel!(
    /// `i8_dequantize_1x8_*`.
    dequantize_i8,
    i8
);
dequantize_kernel!(
    /// `u8_dequantize_1x8_*`.
    dequantize_u8,
    u8
);
dequantize_kernel!(
    /// `i16_dequantize_1x8_*`.
    dequantize_i16,
    i16
);
dequantize_kernel!(
    /// `i32_dequantize_1x8_*`.
    dequantize_i32,
    i32
);

/// Quantizes one row to asymmetric int8 by its own range, and says how: `(scale, zero_point)`.
///
/// The range is that of the finite values and zero, so zero is exact; 255 steps span it (ONNX
/// DynamicQuantizeLinear less 128, TFLite's hybrid kernels). Values outside (infinities) saturate
/// and NaN becomes -128. A row of zeros gets scale 1 and zero point 0.
///
/// # Panics
/// If the lengths differ.
pub fn quantize_row_dynamic(isa: Isa, x: &[f32], out: &mut [i8]) -> (f32, i8) {
    assert_eq!(x.len(), out.len(), "output");
    let mut range = [0.0; 2];
    finite_range(isa, x, &mut range);
    let [low, high] = range;
    // Divided first: the widest range there is does not overflow.
    let scale = (high / 255.0) - (low / 255.0);
    if scale < f32::MIN_POSITIVE {
        out.fill(0);
        return (1.0, 0);
    }
    let zero_point = round_small(clamp_low(-128.0 - low / scale, -128.0, 127.0));
    quantize_i8(isa, x, scale, zero_point, out);
    (scale, zero_point as i8)
}

vectorized! {
    /// Lowest and highest of the finite values and zero.
    fn finite_range<'a>(x: &'a [f32], range: &'a mut [f32; 2]) {
        const LANES: usize = 16;
        let (mut low, mut high) = ([0f32; LANES], [0f32; LANES]);
        let mut blocks = x.chunks_exact(LANES);
        for block in &mut blocks {
            for lane in 0..LANES {
                let value = if block[lane].abs() < f32::INFINITY { block[lane] } else { 0.0 };
                low[lane] = if value < low[lane] { value } else { low[lane] };
                high[lane] = if value > high[lane] { value } else { high[lane] };
            }
        }
        for &value in blocks.remainder().iter().filter(|value| value.is_finite()) {
            low[0] = low[0].min(value);
            high[0] = high[0].max(value);
        }
        *range = [
            low.iter().copied().fold(0.0, f32::min),
            high.iter().copied().fold(0.0, f32::max),
        ];
    }
}
