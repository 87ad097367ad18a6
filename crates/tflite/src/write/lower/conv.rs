//! Convolutions: padding that SAME and VALID cannot say becomes a node of its own.

use fewbits_graph::ops::{Conv2d, ConvTranspose2d, DepthwiseConv2d, Pad, PadMode, Slice};
use fewbits_graph::{DType, Dim, Node, Quantization, Shape, Tensor, ValueId};

use super::{Lower, input, output, unwritable};
use crate::Result;
use crate::write::same::padding_code;

/// `[kernel height, kernel width]` of weights `[_, kh, kw, _]`.
fn kernel(node: &Node, weights: &Shape) -> Result<[usize; 2]> {
    match weights.0.as_slice() {
        [_, Dim::Fixed(h), Dim::Fixed(w), _] => Ok([*h, *w]),
        _ => Err(unwritable(node, "its weights have no fixed shape of 4 dimensions")),
    }
}

impl Lower {
    pub(super) fn conv(&mut self, mut node: Node, mut op: Conv2d) -> Result<()> {
        let kernel = kernel(&node, self.shape(input(&node, 1)?))?;
        op.padding = self.window(&mut node, kernel, op.stride, op.dilation, op.padding)?;
        self.require_bias(&mut node, 0)?;
        node.op = op.into();
        self.done.push(node);
        Ok(())
    }

    pub(super) fn depthwise(&mut self, mut node: Node, mut op: DepthwiseConv2d) -> Result<()> {
        let kernel = kernel(&node, self.shape(input(&node, 1)?))?;
        op.padding = self.window(&mut node, kernel, op.stride, op.dilation, op.padding)?;
        self.require_bias(&mut node, 3)?;
        node.op = op.into();
        self.done.push(node);
        Ok(())
    }

    /// The runtime's convolutions insist on a bias: zeros where the node has none. Output channels
    /// are `axis` of the weights.
    fn require_bias(&mut self, node: &mut Node, axis: usize) -> Result<()> {
        if node.inputs.get(2).copied().flatten().is_some() {
            return Ok(());
        }
        let (x, w) = (input(node, 0)?, input(node, 1)?);
        let Some(channels) = self.shape(w).0.get(axis).and_then(Dim::fixed) else {
            return Err(unwritable(node, "its weights have no fixed shape of 4 dimensions"));
        };
        let (dtype, x_quant) = (self.graph.value(x).dtype, self.graph.value(x).quant.clone());
        let data = match dtype {
            DType::F32 => Tensor::new(vec![channels], vec![0f32; channels]),
            DType::I16 => Tensor::new(vec![channels], vec![0i64; channels]),
            _ => Tensor::new(vec![channels], vec![0i32; channels]),
        };
        let wide = data.dtype() == DType::I32;
        let bias = self.constant(node, "bias", data);
        if let (true, Some((scale, _)), Some(weights)) =
            (wide, x_quant.and_then(|q| q.as_per_tensor()), self.graph.value(w).quant.clone())
        {
            let scales: Vec<f32> = weights.scales.iter().map(|s| s * scale).collect();
            let quant = match scales.as_slice() {
                &[one] => Quantization::per_tensor(one, 0),
                _ => Quantization::per_channel(0, scales),
            };
            self.graph.value_mut(bias).quant = Some(quant);
        }
        node.inputs.truncate(2);
        node.inputs.push(Some(bias));
        Ok(())
    }

    /// The padding that is left to the node: all, or none after a padding node before it.
    fn window(
        &mut self,
        node: &mut Node,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        padding: [usize; 4],
    ) -> Result<[usize; 4]> {
        let x = input(node, 0)?;
        let [_, h, w, _] = self.shape(x).0.as_slice() else {
            return Err(unwritable(node, "its input should have 4 dimensions"));
        };
        if padding_code([h, w], kernel, stride, dilation, padding).is_some() {
            return Ok(padding);
        }
        node.inputs[0] = Some(self.pad_spatial(node, x, padding, None)?);
        Ok([0; 4])
    }

    /// `x` with rows and columns added, filled with `fill`, or zero if there is none.
    pub(super) fn pad_spatial(
        &mut self,
        node: &Node,
        x: ValueId,
        [top, left, bottom, right]: [usize; 4],
        fill: Option<ValueId>,
    ) -> Result<ValueId> {
        let mut shape = self.shape(x).clone();
        for (axis, add) in [(1, top + bottom), (2, left + right)] {
            shape.0[axis] = match &shape.0[axis] {
                Dim::Fixed(n) => Dim::Fixed(n + add),
                Dim::Symbol(s) => Dim::symbol(format!("({s}+{add})")),
            };
        }
        let pads = [0, top, left, 0, 0, bottom, right, 0].map(i64::try_from);
        let pads = pads.into_iter().collect::<std::result::Result<Vec<_>, _>>();
        let pads = pads.map_err(|_| unwritable(node, "its padding is too large"))?;
        let pads = self.constant(node, "pads", Tensor::from_ints(&pads));
        let out = self.value_like(node, "padded", x, shape);
        let inputs: Vec<ValueId> = [x, pads].into_iter().chain(fill).collect();
        self.push(node, "pad", Pad { mode: PadMode::Constant }, &inputs, out);
        Ok(out)
    }

    pub(super) fn conv_transpose(&mut self, mut node: Node, mut op: ConvTranspose2d) -> Result<()> {
        if op.groups != 1 || op.dilation != [1, 1] {
            return Err(unwritable(&node, "TFLite has neither groups nor dilation here; write .onnx instead"));
        }
        let (x, out) = (input(&node, 0)?, output(&node)?);
        let (size, target) = (self.fixed_spatial(&node, x)?, self.fixed_spatial(&node, out)?);
        let kernel = kernel(&node, self.shape(input(&node, 1)?))?;
        if transposed_padding_code(size, target, kernel, &op).is_some() {
            self.done.push(node);
            return Ok(());
        }
        // The whole result, of which the padding is then cut off. What the padding at the end
        // adds to the size has no contribution from the input: zeros (and bias).
        let full = [0, 1].map(|a| ((size[a] - 1) * op.stride[a] + kernel[a]).max(target[a] + op.padding[a]));
        let mut shape = self.shape(out).clone();
        shape.0[1] = Dim::Fixed(full[0]);
        shape.0[2] = Dim::Fixed(full[1]);
        let whole = self.value_like(&node, "whole", out, shape);
        let starts = [op.padding[0], op.padding[1]];
        op.output_padding = [0, 1].map(|a| full[a] - ((size[a] - 1) * op.stride[a] + kernel[a]));
        op.padding = [0; 4];
        node.outputs = vec![whole];
        node.op = op.clone().into();
        if transposed_padding_code(size, full, kernel, &op).is_none() {
            return Err(unwritable(&node, "TFLite cannot add that much output padding; write .onnx instead"));
        }
        let crop = node.clone();
        self.done.push(node);
        let ints = |v: [usize; 2]| v.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let ends = [starts[0] + target[0], starts[1] + target[1]];
        let columns = [("starts", ints(starts)), ("ends", ints(ends)), ("axes", [1, 2]), ("steps", [1, 1])];
        let operands = columns.map(|(name, v)| self.constant(&crop, name, Tensor::from_ints(&v)));
        self.push(&crop, "crop", Slice, &[&[whole][..], &operands[..]].concat(), out);
        Ok(())
    }

    fn fixed_spatial(&self, node: &Node, id: ValueId) -> Result<[usize; 2]> {
        match self.shape(id).0.as_slice() {
            [_, Dim::Fixed(h), Dim::Fixed(w), _] if *h > 0 && *w > 0 => Ok([*h, *w]),
            other => Err(unwritable(node, format!("it needs fixed spatial sizes, not {}", Shape(other.to_vec())))),
        }
    }
}

/// The code that makes a transposed convolution of an input of `size` with the given output size
/// pad as `op` says, if one does.
pub(in crate::write) fn transposed_padding_code(
    size: [usize; 2],
    target: [usize; 2],
    kernel: [usize; 2],
    op: &ConvTranspose2d,
) -> Option<i8> {
    use crate::schema::enums::{PADDING_SAME, PADDING_VALID};
    // The runtime derives the padding from the forward convolution from the output to the input,
    // which must give the input's size.
    let same = |a: usize| {
        let covered = (target[a].div_ceil(op.stride[a]) - 1) * op.stride[a] + kernel[a];
        target[a].div_ceil(op.stride[a]) == size[a] && op.padding[a] == covered.saturating_sub(target[a]) / 2
    };
    let valid = |a: usize| {
        let fits = target[a].checked_sub(kernel[a]).is_some_and(|n| n / op.stride[a] + 1 == size[a]);
        op.padding[a] == 0 && fits
    };
    if valid(0) && valid(1) {
        Some(PADDING_VALID)
    } else if same(0) && same(1) {
        Some(PADDING_SAME)
    } else {
        None
    }
}
