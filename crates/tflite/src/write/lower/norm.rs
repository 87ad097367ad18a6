//! Normalisations, in float: TFLite has no operators for them.

use fewbits_graph::ops::{BatchNorm, Binary, BinaryKind, GroupNorm, LayerNorm, ReduceKind, UnaryKind};
use fewbits_graph::{Dim, Node, Shape, Tensor, ValueId};

use super::{Lower, input, output, plain, unwritable};
use crate::Result;

impl Lower {
    /// With constant statistics, one product and one sum.
    pub(super) fn batch_norm(&mut self, node: Node, op: &BatchNorm) -> Result<()> {
        self.float_only(&node)?;
        let (x, out) = (input(&node, 0)?, output(&node)?);
        let parameter = |i: usize| -> Result<Vec<f32>> {
            let data = self.graph.value(input(&node, i)?).data.as_ref();
            data.map(Tensor::to_f32).ok_or_else(|| unwritable(&node, "its statistics must be constants"))
        };
        let (scale, bias, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
        let n = scale.len();
        if [bias.len(), mean.len(), variance.len()].iter().any(|&m| m != n) {
            return Err(unwritable(&node, "its parameters differ in length"));
        }
        // In double precision, so that the folded constants are as good as f32 has them.
        let factor = |i: usize| f64::from(scale[i]) / (f64::from(variance[i]) + f64::from(op.epsilon)).sqrt();
        let offset = |i: usize| f64::from(bias[i]) - f64::from(mean[i]) * factor(i);
        let factors = Tensor::new(vec![n], (0..n).map(|i| factor(i) as f32).collect());
        let offsets = Tensor::new(vec![n], (0..n).map(|i| offset(i) as f32).collect());
        let factors = self.constant(&node, "factor", factors);
        let offsets = self.constant(&node, "offset", offsets);
        let scaled = self.binary(&node, "scaled", BinaryKind::Mul, [x, factors], x);
        let add = Binary { kind: BinaryKind::Add, activation: op.activation };
        self.push(&node, "", add, &[scaled, offsets], out);
        Ok(())
    }

    pub(super) fn layer_norm(&mut self, node: Node, op: &LayerNorm) -> Result<()> {
        self.float_only(&node)?;
        let (x, out) = (input(&node, 0)?, output(&node)?);
        let axes: Vec<usize> = (op.axis..self.shape(x).rank()).collect();
        let parameters = [1, 2].map(|i| node.inputs.get(i).copied().flatten());
        let normal = self.normalised(&node, x, &axes, op.epsilon, parameters == [None, None], out);
        self.scale_and_shift(&node, normal, parameters, out);
        Ok(())
    }

    /// `(x − mean) ÷ √(variance + ε)` over `axes`; into `out` if it is the `last` step.
    fn normalised(
        &mut self,
        node: &Node,
        x: ValueId,
        axes: &[usize],
        epsilon: f32,
        last: bool,
        out: ValueId,
    ) -> ValueId {
        let mean = self.reduced(node, "mean", ReduceKind::Mean, axes, x);
        let squares = self.binary(node, "squares", BinaryKind::SquaredDifference, [x, mean], x);
        let variance = self.reduced(node, "variance", ReduceKind::Mean, axes, squares);
        let epsilon = self.scalar(node, "epsilon", epsilon);
        let bounded = self.binary(node, "bounded", BinaryKind::Add, [variance, epsilon], variance);
        let factor = self.unary(node, "rsqrt", UnaryKind::Rsqrt, bounded);
        let centred = self.binary(node, "centred", BinaryKind::Sub, [x, mean], x);
        if last {
            self.push(node, "", plain(BinaryKind::Mul), &[centred, factor], out);
            return out;
        }
        self.binary(node, "normal", BinaryKind::Mul, [centred, factor], x)
    }

    /// `x × scale + shift` into `out`, of which one may be absent.
    fn scale_and_shift(&mut self, node: &Node, x: ValueId, parameters: [Option<ValueId>; 2], out: ValueId) {
        match parameters {
            [Some(scale), Some(shift)] => {
                let scaled = self.binary(node, "scaled", BinaryKind::Mul, [x, scale], x);
                self.push(node, "", plain(BinaryKind::Add), &[scaled, shift], out);
            }
            [Some(scale), None] => self.push(node, "", plain(BinaryKind::Mul), &[x, scale], out),
            [None, Some(shift)] => self.push(node, "", plain(BinaryKind::Add), &[x, shift], out),
            // Then the normalisation wrote `out` itself.
            [None, None] => {}
        }
    }

    /// As layer normalisation over `[N, positions, groups, channels of a group]`.
    pub(super) fn group_norm(&mut self, node: Node, op: &GroupNorm) -> Result<()> {
        self.float_only(&node)?;
        let (x, out) = (input(&node, 0)?, output(&node)?);
        let dims = self.shape(x).0.clone();
        let [batch, inner @ .., channels] = dims.as_slice() else {
            return Err(unwritable(&node, "its input needs a batch and a channel axis"));
        };
        let positions = Shape(inner.to_vec()).elements();
        let sizes = positions.zip(channels.fixed()).filter(|(_, c)| op.groups > 0 && c % op.groups == 0);
        let (positions, channels) =
            sizes.ok_or_else(|| unwritable(&node, "its groups need fixed sizes behind the batch axis"))?;
        let grouped = [positions, op.groups, channels / op.groups].map(Dim::Fixed);
        let grouped = Shape([&[batch.clone()][..], &grouped[..]].concat());
        let x = self.reshaped(&node, "grouped", x, grouped)?;
        let normal = self.normalised(&node, x, &[1, 3], op.epsilon, false, out);
        let flat = self.reshaped(&node, "ungrouped", normal, Shape(dims.clone()))?;
        self.scale_and_shift(&node, flat, [Some(input(&node, 1)?), Some(input(&node, 2)?)], out);
        Ok(())
    }
}
