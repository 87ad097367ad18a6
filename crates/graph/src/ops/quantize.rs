//! Where the domain of an edge changes, and integer operators with run-time parameters.

use crate::infer::{Ctx, TensorType};
use crate::ops::linear::matmul_shape;
use crate::{DType, Result, Shape};

/// Float to integer. The output value's dtype and [`crate::Quantization`] say how:
/// `q = saturate(round_half_even(x ÷ scale) + zero_point)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantize;

/// Integer to float, as the input value's [`crate::Quantization`] says; also `F16` constants to
/// `F32`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dequantize;

/// Integer to integer of another scale, zero point or type, as both values' parameters say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requantize;

/// ONNX `DynamicQuantizeLinear`: outputs `q` (uint8, like the input), `scale` (float32 scalar),
/// `zero_point` (uint8 scalar), from the range of the whole input extended to contain 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicQuantize;

/// ONNX `MatMulInteger`: inputs `a` `[…, M, K]`, `b` `[…, K, N]` (8-bit, quantization parameters of
/// the edges unused), optional zero points of `a` (scalar) and `b` (scalar or `[N]`); int32 output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMulInteger;

/// ONNX `ConvInteger`: inputs `x` `[N, H, W, C]`, `w` `[O, kh, kw, C / groups]` (8-bit), optional
/// zero points of `x` (scalar) and `w` (scalar or `[O]`); int32 output. Padding takes the zero
/// point of `x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvInteger {
    /// Geometry; its activation is `None`.
    pub conv: super::Conv2d,
}

/// Quantizes and dequantizes at once, in float: what an integer edge does to the numbers on it. Inputs
/// `x` (float32), `scale` and `zero_point` (float32 scalars, so that both can be trained; the zero
/// point is rounded); `y = (clamp(round_half_even(x ÷ scale) + zero_point, low, high) − zero_point) ×
/// scale`. Simulations and training have it; no file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeQuantize {
    /// Smallest quantized value.
    pub low: i32,
    /// Largest quantized value.
    pub high: i32,
}

/// Output of the input's shape; the declared type of the output value stands.
pub(crate) fn infer_like(ctx: &Ctx<'_>, dtype: DType) -> Result<Vec<TensorType>> {
    Ok(vec![TensorType::new(dtype, ctx.input(0)?.shape.clone())])
}

impl DynamicQuantize {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        Ok(vec![
            TensorType::new(DType::U8, ctx.input(0)?.shape.clone()),
            TensorType::new(DType::F32, Shape::default()),
            TensorType::new(DType::U8, Shape::default()),
        ])
    }
}

impl MatMulInteger {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::new(DType::I32, matmul_shape(ctx, false, false)?)])
    }
}

impl ConvInteger {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        // Inputs 2 and 3 are zero points, not a bias.
        let plain = Ctx { node: ctx.node, op: ctx.op, inputs: ctx.inputs.iter().take(2).cloned().collect() };
        let mut out = self.conv.infer(&plain)?;
        out[0].dtype = DType::I32;
        Ok(out)
    }
}
