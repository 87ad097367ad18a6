//! What an operator's derivative is made from.

use fewbits_graph::{DType, Tensor};

use crate::derivative::Derivative;

/// An edge of a node, with all sizes known.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
    /// The elements, if they are the same in every step.
    pub(crate) data: Option<Tensor>,
    /// Its gradient is wanted.
    pub(crate) wanted: bool,
}

impl Edge {
    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Sizes before, of and after `axis`.
    pub(crate) fn around(&self, axis: usize) -> [usize; 3] {
        let (before, after) = (&self.dims[..axis], &self.dims[axis + 1..]);
        [before.iter().product(), self.dims[axis], after.iter().product()]
    }

    /// The dimensions of a spatial value.
    pub(crate) fn nhwc(&self) -> Result<[usize; 4], String> {
        <[usize; 4]>::try_from(self.dims.as_slice()).map_err(|_| format!("expected 4 dimensions, got {:?}", self.dims))
    }
}

/// A node about to be differentiated.
pub(crate) struct Site {
    pub(crate) inputs: Vec<Option<Edge>>,
    pub(crate) outputs: Vec<Edge>,
}

impl Site {
    /// Input `i`, which inference has made sure of for required ones.
    pub(crate) fn input(&self, i: usize) -> Result<&Edge, String> {
        self.optional(i).ok_or_else(|| format!("input {i} is missing"))
    }

    pub(crate) fn optional(&self, i: usize) -> Option<&Edge> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    pub(crate) fn output(&self) -> Result<&Edge, String> {
        self.outputs.first().ok_or_else(|| "the node has no output".to_owned())
    }

    /// Whether the gradient of input `i` is wanted.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.optional(i).is_some_and(|e| e.wanted)
    }

    /// The first input outside of `allowed` whose gradient is wanted but has no rule, as an error.
    pub(crate) fn only(&self, allowed: &[usize]) -> Result<(), String> {
        match (0..self.inputs.len()).find(|i| self.wants(*i) && !allowed.contains(i)) {
            Some(i) => Err(format!("there is no derivative with respect to input {i}")),
            None => Ok(()),
        }
    }
}

/// A node's derivative, and what its backward pass reads of the forward pass.
pub(crate) struct Derived {
    pub(crate) derivative: Box<dyn Derivative>,
    /// Inputs whose values it reads.
    pub(crate) inputs: Vec<usize>,
    /// It reads the values of the outputs.
    pub(crate) outputs: bool,
    /// Inputs whose gradient is that of the first output as the backward pass leaves it. One of
    /// them may take over its buffer; the pass then has no target for it.
    pub(crate) passes: Vec<usize>,
}

impl Derived {
    /// A derivative that reads nothing of the forward pass.
    pub(crate) fn new(derivative: impl Derivative + 'static) -> Self {
        Derived { derivative: Box::new(derivative), inputs: Vec::new(), outputs: false, passes: Vec::new() }
    }

    /// It reads these inputs, if `needed`.
    pub(crate) fn reading(mut self, needed: bool, inputs: &[usize]) -> Self {
        if needed {
            self.inputs.extend_from_slice(inputs);
        }
        self
    }

    /// The gradient of the first output passes to these inputs as it is.
    pub(crate) fn passing(mut self, inputs: Vec<usize>) -> Self {
        self.passes = inputs;
        self
    }

    /// It reads the outputs, if `needed`.
    pub(crate) fn reading_outputs(mut self, needed: bool) -> Self {
        self.outputs |= needed;
        self
    }
}

/// What making a derivative returns; the error says what is not supported.
pub(crate) type Derivation = Result<Derived, String>;
