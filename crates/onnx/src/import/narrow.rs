//! ONNX Runtime's products with weights in blocks of few bits.

use fewbits_graph::ops::FullyConnected;
use fewbits_graph::{Activation, Granularity, Quantization, Shape, Tensor};

use super::constant::{Constant, Relay, Then};
use super::node::NodeReader;
use crate::Result;
use crate::layout::Layout;

/// Sizes of a `MatMulNBits`.
struct Blocks {
    n: usize,
    k: usize,
    bits: usize,
    size: usize,
}

impl Blocks {
    fn of(node: &NodeReader<'_>) -> Result<Self> {
        let size = |name: &str| {
            let value = node.int(name).and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0);
            value.ok_or_else(|| node.error(format!("attribute {name} must be positive")))
        };
        let bits = if node.int("bits").is_some() { size("bits")? } else { 4 };
        let blocks = Blocks { n: size("N")?, k: size("K")?, bits, size: size("block_size")? };
        match (bits, blocks.size) {
            (4 | 8, 16..) if blocks.size.is_power_of_two() => Ok(blocks),
            (4 | 8, other) => Err(node.error(format!("block_size {other} is not a power of two from 16"))),
            (other, _) => Err(node.error(format!("weights of {other} bits are not supported: 4 and 8 are"))),
        }
    }

    /// Blocks of an output.
    fn count(&self) -> usize {
        self.k.div_ceil(self.size)
    }

    /// What is taken off a stored number.
    fn offset(&self) -> i32 {
        1 << (self.bits - 1)
    }

    /// The first `len` unsigned numbers in `bytes`, low bits first.
    fn unpacked<'b>(&self, bytes: &'b [u8], len: usize) -> impl Iterator<Item = u8> + use<'b> {
        let each = 8 / self.bits;
        let (bits, mask) = (self.bits, 0xff >> (8 - self.bits));
        (0..len).map(move |i| bytes[i / each] >> (i % each * bits) & mask)
    }

    /// `[n, k]`, of the `[n, blocks, bytes of a block]` that are stored.
    fn weights(&self, node: &NodeReader<'_>) -> Result<Tensor> {
        let stored = node.tensor(1).and_then(|t| t.as_slice::<u8>());
        let stored = stored.ok_or_else(|| node.error("the weights must be a uint8 constant"))?;
        let row = self.count().checked_mul(self.size / (8 / self.bits));
        if row.and_then(|r| r.checked_mul(self.n)) != Some(stored.len()) {
            let (n, blocks) = (self.n, self.count());
            return Err(node.error(format!("{} bytes of weights for {n} outputs of {blocks} blocks", stored.len())));
        }
        // An output takes at least a byte of what is there, so this does not grow beyond reason.
        let rows = stored.chunks_exact(stored.len() / self.n);
        let moved = |q: u8| (i32::from(q) - self.offset()) as i8;
        let values: Vec<i8> = rows.flat_map(|row| self.unpacked(row, self.k).map(moved)).collect();
        let shape = vec![self.n, self.k];
        let tensor = match self.bits {
            4 => Tensor::from_nibbles(shape, &values),
            _ => Some(Tensor::new(shape, values)),
        };
        tensor.ok_or_else(|| node.error("the weights do not fit their shape"))
    }

    /// Zero points less the offset; each output's begin at a byte where they are packed.
    fn zero_points(&self, node: &NodeReader<'_>) -> Result<Vec<i32>> {
        let all = self.n * self.count();
        if !node.has(3) {
            return Ok(vec![0; all]);
        }
        let tensor = node.tensor(3).ok_or_else(|| node.error("the zero points must be a constant"))?;
        let Some(packed) = tensor.as_slice::<u8>() else {
            return Err(node.error(format!("zero points of type {} are not supported", tensor.dtype())));
        };
        let row = (self.count() * self.bits).div_ceil(8);
        if packed.len() != row * self.n {
            return Err(node.error(format!("{} bytes of zero points, expected {}", packed.len(), row * self.n)));
        }
        let points = packed.chunks_exact(row).flat_map(|row| self.unpacked(row, self.count()));
        Ok(points.map(|z| i32::from(z) - self.offset()).collect())
    }

    fn quantization(&self, node: &NodeReader<'_>) -> Result<Quantization> {
        let scales = node.tensor(2).filter(|t| t.dtype().is_float());
        let scales = scales.ok_or_else(|| node.error("the scales must be a float constant"))?;
        if scales.elements() != self.n * self.count() {
            let expected = self.n * self.count();
            return Err(node.error(format!("{} scales, expected {expected}", scales.elements())));
        }
        let zero_points = self.zero_points(node)?;
        let granularity = Granularity::Blocked { axis: 1, size: self.size };
        Ok(Quantization { granularity, scales: scales.to_f32(), zero_points })
    }
}

/// MatMulNBits: a fully-connected layer whose weights are dequantized.
pub(super) fn matmul_n_bits(node: &mut NodeReader<'_>) -> Result<()> {
    if node.has(4) {
        return Err(node.error("weights in an order of their own (g_idx) are not supported"));
    }
    let blocks = Blocks::of(node)?;
    let tensor = blocks.weights(node)?;
    let quant = blocks.quantization(node)?;
    quant.check(tensor.dtype(), &Shape::fixed(tensor.shape())).map_err(|what| node.error(what))?;
    let a = node.plain(0)?;
    let name = node.input(1)?.to_owned();
    let real = node.importer.fresh_value(&format!("{name}_dequantized"));
    let stored = node.importer.fresh_value(&format!("{name}_int{}", blocks.bits));
    let then = Then::Dequantize { node: format!("{}_dequantize", node.name) };
    node.importer.add_constant(&real, Constant { tensor, quant: Some(quant), stored, then });
    let weights = node.importer.materialize_weights(&real, &Relay::none())?;
    let bias = node.optional(5)?;
    node.emit(FullyConnected { activation: Activation::None }, &[Some(a), Some(weights), bias], Layout::Plain)?;
    Ok(())
}
