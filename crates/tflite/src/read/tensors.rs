//! Tensors of the file as values of the graph.

use std::collections::HashSet;
use std::sync::Arc;

use fewbits_graph::{DType, Dim, Granularity, Graph, Quantization, Shape, Tensor, TensorBytes, Value, ValueId};

use crate::schema::enums::{dtype_from_code, type_name};
use crate::schema::model::{self, Buffer, QuantizationParameters, SubGraph};
use crate::schema::table::Blob;
use crate::{Error, Result};

/// Adds all tensors of `main`, in order.
pub(super) fn import(
    bytes: &Arc<Vec<u8>>,
    buffers: &[Buffer],
    main: &SubGraph,
    graph: &mut Graph,
) -> Result<Vec<ValueId>> {
    let mut names = UniqueNames::default();
    for (index, tensor) in main.tensors.iter().enumerate() {
        let name = names.unique(tensor_name(main, index));
        let fail = |what: String| Error::Tensor { tensor: name.clone(), what };
        refuse(tensor).map_err(fail)?;
        let dtype = dtype_from_code(tensor.kind)
            .ok_or_else(|| fail(format!("element type {} is not supported", type_name(tensor.kind))))?;
        let shape = shape(index, main, tensor).map_err(fail)?;
        let quant = quantization(tensor.quantization.as_ref(), dtype).map_err(fail)?;
        let data = constant(bytes, buffers, tensor, dtype).map_err(fail)?;
        let shape = data.as_ref().map_or(shape, |t| Shape::fixed(t.shape()));
        graph.values.push(Value { name, dtype, shape, quant, data });
    }
    Ok(graph.value_ids().collect())
}

/// Makes names that are free by adding a number.
#[derive(Default)]
struct UniqueNames {
    taken: HashSet<String>,
    next: usize,
}

impl UniqueNames {
    fn unique(&mut self, name: String) -> String {
        let mut candidate = name.clone();
        while !self.taken.insert(candidate.clone()) {
            // One counter for all names: a file of equal names must not take quadratic time.
            self.next += 1;
            candidate = format!("{name}_{}", self.next);
        }
        candidate
    }
}

fn tensor_name(main: &SubGraph, index: usize) -> String {
    let name = main.tensors.get(index).and_then(|t| t.name.clone()).filter(|n| !n.is_empty());
    name.unwrap_or_else(|| format!("tensor_{index}"))
}

/// The name of an operator's first output, for messages.
pub(super) fn first_output_name(main: &SubGraph, operator: &model::Operator) -> String {
    let index = operator.outputs.first().and_then(|&i| usize::try_from(i).ok());
    index.map_or_else(|| "?".to_owned(), |i| tensor_name(main, i))
}

fn refuse(tensor: &model::Tensor) -> std::result::Result<(), String> {
    let feature = if tensor.is_variable {
        "it is a variable: stateful models are not supported"
    } else if tensor.sparsity.0 {
        "it is stored in sparse form: export the model without sparse tensors"
    } else if tensor.variant_tensors.0 {
        "it is of a variant type"
    } else if tensor.external_buffer != 0 {
        "its data is in another file"
    } else {
        return Ok(());
    };
    Err(feature.to_owned())
}

/// The declared shape; dimensions that the signature leaves open are symbols.
fn shape(index: usize, main: &SubGraph, tensor: &model::Tensor) -> std::result::Result<Shape, String> {
    let signature = tensor.shape_signature.as_deref().filter(|s| s.len() == tensor.shape.len());
    let dims = tensor.shape.iter().enumerate().map(|(axis, &size)| {
        if size == -1 || signature.is_some_and(|s| s[axis] == -1) {
            return Ok(symbol(index, axis, main));
        }
        usize::try_from(size).map(Dim::Fixed).map_err(|_| format!("dimension {axis} has size {size}"))
    });
    Ok(Shape(dims.collect::<std::result::Result<_, _>>()?))
}

/// The first axis is the batch, the same one for all tensors; others are told apart.
fn symbol(index: usize, axis: usize, main: &SubGraph) -> Dim {
    match axis {
        0 => Dim::symbol("batch"),
        _ => Dim::symbol(format!("{}_{axis}", tensor_name(main, index))),
    }
}

fn quantization(
    parameters: Option<&QuantizationParameters>,
    dtype: DType,
) -> std::result::Result<Option<Quantization>, String> {
    let Some(parameters) = parameters else { return Ok(None) };
    if parameters.details_kind != 0 {
        return Err("its quantization is custom or in blocks, which is not supported".to_owned());
    }
    let scales = parameters.scale.clone().unwrap_or_default();
    // Float tensors carry ranges for calibration; 64-bit biases follow from their inputs.
    if scales.is_empty() || dtype.integer_range().is_none() {
        return Ok(None);
    }
    let points = parameters.zero_point.as_deref().unwrap_or_default();
    let point = |i: usize| match points {
        [] => Ok(0),
        [one] => i32::try_from(*one),
        many => many.get(i).map_or(Ok(0), |&p| i32::try_from(p)),
    };
    if points.len() > 1 && points.len() != scales.len() {
        return Err(format!("it has {} scales but {} zero points", scales.len(), points.len()));
    }
    let zero_points = (0..scales.len()).map(point).collect::<std::result::Result<Vec<_>, _>>();
    let zero_points = zero_points.map_err(|_| "a zero point does not fit 32 bits".to_owned())?;
    let granularity = match scales.len() {
        1 => Granularity::PerTensor,
        _ => Granularity::PerChannel {
            axis: usize::try_from(parameters.quantized_dimension)
                .map_err(|_| format!("its quantized dimension is {}", parameters.quantized_dimension))?,
        },
    };
    Ok(Some(Quantization { granularity, scales, zero_points }))
}

/// The elements of a constant, `None` for values that are computed.
fn constant(
    bytes: &Arc<Vec<u8>>,
    buffers: &[Buffer],
    tensor: &model::Tensor,
    dtype: DType,
) -> std::result::Result<Option<Tensor>, String> {
    let buffer = usize::try_from(tensor.buffer).ok().and_then(|i| buffers.get(i));
    let buffer = buffer.ok_or_else(|| format!("its buffer {} does not exist", tensor.buffer))?;
    let Some((start, len)) = place(buffer)? else { return Ok(None) };
    let owner = bytes.clone() as Arc<dyn AsRef<[u8]> + Send + Sync>;
    let data = TensorBytes::shared(owner, start, len).ok_or("its data lies outside of the file")?;
    let dims = tensor.shape.iter().map(|&d| usize::try_from(d)).collect::<std::result::Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| "a constant has an unknown dimension".to_owned())?;
    let found = Tensor::from_bytes(dtype, dims, data);
    let what = || format!("{len} bytes do not fit {dtype} {:?}", tensor.shape);
    found.map(Some).ok_or_else(what)
}

/// Where a buffer's bytes stand, `None` if it has none.
fn place(buffer: &Buffer) -> std::result::Result<Option<(usize, usize)>, String> {
    match buffer.data {
        Blob::InFile { start, len } if len > 0 => return Ok(Some((start, len))),
        _ => {}
    }
    // Converters write an offset of 1 as a placeholder into files that need none.
    if buffer.offset <= 1 || buffer.size == 0 {
        return Ok(None);
    }
    match (usize::try_from(buffer.offset), usize::try_from(buffer.size)) {
        (Ok(start), Ok(len)) => Ok(Some((start, len))),
        _ => Err("its data lies outside of the file".to_owned()),
    }
}

/// Turns values without elements that nothing provides into constants: an empty buffer says
/// nothing about being one (the shape operand of a reshape to a scalar, for instance).
pub(super) fn define_empty(graph: &mut Graph) {
    let producers = graph.producers();
    let inputs: HashSet<ValueId> = graph.inputs.iter().copied().collect();
    for id in graph.value_ids() {
        let value = graph.value_mut(id);
        if value.data.is_none()
            && producers[id.0].is_none()
            && !inputs.contains(&id)
            && value.shape.elements() == Some(0)
        {
            let dims = value.shape.to_fixed().unwrap_or_default();
            value.data = Tensor::from_bytes(value.dtype, dims, TensorBytes::from(Vec::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_names_get_numbers() {
        let mut names = UniqueNames::default();
        let got: Vec<_> = ["x", "x", "y", "x_1", "x"].into_iter().map(|n| names.unique(n.to_owned())).collect();
        assert_eq!(got, ["x", "x_1", "y", "x_1_2", "x_3"]);
    }
}
