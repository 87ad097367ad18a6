//! Operators that change a tensor's shape, not its elements.

use crate::infer::{Ctx, TensorType};
use crate::symbolic::product;
use crate::{DType, Dim, Result, Shape, SymInt};

/// Inputs: `x`; `shape`, an integer vector. A size of 0 copies the input's dimension (unless
/// `allow_zero`), one size of −1 takes what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// A size of 0 is an empty dimension.
    pub allow_zero: bool,
}

/// Two dimensions: those before `axis` and those from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flatten {
    /// The first axis of the second dimension; may equal the rank.
    pub axis: usize,
}

/// Removes axes of size 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squeeze {
    /// Axes to remove, of the input.
    pub axes: Vec<usize>,
}

/// Inserts axes of size 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsqueeze {
    /// Where the new axes are, in the output, ascending.
    pub axes: Vec<usize>,
}

/// Inputs: `x`; `shape`, an integer vector. Output: `x` broadcast together with that shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expand;

/// Reorders axes: `out.shape[i] = x.shape[perm[i]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// The permutation.
    pub perm: Vec<usize>,
}

/// The input's shape as an integer vector, from axis `start` to before `end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeOf {
    /// First axis.
    pub start: usize,
    /// One past the last axis.
    pub end: usize,
    /// `I32` or `I64`.
    pub dtype: DType,
}

/// The input itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity;

impl Reshape {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, sizes) = (ctx.input(0)?, ctx.ints(1)?);
        let mut dims = Vec::with_capacity(sizes.len());
        let mut rest = None;
        for (i, size) in sizes.iter().enumerate() {
            dims.push(match size.known() {
                Some(0) if !self.allow_zero => x
                    .shape
                    .0
                    .get(i)
                    .cloned()
                    .ok_or_else(|| ctx.bad_shape(x, format!("there is no dimension {i} to copy")))?,
                Some(-1) if rest.is_none() => {
                    rest = Some(i);
                    Dim::Fixed(1)
                }
                _ => size.to_dim().ok_or_else(|| ctx.bad_attribute(format!("bad size {size} in the new shape")))?,
            });
        }
        if let Some(at) = rest {
            dims[at] = remaining(ctx, &x.shape.0, &dims, at)?;
        }
        let shape = Shape(dims);
        if let (Some(a), Some(b)) = (x.shape.elements(), shape.elements())
            && a != b
        {
            return Err(ctx.bad_shape(x, format!("cannot become {shape}")));
        }
        ctx.like_input(shape)
    }
}

/// What `-1` at position `at` of `target` stands for.
fn remaining(ctx: &Ctx<'_>, source: &[Dim], target: &[Dim], at: usize) -> Result<Dim> {
    // Symbols that stand on both sides cancel, so that [N, S, 384] to [0, -1, 12, 32] is a size.
    let mut source: Vec<&Dim> = source.iter().collect();
    let mut target: Vec<&Dim> = target.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, d)| d).collect();
    target.retain(|t| match source.iter().position(|s| t.fixed().is_none() && s == t) {
        Some(i) => {
            source.remove(i);
            false
        }
        None => true,
    });
    // Numbers cancel apart from what symbols are left, so that [N, 7, 7, 64] to [-1, 3136] is [N, 3136].
    let split = |dims: &[&Dim]| {
        let (fixed, symbols): (Vec<&Dim>, Vec<&Dim>) = dims.iter().partition(|d| d.fixed().is_some());
        (product(fixed), product(symbols))
    };
    let ((all, source_symbols), (known, target_symbols)) = (split(&source), split(&target));
    let (all, known) = match (all.known(), known.known()) {
        (Some(a), Some(b)) if b > 0 && a % b == 0 => (SymInt::Known(a / b), SymInt::Known(1)),
        _ => (all, known),
    };
    let (all, known) = (source_symbols.mul(&all), target_symbols.mul(&known));
    if let (SymInt::Known(all), SymInt::Known(known)) = (&all, &known)
        && (*known == 0 || all % known != 0)
    {
        return Err(ctx.bad_shape(ctx.input(0)?, format!("{all} elements cannot be divided into groups of {known}")));
    }
    let dim = all.div(&known).to_dim();
    dim.ok_or_else(|| ctx.bad_attribute("the new shape has a negative size"))
}

impl Flatten {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank() + 1)?;
        let size =
            |dims: &[Dim]| product(dims).to_dim().ok_or_else(|| ctx.bad_shape(x, "the number of elements overflows"));
        ctx.like_input(Shape(vec![size(&x.shape.0[..self.axis])?, size(&x.shape.0[self.axis..])?]))
    }
}

impl Squeeze {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axes(&self.axes, x.shape.rank())?;
        if let Some(axis) = self.axes.iter().find(|&&a| x.shape.0[a].fixed().is_some_and(|n| n != 1)) {
            return Err(ctx.bad_shape(x, format!("axis {axis} is not of size 1")));
        }
        let dims = x.shape.0.iter().enumerate().filter(|(i, _)| !self.axes.contains(i)).map(|(_, d)| d.clone());
        ctx.like_input(Shape(dims.collect()))
    }
}

impl Unsqueeze {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        let rank = x.shape.rank() + self.axes.len();
        ctx.check_axes(&self.axes, rank)?;
        let mut source = x.shape.0.iter().cloned();
        let dims = (0..rank).map(|i| match self.axes.contains(&i) {
            true => Dim::Fixed(1),
            // As many axes are left as the source has: the check above saw to it.
            false => source.next().unwrap_or(Dim::Fixed(1)),
        });
        ctx.like_input(Shape(dims.collect()))
    }
}

impl Expand {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, sizes) = (ctx.input(0)?, ctx.ints(1)?);
        let dims: Option<Vec<Dim>> = sizes.iter().map(SymInt::to_dim).collect();
        let target = Shape(dims.ok_or_else(|| ctx.bad_attribute("the new shape has a negative size"))?);
        ctx.like_input(ctx.broadcast(x.shape, &target)?)
    }
}

impl Transpose {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        let shape = x.shape.permuted(&self.perm);
        ctx.like_input(
            shape.ok_or_else(|| ctx.bad_shape(x, format!("{:?} is not a permutation of its axes", self.perm)))?,
        )
    }
}

impl ShapeOf {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        if self.start > self.end || self.end > x.shape.rank() {
            return Err(ctx.bad_attribute(format!("axes {}..{} are outside of {}", self.start, self.end, x.shape)));
        }
        Ok(vec![TensorType::new(self.dtype, Shape::fixed(&[self.end - self.start]))])
    }
}
