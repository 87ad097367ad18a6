//! Reductions that TFLite composes of others.

use fewbits_graph::ops::{BinaryKind, Identity, Reduce, ReduceKind, Unary, UnaryKind};
use fewbits_graph::{Dim, Node, Shape, ValueId};

use super::{Lower, input, output, plain};
use crate::Result;

impl Lower {
    pub(super) fn reduce(&mut self, mut node: Node, op: &Reduce) -> Result<()> {
        let (x, out) = (input(&node, 0)?, output(&node)?);
        let (before, kind, after) = match op.kind {
            ReduceKind::L1 => (Some(UnaryKind::Abs), ReduceKind::Sum, None),
            ReduceKind::SumSquare => (Some(UnaryKind::Square), ReduceKind::Sum, None),
            ReduceKind::L2 => (Some(UnaryKind::Square), ReduceKind::Sum, Some(UnaryKind::Sqrt)),
            ReduceKind::LogSum => (None, ReduceKind::Sum, Some(UnaryKind::Log)),
            ReduceKind::LogSumExp => return self.log_sum_exp(&node, op),
            _ if op.axes.is_empty() => {
                node.op = Identity.into();
                return self.identity(node);
            }
            _ => {
                self.done.push(node);
                return Ok(());
            }
        };
        self.float_only(&node)?;
        let x = before.map_or(x, |kind| self.unary(&node, "each", kind, x));
        let reduce = Reduce { kind, ..op.clone() };
        match after {
            None => self.push(&node, "", reduce, &[x], out),
            Some(kind) => {
                let sum = self.value_like(&node, "sum", out, self.shape(out).clone());
                self.push(&node, "sum", reduce, &[x], sum);
                self.push(&node, "", Unary { kind }, &[sum], out);
            }
        }
        Ok(())
    }

    /// `m + ln Σe^(x − m)` with `m` the maximum, which does not overflow.
    fn log_sum_exp(&mut self, node: &Node, op: &Reduce) -> Result<()> {
        self.float_only(node)?;
        let (x, out) = (input(node, 0)?, output(node)?);
        let largest = self.reduced(node, "largest", ReduceKind::Max, &op.axes, x);
        let centred = self.binary(node, "centred", BinaryKind::Sub, [x, largest], x);
        let power = self.unary(node, "exp", UnaryKind::Exp, centred);
        let sum = self.reduced(node, "sum", ReduceKind::Sum, &op.axes, power);
        let logarithm = self.unary(node, "log", UnaryKind::Log, sum);
        if op.keep_dims {
            self.push(node, "", plain(BinaryKind::Add), &[logarithm, largest], out);
            return Ok(());
        }
        let kept = self.binary(node, "kept", BinaryKind::Add, [logarithm, largest], sum);
        let target = self.shape(out).clone();
        self.reshape_into(node, "flat", kept, &target, out)
    }

    /// A reduction of `x` that keeps its axes.
    pub(super) fn reduced(
        &mut self,
        node: &Node,
        suffix: &str,
        kind: ReduceKind,
        axes: &[usize],
        x: ValueId,
    ) -> ValueId {
        let dims = self.shape(x).0.iter().enumerate();
        let dims = dims.map(|(i, d)| if axes.contains(&i) { Dim::Fixed(1) } else { d.clone() }).collect();
        let out = self.value_like(node, suffix, x, Shape(dims));
        self.push(node, suffix, Reduce { kind, axes: axes.to_vec(), keep_dims: true }, &[x], out);
        out
    }
}
