//! What lowering knows of a node, and what it makes of it.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fewbits_graph::{DType, Quantization, Tensor};
use fewbits_kernels::int8::{Affine, Rounding};
use fewbits_kernels::isa::Isa;

use crate::context::RunContext;

/// A compiled node. The error says what is wrong with the data it met.
pub(crate) type Kernel = Box<dyn Fn(&mut RunContext<'_>) -> Result<(), String> + Send + Sync>;

/// An edge of the node, with all sizes known.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
    pub(crate) quant: Option<Quantization>,
    /// The elements, if they are constant; aligned for their type.
    pub(crate) data: Option<Tensor>,
}

impl Operand {
    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Bytes of all elements; sizes were checked not to overflow when the plan was begun.
    pub(crate) fn bytes(&self) -> usize {
        self.dtype.byte_len(self.elements()).unwrap_or(usize::MAX)
    }

    /// Scale and zero point of a quantized edge.
    pub(crate) fn affine(&self) -> Result<(f32, i32), String> {
        let quant = self.quant.as_ref().ok_or_else(|| format!("a {} edge without a scale", self.dtype))?;
        quant.as_per_tensor().ok_or_else(|| "an activation with more than one scale".to_owned())
    }

    /// Scale and zero point of an `int8` edge, as the kernels take them.
    pub(crate) fn affine_i8(&self) -> Result<Affine, String> {
        let (scale, zero_point) = self.affine()?;
        let zero_point = i8::try_from(zero_point).map_err(|_| format!("zero point {zero_point} of an int8 edge"))?;
        Ok(Affine { scale: f64::from(scale), zero_point })
    }

    /// Sizes before, of and after `axis`.
    pub(crate) fn around(&self, axis: usize) -> (usize, usize, usize) {
        let (before, after) = (&self.dims[..axis], &self.dims[axis + 1..]);
        (before.iter().product(), self.dims[axis], after.iter().product())
    }

    /// The dimensions of a spatial value.
    pub(crate) fn nhwc(&self) -> Result<[usize; 4], String> {
        <[usize; 4]>::try_from(self.dims.as_slice()).map_err(|_| format!("expected 4 dimensions, got {:?}", self.dims))
    }
}

/// Packed weights, shared by all plans of an engine.
#[derive(Default)]
pub(crate) struct PackCache(Mutex<HashMap<usize, Arc<dyn Any + Send + Sync>>>);

impl PackCache {
    /// The packed form of node `node`'s weights, made by `pack` the first time.
    pub(crate) fn get<T: Any + Send + Sync>(&self, node: usize, pack: impl FnOnce() -> T) -> Arc<T> {
        self.get_fitting(node, |_| true, pack)
    }

    /// As [`PackCache::get`], packed anew where the packed form depends on more than the weights
    /// and the present one does not fit.
    pub(crate) fn get_fitting<T: Any + Send + Sync>(
        &self,
        node: usize,
        fits: impl Fn(&T) -> bool,
        pack: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present = entries.get(&node).and_then(|e| Arc::clone(e).downcast::<T>().ok());
        if let Some(found) = present.filter(|p| fits(p)) {
            return found;
        }
        let fresh = Arc::new(pack());
        entries.insert(node, fresh.clone());
        fresh
    }
}

/// A node about to be lowered.
pub(crate) struct Site<'a> {
    /// Index of the node in the compiled graph.
    pub(crate) node: usize,
    pub(crate) inputs: Vec<Option<Operand>>,
    pub(crate) outputs: Vec<Operand>,
    pub(crate) env: &'a Environment,
}

/// What is the same for all nodes.
pub(crate) struct Environment {
    pub(crate) isa: Isa,
    pub(crate) rounding: Rounding,
    pub(crate) packed: PackCache,
}

impl Site<'_> {
    /// Input `i`, which the graph's inference has made sure of for required ones.
    pub(crate) fn input(&self, i: usize) -> Result<&Operand, String> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or_else(|| format!("input {i} is missing"))
    }

    pub(crate) fn optional(&self, i: usize) -> Option<&Operand> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    pub(crate) fn output(&self) -> Result<&Operand, String> {
        self.outputs.first().ok_or_else(|| "the node has no output".to_owned())
    }

    /// The elements of constant input `i`.
    pub(crate) fn constant(&self, i: usize) -> Result<&Tensor, String> {
        self.input(i)?.data.as_ref().ok_or_else(|| format!("input {i} must be a constant"))
    }

    /// The elements of constant input `i` as `f32`, `None` if it is absent.
    pub(crate) fn optional_floats(&self, i: usize) -> Result<Option<Vec<f32>>, String> {
        match self.optional(i) {
            None => Ok(None),
            Some(_) => self.constant(i).map(|t| Some(t.to_f32())),
        }
    }

    /// The elements of constant integer input `i`.
    pub(crate) fn integers(&self, i: usize) -> Result<Vec<i64>, String> {
        self.constant(i)?.to_i64().ok_or_else(|| format!("input {i} must be integers"))
    }

    /// Whether input `i` is present and known only when running.
    pub(crate) fn is_runtime(&self, i: usize) -> bool {
        self.optional(i).is_some_and(|v| v.data.is_none())
    }
}

/// A lowered node.
pub(crate) struct Lowered {
    pub(crate) kernel: Kernel,
    /// Bytes of scratch.
    pub(crate) scratch: usize,
    /// The input whose place the first output may take, if it dies here.
    pub(crate) in_place: Option<usize>,
    /// It computes on integers where its edges are quantized.
    pub(crate) integer: bool,
    /// Constants in another form than the graph's, by input.
    pub(crate) replaced: Vec<(usize, Tensor)>,
}

impl Lowered {
    pub(crate) fn new(kernel: impl Fn(&mut RunContext<'_>) -> Result<(), String> + Send + Sync + 'static) -> Self {
        let kernel = Box::new(kernel);
        Lowered { kernel, scratch: 0, in_place: None, integer: false, replaced: Vec::new() }
    }

    /// A kernel that computes on integers where its edges are quantized.
    pub(crate) fn on_integers(
        kernel: impl Fn(&mut RunContext<'_>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Lowered { integer: true, ..Lowered::new(kernel) }
    }

    pub(crate) fn scratch(mut self, bytes: usize) -> Self {
        self.scratch = bytes;
        self
    }

    pub(crate) fn in_place(mut self, input: usize) -> Self {
        self.in_place = Some(input);
        self
    }
}

/// What lowering returns; the error says what is not supported.
pub(crate) type Lowering = Result<Lowered, String>;
