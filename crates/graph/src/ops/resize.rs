//! Resizing of spatial axes.

use crate::infer::{Ctx, TensorType};
use crate::{Dim, Result, Shape, SymInt};

/// How an output coordinate maps to the input, for `scale = out / in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coordinates {
    /// `(x + 0.5) ÷ scale − 0.5`.
    HalfPixel,
    /// As `HalfPixel`, but 0 where the output has one element.
    PytorchHalfPixel,
    /// `x ÷ scale`.
    Asymmetric,
    /// `x × (in − 1) ÷ (out − 1)`, 0 where the output has one element.
    AlignCorners,
    /// `(x + 0.5) ÷ scale` (TensorFlow's nearest neighbour with half-pixel centres).
    HalfPixelNearest,
}

/// Which neighbour nearest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NearestRounding {
    /// Halves down.
    PreferFloor,
    /// Halves up.
    PreferCeil,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// Interpolation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResizeMode {
    /// Nearest neighbour.
    Nearest(NearestRounding),
    /// Bilinear.
    Linear,
    /// Bicubic with the given coefficient (−0.75 or −0.5).
    Cubic {
        /// Keys' `a`.
        coefficient: f32,
        /// Weights outside of the image are dropped and the others renormalised.
        exclude_outside: bool,
    },
}

/// Inputs: `x` `[N, H, W, C]`; `sizes`, integers `[H', W']`. Output `[N, H', W', C]`.
///
/// `scales` are those of the source where it gave scales instead of sizes, since with them
/// coordinates divide by the given, not by the resulting, ratio; then input 1 may be absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Interpolation.
    pub mode: ResizeMode,
    /// Coordinate convention.
    pub coordinates: Coordinates,
    /// `[height, width]` scales, if the source gave scales.
    pub scales: Option<[f32; 2]>,
}

impl Resize {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.ranked(0, 4)?;
        let size = |axis: usize| -> Result<Dim> {
            let input = &x.shape.0[1 + axis];
            let dim = match (self.scales, input.fixed()) {
                // The scaled size of an allocatable tensor fits f64's integers.
                (Some(s), Some(n)) => Some(Dim::Fixed((n as f64 * f64::from(s[axis])).floor() as usize)),
                (Some(s), None) => Some(Dim::symbol(format!("({input}*{})", s[axis]))),
                (None, _) => ctx.ints(1)?.get(axis).and_then(SymInt::to_dim),
            };
            dim.filter(|d| *d != Dim::Fixed(0)).ok_or_else(|| ctx.bad_attribute("an output size is not positive"))
        };
        ctx.like_input(Shape(vec![x.shape.0[0].clone(), size(0)?, size(1)?, x.shape.0[3].clone()]))
    }
}
