//! Where the domain of an edge changes.

use fewbits_graph::{DType, Granularity, Node};

use super::attribute::{int, size};
use super::emitter::{Emitter, Form, zero_points};
use super::input;
use crate::import::constant::Relay;
use crate::{Result, tensor};

/// Quantize → QuantizeLinear.
pub(super) fn quantize(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let x = input(node, 0)?;
    let form = w.own_form(x);
    let x = w.float(x, form)?;
    write_quantized(w, node, x, form)
}

/// Requantize → DequantizeLinear and QuantizeLinear.
pub(super) fn requantize(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    quantize(w, node)
}

fn write_quantized(w: &mut Emitter<'_>, node: &Node, x: String, form: Form) -> Result<()> {
    let id = node.outputs[0];
    let quant = w.quant_in(id, form).ok_or_else(|| super::error(node, "the output has no quantization parameters"))?;
    let out = w.claim(id, form);
    let (scale, zero_point, attributes) = w.parameters(&out, w.graph.value(id).dtype, &quant)?;
    w.node(node, "QuantizeLinear", vec![x, scale, zero_point], vec![out], attributes);
    Ok(())
}

/// Dequantize → DequantizeLinear; of a half-precision value → Cast.
pub(super) fn dequantize(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let id = input(node, 0)?;
    let form = w.own_form(id);
    let value = w.graph.value(id);
    if value.data.is_some() && !w.graph.outputs.contains(&node.outputs[0]) {
        w.convert(node.outputs[0], id);
        return Ok(());
    }
    if value.dtype == DType::F16 {
        let x = w.raw(id, form)?;
        let out = w.claim(node.outputs[0], form);
        w.node(node, "Cast", vec![x], vec![out], vec![int("to", tensor::code(DType::F32).into())]);
        return Ok(());
    }
    let quant = w.quant_in(id, form).ok_or_else(|| super::error(node, "the input has no quantization parameters"))?;
    if let Granularity::Blocked { .. } = quant.granularity {
        return dequantize_blocks(w, node);
    }
    let x = w.raw(id, form)?;
    let (scale, zero_point, attributes) = w.dequantize_parameters(&x, value.dtype, &quant)?;
    let out = w.claim(node.outputs[0], form);
    w.node(node, "DequantizeLinear", vec![x, scale, zero_point], vec![out], attributes);
    Ok(())
}

fn dequantize_blocks(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let id = input(node, 0)?;
    let (x, scale, zero_point, axis, block) = w.blocked_parameters(id, &Relay::none())?;
    let out = w.claim(node.outputs[0], Form::Stored);
    let attributes = vec![size("axis", axis), size("block_size", block)];
    w.node(node, "DequantizeLinear", vec![x, scale, zero_point], vec![out], attributes);
    Ok(())
}

impl Emitter<'_> {
    /// The real numbers of a block-wise quantized constant, relaid.
    pub(crate) fn dequantized_blocks(&mut self, id: fewbits_graph::ValueId, relay: &Relay) -> Result<String> {
        let (x, scale, zero_point, axis, block) = self.blocked_parameters(id, relay)?;
        let out = self.fresh();
        let attributes = vec![size("axis", axis), size("block_size", block)];
        self.extra("DequantizeLinear", vec![x, scale, zero_point], out.clone(), attributes);
        Ok(out)
    }

    /// A block-wise quantized constant, relaid, with its scales and zero points, axis and block
    /// size.
    fn blocked_parameters(
        &mut self,
        id: fewbits_graph::ValueId,
        relay: &Relay,
    ) -> Result<(String, String, String, usize, usize)> {
        let bad = |what: &str| crate::Error::tensor(&self.graph.value(id).name, what.to_owned());
        let no_shape = bad("block-wise scales do not fit the tensor");
        let no_zero = bad("a zero point is out of range");
        let dtype = self.graph.value(id).dtype;
        let (name, quant) = self.raw_constant(id, relay)?;
        let shape = self.initializers.iter().rev().find(|t| t.name == name).map(|t| t.dims.clone());
        let dims = shape.and_then(|d| d.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>());
        let (Some(quant), Some(mut dims)) = (quant, dims) else { return Err(no_shape) };
        let Granularity::Blocked { axis, size } = quant.granularity else { return Err(no_shape) };
        match dims.get_mut(axis) {
            Some(d) => *d = d.div_ceil(size),
            None => return Err(no_shape),
        }
        if dims.iter().product::<usize>() != quant.scales.len() {
            return Err(no_shape);
        }
        // Zero points of 0 are the default.
        let zeros = match quant.is_symmetric() {
            true => String::new(),
            false => self.literal(&zero_points(dtype, dims.clone(), &quant.zero_points).ok_or(no_zero)?)?,
        };
        let scale = self.literal(&fewbits_graph::Tensor::new(dims, quant.scales))?;
        Ok((name, scale, zeros, axis, size))
    }
}

/// DynamicQuantize → DynamicQuantizeLinear.
pub(super) fn dynamic(w: &mut Emitter<'_>, node: &Node) -> Result<()> {
    let x = input(node, 0)?;
    let form = w.own_form(x);
    let x = w.float(x, form)?;
    let mut outputs = vec![w.claim(node.outputs[0], form)];
    for &out in &node.outputs[1..] {
        outputs.push(w.claim(out, Form::Stored));
    }
    w.node(node, "DynamicQuantizeLinear", vec![x], outputs, Vec::new());
    Ok(())
}
