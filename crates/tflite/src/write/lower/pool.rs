//! Pooling with padding that SAME and VALID cannot say.

use fewbits_graph::ops::{BinaryKind, Pool2d, PoolKind};
use fewbits_graph::{Activation, DType, Dim, Node, Tensor, TensorBytes, ValueId};

use super::{Lower, input, output, plain, unwritable};
use crate::Result;
use crate::write::same::padding_code;

/// Positions of the largest map of divisors that is written: no image of a network is larger, and
/// the sizes of a hostile file must not size an allocation.
const MOST_DIVISORS: usize = 1 << 24;

impl Lower {
    pub(super) fn pool(&mut self, mut node: Node, mut op: Pool2d) -> Result<()> {
        if op.dilation != [1, 1] {
            return Err(unwritable(&node, "TFLite has no dilated pooling; write .onnx instead"));
        }
        let x = input(&node, 0)?;
        let [_, h, w, _] = self.shape(x).0.as_slice() else {
            return Err(unwritable(&node, "its input should have 4 dimensions"));
        };
        let code = padding_code([h, w], op.kernel, op.stride, [1, 1], op.padding);
        let counts_padding = op.kind == PoolKind::Average { count_include_pad: true };
        let direct = code.is_some() && (op.padding == [0; 4] || !counts_padding);
        if direct {
            self.done.push(node);
            return Ok(());
        }
        match op.kind {
            PoolKind::Max => {
                let fill = self.lowest(&node, x)?;
                node.inputs[0] = Some(self.pad_spatial(&node, x, op.padding, Some(fill))?);
            }
            PoolKind::Average { .. } => {
                let scale = self.divisor_correction(&node, &op)?;
                node.inputs[0] = Some(self.pad_spatial(&node, x, op.padding, None)?);
                if let Some(scale) = scale {
                    return self.corrected_average(node, op, scale);
                }
            }
        }
        op.padding = [0; 4];
        op.counted_padding = [0; 2];
        node.op = op.into();
        self.done.push(node);
        Ok(())
    }

    /// The smallest number of the type of `x`: the neutral element of the maximum.
    fn lowest(&mut self, node: &Node, x: ValueId) -> Result<ValueId> {
        let (dtype, quant) = (self.graph.value(x).dtype, self.graph.value(x).quant.clone());
        let bytes = match dtype {
            DType::F32 => f32::MIN.to_le_bytes().to_vec(),
            DType::I8 => i8::MIN.to_le_bytes().to_vec(),
            DType::U8 => vec![u8::MIN],
            DType::I16 => i16::MIN.to_le_bytes().to_vec(),
            other => return Err(unwritable(node, format!("TFLite cannot pad {other} for a maximum"))),
        };
        let tensor = Tensor::from_bytes(dtype, Vec::new(), TensorBytes::from(bytes));
        let tensor = tensor.ok_or_else(|| unwritable(node, "its fill value has no size"))?;
        let fill = self.constant(node, "lowest", tensor);
        self.graph.value_mut(fill).quant = quant;
        Ok(fill)
    }

    /// What the average over all window positions of the padded input must be multiplied by, where
    /// some positions do not count; `None` if all count.
    fn divisor_correction(&mut self, node: &Node, op: &Pool2d) -> Result<Option<ValueId>> {
        // How much of the padding counts, after rows and columns of the image.
        let counted = match op.kind {
            PoolKind::Average { count_include_pad: true } => {
                [op.padding[0], op.padding[1], op.counted_padding[0], op.counted_padding[1]]
            }
            _ => [0; 4],
        };
        if counted == op.padding {
            return Ok(None);
        }
        self.float_only(node)?;
        let sizes = |id: ValueId| match self.shape(id).0.as_slice() {
            [_, Dim::Fixed(h), Dim::Fixed(w), _] => Ok([*h, *w]),
            _ => Err(unwritable(node, "its padding depends on sizes that are not fixed")),
        };
        let (size, out) = (sizes(input(node, 0)?)?, sizes(output(node)?)?);
        if out[0].checked_mul(out[1]).is_none_or(|positions| positions > MOST_DIVISORS) {
            return Err(unwritable(node, "its output is too large for the divisors that its padding needs"));
        }
        // Along each axis, how many counted positions each window covers.
        let covered = |axis: usize| {
            let first = op.padding[axis] - counted[axis];
            let end = op.padding[axis] + size[axis] + counted[axis + 2];
            let count = move |i: usize| {
                let start = i * op.stride[axis];
                (start + op.kernel[axis]).min(end).saturating_sub(start.max(first))
            };
            (0..out[axis]).map(count).collect::<Vec<_>>()
        };
        let (rows, columns) = (covered(0), covered(1));
        // Window areas are far below the integers that f32 holds exactly.
        let area = (op.kernel[0] * op.kernel[1]) as f32;
        let factor = |&(r, c): &(usize, usize)| area / (r * c).max(1) as f32;
        let positions: Vec<_> = rows.iter().flat_map(|&r| columns.iter().map(move |&c| (r, c))).collect();
        let factors = Tensor::new(vec![1, out[0], out[1], 1], positions.iter().map(factor).collect::<Vec<f32>>());
        Ok(Some(self.constant(node, "divisors", factors)))
    }

    fn corrected_average(&mut self, mut node: Node, mut op: Pool2d, scale: ValueId) -> Result<()> {
        let out = output(&node)?;
        let raw = self.value_like(&node, "average", out, self.shape(out).clone());
        let mut last = plain(BinaryKind::Mul);
        last.activation = std::mem::replace(&mut op.activation, Activation::None);
        op.padding = [0; 4];
        op.counted_padding = [0; 2];
        node.op = op.into();
        node.outputs = vec![raw];
        let named = node.clone();
        self.done.push(node);
        self.push(&named, "scale", last, &[raw, scale], out);
        Ok(())
    }
}
