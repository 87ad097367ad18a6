//! Normalisations. The channel axis is the last one.

use crate::infer::{Ctx, TensorType};
use crate::{Activation, Result};

/// Batch normalisation with fixed statistics.
///
/// Inputs: `x` `[…, C]`; `scale`, `bias`, `mean`, `variance`, each `[C]`. Output
/// `(x − mean) ÷ √(variance + epsilon) × scale + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Fused activation.
    pub activation: Activation,
}

/// Layer normalisation over the axes from `axis` to the last.
///
/// Inputs: `x`; optional `scale` and `bias`, of the shape of the normalised axes.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// First normalised axis of the stored layout.
    pub axis: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// Group normalisation; `groups = C` is instance normalisation.
///
/// Inputs: `x` `[N, …, C]`; `scale` `[C]`; `bias` `[C]`. Mean and variance are taken over all
/// positions and the channels of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `x ÷ max(‖x‖₂, epsilon)` along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct L2Norm {
    /// Axis of the stored layout.
    pub axis: usize,
    /// Smallest divisor.
    pub epsilon: f32,
}

impl BatchNorm {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        check_channels(ctx, 1..5)?;
        ctx.like_input(ctx.input(0)?.shape.clone())
    }
}

impl LayerNorm {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank())?;
        let size = crate::Shape(x.shape.0[self.axis..].to_vec()).elements();
        for p in [1, 2].into_iter().filter_map(|i| ctx.optional(i)) {
            if size.is_some() && p.shape.elements() != size {
                return Err(
                    ctx.bad_shape(p, format!("expected the shape of the axes of `{}` from {}", x.name, self.axis))
                );
            }
        }
        ctx.like_input(x.shape.clone())
    }
}

impl GroupNorm {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        check_channels(ctx, 1..3)?;
        let x = ctx.input(0)?;
        if let Some(channels) = x.shape.0.last().and_then(crate::Dim::fixed)
            && (self.groups == 0 || !channels.is_multiple_of(self.groups))
        {
            return Err(ctx.bad_attribute(format!("{} groups do not divide {channels} channels", self.groups)));
        }
        ctx.like_input(x.shape.clone())
    }
}

impl L2Norm {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank())?;
        ctx.like_input(x.shape.clone())
    }
}

/// Checks that `x` has a channel axis and that the parameter inputs have its size.
fn check_channels(ctx: &Ctx<'_>, parameters: std::ops::Range<usize>) -> Result<()> {
    let x = ctx.input(0)?;
    let Some(channels) = x.shape.0.last() else {
        return Err(ctx.bad_shape(x, "expected a channel axis"));
    };
    for i in parameters {
        let p = ctx.input(i)?;
        if channels.fixed().is_some() && p.shape.elements() != channels.fixed() {
            return Err(ctx.bad_shape(p, format!("expected {channels} elements, one for each channel of `{}`", x.name)));
        }
    }
    Ok(())
}
