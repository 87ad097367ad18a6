//! Element-wise operators.

use crate::infer::{Ctx, TensorType};
use crate::{Activation, DType, Result};

/// What [`Binary`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BinaryKind {
    /// `a + b`.
    Add,
    /// `a − b`.
    Sub,
    /// `a × b`.
    Mul,
    /// `a ÷ b`; towards zero for integers.
    Div,
    /// `a` to the power of `b`.
    Pow,
    /// The smaller.
    Min,
    /// The larger.
    Max,
    /// `(a − b)²`.
    SquaredDifference,
    /// `⌊a ÷ b⌋`.
    FloorDiv,
    /// Remainder with the sign of the divisor.
    FloorMod,
    /// Remainder with the sign of the dividend (C `fmod`).
    Mod,
}

/// Arithmetic on two tensors with NumPy broadcasting. Inputs `a`, `b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The operation.
    pub kind: BinaryKind,
    /// Fused activation.
    pub activation: Activation,
}

/// What [`Compare`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names are the operators.
pub enum CompareKind {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Comparison of two tensors with NumPy broadcasting; `bool` output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The comparison.
    pub kind: CompareKind,
}

/// What [`Logical`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // The names are the operators.
pub enum LogicalKind {
    And,
    Or,
    Xor,
}

/// Logic on two `bool` tensors with NumPy broadcasting. (`Not` is a [`UnaryKind`].)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// The operation.
    pub kind: LogicalKind,
}

/// What [`Unary`] computes, for `x` the input element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryKind {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`; infinite bounds are no bounds.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `x` if positive, else `alpha × x`.
    LeakyRelu {
        /// Slope of the negative side.
        alpha: f32,
    },
    /// `x` if positive, else `alpha × (eˣ − 1)`.
    Elu {
        /// Scale of the negative side.
        alpha: f32,
    },
    /// `gamma × x` if positive, else `gamma × alpha × (eˣ − 1)`.
    Selu {
        /// Scale of the negative side.
        alpha: f32,
        /// Scale of both sides.
        gamma: f32,
    },
    /// `x × min(max(x + 3, 0), 6) ÷ 6`.
    HardSwish,
    /// `min(max(alpha × x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `1 ÷ (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x × Φ(x)`, with the error function, or with its tanh approximation.
    Gelu {
        /// Use `0.5x(1 + tanh(√(2/π)(x + 0.044715x³)))`.
        tanh: bool,
    },
    /// `x × sigmoid(x)` (swish).
    Silu,
    /// `x × tanh(ln(1 + eˣ))`.
    Mish,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `x ÷ (1 + |x|)`.
    Softsign,
    /// `eˣ`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 ÷ √x`.
    Rsqrt,
    /// `x²`.
    Square,
    /// `1 ÷ x`.
    Reciprocal,
    /// `−x`.
    Neg,
    /// `|x|`.
    Abs,
    /// −1, 0 or 1.
    Sign,
    /// Towards −∞.
    Floor,
    /// Towards +∞.
    Ceil,
    /// To the nearest integer, halves to even.
    Round,
    /// Error function.
    Erf,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Logical negation of a `bool`.
    Not,
}

/// A function of each element; output like the input.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// The function.
    pub kind: UnaryKind,
}

/// `x` if positive, else `slope × x`. Inputs: `x`; `slope`, broadcast to `x` (NumPy rules, stored
/// layout).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PRelu;

/// Conversion to another element type, as numbers (quantization is not applied). Floats go to
/// integers towards zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The type to convert to.
    pub to: DType,
}

/// Inputs: `condition` (`bool`), `a`, `b`, all broadcast; output `a` where the condition holds,
/// else `b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where;

impl Binary {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.like_input(ctx.broadcast(ctx.input(0)?.shape, ctx.input(1)?.shape)?)
    }
}

/// `bool` output of the broadcast shape of both inputs.
fn infer_bool(ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
    let shape = ctx.broadcast(ctx.input(0)?.shape, ctx.input(1)?.shape)?;
    Ok(vec![TensorType::new(DType::Bool, shape)])
}

impl Compare {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        infer_bool(ctx)
    }
}

impl Logical {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        infer_bool(ctx)
    }
}

impl Unary {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.like_input(ctx.input(0)?.shape.clone())
    }
}

impl PRelu {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, slope) = (ctx.input(0)?, ctx.input(1)?);
        let shape = ctx.broadcast(x.shape, slope.shape)?;
        let widens = |(a, b): (&crate::Dim, &crate::Dim)| a.fixed().is_some() && b.fixed().is_some() && a != b;
        if shape.rank() != x.shape.rank() || shape.0.iter().zip(&x.shape.0).any(widens) {
            return Err(ctx.bad_shape(slope, format!("the slope must broadcast to {}", x.shape)));
        }
        ctx.like_input(x.shape.clone())
    }
}

impl Cast {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::new(self.to, ctx.input(0)?.shape.clone())])
    }
}

impl Where {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (condition, a, b) = (ctx.input(0)?, ctx.input(1)?, ctx.input(2)?);
        let shape = ctx.broadcast(&ctx.broadcast(condition.shape, a.shape)?, b.shape)?;
        Ok(vec![TensorType::new(a.dtype, shape)])
    }
}
