//! Which operators have an integer form, and what it asks of scales.
//!
//! The rules are those of the TFLite 8-bit quantization specification, so that one quantized
//! graph is legal in every output format.

use fewbits_graph::ops::{BinaryKind, PadMode, ReduceKind, ResizeMode, UnaryKind};
use fewbits_graph::{DType, Graph, Node, Op};

use crate::{ActivationParams, Format};

/// What an integer operator asks of its output's parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Constraint {
    /// Any parameters: the output has its own range.
    Own,
    /// Those of the data inputs.
    SameAsInputs,
    /// Given by the specification.
    Fixed(ActivationParams),
}

/// The integer form of a node: what its inputs are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IntegerForm {
    /// Positions of inputs that become int8 edges.
    pub(crate) data: Vec<usize>,
    /// Position of constant weights and the axis of their channels.
    pub(crate) weights: Option<(usize, usize)>,
    /// Position of the bias.
    pub(crate) bias: Option<usize>,
    /// What the output asks.
    pub(crate) constraint: Constraint,
    /// The operator moves or selects elements; it is worth integers only between integer edges.
    pub(crate) moves: bool,
}

const UNIT: Constraint = Constraint::Fixed(ActivationParams { scale: 1.0 / 256.0, zero_point: -128 });
const SIGNED_UNIT: Constraint = Constraint::Fixed(ActivationParams { scale: 1.0 / 128.0, zero_point: 0 });
const LOG_UNIT: Constraint = Constraint::Fixed(ActivationParams { scale: 16.0 / 256.0, zero_point: 127 });

/// What the integer form of `op` asks of its output's scale and zero point; `None` if the
/// operator has no int8 form in `format`.
pub fn constraint(op: &Op, format: Format) -> Option<Constraint> {
    Some(match op {
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) | Op::MatMul(_) => {
            Constraint::Own
        }
        Op::Binary(b) => match b.kind {
            BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul => Constraint::Own,
            BinaryKind::Min | BinaryKind::Max => Constraint::SameAsInputs,
            _ => return None,
        },
        Op::Unary(u) => unary(u.kind, format)?,
        Op::PRelu(_) => Constraint::Own,
        Op::Reduce(r) => match r.kind {
            ReduceKind::Mean | ReduceKind::Sum => Constraint::Own,
            ReduceKind::Max | ReduceKind::Min => Constraint::SameAsInputs,
            _ => return None,
        },
        Op::Softmax(_) => UNIT,
        Op::LogSoftmax(_) => LOG_UNIT,
        Op::L2Norm(_) => SIGNED_UNIT,
        _ if moves(op) => Constraint::SameAsInputs,
        _ => return None,
    })
}

fn unary(kind: UnaryKind, format: Format) -> Option<Constraint> {
    match kind {
        UnaryKind::Sigmoid => Some(UNIT),
        UnaryKind::Tanh => Some(SIGNED_UNIT),
        UnaryKind::Relu
        | UnaryKind::LeakyRelu { .. }
        | UnaryKind::Elu { .. }
        | UnaryKind::HardSwish
        | UnaryKind::Gelu { .. } => Some(Constraint::Own),
        // A clamp between integers; the writers spell it as they can.
        UnaryKind::Clip { min, max } if (min, max) == (0.0, 6.0) || (min, max) == (-1.0, 1.0) => Some(Constraint::Own),
        // In ONNX every function stands between Q and DQ; TFLite has integer kernels for few.
        _ if format == Format::Onnx => match kind {
            UnaryKind::HardSigmoid { .. } | UnaryKind::Silu | UnaryKind::Mish | UnaryKind::Clip { .. } => {
                Some(Constraint::Own)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Operators whose output elements are input elements (or their mean), in the same domain.
pub(crate) fn moves(op: &Op) -> bool {
    match op {
        Op::Pad(p) => matches!(p.mode, PadMode::Constant | PadMode::Reflect | PadMode::Symmetric),
        Op::Resize(r) => !matches!(r.mode, ResizeMode::Cubic { .. }),
        Op::Pool2d(_)
        | Op::Concat(_)
        | Op::Split(_)
        | Op::Slice(_)
        | Op::Gather(_)
        | Op::Tile(_)
        | Op::SpaceToDepth(_)
        | Op::DepthToSpace(_)
        | Op::Reshape(_)
        | Op::Flatten(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Expand(_)
        | Op::Transpose(_)
        | Op::Identity(_) => true,
        _ => false,
    }
}

/// The integer form of `node`, if its operator has one and its inputs fit it.
pub(crate) fn integer_form(graph: &Graph, node: &Node, format: Format) -> Option<IntegerForm> {
    let constraint = constraint(&node.op, format)?;
    let constant = |i: usize| {
        let value = graph.value(node.inputs.get(i).copied().flatten()?);
        (value.data.is_some() && value.dtype == DType::F32).then_some(i)
    };
    let mut form = IntegerForm { data: vec![0], weights: None, bias: None, constraint, moves: moves(&node.op) };
    match &node.op {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) | Op::FullyConnected(_) => form.weights = Some((constant(1)?, 0)),
        Op::DepthwiseConv2d(_) => form.weights = Some((constant(1)?, 3)),
        Op::MatMul(_) | Op::Binary(_) | Op::PRelu(_) => form.data = vec![0, 1],
        Op::Concat(_) => form.data = (0..node.inputs.len()).collect(),
        _ => {}
    }
    if form.weights.is_some() && node.inputs.get(2).copied().flatten().is_some() {
        form.bias = Some(constant(2)?);
    }
    let is_float =
        |i: &usize| node.inputs.get(*i).copied().flatten().is_some_and(|v| graph.value(v).dtype == DType::F32);
    let outputs_float = node.outputs.iter().all(|&v| graph.value(v).dtype == DType::F32);
    (form.data.iter().all(is_float) && outputs_float).then_some(form)
}
