//! A node with what is known of its edges when it becomes C.

use fewbits_graph::{DType, Graph, Node, Quantization, Tensor, ValueId};
use fewbits_kernels::int8::Affine;

use crate::options::Options;

/// Elements of the largest edge: positions in it are `int32_t` in C.
const LARGEST: usize = 1 << 30;

/// An input or output of a node.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) id: ValueId,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
    pub(crate) quant: Option<Quantization>,
    pub(crate) data: Option<Tensor>,
}

impl Edge {
    fn new(graph: &Graph, id: ValueId) -> Result<Self, String> {
        let value = graph.value(id);
        let free = || format!("`{}` has the free shape {}", value.name, value.shape);
        Ok(Edge {
            id,
            dtype: value.dtype,
            dims: value.shape.to_fixed().ok_or_else(free)?,
            quant: value.quant.clone(),
            data: value.data.clone(),
        })
    }

    /// Refuses sizes that the C's loops cannot count, and tensors of nothing.
    fn check_size(&self) -> Result<(), String> {
        match self.elements() {
            0 => Err("an edge without elements".into()),
            n if n > LARGEST => Err(format!("an edge of {n} elements, more than {LARGEST}")),
            _ => Ok(()),
        }
    }

    pub(crate) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// Scale and zero point of an int8 activation.
    pub(crate) fn affine(&self) -> Result<Affine, String> {
        if self.dtype != DType::I8 {
            return Err(format!("a {} edge, where int8 is needed", self.dtype));
        }
        let (scale, zero_point) = self.scale_and_zero()?;
        let zero_point = i8::try_from(zero_point).map_err(|_| format!("zero point {zero_point} of an int8 edge"))?;
        Ok(Affine { scale: f64::from(scale), zero_point })
    }

    /// Scale and zero point of an activation of any integer type.
    pub(crate) fn scale_and_zero(&self) -> Result<(f32, i32), String> {
        let quant = self.quant.as_ref().ok_or_else(|| format!("a {} edge without a scale", self.dtype))?;
        quant.as_per_tensor().ok_or_else(|| "an activation with more than one scale".to_owned())
    }

    /// The dimensions of a spatial value.
    pub(crate) fn nhwc(&self) -> Result<[usize; 4], String> {
        <[usize; 4]>::try_from(self.dims.as_slice()).map_err(|_| format!("expected 4 dimensions, got {:?}", self.dims))
    }
}

/// A node about to become C.
pub(crate) struct Site<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: Vec<Option<Edge>>,
    pub(crate) outputs: Vec<Edge>,
    pub(crate) options: &'a Options,
}

impl<'a> Site<'a> {
    pub(crate) fn new(graph: &Graph, node: &'a Node, options: &'a Options) -> Result<Self, String> {
        let edge = |id: &ValueId| Edge::new(graph, *id);
        let inputs = node.inputs.iter().map(|v| v.as_ref().map(edge).transpose());
        let outputs = node.outputs.iter().map(edge);
        let inputs: Vec<Option<Edge>> = inputs.collect::<Result<_, _>>()?;
        let outputs: Vec<Edge> = outputs.collect::<Result<_, _>>()?;
        inputs.first().into_iter().flatten().chain(&outputs).try_for_each(Edge::check_size)?;
        Ok(Site { node, inputs, outputs, options })
    }

    pub(crate) fn input(&self, i: usize) -> Result<&Edge, String> {
        self.optional(i).ok_or_else(|| format!("input {i} is missing"))
    }

    pub(crate) fn optional(&self, i: usize) -> Option<&Edge> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    pub(crate) fn output(&self) -> Result<&Edge, String> {
        self.outputs.first().ok_or_else(|| "the node has no output".to_owned())
    }

    /// The elements of constant input `i`.
    pub(crate) fn constant(&self, i: usize) -> Result<&Tensor, String> {
        self.input(i)?.data.as_ref().ok_or_else(|| format!("input {i} must be a constant"))
    }

    /// The elements of constant integer input `i`.
    pub(crate) fn integers(&self, i: usize) -> Result<Vec<i64>, String> {
        self.constant(i)?.to_i64().ok_or_else(|| format!("input {i} must be integers"))
    }

    /// Whether inputs `0..inputs` and the outputs share type, scale and zero point.
    pub(crate) fn one_scale(&self, inputs: usize) -> bool {
        let first = self.optional(0).map(|x| (x.dtype, &x.quant));
        let rest = self.inputs.iter().take(inputs).flatten().chain(&self.outputs);
        rest.map(|o| (o.dtype, &o.quant)).all(|q| Some(q) == first)
    }

    /// Refuses edges that are not 8-bit integers: the operators that move bytes.
    pub(crate) fn bytes_only(&self, inputs: usize) -> Result<(), String> {
        let moved = self.inputs.iter().take(inputs).flatten().chain(&self.outputs);
        for edge in moved {
            if !matches!(edge.dtype, DType::I8 | DType::U8) {
                return Err(left_float(edge.dtype));
            }
        }
        if self.one_scale(inputs) { Ok(()) } else { Err("its input and output have different scales".into()) }
    }
}

/// What an edge of another type than an 8-bit integer means.
pub(crate) fn left_float(dtype: DType) -> String {
    if dtype.is_float() {
        format!("it is left in {dtype}; quantize it (see --exclude and the quantize report)")
    } else {
        format!("a {dtype} edge; C has 8-bit edges only")
    }
}
