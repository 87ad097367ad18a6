//! Functions of elements that TFLite composes of others.

use fewbits_graph::ops::{Binary, BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Node, Quantization, Tensor, TensorBytes, ValueId};

use super::{Lower, input, output, plain, unwritable};
use crate::Result;

/// What a quantized bound is rounded to: the integer that stands for `value`, within the type.
fn quantized(value: f32, scale: f32, zero_point: i32, (low, high): (i32, i32)) -> i32 {
    let q = (f64::from(value) / f64::from(scale)).round_ties_even() + f64::from(zero_point);
    // Clamped to the type's range, the conversion is exact.
    q.clamp(f64::from(low), f64::from(high)) as i32
}

impl Lower {
    pub(super) fn unary_node(&mut self, node: Node, kind: UnaryKind) -> Result<()> {
        let (x, out) = (input(&node, 0)?, output(&node)?);
        match kind {
            UnaryKind::Clip { min, max } => self.clip(&node, "", (min, max), x, out),
            UnaryKind::HardSigmoid { alpha, beta } => self.hard_sigmoid(&node, alpha, beta),
            UnaryKind::Elu { alpha } if alpha != 1.0 => self.scaled_elu(&node, alpha, 1.0),
            UnaryKind::Selu { alpha, gamma } => self.scaled_elu(&node, alpha, gamma),
            UnaryKind::Silu => {
                self.float_only(&node)?;
                let gate = self.unary(&node, "sigmoid", UnaryKind::Sigmoid, x);
                self.push(&node, "", plain(BinaryKind::Mul), &[x, gate], out);
                Ok(())
            }
            UnaryKind::Softplus => {
                self.float_only(&node)?;
                self.softplus(&node, x, Some(out));
                Ok(())
            }
            UnaryKind::Mish => {
                self.float_only(&node)?;
                let soft = self.softplus(&node, x, None);
                let gate = self.unary(&node, "tanh", UnaryKind::Tanh, soft);
                self.push(&node, "", plain(BinaryKind::Mul), &[x, gate], out);
                Ok(())
            }
            UnaryKind::Softsign => {
                self.float_only(&node)?;
                let size = self.unary(&node, "abs", UnaryKind::Abs, x);
                let one = self.scalar(&node, "one", 1.0);
                let divisor = self.binary(&node, "divisor", BinaryKind::Add, [size, one], x);
                self.push(&node, "", plain(BinaryKind::Div), &[x, divisor], out);
                Ok(())
            }
            UnaryKind::Reciprocal => {
                self.float_only(&node)?;
                let one = self.scalar(&node, "one", 1.0);
                self.push(&node, "", plain(BinaryKind::Div), &[one, x], out);
                Ok(())
            }
            UnaryKind::Erf => Err(unwritable(&node, "TFLite has no error function; write .onnx instead")),
            _ => {
                self.done.push(node);
                Ok(())
            }
        }
    }

    /// Clamps `x` into `out`: by one of the RELU operators, or by a maximum and a minimum.
    pub(super) fn clip(
        &mut self,
        node: &Node,
        suffix: &str,
        (min, max): (f32, f32),
        x: ValueId,
        out: ValueId,
    ) -> Result<()> {
        if Activation::from_range(min, max).is_some_and(|a| a != Activation::None) {
            let kind = if max == f32::INFINITY { UnaryKind::Relu } else { UnaryKind::Clip { min, max } };
            self.push(node, suffix, Unary { kind }, &[x], out);
            return Ok(());
        }
        let bounds: Vec<_> = [(min, BinaryKind::Max, "min"), (max, BinaryKind::Min, "max")]
            .into_iter()
            .filter(|(bound, ..)| bound.is_finite())
            .collect();
        if bounds.is_empty() {
            self.push(node, suffix, fewbits_graph::ops::Identity, &[x], out);
            return Ok(());
        }
        let mut x = x;
        for (i, &(bound, kind, name)) in bounds.iter().enumerate() {
            let bound = self.bound(node, name, bound, x, out)?;
            if i + 1 == bounds.len() {
                self.push(node, suffix, plain(kind), &[x, bound], out);
            } else {
                x = self.binary(node, "bounded", kind, [x, bound], x);
            }
        }
        Ok(())
    }

    /// A bound of `x` as a constant of its type.
    fn bound(&mut self, node: &Node, name: &str, value: f32, x: ValueId, out: ValueId) -> Result<ValueId> {
        let (source, target) = (self.graph.value(x), self.graph.value(out));
        if source.dtype == DType::F32 {
            return Ok(self.scalar(node, name, value));
        }
        let what =
            "TFLite bounds integers only where input and output share their scale; use a range of RELU6, or float";
        let (dtype, quant) = (source.dtype, source.quant.clone());
        let parameters = quant.as_ref().and_then(Quantization::as_per_tensor).filter(|_| source.quant == target.quant);
        let (Some((scale, zero_point)), Some(range)) = (parameters, dtype.integer_range()) else {
            return Err(unwritable(node, what));
        };
        let [a, b, ..] = quantized(value, scale, zero_point, range).to_le_bytes();
        let bytes = match dtype {
            DType::I8 | DType::U8 => vec![a],
            DType::I16 => vec![a, b],
            _ => return Err(unwritable(node, what)),
        };
        let tensor = Tensor::from_bytes(dtype, Vec::new(), TensorBytes::from(bytes));
        let tensor = tensor.ok_or_else(|| unwritable(node, what))?;
        let bound = self.constant(node, name, tensor);
        self.graph.value_mut(bound).quant = quant;
        Ok(bound)
    }

    /// `min(max(αx + β, 0), 1) = relu6(6αx + 6β) ÷ 6`.
    fn hard_sigmoid(&mut self, node: &Node, alpha: f32, beta: f32) -> Result<()> {
        self.float_only(node)?;
        let (x, out) = (input(node, 0)?, output(node)?);
        let slope = self.scalar(node, "slope", 6.0 * alpha);
        let offset = self.scalar(node, "offset", 6.0 * beta);
        let sixth = self.scalar(node, "sixth", 1.0 / 6.0);
        let scaled = self.binary(node, "scaled", BinaryKind::Mul, [x, slope], x);
        let clamped = self.value_like(node, "clamped", x, self.shape(x).clone());
        let add = Binary { kind: BinaryKind::Add, activation: Activation::Relu6 };
        self.push(node, "clamped", add, &[scaled, offset], clamped);
        self.push(node, "", plain(BinaryKind::Mul), &[clamped, sixth], out);
        Ok(())
    }

    /// `γ(relu(x) + α·elu(min(x, 0)))`: the built-in one has α = 1.
    fn scaled_elu(&mut self, node: &Node, alpha: f32, gamma: f32) -> Result<()> {
        self.float_only(node)?;
        let (x, out) = (input(node, 0)?, output(node)?);
        let zero = self.scalar(node, "zero", 0.0);
        let negative = self.binary(node, "negative", BinaryKind::Min, [x, zero], x);
        let curve = self.unary(node, "curve", UnaryKind::Elu { alpha: 1.0 }, negative);
        let factor = self.scalar(node, "alpha", alpha);
        let curve = self.binary(node, "scaled_curve", BinaryKind::Mul, [curve, factor], x);
        let positive = self.unary(node, "positive", UnaryKind::Relu, x);
        if gamma == 1.0 {
            self.push(node, "", plain(BinaryKind::Add), &[positive, curve], out);
            return Ok(());
        }
        let sum = self.binary(node, "sum", BinaryKind::Add, [positive, curve], x);
        let gamma = self.scalar(node, "gamma", gamma);
        self.push(node, "", plain(BinaryKind::Mul), &[sum, gamma], out);
        Ok(())
    }

    /// `ln(1 + eˣ) = relu(x) + ln(1 + e^−|x|)`, which does not overflow; into `out` if given.
    fn softplus(&mut self, node: &Node, x: ValueId, out: Option<ValueId>) -> ValueId {
        let size = self.unary(node, "abs", UnaryKind::Abs, x);
        let negated = self.unary(node, "negated", UnaryKind::Neg, size);
        let power = self.unary(node, "exp", UnaryKind::Exp, negated);
        let one = self.scalar(node, "one", 1.0);
        let sum = self.binary(node, "one_more", BinaryKind::Add, [power, one], x);
        let logarithm = self.unary(node, "log", UnaryKind::Log, sum);
        let positive = self.unary(node, "positive", UnaryKind::Relu, x);
        match out {
            None => self.binary(node, "softplus", BinaryKind::Add, [positive, logarithm], x),
            Some(out) => {
                self.push(node, "", plain(BinaryKind::Add), &[positive, logarithm], out);
                out
            }
        }
    }
}
