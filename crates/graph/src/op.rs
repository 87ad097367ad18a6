//! The operators as one enum.

use crate::infer::{Ctx, TensorType};
use crate::ops::*;
use crate::{Activation, Result};

macro_rules! op {
    ($($name:ident),* $(,)?) => {
        /// An operator. Each variant is a plain struct of [`crate::ops`], which documents its
        /// inputs, outputs and attributes.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // The structs are documented.
        pub enum Op { $($name($name)),* }

        impl Op {
            /// The operator's name, as in the type.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => stringify!($name)),* }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Op::$name(op)
            }
        })*
    };
}

op!(
    Conv2d,
    DepthwiseConv2d,
    ConvTranspose2d,
    FullyConnected,
    MatMul,
    Binary,
    Compare,
    Logical,
    Unary,
    PRelu,
    Cast,
    Where,
    Pool2d,
    Reduce,
    ArgReduce,
    TopK,
    Softmax,
    LogSoftmax,
    BatchNorm,
    LayerNorm,
    GroupNorm,
    L2Norm,
    Pad,
    Concat,
    Split,
    Slice,
    Gather,
    GatherElements,
    GatherNd,
    ScatterNd,
    Tile,
    SpaceToDepth,
    DepthToSpace,
    OneHot,
    CumSum,
    Range,
    Fill,
    Reshape,
    Flatten,
    Squeeze,
    Unsqueeze,
    Expand,
    Transpose,
    ShapeOf,
    Identity,
    Resize,
    Quantize,
    Dequantize,
    Requantize,
    DynamicQuantize,
    MatMulInteger,
    ConvInteger,
    FakeQuantize,
);

impl Op {
    pub(crate) fn infer(&self, ctx: &Ctx<'_>, declared: crate::DType) -> Result<Vec<TensorType>> {
        match self {
            Op::Conv2d(op) => op.infer(ctx),
            Op::DepthwiseConv2d(op) => op.infer(ctx),
            Op::ConvTranspose2d(op) => op.infer(ctx),
            Op::FullyConnected(op) => op.infer(ctx),
            Op::MatMul(op) => op.infer(ctx),
            Op::Binary(op) => op.infer(ctx),
            Op::Compare(op) => op.infer(ctx),
            Op::Logical(op) => op.infer(ctx),
            Op::Unary(op) => op.infer(ctx),
            Op::PRelu(op) => op.infer(ctx),
            Op::Cast(op) => op.infer(ctx),
            Op::Where(op) => op.infer(ctx),
            Op::Pool2d(op) => op.infer(ctx),
            Op::Reduce(op) => op.infer(ctx),
            Op::ArgReduce(op) => op.infer(ctx),
            Op::TopK(op) => op.infer(ctx),
            Op::Softmax(op) => op.infer(ctx),
            Op::LogSoftmax(op) => op.infer(ctx),
            Op::BatchNorm(op) => op.infer(ctx),
            Op::LayerNorm(op) => op.infer(ctx),
            Op::GroupNorm(op) => op.infer(ctx),
            Op::L2Norm(op) => op.infer(ctx),
            Op::Pad(op) => op.infer(ctx),
            Op::Concat(op) => op.infer(ctx),
            Op::Split(op) => op.infer(ctx),
            Op::Slice(op) => op.infer(ctx),
            Op::Gather(op) => op.infer(ctx, declared),
            Op::GatherElements(op) => op.infer(ctx),
            Op::GatherNd(op) => op.infer(ctx),
            Op::ScatterNd(op) => op.infer(ctx),
            Op::Tile(op) => op.infer(ctx),
            Op::SpaceToDepth(op) => op.infer(ctx),
            Op::DepthToSpace(op) => op.infer(ctx),
            Op::OneHot(op) => op.infer(ctx),
            Op::CumSum(op) => op.infer(ctx),
            Op::Range(op) => op.infer(ctx),
            Op::Fill(op) => op.infer(ctx),
            Op::Reshape(op) => op.infer(ctx),
            Op::Flatten(op) => op.infer(ctx),
            Op::Squeeze(op) => op.infer(ctx),
            Op::Unsqueeze(op) => op.infer(ctx),
            Op::Expand(op) => op.infer(ctx),
            Op::Transpose(op) => op.infer(ctx),
            Op::ShapeOf(op) => op.infer(ctx),
            Op::Identity(_) => ctx.like_input(ctx.input(0)?.shape.clone()),
            Op::Resize(op) => op.infer(ctx),
            Op::Quantize(_) | Op::Requantize(_) => quantize::infer_like(ctx, declared),
            Op::Dequantize(_) => quantize::infer_like(ctx, crate::DType::F32),
            Op::DynamicQuantize(op) => op.infer(ctx),
            Op::MatMulInteger(op) => op.infer(ctx),
            Op::ConvInteger(op) => op.infer(ctx),
            Op::FakeQuantize(_) => ctx.like_input(ctx.input(0)?.shape.clone()),
        }
    }

    /// The fused activation of the operators that can have one.
    pub fn activation(&self) -> Option<Activation> {
        match self {
            Op::Conv2d(o) => Some(o.activation),
            Op::DepthwiseConv2d(o) => Some(o.activation),
            Op::ConvTranspose2d(o) => Some(o.activation),
            Op::FullyConnected(o) => Some(o.activation),
            Op::Binary(o) => Some(o.activation),
            Op::Pool2d(o) => Some(o.activation),
            Op::BatchNorm(o) => Some(o.activation),
            Op::Concat(o) => Some(o.activation),
            _ => None,
        }
    }

    /// The place of the fused activation, for operators that can have one.
    pub fn activation_mut(&mut self) -> Option<&mut Activation> {
        match self {
            Op::Conv2d(o) => Some(&mut o.activation),
            Op::DepthwiseConv2d(o) => Some(&mut o.activation),
            Op::ConvTranspose2d(o) => Some(&mut o.activation),
            Op::FullyConnected(o) => Some(&mut o.activation),
            Op::Binary(o) => Some(&mut o.activation),
            Op::Pool2d(o) => Some(&mut o.activation),
            Op::BatchNorm(o) => Some(&mut o.activation),
            Op::Concat(o) => Some(&mut o.activation),
            _ => None,
        }
    }
}
