//! Matrix products of vectors, arithmetic with activations that TFLite does not fuse.

use fewbits_graph::ops::{Binary, BinaryKind, Compare, CompareKind, Concat, Logical, LogicalKind, MatMul, Reshape};
use fewbits_graph::{Activation, Dim, Node, Shape, Tensor, ValueId};

use super::{Lower, input, output, unwritable};
use crate::Result;

impl Lower {
    /// Vectors become matrices with one row or column.
    pub(super) fn matmul(&mut self, mut node: Node, op: &MatMul) -> Result<()> {
        let (a, b, out) = (input(&node, 0)?, input(&node, 1)?, output(&node)?);
        let (rank_a, rank_b) = (self.shape(a).rank(), self.shape(b).rank());
        if rank_a > 1 && rank_b > 1 {
            self.done.push(node);
            return Ok(());
        }
        let mut op = op.clone();
        let mut shape = self.shape(out).clone();
        // The column first: its axis is the last one of the result.
        if rank_b == 1 {
            let column = Shape(vec![self.shape(b).0[0].clone(), Dim::Fixed(1)]);
            node.inputs[1] = Some(self.reshaped(&node, "column", b, column)?);
            op.transpose_b = false;
            shape.0.push(Dim::Fixed(1));
        }
        if rank_a == 1 {
            let row = Shape(vec![Dim::Fixed(1), self.shape(a).0[0].clone()]);
            node.inputs[0] = Some(self.reshaped(&node, "row", a, row)?);
            op.transpose_a = false;
            shape.0.insert(shape.rank() - 1, Dim::Fixed(1));
        }
        let product = self.value_like(&node, "product", out, shape);
        node.op = op.into();
        node.outputs = vec![product];
        let named = node.clone();
        self.done.push(node);
        let target = self.shape(out).clone();
        self.reshape_into(&named, "flat", product, &target, out)
    }

    /// `x` with another shape.
    pub(super) fn reshaped(&mut self, node: &Node, suffix: &str, x: ValueId, shape: Shape) -> Result<ValueId> {
        let out = self.value_like(node, suffix, x, shape.clone());
        self.reshape_into(node, suffix, x, &shape, out)?;
        Ok(out)
    }

    /// Computes `out` from `x` by a reshape to `shape`, which may have one symbolic dimension.
    pub(super) fn reshape_into(
        &mut self,
        node: &Node,
        suffix: &str,
        x: ValueId,
        shape: &Shape,
        out: ValueId,
    ) -> Result<()> {
        if shape.0.iter().filter(|d| d.fixed().is_none()).count() > 1 {
            return Err(unwritable(
                node,
                format!("more than one dimension of {shape} is unknown; fix the input sizes"),
            ));
        }
        let sizes = shape.0.iter().map(|d| d.fixed().map_or(Ok(-1), i64::try_from));
        let sizes = sizes.collect::<std::result::Result<Vec<_>, _>>();
        let sizes = sizes.map_err(|_| unwritable(node, "a dimension is too large"))?;
        let sizes = self.constant(node, &format!("{suffix}_shape"), Tensor::from_ints(&sizes));
        self.push(node, suffix, Reshape { allow_zero: true }, &[x, sizes], out);
        Ok(())
    }

    pub(super) fn binary_node(&mut self, mut node: Node, mut op: Binary) -> Result<()> {
        if op.kind == BinaryKind::Mod {
            return Err(unwritable(
                &node,
                "TFLite has no remainder with the sign of the dividend; write .onnx instead",
            ));
        }
        let fuses = matches!(op.kind, BinaryKind::Add | BinaryKind::Sub | BinaryKind::Mul | BinaryKind::Div);
        let activation = if fuses { Activation::None } else { std::mem::take(&mut op.activation) };
        node.op = op.into();
        self.separate_activation(node, activation)
    }

    /// The runtime's concatenation has the attribute but refuses it.
    pub(super) fn concat(&mut self, mut node: Node, mut op: Concat) -> Result<()> {
        let activation = std::mem::take(&mut op.activation);
        node.op = op.into();
        self.separate_activation(node, activation)
    }

    /// Adds `node`, and `activation` as a node after it.
    fn separate_activation(&mut self, mut node: Node, activation: Activation) -> Result<()> {
        if activation == Activation::None {
            self.done.push(node);
            return Ok(());
        }
        let out = output(&node)?;
        let raw = self.value_like(&node, "linear", out, self.shape(out).clone());
        node.outputs = vec![raw];
        let named = node.clone();
        self.done.push(node);
        let (min, max) = activation.range();
        self.clip(&named, "activation", (min, max), raw, out)
    }

    /// Of booleans, the exclusive or is inequality.
    pub(super) fn logical(&mut self, mut node: Node, op: &Logical) -> Result<()> {
        if op.kind == LogicalKind::Xor {
            node.op = Compare { kind: CompareKind::NotEqual }.into();
        }
        self.done.push(node);
        Ok(())
    }
}
