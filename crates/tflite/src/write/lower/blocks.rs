//! Block-wise quantized constants.

use fewbits_graph::{DType, Granularity, Node, Quantization, Shape, ValueId};

use super::{Lower, input, output, unwritable};
use crate::Result;

impl Lower {
    /// The conversion of a constant in blocks along its last axis: each block becomes a row with a scale
    /// of its own, and the floats are given their shape. (The format's own block-wise parameters have
    /// scales in half precision, and runtimes read them in a few dynamic-range kernels alone.)
    pub(super) fn dequantize(&mut self, mut node: Node) -> Result<()> {
        let (x, out) = (input(&node, 0)?, output(&node)?);
        let quant = self.graph.value(x).quant.clone();
        let Some(Quantization { granularity: Granularity::Blocked { axis, size }, scales, zero_points }) = quant else {
            self.done.push(node);
            return Ok(());
        };
        let fail = || {
            unwritable(
                &node,
                "TFLite has no scales for blocks but whole ones along the last axis of a constant; write .onnx instead",
            )
        };
        let value = self.graph.value(x);
        let (data, name) = (value.data.clone().ok_or_else(fail)?, value.name.clone());
        let shape = data.shape().to_vec();
        if axis + 1 != shape.len() || !shape[axis].is_multiple_of(size) {
            return Err(fail());
        }
        let rows = data.reshaped(vec![scales.len(), size]).ok_or_else(fail)?;
        let dims = Shape::fixed(rows.shape());
        let stored = self.graph.add_constant(format!("{name}/rows"), rows);
        self.graph.value_mut(stored).quant =
            Some(Quantization { granularity: Granularity::PerChannel { axis: 0 }, scales, zero_points });
        let floats: ValueId = self.value(&node, "rows", DType::F32, dims, None);
        node.inputs = vec![Some(stored)];
        node.outputs = vec![floats];
        let named = node.clone();
        self.done.push(node);
        self.reshape_into(&named, "shape", floats, &Shape::fixed(&shape), out)
    }
}
