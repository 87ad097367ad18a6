//! Operators on integers that carry their scales as inputs: those of the standard, and ONNX
//! Runtime's (`com.microsoft`). Each is read as the float operator of the same name on integer
//! edges.

use fewbits_graph::ops::Requantize;
use fewbits_graph::{DType, Granularity, Quantization};

use super::constant::{Constant, Then};
use super::node::NodeReader;
use super::{conv as float_conv, elementwise, linear, movement, pool, quantize, reduce};
use crate::Result;
use crate::layout::Layout;
use crate::proto::NodeProto;

/// An integer input: the input at `data` with scale and zero point at `data + 1`, `data + 2`.
/// `axis` is that of per-channel scales. Activations get the parameters on their edge; constants become new ones under another name,
/// which is returned.
fn integer_input(node: &mut NodeReader<'_>, data: usize, axis: i64) -> Result<String> {
    let name = node.input(data)?.to_owned();
    let shape = node.shape(data)?;
    let mut quant = quantize::parameters(node, data + 1, &shape, axis)?;
    if let Some(constant) = node.constant(data).cloned() {
        let pseudo = format!("{name}_of_{}", node.name);
        quant.check(constant.tensor.dtype(), &shape).map_err(|what| node.error(what))?;
        node.importer.add_constant(&pseudo, Constant { quant: Some(quant), then: Then::Nothing, ..constant });
        return Ok(pseudo);
    }
    for layout in [Layout::Plain, Layout::ChannelsLast] {
        let Some(id) = node.importer.existing(&name, layout) else { continue };
        if let Granularity::PerChannel { .. } = quant.granularity {
            return Err(node.error("activations must have one scale"));
        }
        quant.granularity = Granularity::PerTensor;
        let value = node.importer.graph.value(id);
        quant.check(value.dtype, &value.shape).map_err(|what| node.error(what))?;
        match value.quant.as_ref() {
            Some(present) if *present != quant => {
                return Err(node.error(format!("`{name}` has other parameters where it is produced")));
            }
            _ => node.importer.graph.value_mut(id).quant = Some(quant.clone()),
        }
    }
    Ok(name)
}

/// Type and parameters of the output, whose scale and zero point are at `at`, `at + 1`.
fn output(node: &NodeReader<'_>, at: usize) -> Result<(DType, Quantization)> {
    let scale = node.scalar(at).ok_or_else(|| node.error("the output must have one constant scale"))?;
    if !node.has(at + 1) {
        return Ok((node.dtype(0)?, Quantization::per_tensor(scale, 0)));
    }
    let zero = node.tensor(at + 1).filter(|t| t.elements() == 1);
    let zero = zero.ok_or_else(|| node.error("the output must have one constant zero point"))?;
    let zero_point = zero.to_i64().and_then(|z| i32::try_from(*z.first()?).ok());
    let zero_point = zero_point.ok_or_else(|| node.error("the output's zero point is no integer"))?;
    Ok((zero.dtype(), Quantization::per_tensor(scale, zero_point)))
}

/// Reads the node as another one: with other inputs, another operator name, and a quantized
/// output.
fn read_as(
    node: &mut NodeReader<'_>,
    operator: &str,
    inputs: Vec<String>,
    quant: Option<(DType, Quantization)>,
    import: fn(&mut NodeReader<'_>) -> Result<()>,
) -> Result<()> {
    let proto = NodeProto { op_type: operator.to_owned(), input: inputs, ..node.proto.clone() };
    let NodeReader { importer, name, .. } = node;
    // The attributes of all these operators are those of the newest float operators.
    import(&mut NodeReader { importer, proto: &proto, name: name.clone(), opset: 13, quant })
}

/// A bias in int32: scale = input scale × weight scale.
fn integer_bias(node: &mut NodeReader<'_>, at: usize, x: usize, w: usize) -> Result<Option<String>> {
    if !node.has(at) {
        return Ok(None);
    }
    let name = node.input(at)?.to_owned();
    let constant = node.constant(at).cloned().ok_or_else(|| node.error("the bias must be a constant"))?;
    let input = node.scalar(x + 1).ok_or_else(|| node.error("the input must have one constant scale"))?;
    let weights = node.tensor(w + 1).ok_or_else(|| node.error("the weight scale must be constant"))?.to_f32();
    let scales: Vec<f32> = weights.iter().map(|w| w * input).collect();
    let quant = match scales.as_slice() {
        &[scale] => Quantization::per_tensor(scale, 0),
        _ => Quantization::per_channel(0, scales),
    };
    let pseudo = format!("{name}_of_{}", node.name);
    node.importer.add_constant(&pseudo, Constant { quant: Some(quant), then: Then::Nothing, ..constant });
    Ok(Some(pseudo))
}

/// QLinearConv.
pub(super) fn conv(node: &mut NodeReader<'_>) -> Result<()> {
    let out = output(node, 6)?;
    let mut inputs = vec![integer_input(node, 0, 1)?, integer_input(node, 3, 0)?];
    inputs.extend(integer_bias(node, 8, 0, 3)?);
    read_as(node, "Conv", inputs, Some(out), float_conv::conv)
}

/// QLinearMatMul.
pub(super) fn matmul(node: &mut NodeReader<'_>) -> Result<()> {
    let out = output(node, 6)?;
    let inputs = vec![integer_input(node, 0, -1)?, integer_input(node, 3, -1)?];
    read_as(node, "MatMul", inputs, Some(out), linear::matmul)
}

/// QGemm: A, its scale and zero point, B, its scale and zero point, optional C, optional scale and
/// zero point of the output.
pub(super) fn gemm(node: &mut NodeReader<'_>) -> Result<()> {
    if !node.has(7) {
        return Err(node.error("a float output is not supported"));
    }
    let out = output(node, 7)?;
    let transposed = node.flag("transB", false);
    let mut inputs = vec![integer_input(node, 0, -1)?, integer_input(node, 3, if transposed { 0 } else { 1 })?];
    inputs.extend(integer_bias(node, 6, 0, 3)?);
    read_as(node, "Gemm", inputs, Some(out), linear::gemm)
}

/// QLinearAdd and QLinearMul.
pub(super) fn binary(node: &mut NodeReader<'_>) -> Result<()> {
    let out = output(node, 6)?;
    let operator = if node.proto.op_type == "QLinearMul" { "Mul" } else { "Add" };
    let inputs = vec![integer_input(node, 0, -1)?, integer_input(node, 3, -1)?];
    read_as(node, operator, inputs, Some(out), elementwise::binary)
}

fn one_input(node: &mut NodeReader<'_>, operator: &str, import: fn(&mut NodeReader<'_>) -> Result<()>) -> Result<()> {
    let out = output(node, 3)?;
    let inputs = vec![integer_input(node, 0, -1)?];
    read_as(node, operator, inputs, Some(out), import)
}

fn refuse_channels_last(node: &NodeReader<'_>) -> Result<()> {
    match node.flag("channels_last", false) {
        true => Err(node.error("the channels_last form is not supported")),
        false => Ok(()),
    }
}

/// QLinearSigmoid.
pub(super) fn sigmoid(node: &mut NodeReader<'_>) -> Result<()> {
    one_input(node, "Sigmoid", elementwise::unary)
}

/// QLinearLeakyRelu.
pub(super) fn leaky_relu(node: &mut NodeReader<'_>) -> Result<()> {
    one_input(node, "LeakyRelu", super::activation::activation)
}

/// QLinearSoftmax, whose `opset` attribute says which meaning of `axis` holds.
pub(super) fn softmax(node: &mut NodeReader<'_>) -> Result<()> {
    if node.int_or("opset", 13) < 13 && node.axis(node.int_or("axis", 1), node.rank(0)?)? + 1 != node.rank(0)? {
        return Err(node.error("soft-max over several axes is not supported on integers"));
    }
    one_input(node, "Softmax", reduce::softmax)
}

/// QLinearGlobalAveragePool.
pub(super) fn global_average_pool(node: &mut NodeReader<'_>) -> Result<()> {
    refuse_channels_last(node)?;
    one_input(node, "GlobalAveragePool", pool::global)
}

/// QLinearAveragePool. The pooling keeps the scale of its input; another one of the output is a
/// step of its own.
pub(super) fn average_pool(node: &mut NodeReader<'_>) -> Result<()> {
    refuse_channels_last(node)?;
    let out = output(node, 3)?;
    let name = integer_input(node, 0, -1)?;
    let x = node.importer.value(&name, Layout::ChannelsLast)?;
    let value = node.importer.graph.value(x);
    let own = (value.dtype, value.quant.clone().unwrap_or_else(|| out.1.clone()));
    if own == out {
        return read_as(node, "AveragePool", vec![name], Some(out), pool::pool);
    }
    let final_name = node.output(0)?;
    let inner = format!("{final_name}_unscaled");
    let mut proto = NodeProto { op_type: "AveragePool".to_owned(), input: vec![name], ..node.proto.clone() };
    proto.output = vec![inner.clone()];
    let NodeReader { importer, name, .. } = node;
    pool::pool(&mut NodeReader { importer, proto: &proto, name: name.clone(), opset: 13, quant: Some(own) })?;
    let y = node.importer.value(&inner, Layout::ChannelsLast)?;
    node.emit_quantized(Requantize, &[Some(y)], Layout::ChannelsLast, Some(out))?;
    Ok(())
}

/// QLinearConcat: scale and zero point of the output, then three inputs for each part. Parts of
/// other parameters than the output's are requantized first.
pub(super) fn concat(node: &mut NodeReader<'_>) -> Result<()> {
    let out = output(node, 0)?;
    let out = (if node.has(1) { out.0 } else { node.dtype(2)? }, out.1);
    let mut inputs = Vec::new();
    for part in (2..node.proto.input.len()).step_by(3) {
        let name = integer_input(node, part, -1)?;
        let layout = node.importer.layout(&name);
        let id = node.importer.value(&name, layout)?;
        let value = node.importer.graph.value(id);
        if (value.dtype, value.quant.as_ref()) == (out.0, Some(&out.1)) {
            inputs.push(name);
            continue;
        }
        let scaled = node.inner_quantized(Requantize, &[Some(id)], "rescaled", Some(out.clone()))?;
        let pseudo = node.importer.graph.value(scaled).name.clone();
        node.importer.bind(&pseudo, layout, scaled);
        inputs.push(pseudo);
    }
    read_as(node, "Concat", inputs, Some(out), movement::concat)
}
