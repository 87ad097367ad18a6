//! Element-wise functions.

use fewbits_graph::ops::{Unary, UnaryKind};
use fewbits_kernels::float::grad::unary::unary_gradient;
use fewbits_kernels::float::unary::{self as kernels, UnaryOp};

use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Function {
    op: UnaryOp,
    /// The derivative follows from the output alone.
    from_output: bool,
}

pub(super) fn unary(op: &Unary, site: &Site) -> Derivation {
    use UnaryKind as K;
    let op = match op.kind {
        K::Relu => UnaryOp::Relu,
        K::Clip { min, max } => UnaryOp::Clip { min, max },
        K::LeakyRelu { alpha } => UnaryOp::LeakyRelu { alpha },
        K::Elu { alpha } => UnaryOp::Elu { alpha },
        K::Selu { alpha, gamma } => UnaryOp::Selu { alpha, gamma },
        K::HardSwish => UnaryOp::HardSwish,
        K::HardSigmoid { alpha, beta } => UnaryOp::HardSigmoid { alpha, beta },
        K::Sigmoid => UnaryOp::Sigmoid,
        K::Tanh => UnaryOp::Tanh,
        K::Gelu { tanh: true } => UnaryOp::GeluTanh,
        K::Gelu { tanh: false } => UnaryOp::Gelu,
        K::Silu => UnaryOp::Silu,
        K::Mish => UnaryOp::Mish,
        K::Softplus => UnaryOp::Softplus,
        K::Softsign => UnaryOp::Softsign,
        K::Exp => UnaryOp::Exp,
        K::Log => UnaryOp::Log,
        K::Sqrt => UnaryOp::Sqrt,
        K::Rsqrt => UnaryOp::Rsqrt,
        K::Square => UnaryOp::Square,
        K::Reciprocal => UnaryOp::Reciprocal,
        K::Neg => UnaryOp::Neg,
        K::Abs => UnaryOp::Abs,
        K::Sign => UnaryOp::Sign,
        K::Floor => UnaryOp::Floor,
        K::Ceil => UnaryOp::Ceil,
        K::Round => UnaryOp::Round,
        K::Erf => UnaryOp::Erf,
        K::Sin => UnaryOp::Sin,
        K::Cos => UnaryOp::Cos,
        K::Not => return Err("a logical negation has no derivative".to_owned()),
    };
    site.only(&[0])?;
    // These leave what they pass as it is, so that their input need not be kept.
    let from_output = matches!(op, UnaryOp::Relu | UnaryOp::Clip { .. });
    let derived = Derived::new(Function { op, from_output });
    Ok(derived.reading(!from_output, &[0]).reading_outputs(from_output))
}

impl Derivative for Function {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        kernels::unary(self.op, run.input(0), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let x = if self.from_output { run.output() } else { run.input(0) };
        if let Some(target) = run.target(0) {
            unary_gradient(self.op, x, dy, target.data, target.accumulate);
        }
    }
}
