//! Fully-connected layers and batched matrix products.

use crate::infer::{Ctx, TensorType};
use crate::{Activation, Result, Shape};

/// Fully-connected layer with constant weights.
///
/// Inputs: `x` `[…, K]`; `weights` `[M, K]`; optional `bias` `[M]`. Output: `[…, M]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullyConnected {
    /// Fused activation.
    pub activation: Activation,
}

/// Matrix product with NumPy broadcasting of the leading dimensions.
///
/// Inputs: `a` `[…, M, K]` (`[…, K, M]` if `transpose_a`), `b` `[…, K, N]` (`[…, N, K]` if
/// `transpose_b`). Output: `[…, M, N]`. Operands of rank 1 are treated as by `numpy.matmul`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatMul {
    /// The last two dimensions of `a` are swapped.
    pub transpose_a: bool,
    /// The last two dimensions of `b` are swapped.
    pub transpose_b: bool,
}

impl FullyConnected {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        let (x, w) = (ctx.input(0)?, ctx.ranked(1, 2)?);
        let (out, inner) = (&w.shape.0[0], &w.shape.0[1]);
        match x.shape.0.last() {
            Some(last) if last == inner || last.fixed().is_none() => {}
            _ => return Err(ctx.bad_shape(x, format!("expected a last dimension of {inner}"))),
        }
        if let Some(bias) = ctx.optional(2)
            && bias.shape.elements() != out.fixed()
        {
            return Err(ctx.bad_shape(bias, format!("expected a bias of {out} elements")));
        }
        let mut dims = x.shape.0.clone();
        dims.pop();
        dims.push(out.clone());
        ctx.like_input(Shape(dims))
    }
}

impl MatMul {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>) -> Result<Vec<TensorType>> {
        ctx.like_input(matmul_shape(ctx, self.transpose_a, self.transpose_b)?)
    }
}

/// Shape of the product of inputs 0 and 1.
pub(super) fn matmul_shape(ctx: &Ctx<'_>, transpose_a: bool, transpose_b: bool) -> Result<Shape> {
    let (a, b) = (ctx.input(0)?, ctx.input(1)?);
    let matrix = |input: &crate::InferInput<'_>, transpose: bool, vector_is_row: bool| {
        let mut dims = input.shape.0.clone();
        match dims.len() {
            0 => return Err(ctx.bad_shape(input, "a matrix product needs at least one dimension")),
            1 if vector_is_row => dims.insert(0, 1.into()),
            1 => dims.push(1.into()),
            n if transpose => dims.swap(n - 1, n - 2),
            _ => {}
        }
        Ok(dims)
    };
    let (da, db) = (matrix(a, transpose_a, true)?, matrix(b, transpose_b, false)?);
    let (ka, kb) = (&da[da.len() - 1], &db[db.len() - 2]);
    if ka != kb && ka.fixed().is_some() && kb.fixed().is_some() {
        return Err(ctx.bad_shape(b, format!("inner dimensions {ka} and {kb} differ")));
    }
    let batch = |d: &[crate::Dim]| Shape(d[..d.len() - 2].to_vec());
    let mut out = ctx.broadcast(&batch(&da), &batch(&db))?;
    if a.shape.rank() > 1 {
        out.0.push(da[da.len() - 2].clone());
    }
    if b.shape.rank() > 1 {
        out.0.push(db[db.len() - 1].clone());
    }
    Ok(out)
}
