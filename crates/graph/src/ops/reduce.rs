//! Reductions, soft-max and selections along axes.

use crate::infer::{Ctx, TensorType};
use crate::{DType, Dim, Result, Shape};

/// What [`Reduce`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Mean.
    Mean,
    /// Largest.
    Max,
    /// Smallest.
    Min,
    /// Product.
    Prod,
    /// `Σ|x|`.
    L1,
    /// `√Σx²`.
    L2,
    /// `Σx²`.
    SumSquare,
    /// `ln Σx`.
    LogSum,
    /// `ln Σeˣ`.
    LogSumExp,
}

/// Reduction over axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// The reduction.
    pub kind: ReduceKind,
    /// Axes of the stored layout, ascending; empty means that nothing is reduced.
    pub axes: Vec<usize>,
    /// Keep reduced axes with size 1.
    pub keep_dims: bool,
}

/// Index of the largest (or smallest) element along an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgReduce {
    /// Largest if true, else smallest.
    pub largest: bool,
    /// Axis of the stored layout.
    pub axis: usize,
    /// Keep the axis with size 1.
    pub keep_dims: bool,
    /// Of equal elements take the last, not the first.
    pub select_last: bool,
    /// Index type: `I32` or `I64`.
    pub dtype: DType,
}

/// The `k` largest (or smallest) elements along an axis. Outputs: values, indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopK {
    /// How many.
    pub k: usize,
    /// Axis of the stored layout.
    pub axis: usize,
    /// Largest if true, else smallest.
    pub largest: bool,
    /// Index type: `I32` or `I64`.
    pub dtype: DType,
}

/// `e^(beta·x) ÷ Σ e^(beta·x)` along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// Axis of the stored layout.
    pub axis: usize,
    /// Multiplies the input.
    pub beta: f32,
}

/// Logarithm of the soft-max along an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSoftmax {
    /// Axis of the stored layout.
    pub axis: usize,
}

fn reduced(shape: &Shape, axes: &[usize], keep_dims: bool) -> Shape {
    let dims = shape.0.iter().enumerate().filter_map(|(i, d)| match (axes.contains(&i), keep_dims) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(Dim::Fixed(1)),
        (true, false) => None,
    });
    Shape(dims.collect())
}

impl Reduce {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axes(&self.axes, x.shape.rank())?;
        ctx.like_input(reduced(x.shape, &self.axes, self.keep_dims))
    }
}

impl ArgReduce {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank())?;
        Ok(vec![TensorType::new(self.dtype, reduced(x.shape, &[self.axis], self.keep_dims))])
    }
}

impl TopK {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let x = ctx.input(0)?;
        ctx.check_axis(self.axis, x.shape.rank())?;
        if let Some(n) = x.shape.0[self.axis].fixed()
            && self.k > n
        {
            return Err(ctx.bad_shape(x, format!("cannot take {} of {n} elements", self.k)));
        }
        let mut shape = x.shape.clone();
        shape.0[self.axis] = Dim::Fixed(self.k);
        Ok(vec![TensorType::new(x.dtype, shape.clone()), TensorType::new(self.dtype, shape)])
    }
}

impl Softmax {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.check_axis(self.axis, ctx.input(0)?.shape.rank())?;
        ctx.like_input(ctx.input(0)?.shape.clone())
    }
}

impl LogSoftmax {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.check_axis(self.axis, ctx.input(0)?.shape.rank())?;
        ctx.like_input(ctx.input(0)?.shape.clone())
    }
}
