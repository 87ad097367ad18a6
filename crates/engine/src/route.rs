//! In which domain a node computes: a function of the types of its edges alone.

use fewbits_graph::ops::{BinaryKind, ReduceKind, ResizeMode, UnaryKind};
use fewbits_graph::{Activation, DType, Granularity, Op, Quantization};

/// The domain a node computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// On the element types as they are: `f32` arithmetic, plain integers, moved bytes.
    Native,
    /// TFLite's `int8` arithmetic.
    Integer,
    /// Float activations, `int8` weights.
    Dynamic,
    /// Other types are converted to `f32` before and back behind.
    ThroughFloat,
}

/// What routing knows of an edge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edge<'a> {
    pub(crate) dtype: DType,
    pub(crate) quant: Option<&'a Quantization>,
    pub(crate) constant: bool,
}

impl Edge<'_> {
    fn is_real(&self) -> bool {
        self.dtype.is_float() || self.quant.is_some()
    }

    fn is_f32(&self) -> bool {
        self.dtype == DType::F32 && self.quant.is_none()
    }

    /// A plain integer or boolean.
    fn is_whole(&self) -> bool {
        !self.dtype.is_float() && self.quant.is_none() && self.dtype != DType::I4
    }

    /// An `int8` activation with one scale.
    fn is_int8(&self) -> bool {
        self.dtype == DType::I8 && self.quant.is_some_and(|q| q.granularity == Granularity::PerTensor)
    }

    /// Constant symmetric `int8` or `int4` weights, with one scale or one for each index of `axis`.
    fn is_weight(&self, axis: usize) -> bool {
        let fits = |q: &Quantization| match q.granularity {
            Granularity::PerTensor => true,
            Granularity::PerChannel { axis: own } => own == axis,
            Granularity::Blocked { .. } => false,
        };
        let narrow = matches!(self.dtype, DType::I8 | DType::I4);
        self.constant && narrow && self.quant.is_some_and(|q| q.is_symmetric() && fits(q))
    }

    fn like(&self, other: &Edge<'_>) -> bool {
        self.dtype == other.dtype && self.quant == other.quant
    }
}

/// A node's edges.
pub(crate) struct Edges<'a> {
    pub(crate) inputs: Vec<Option<Edge<'a>>>,
    pub(crate) outputs: Vec<Edge<'a>>,
}

impl Edges<'_> {
    fn input(&self, i: usize) -> Option<&Edge<'_>> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    fn output(&self) -> Option<&Edge<'_>> {
        self.outputs.first()
    }

    fn all(&self) -> impl Iterator<Item = &Edge<'_>> {
        self.inputs.iter().flatten().chain(&self.outputs)
    }

    /// Float arithmetic, with conversions where an edge is not `f32`.
    fn float(&self) -> Result<Route, String> {
        if let Some(odd) = self.all().find(|e| !e.is_real()) {
            return Err(format!("{} edges are not supported", odd.dtype));
        }
        Ok(if self.all().all(Edge::is_f32) { Route::Native } else { Route::ThroughFloat })
    }

    /// `Native` where `fits` holds and all of the given inputs and the first output agree in type
    /// and scale, else float arithmetic on the inputs that are real.
    fn alike_or_float(&self, inputs: &[usize]) -> Result<Route, String> {
        let edges = || inputs.iter().filter_map(|&i| self.input(i)).chain(self.output());
        let first = edges().next().ok_or("the node has no edges")?;
        if edges().all(|e| e.like(first)) {
            return if first.dtype == DType::I4 {
                Err("int4 edges are not supported".into())
            } else {
                Ok(Route::Native)
            };
        }
        match edges().find(|e| !e.is_real()) {
            Some(odd) => Err(format!("cannot mix {} edges with others", odd.dtype)),
            None => Ok(Route::ThroughFloat),
        }
    }

    /// `Integer` where the given inputs and all outputs are `int8`, else float arithmetic.
    fn int8_or_float(&self, inputs: &[usize]) -> Result<Route, String> {
        let mut edges = inputs.iter().filter_map(|&i| self.input(i)).chain(&self.outputs);
        if edges.all(Edge::is_int8) { Ok(Route::Integer) } else { self.float() }
    }

    /// Whether input 0 and the output are `int8` with the same parameters.
    fn same_int8(&self) -> bool {
        self.input(0).zip(self.output()).is_some_and(|(x, out)| x.is_int8() && x.like(out))
    }

    /// Float arithmetic on the given inputs and the first output; the others are shapes or indices.
    fn float_at(&self, inputs: &[usize]) -> Result<Route, String> {
        let edges = || inputs.iter().filter_map(|&i| self.input(i)).chain(self.output());
        match edges().find(|e| !e.is_real()) {
            Some(odd) => Err(format!("{} edges are not supported", odd.dtype)),
            None if edges().all(Edge::is_f32) => Ok(Route::Native),
            None => Ok(Route::ThroughFloat),
        }
    }

    fn concat(&self, plain: bool) -> Result<Route, String> {
        let inputs: Vec<usize> = (0..self.inputs.len()).collect();
        let float = self.output().is_some_and(Edge::is_f32);
        match self.alike_or_float(&inputs)? {
            Route::Native if plain || float => Ok(Route::Native),
            _ if self.all().all(Edge::is_int8) => Ok(Route::Integer),
            _ if self.all().all(Edge::is_real) => Ok(Route::ThroughFloat),
            _ => Err("an activation on integer edges".into()),
        }
    }

    /// Layers with weights at input 1, one scale for each index of `axis`; `dynamic` if the kernel
    /// takes float activations with integer weights.
    fn layer(&self, axis: usize, dynamic: bool) -> Result<Route, String> {
        let (Some(x), Some(w), Some(out)) = (self.input(0), self.input(1), self.output()) else {
            return Err("an input is missing".into());
        };
        let weights = w.is_weight(axis);
        let bias = self.input(2).is_none_or(|b| b.constant && (b.dtype == DType::I32 || b.is_f32()));
        if weights && x.is_int8() && out.is_int8() && bias {
            return Ok(Route::Integer);
        }
        if dynamic && weights && x.is_f32() && out.is_f32() {
            return Ok(Route::Dynamic);
        }
        self.float()
    }
}

/// Whether a function has a plain integer meaning that the engine computes.
fn unary_on_integers(kind: UnaryKind) -> bool {
    use UnaryKind::{Abs, Clip, Neg, Not, Relu, Sign, Square};
    matches!(kind, Abs | Clip { .. } | Neg | Not | Relu | Sign | Square)
}

fn reduce_on_integers(kind: ReduceKind) -> bool {
    use ReduceKind::{L1, Max, Mean, Min, Prod, Sum, SumSquare};
    matches!(kind, Sum | Mean | Max | Min | Prod | L1 | SumSquare)
}

/// The domain of `op` on these edges; the error says what is not supported.
pub(crate) fn route(op: &Op, edges: &Edges<'_>) -> Result<Route, String> {
    let whole = || edges.all().all(Edge::is_whole);
    match op {
        Op::Conv2d(_) => edges.layer(0, true),
        Op::ConvTranspose2d(_) => edges.layer(0, false),
        Op::FullyConnected(_) => edges.layer(0, true),
        Op::DepthwiseConv2d(_) => edges.layer(3, false),
        Op::MatMul(op) => match (edges.input(0), edges.input(1), edges.output()) {
            (Some(a), Some(b), Some(out))
                if a.is_f32() && out.is_f32() && b.is_weight(usize::from(!op.transpose_b)) && !op.transpose_a =>
            {
                Ok(Route::Dynamic)
            }
            (Some(a), Some(b), Some(out))
                if a.is_int8() && out.is_int8() && b.is_weight(usize::from(!op.transpose_b)) && !op.transpose_a =>
            {
                Ok(Route::Integer)
            }
            _ => edges.int8_or_float(&[0, 1]),
        },
        Op::Binary(op) if whole() && !matches!(op.kind, BinaryKind::SquaredDifference) => edges.alike_or_float(&[0, 1]),
        Op::Binary(op) => match op.kind {
            BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Min | BinaryKind::Max => {
                edges.int8_or_float(&[0, 1])
            }
            _ => edges.float(),
        },
        Op::Compare(_) => match (edges.input(0), edges.input(1)) {
            (Some(a), Some(b)) if a.like(b) && a.dtype != DType::I4 && a.dtype != DType::F16 => Ok(Route::Native),
            (Some(a), Some(b)) if a.is_real() && b.is_real() => Ok(Route::ThroughFloat),
            _ => Err("cannot compare edges of different types".into()),
        },
        Op::Logical(_) => booleans(edges),
        Op::Unary(op) if op.kind == UnaryKind::Not => booleans(edges),
        Op::Unary(op) if whole() && unary_on_integers(op.kind) => Ok(Route::Native),
        Op::Unary(_) | Op::Softmax(_) | Op::LogSoftmax(_) | Op::Pool2d(_) => edges.int8_or_float(&[0]),
        Op::L2Norm(_) => edges.float(),
        Op::PRelu(_) => edges.int8_or_float(&[0, 1]),
        Op::Reduce(op) if whole() && reduce_on_integers(op.kind) => Ok(Route::Native),
        Op::Reduce(op) => match op.kind {
            ReduceKind::Sum | ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min => edges.int8_or_float(&[0]),
            _ => edges.float(),
        },
        Op::CumSum(_) | Op::Range(_) if whole() => Ok(Route::Native),
        Op::CumSum(_) | Op::Range(_) | Op::BatchNorm(_) | Op::LayerNorm(_) | Op::GroupNorm(_) => edges.float(),
        Op::ArgReduce(_) => match edges.input(0) {
            // The order of quantized elements is that of the numbers they stand for.
            Some(x) if x.dtype != DType::I4 && x.dtype != DType::F16 => Ok(Route::Native),
            Some(x) if x.is_real() => Ok(Route::ThroughFloat),
            _ => Err("int4 edges are not supported".into()),
        },
        Op::TopK(_) => match edges.input(0) {
            Some(x) if x.dtype == DType::F16 => Ok(Route::ThroughFloat),
            _ => edges.alike_or_float(&[0]),
        },
        // Nearest neighbours are bytes that move.
        Op::Resize(op) if matches!(op.mode, ResizeMode::Nearest(_)) => edges.alike_or_float(&[0]),
        Op::Resize(op) if op.mode == ResizeMode::Linear && op.scales.is_none() && edges.same_int8() => {
            Ok(Route::Integer)
        }
        Op::Resize(_) => edges.float_at(&[0]),
        Op::Concat(op) => edges.concat(op.activation == Activation::None),
        Op::Gather(_) => match (edges.input(0), edges.output()) {
            (Some(x), Some(out))
                if x.constant && matches!(x.dtype, DType::I8 | DType::I4) && x.quant.is_some() && out.is_f32() =>
            {
                Ok(Route::Dynamic)
            }
            _ => edges.alike_or_float(&[0]),
        },
        Op::Where(_) => edges.alike_or_float(&[1, 2]),
        Op::ScatterNd(_) => edges.alike_or_float(&[0, 2]),
        Op::Fill(_) => edges.alike_or_float(&[1]),
        Op::OneHot(_) => edges.alike_or_float(&[2]),
        Op::Pad(_) => edges.alike_or_float(&[0, 2]),
        Op::GatherElements(_)
        | Op::GatherNd(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::Tile(_)
        | Op::SpaceToDepth(_)
        | Op::DepthToSpace(_)
        | Op::Expand(_)
        | Op::Transpose(_) => edges.alike_or_float(&[0]),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_) | Op::ShapeOf(_) => {
            Ok(Route::Native)
        }
        Op::Quantize(_) | Op::Dequantize(_) | Op::Requantize(_) | Op::Cast(_) => Ok(Route::Native),
        Op::FakeQuantize(_) if edges.all().all(Edge::is_f32) => Ok(Route::Native),
        Op::FakeQuantize(_) => Err("all edges must be float32".into()),
        Op::DynamicQuantize(_) if edges.input(0).is_some_and(Edge::is_f32) => Ok(Route::Native),
        Op::DynamicQuantize(_) => Err("the input must be float32".into()),
        Op::MatMulInteger(_) | Op::ConvInteger(_) => {
            let bytes = |i: usize| edges.input(i).is_none_or(|e| matches!(e.dtype, DType::I8 | DType::U8));
            if (0..4).all(bytes) { Ok(Route::Native) } else { Err("the operands must be int8 or uint8".into()) }
        }
    }
}

fn booleans(edges: &Edges<'_>) -> Result<Route, String> {
    match edges.all().find(|e| e.dtype != DType::Bool) {
        Some(odd) => Err(format!("expected bool edges, got {}", odd.dtype)),
        None => Ok(Route::Native),
    }
}
