//! Operators that move elements in other ways than TFLite's.

use fewbits_graph::ops::{DepthToSpace, Dequantize, Gather};
use fewbits_graph::{DType, Node, Tensor};

use super::{Lower, input, output, unwritable};
use crate::Result;

impl Lower {
    /// Rows of an integer table that is read as floats: either the rows are converted, or, with a
    /// scale a row, the table.
    pub(super) fn gather(&mut self, mut node: Node, op: Gather) -> Result<()> {
        let (table, out) = (input(&node, 0)?, output(&node)?);
        let quantized = self.graph.value(table).quant.clone();
        let Some(quant) = quantized.filter(|_| self.graph.value(out).dtype == DType::F32) else {
            self.done.push(node);
            return Ok(());
        };
        if quant.as_per_tensor().is_some() {
            let rows = self.value_like(&node, "rows", table, self.shape(out).clone());
            node.outputs = vec![rows];
            let named = node.clone();
            self.done.push(node);
            self.push(&named, "float", Dequantize, &[rows], out);
        } else {
            let float = self.value(&node, "table", DType::F32, self.shape(table).clone(), None);
            self.push(&node, "table", Dequantize, &[table], float);
            node.inputs[0] = Some(float);
            node.op = op.into();
            self.done.push(node);
        }
        Ok(())
    }

    /// The other channel order is the same operator after a permutation of channels.
    pub(super) fn depth_to_space(&mut self, mut node: Node, mut op: DepthToSpace) -> Result<()> {
        if op.channel_first {
            let x = input(&node, 0)?;
            let channels = self.shape(x).0.last().and_then(fewbits_graph::Dim::fixed);
            let square = op.block * op.block;
            let depth = channels.filter(|c| square > 0 && c % square == 0).map(|c| c / square);
            let depth = depth.ok_or_else(|| unwritable(&node, "its channels must be fixed and divide into blocks"))?;
            let order = (0..square).flat_map(|position| (0..depth).map(move |c| c * square + position));
            let order = order.map(i32::try_from).collect::<std::result::Result<Vec<_>, _>>();
            let order = order.map_err(|_| unwritable(&node, "it has too many channels"))?;
            let order = self.constant(&node, "order", Tensor::new(vec![order.len()], order));
            let sorted = self.value_like(&node, "sorted", x, self.shape(x).clone());
            self.push(&node, "sorted", Gather { axis: 3 }, &[x, order], sorted);
            node.inputs[0] = Some(sorted);
            op.channel_first = false;
            node.op = op.into();
        }
        self.done.push(node);
        Ok(())
    }
}
