//! What shape inference hands to an operator, and the checks operators share.

use crate::{DType, Dim, Error, Result, Shape, SymInt};

/// Element type and shape of an operator's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Shape,
}

impl TensorType {
    pub(crate) fn new(dtype: DType, shape: Shape) -> Self {
        TensorType { dtype, shape }
    }
}

/// What is known of one input.
#[derive(Clone, Debug)]
pub struct InferInput<'a> {
    /// Name, for messages.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: &'a Shape,
    /// The elements of a small integer tensor, where they are known or symbolic.
    pub ints: Option<&'a [SymInt]>,
}

/// An operator's view of its inputs while it infers its outputs.
pub(crate) struct Ctx<'a> {
    pub(crate) node: &'a str,
    pub(crate) op: &'static str,
    pub(crate) inputs: Vec<Option<InferInput<'a>>>,
}

impl<'a> Ctx<'a> {
    /// Input `i`, which must be present.
    pub(crate) fn input(&self, i: usize) -> Result<&InferInput<'a>> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| Error::InputCount {
            node: self.node.to_owned(),
            op: self.op,
            expected: format!("at least {}", i + 1),
            got: self.inputs.iter().flatten().count(),
        })
    }

    /// Input `i`, if present.
    pub(crate) fn optional(&self, i: usize) -> Option<&InferInput<'a>> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Input `i` with exactly `rank` dimensions.
    pub(crate) fn ranked(&self, i: usize, rank: usize) -> Result<&InferInput<'a>> {
        let input = self.input(i)?;
        if input.shape.rank() != rank {
            return Err(self.bad_shape(input, format!("expected {rank} dimensions")));
        }
        Ok(input)
    }

    /// The values of integer input `i`, all of which must at least be symbolic.
    pub(crate) fn ints(&self, i: usize) -> Result<&'a [SymInt]> {
        let input = self.input(i)?;
        input.ints.ok_or_else(|| Error::DataDependentShape {
            node: self.node.to_owned(),
            op: self.op,
            input: input.name.to_owned(),
        })
    }

    /// The values of integer input `i`, all of which must be numbers.
    pub(crate) fn known_ints(&self, i: usize) -> Result<Vec<i64>> {
        let values: Option<Vec<i64>> = self.ints(i)?.iter().map(SymInt::known).collect();
        values.ok_or_else(|| Error::DataDependentShape {
            node: self.node.to_owned(),
            op: self.op,
            input: self.inputs[i].as_ref().map_or_else(String::new, |v| v.name.to_owned()),
        })
    }

    /// A fixed dimension of an input, for sizes that must be known (weights).
    pub(crate) fn fixed_dim(&self, input: &InferInput<'_>, axis: usize) -> Result<usize> {
        input.shape.0[axis]
            .fixed()
            .ok_or_else(|| self.bad_shape(input, format!("dimension {axis} must be a fixed size")))
    }

    pub(crate) fn bad_shape(&self, input: &InferInput<'_>, what: impl Into<String>) -> Error {
        Error::BadShape {
            node: self.node.to_owned(),
            op: self.op,
            what: what.into(),
            input: input.name.to_owned(),
            shape: input.shape.clone(),
        }
    }

    pub(crate) fn bad_attribute(&self, what: impl Into<String>) -> Error {
        Error::BadAttribute { node: self.node.to_owned(), op: self.op, what: what.into() }
    }

    /// The single output's type: that of input 0 with another shape.
    pub(crate) fn like_input(&self, shape: Shape) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::new(self.input(0)?.dtype, shape)])
    }

    /// Checks that `axis` names a dimension of `shape`.
    pub(crate) fn check_axis(&self, axis: usize, rank: usize) -> Result<()> {
        if axis < rank {
            return Ok(());
        }
        Err(self.bad_attribute(format!("axis {axis} is outside of a tensor with {rank} dimensions")))
    }

    /// Checks that all of `axes` name dimensions, each once.
    pub(crate) fn check_axes(&self, axes: &[usize], rank: usize) -> Result<()> {
        for (i, &axis) in axes.iter().enumerate() {
            self.check_axis(axis, rank)?;
            if axes[..i].contains(&axis) {
                return Err(self.bad_attribute(format!("axis {axis} is given twice")));
            }
        }
        Ok(())
    }

    /// Multidirectional (NumPy) broadcasting of two inputs' shapes.
    pub(crate) fn broadcast(&self, a: &Shape, b: &Shape) -> Result<Shape> {
        let rank = a.rank().max(b.rank());
        let dim = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map_or(Dim::Fixed(1), |at| s.0[at].clone());
        let dims = (0..rank).map(|i| match (dim(a, i), dim(b, i)) {
            (Dim::Fixed(1), d) | (d, Dim::Fixed(1)) => Ok(d),
            (x, y) if x == y => Ok(x),
            // A fixed size above one wins: the symbolic side can only be that size or 1.
            (Dim::Fixed(n), Dim::Symbol(_)) | (Dim::Symbol(_), Dim::Fixed(n)) => Ok(Dim::Fixed(n)),
            // Differently spelled expressions of dynamic models are usually the same size; the
            // run, where all sizes are numbers, checks it.
            (Dim::Symbol(x), Dim::Symbol(_)) => Ok(Dim::Symbol(x)),
            (x, y) => Err(self.bad_attribute(format!("shapes {a} and {b} do not broadcast ({x} against {y})"))),
        });
        Ok(Shape(dims.collect::<Result<_>>()?))
    }
}

/// Output size of a sliding window along one axis; `None` if the window does not fit once.
///
/// `(size + pads − (dilation × (kernel − 1) + 1)) / stride + 1`, symbolic sizes included.
pub(crate) fn window_dim(
    size: &Dim,
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: (usize, usize),
) -> Option<Dim> {
    let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    match size {
        Dim::Fixed(n) => {
            let padded = n.checked_add(pads.0)?.checked_add(pads.1)?;
            Some(Dim::Fixed(padded.checked_sub(extent)? / stride.max(1) + 1))
        }
        Dim::Symbol(_) => {
            let slack = i64::try_from(pads.0.checked_add(pads.1)?).ok()? - i64::try_from(extent).ok()?;
            let stride = i64::try_from(stride).ok()?;
            let steps = SymInt::from(size).add(&SymInt::Known(slack)).div(&SymInt::Known(stride));
            steps.add(&SymInt::Known(1)).to_dim()
        }
    }
}
