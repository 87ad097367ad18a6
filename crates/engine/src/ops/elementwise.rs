//! Element-wise operators.

use fewbits_graph::ops::{Binary, BinaryKind, Compare, CompareKind, Logical, LogicalKind, Unary, UnaryKind};
use fewbits_graph::{Activation, DType};
use fewbits_kernels::float::binary::{self as kernels, Broadcast};
use fewbits_kernels::float::unary::{self, UnaryOp};

use super::clamp;
use super::numeric::{Whole, by_integer, by_type, whole_binary};
use crate::site::{Lowered, Lowering, Operand, Site};

/// How inputs 0 and 1 meet.
pub(super) fn broadcast(site: &Site<'_>) -> Result<Broadcast, String> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    Broadcast::new(&a.dims, &b.dims).ok_or_else(|| format!("shapes {:?} and {:?} do not broadcast", a.dims, b.dims))
}

fn kernel_kind(kind: BinaryKind) -> kernels::BinaryKind {
    match kind {
        BinaryKind::Add => kernels::BinaryKind::Add,
        BinaryKind::Sub => kernels::BinaryKind::Sub,
        BinaryKind::Mul => kernels::BinaryKind::Mul,
        BinaryKind::Div => kernels::BinaryKind::Div,
        BinaryKind::Pow => kernels::BinaryKind::Pow,
        BinaryKind::Min => kernels::BinaryKind::Min,
        BinaryKind::Max => kernels::BinaryKind::Max,
        BinaryKind::SquaredDifference => kernels::BinaryKind::SquaredDifference,
        BinaryKind::FloorDiv => kernels::BinaryKind::FloorDiv,
        BinaryKind::FloorMod => kernels::BinaryKind::FloorMod,
        BinaryKind::Mod => kernels::BinaryKind::Mod,
    }
}

pub(super) fn binary(op: &Binary, site: &Site<'_>) -> Lowering {
    let shapes = broadcast(site)?;
    let dtype = site.output()?.dtype;
    if dtype == DType::F32 {
        let (kind, clamp) = (kernel_kind(op.kind), clamp(op.activation));
        return Ok(Lowered::new(move |ctx| {
            kernels::binary(kind, &shapes, ctx.input(0), ctx.input(1), ctx.output(0), clamp);
            Ok(())
        }));
    }
    if dtype == DType::Bool {
        return Err("arithmetic on bool edges".into());
    }
    let (kind, limits) = (op.kind, whole_limits(op.activation));
    by_integer!(dtype, T => Ok(Lowered::new(move |ctx| {
        let (a, b) = (ctx.input::<T>(0), ctx.input::<T>(1));
        shapes.apply(a, b, ctx.output::<T>(0), |a, b| limited(whole_binary(kind, a, b), limits));
        Ok(())
    })))
}

/// The interval of an activation on plain integers, if it is one.
fn whole_limits(activation: Activation) -> Option<(i64, i64)> {
    match activation {
        Activation::None => None,
        Activation::Relu => Some((0, i64::MAX)),
        Activation::Relu6 => Some((0, 6)),
        Activation::ReluN1To1 => Some((-1, 1)),
    }
}

fn limited<T: Whole>(x: T, limits: Option<(i64, i64)>) -> T {
    limits.map_or(x, |(low, high)| T::narrow(x.wide().clamp(low, high)))
}

pub(super) fn compare(op: &Compare, site: &Site<'_>) -> Lowering {
    let shapes = broadcast(site)?;
    let kind = match op.kind {
        CompareKind::Equal => kernels::CompareKind::Equal,
        CompareKind::NotEqual => kernels::CompareKind::NotEqual,
        CompareKind::Less => kernels::CompareKind::Less,
        CompareKind::LessOrEqual => kernels::CompareKind::LessEqual,
        CompareKind::Greater => kernels::CompareKind::Greater,
        CompareKind::GreaterOrEqual => kernels::CompareKind::GreaterEqual,
    };
    by_type!(site.input(0)?.dtype, T => Ok(Lowered::new(move |ctx| {
        kernels::compare(kind, &shapes, ctx.input::<T>(0), ctx.input::<T>(1), ctx.output(0));
        Ok(())
    })))
}

pub(super) fn logical(op: &Logical, site: &Site<'_>) -> Lowering {
    let (shapes, kind) = (broadcast(site)?, op.kind);
    let apply = move |a: u8, b: u8| {
        let (a, b) = (a != 0, b != 0);
        u8::from(match kind {
            LogicalKind::And => a & b,
            LogicalKind::Or => a | b,
            LogicalKind::Xor => a ^ b,
        })
    };
    Ok(Lowered::new(move |ctx| {
        shapes.apply(ctx.input(0), ctx.input(1), ctx.output(0), apply);
        Ok(())
    }))
}

/// The kernel of a float function; `None` for `Not`.
pub(super) fn float_function(kind: UnaryKind) -> Option<UnaryOp> {
    Some(match kind {
        UnaryKind::Relu => UnaryOp::Relu,
        UnaryKind::Clip { min, max } => UnaryOp::Clip { min, max },
        UnaryKind::LeakyRelu { alpha } => UnaryOp::LeakyRelu { alpha },
        UnaryKind::Elu { alpha } => UnaryOp::Elu { alpha },
        UnaryKind::Selu { alpha, gamma } => UnaryOp::Selu { alpha, gamma },
        UnaryKind::HardSwish => UnaryOp::HardSwish,
        UnaryKind::HardSigmoid { alpha, beta } => UnaryOp::HardSigmoid { alpha, beta },
        UnaryKind::Sigmoid => UnaryOp::Sigmoid,
        UnaryKind::Tanh => UnaryOp::Tanh,
        UnaryKind::Gelu { tanh: false } => UnaryOp::Gelu,
        UnaryKind::Gelu { tanh: true } => UnaryOp::GeluTanh,
        UnaryKind::Silu => UnaryOp::Silu,
        UnaryKind::Mish => UnaryOp::Mish,
        UnaryKind::Softplus => UnaryOp::Softplus,
        UnaryKind::Softsign => UnaryOp::Softsign,
        UnaryKind::Exp => UnaryOp::Exp,
        UnaryKind::Log => UnaryOp::Log,
        UnaryKind::Sqrt => UnaryOp::Sqrt,
        UnaryKind::Rsqrt => UnaryOp::Rsqrt,
        UnaryKind::Square => UnaryOp::Square,
        UnaryKind::Reciprocal => UnaryOp::Reciprocal,
        UnaryKind::Neg => UnaryOp::Neg,
        UnaryKind::Abs => UnaryOp::Abs,
        UnaryKind::Sign => UnaryOp::Sign,
        UnaryKind::Floor => UnaryOp::Floor,
        UnaryKind::Ceil => UnaryOp::Ceil,
        UnaryKind::Round => UnaryOp::Round,
        UnaryKind::Erf => UnaryOp::Erf,
        UnaryKind::Sin => UnaryOp::Sin,
        UnaryKind::Cos => UnaryOp::Cos,
        UnaryKind::Not => return None,
    })
}

pub(super) fn unary(op: &Unary, site: &Site<'_>) -> Lowering {
    let input = site.input(0)?;
    match (input.dtype, float_function(op.kind)) {
        (_, None) => Ok(Lowered::new(|ctx| {
            unary::not(ctx.input(0), ctx.output(0));
            Ok(())
        })),
        (DType::F32, Some(function)) => {
            let kernel = Lowered::new(move |ctx| {
                if ctx.in_place {
                    unary::unary_in_place(function, ctx.output(0));
                } else {
                    unary::unary(function, ctx.input(0), ctx.output(0));
                }
                Ok(())
            });
            Ok(kernel.in_place(0))
        }
        _ => whole_unary(op.kind, input),
    }
}

fn whole_unary(kind: UnaryKind, input: &Operand) -> Lowering {
    let function = move |x: i64| match kind {
        UnaryKind::Relu => x.max(0),
        // Casts saturate, so that infinite bounds are no bounds.
        UnaryKind::Clip { min, max } => x.max(min.ceil() as i64).min(max.floor() as i64),
        UnaryKind::Neg => x.wrapping_neg(),
        UnaryKind::Abs => x.wrapping_abs(),
        UnaryKind::Sign => x.signum(),
        UnaryKind::Square => x.wrapping_mul(x),
        // Routing lets no other function through.
        _ => x,
    };
    by_integer!(input.dtype, T => Ok(Lowered::new(move |ctx| {
        let x = ctx.input::<T>(0);
        ctx.output::<T>(0).iter_mut().zip(x).for_each(|(y, &x)| *y = T::narrow(function(x.wide())));
        Ok(())
    })))
}

pub(super) fn prelu(site: &Site<'_>) -> Lowering {
    let shapes = broadcast(site)?;
    Ok(Lowered::new(move |ctx| {
        unary::prelu(&shapes, ctx.input(0), ctx.input(1), ctx.output(0));
        Ok(())
    }))
}
