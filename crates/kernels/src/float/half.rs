//! Conversions between f32 and the half-width storage types.
//!
//! Narrowing rounds to nearest even; the conversions use F16C where the CPU has it.

use ::half::slice::HalfFloatSliceExt;
use ::half::{bf16, f16};

/// Narrows to IEEE half; returns how many finite values became infinite (magnitude 65520 or
/// more), which a caller must not keep silent about.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_f16(x: &[f32], out: &mut [f16]) -> usize {
    assert_eq!(x.len(), out.len());
    out.convert_from_f32_slice(x);
    let pairs = x.iter().zip(out.iter());
    pairs.filter(|(x, y)| x.is_finite() && y.is_infinite()).count()
}

/// Widens from IEEE half, exactly.
///
/// # Panics
/// If the lengths differ.
pub fn f16_to_f32(x: &[f16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    x.convert_to_f32_slice(out);
}

/// Narrows to bfloat16; returns how many finite values became infinite.
///
/// # Panics
/// If the lengths differ.
pub fn f32_to_bf16(x: &[f32], out: &mut [bf16]) -> usize {
    assert_eq!(x.len(), out.len());
    out.convert_from_f32_slice(x);
    let pairs = x.iter().zip(out.iter());
    pairs.filter(|(x, y)| x.is_finite() && y.is_infinite()).count()
}

/// Widens from bfloat16, exactly.
///
/// # Panics
/// If the lengths differ.
pub fn bf16_to_f32(x: &[bf16], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    x.convert_to_f32_slice(out);
}
