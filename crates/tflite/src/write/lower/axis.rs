//! Operators that TFLite has only for the last axis.

use fewbits_graph::ops::{ArgReduce, LogSoftmax, Softmax, TopK, Transpose, Unary, UnaryKind};
use fewbits_graph::{DType, Node, Op, ValueId};

use super::{Lower, input, output, unwritable, with_dim};
use crate::Result;

impl Lower {
    pub(super) fn softmax(&mut self, node: Node, op: Softmax) -> Result<()> {
        let last = self.shape(input(&node, 0)?).rank().saturating_sub(1);
        self.along_last(node, op.axis, Softmax { axis: last, ..op })
    }

    pub(super) fn log_softmax(&mut self, node: Node, op: LogSoftmax) -> Result<()> {
        let last = self.shape(input(&node, 0)?).rank().saturating_sub(1);
        self.along_last(node, op.axis, LogSoftmax { axis: last })
    }

    /// Adds `op`, which works along the last axis, for an operator along `axis`: between two
    /// exchanges of axes if they differ.
    fn along_last(&mut self, mut node: Node, axis: usize, op: impl Into<Op>) -> Result<()> {
        let (x, outputs) = (input(&node, 0)?, node.outputs.clone());
        let rank = self.shape(x).rank();
        node.op = op.into();
        if axis + 1 == rank {
            self.done.push(node);
            return Ok(());
        }
        node.inputs[0] = Some(self.exchanged(&node, "transposed", x, axis, rank - 1)?);
        let mut restored = Vec::new();
        for (i, &out) in outputs.iter().enumerate() {
            let shape = self.shape(out).permuted(&swap(rank, axis, rank - 1));
            let shape = shape.ok_or_else(|| unwritable(&node, "its output has another rank than its input"))?;
            restored.push(self.value_like(&node, &format!("last_{i}"), out, shape));
        }
        node.outputs = restored.clone();
        let named = node.clone();
        self.done.push(node);
        for (i, (&from, &to)) in restored.iter().zip(&outputs).enumerate() {
            self.push(&named, &format!("restored_{i}"), Transpose { perm: swap(rank, axis, rank - 1) }, &[from], to);
        }
        Ok(())
    }

    fn exchanged(&mut self, node: &Node, suffix: &str, x: ValueId, a: usize, b: usize) -> Result<ValueId> {
        let perm = swap(self.shape(x).rank(), a, b);
        let shape = self.shape(x).permuted(&perm).ok_or_else(|| unwritable(node, "its axis does not exist"))?;
        let out = self.value_like(node, suffix, x, shape);
        self.push(node, suffix, Transpose { perm }, &[x], out);
        Ok(out)
    }

    /// TFLite takes the largest elements of the last axis, with 32-bit indices.
    pub(super) fn topk(&mut self, mut node: Node, mut op: TopK) -> Result<()> {
        let x = input(&node, 0)?;
        let &[values, indices] = node.outputs.as_slice() else {
            return Err(unwritable(&node, "it should have two outputs"));
        };
        let rank = self.shape(x).rank();
        let axis = std::mem::replace(&mut op.axis, rank - 1);
        let mut outputs = [values, indices];
        let mut after: Vec<(&str, Op, ValueId, ValueId)> = Vec::new();
        if !op.largest {
            self.float_only_values(&node, values)?;
            op.largest = true;
            let negated = self.unary(&node, "negated", UnaryKind::Neg, x);
            node.inputs[0] = Some(negated);
            outputs[0] = self.value_like(&node, "smallest", values, self.shape(values).clone());
            after.push(("restored", Unary { kind: UnaryKind::Neg }.into(), outputs[0], values));
        }
        if op.dtype == DType::I64 {
            op.dtype = DType::I32;
            outputs[1] = self.value(&node, "indices", DType::I32, self.shape(indices).clone(), None);
            after.push(("wide", fewbits_graph::ops::Cast { to: DType::I64 }.into(), outputs[1], indices));
        }
        node.outputs = outputs.to_vec();
        let named = node.clone();
        self.along_last(node, axis, op)?;
        for (suffix, op, from, to) in after {
            self.push(&named, suffix, op, &[from], to);
        }
        Ok(())
    }

    fn float_only_values(&self, node: &Node, values: ValueId) -> Result<()> {
        match self.graph.value(values).dtype {
            DType::F32 => Ok(()),
            _ => Err(unwritable(node, "TFLite takes the smallest elements only of floats; write .onnx instead")),
        }
    }

    /// TFLite drops the axis, and takes the first of equal elements.
    pub(super) fn arg_reduce(&mut self, mut node: Node, mut op: ArgReduce) -> Result<()> {
        if op.select_last {
            return Err(unwritable(
                &node,
                "TFLite takes the first of equal elements, not the last; write .onnx instead",
            ));
        }
        if !op.keep_dims {
            self.done.push(node);
            return Ok(());
        }
        let out = output(&node)?;
        let mut shape = self.shape(out).clone();
        shape.0.remove(op.axis);
        let dropped = self.value_like(&node, "dropped", out, shape);
        op.keep_dims = false;
        let axes = vec![op.axis];
        node.op = op.into();
        node.outputs = vec![dropped];
        let named = node.clone();
        self.done.push(node);
        self.push(&named, "kept", fewbits_graph::ops::Unsqueeze { axes }, &[dropped], out);
        Ok(())
    }

    /// `x ÷ max(‖x‖, ε)`: built in for the last axis and an epsilon that its own covers.
    pub(super) fn l2_norm(&mut self, node: Node, op: &fewbits_graph::ops::L2Norm) -> Result<()> {
        use fewbits_graph::ops::{BinaryKind, Reduce, ReduceKind};
        let (x, out) = (input(&node, 0)?, output(&node)?);
        // The runtime divides by at least 1e-6.
        if op.axis + 1 == self.shape(x).rank() && op.epsilon <= 1e-6 {
            self.done.push(node);
            return Ok(());
        }
        self.float_only(&node)?;
        let square = self.unary(&node, "square", UnaryKind::Square, x);
        let shape = with_dim(self.shape(x), op.axis, 1.into());
        let sum = self.value_like(&node, "sum", x, shape);
        let reduce = Reduce { kind: ReduceKind::Sum, axes: vec![op.axis], keep_dims: true };
        self.push(&node, "sum", reduce, &[square], sum);
        let floor = self.scalar(&node, "floor", op.epsilon * op.epsilon);
        let bounded = self.binary(&node, "bounded", BinaryKind::Max, [sum, floor], sum);
        let factor = self.unary(&node, "rsqrt", UnaryKind::Rsqrt, bounded);
        self.push(&node, "", super::plain(BinaryKind::Mul), &[x, factor], out);
        Ok(())
    }
}

/// The permutation that exchanges two axes.
fn swap(rank: usize, a: usize, b: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(a, b);
    perm
}
