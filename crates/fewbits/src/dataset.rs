//! Samples as a model takes them.

use std::path::{Path, PathBuf};

use fewbits_data::config::OnBadImage;
use fewbits_data::{Array, ArrayData, Batches, DType as DataType, DataError, Dataset, InputSpec, OpenOptions};
use fewbits_graph::{DType, Graph, Quantization, Tensor, Value};
use half::f16;

use crate::{Error, Result};

/// What a command line says of its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataOptions {
    /// Leave out images that do not decode, instead of stopping at the first.
    pub skip_bad_images: bool,
    /// A labels file, where the data has none of its own.
    pub labels: Option<PathBuf>,
    /// Added to every label: 1 for models whose class 0 is the background.
    pub label_offset: Option<i64>,
    /// Accept NaN and infinities.
    pub any_number: bool,
}

/// Samples for one model: data that was opened for its inputs.
#[derive(Clone, Debug)]
pub struct ModelData {
    dataset: Dataset,
    /// The model's inputs, as declared.
    inputs: Vec<Value>,
    /// Samples of one run.
    batch: usize,
}

/// The samples of one run.
#[derive(Clone, Debug)]
pub struct SampleBatch {
    /// A tensor for each input of the model.
    pub inputs: Vec<Tensor>,
    /// Samples in it; a model of a fixed batch may be given more rows, the last one repeated.
    pub count: usize,
    /// The labels, one a sample.
    pub labels: Option<Vec<u32>>,
}

impl ModelData {
    /// Opens data for the public inputs of `graph` (`path` of the model is for messages).
    ///
    /// Values of a quantized input: an array of the input's own integer type holds the quantized
    /// values; any other array holds real numbers, which are quantized with the input's parameters.
    ///
    /// # Errors
    /// Data that does not fit the inputs; inputs of types that data cannot have.
    pub fn open(data: &Path, graph: &Graph, path: &Path, options: &DataOptions) -> Result<ModelData> {
        let inputs: Vec<Value> = graph.inputs.iter().map(|&id| graph.value(id).clone()).collect();
        let mut specs = inputs.iter().map(|v| input_spec(v, path)).collect::<Result<Vec<_>>>()?;
        if options.any_number {
            specs = specs.into_iter().map(InputSpec::with_any_number).collect();
        }
        let open = OpenOptions {
            labels: options.labels.clone(),
            label_offset: options.label_offset,
            on_bad_image: options.skip_bad_images.then_some(OnBadImage::Skip),
            preprocess: None,
        };
        let dataset = match Dataset::open(data, &specs, &open) {
            Err(DataError::ElementType { .. }) if specs.iter().any(|s| s.quantization.is_some()) => {
                Dataset::open(data, &specs.into_iter().map(real_spec).collect::<Vec<_>>(), &open)?
            }
            other => other?,
        };
        Ok(ModelData { dataset, batch: fixed_batch(&inputs), inputs })
    }

    /// The samples, for selecting.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The same data with other samples selected.
    pub fn with(&self, dataset: Dataset) -> ModelData {
        ModelData { dataset, ..self.clone() }
    }

    /// The same data in runs of `batch` samples.
    pub fn with_batch(&self, batch: usize) -> ModelData {
        ModelData { batch: batch.max(1), ..self.clone() }
    }

    /// Samples of one run: those of the model's fixed batch, or 1.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Number of runs that all samples take.
    pub fn runs(&self) -> usize {
        self.dataset.len().div_ceil(self.batch)
    }

    /// All samples as the tensors of one run.
    ///
    /// # Errors
    /// What reading them meets; samples of different shapes.
    pub fn whole(&self) -> Result<SampleBatch> {
        let whole = ModelData { batch: self.dataset.len().max(1), ..self.clone() };
        let first = whole.batches(1)?.next();
        first.unwrap_or_else(|| Err(Error::Usage("the data holds no sample".to_owned())))
    }

    /// Streams the samples, read by `threads` threads (0: as many as there are cores).
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn batches(&self, threads: usize) -> Result<SampleBatches> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let batches = self.dataset.batches(self.batch, threads)?;
        Ok(SampleBatches { batches, inputs: self.inputs.clone(), batch: self.batch })
    }
}

/// A stream of [`SampleBatch`]es.
pub struct SampleBatches {
    batches: Batches,
    inputs: Vec<Value>,
    batch: usize,
}

impl SampleBatches {
    /// Samples left out so far because their image does not decode, each with the reason.
    pub fn skipped(&self) -> Vec<String> {
        self.batches.skipped().iter().map(|s| s.reason.clone()).collect()
    }
}

impl Iterator for SampleBatches {
    type Item = Result<SampleBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.next()? {
            Ok(batch) => batch,
            Err(e) => return Some(Err(e.into())),
        };
        let count = batch.len();
        let inputs = batch.inputs.into_iter().zip(&self.inputs);
        let inputs = inputs.map(|(array, value)| input_tensor(array, value, self.batch)).collect();
        Some(Ok(SampleBatch { inputs, count, labels: batch.labels }))
    }
}

/// The batch that all inputs are fixed to, or 1.
fn fixed_batch(inputs: &[Value]) -> usize {
    let first = |v: &Value| v.shape.0.first().and_then(fewbits_graph::Dim::fixed);
    let batch = inputs.first().and_then(first).unwrap_or(1).max(1);
    if inputs.iter().all(|v| first(v) == Some(batch)) { batch } else { 1 }
}

fn input_spec(value: &Value, path: &Path) -> Result<InputSpec> {
    let dtype = match value.dtype {
        DType::F32 => DataType::F32,
        DType::F16 => DataType::F16,
        DType::U8 => DataType::U8,
        DType::I8 => DataType::I8,
        DType::I32 => DataType::I32,
        DType::I64 => DataType::I64,
        DType::Bool => DataType::Bool,
        other @ (DType::F64 | DType::I16 | DType::I4) => {
            let what = format!("input `{}` is {other}, and samples of that type cannot be read", value.name);
            return Err(Error::model(path, what));
        }
    };
    let shape = value.shape.0.iter().map(fewbits_graph::Dim::fixed).collect();
    let spec = InputSpec::new(&value.name, dtype, shape);
    Ok(match value.quant.as_ref().and_then(Quantization::as_per_tensor) {
        Some((scale, zero_point)) => spec.with_quantization(scale, zero_point),
        None => spec,
    })
}

/// The same input asking for real numbers.
fn real_spec(spec: InputSpec) -> InputSpec {
    let dtype = if spec.quantization.is_some() { DataType::F32 } else { spec.dtype };
    InputSpec { dtype, quantization: None, ..spec }
}

/// An array as the tensor that `value` takes, its last row repeated until there are `rows`.
fn input_tensor(array: Array, value: &Value, rows: usize) -> Tensor {
    let Array { mut shape, data } = array;
    let missing = shape.first().map_or(0, |&n| rows.saturating_sub(n));
    let row = shape.iter().skip(1).product::<usize>();
    if let Some(n) = shape.first_mut() {
        *n += missing;
    }
    fn padded<T: Copy>(mut data: Vec<T>, row: usize, missing: usize) -> Vec<T> {
        let last = data[data.len().saturating_sub(row)..].to_vec();
        (0..missing).for_each(|_| data.extend_from_slice(&last));
        data
    }
    let tensor = match data {
        ArrayData::F32(v) => Tensor::new(shape, padded(v, row, missing)),
        ArrayData::U8(v) => Tensor::new(shape, padded(v, row, missing)),
        ArrayData::I8(v) => Tensor::new(shape, padded(v, row, missing)),
        ArrayData::I32(v) => Tensor::new(shape, padded(v, row, missing)),
        ArrayData::I64(v) => Tensor::new(shape, padded(v, row, missing)),
        ArrayData::Bool(v) => Tensor::from_bools(shape, &padded(v, row, missing)),
    };
    from_real(tensor, value)
}

/// Real numbers as the type of `value`: quantized, or half. Other tensors stay as they are.
pub(crate) fn from_real(tensor: Tensor, value: &Value) -> Tensor {
    if tensor.dtype() != DType::F32 {
        return tensor;
    }
    let quant = value.quant.as_ref().and_then(Quantization::as_per_tensor);
    let quantized = |low: f32, high: f32| {
        let (scale, zero_point) = quant.unwrap_or((1.0, 0));
        // Zero points of 8 bits are exact; a float-to-int `as` after the clamp cannot saturate.
        let q = move |x: f32| ((x / scale).round_ties_even() + zero_point as f32).clamp(low, high);
        tensor.to_f32().into_iter().map(q)
    };
    let shape = tensor.shape().to_vec();
    match value.dtype {
        DType::I8 => Tensor::new(shape, quantized(-128.0, 127.0).map(|q| q as i8).collect()),
        DType::U8 => Tensor::new(shape, quantized(0.0, 255.0).map(|q| q as u8).collect()),
        DType::F16 => Tensor::new(shape, tensor.to_f32().into_iter().map(f16::from_f32).collect()),
        _ => tensor,
    }
}

/// Inputs of one model as another one takes them: `from` and `to` are the models' declared inputs.
/// Quantized values become real ones on the way. `None` if the inputs do not correspond.
pub fn adapt_inputs(inputs: &[Tensor], from: &Graph, to: &Graph) -> Option<Vec<Tensor>> {
    if from.inputs.len() != to.inputs.len() {
        return None;
    }
    let adapt = |((tensor, &a), &b): ((&Tensor, _), _)| {
        let (a, b) = (from.value(a), to.value(b));
        let fits = b.shape.rank() == tensor.shape().len()
            && b.shape.0.iter().zip(tensor.shape()).all(|(d, &n)| d.fixed().is_none_or(|fixed| fixed == n));
        if !fits {
            return None;
        }
        if a.dtype == b.dtype && a.quant == b.quant {
            return Some(tensor.clone());
        }
        let real = match a.quant.as_ref().and_then(Quantization::as_per_tensor) {
            Some((scale, zero)) => {
                let real = tensor.to_f32().into_iter().map(|q| (q - zero as f32) * scale).collect();
                Tensor::new(tensor.shape().to_vec(), real)
            }
            None if tensor.dtype().is_float() => Tensor::new(tensor.shape().to_vec(), tensor.to_f32()),
            None => tensor.clone(),
        };
        let adapted = from_real(real, b);
        (adapted.dtype() == b.dtype).then_some(adapted)
    };
    inputs.iter().zip(&from.inputs).zip(&to.inputs).map(adapt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::{Dim, Shape};

    fn input(dtype: DType, shape: Shape, quant: Option<Quantization>) -> Graph {
        let mut graph = Graph::default();
        let id = graph.add_input("x", dtype, shape);
        graph.value_mut(id).quant = quant;
        graph
    }

    #[test]
    fn short_batches_repeat_the_last_row() {
        let graph = input(DType::F32, Shape::fixed(&[3, 2]), None);
        let array = Array { shape: vec![2, 2], data: ArrayData::F32(vec![1.0, 2.0, 3.0, 4.0]) };
        let tensor = input_tensor(array, &graph.values[0], 3);
        assert_eq!((tensor.shape(), tensor.to_f32()), (&[3, 2][..], vec![1.0, 2.0, 3.0, 4.0, 3.0, 4.0]));
        assert_eq!(fixed_batch(&graph.values), 3);
        let free = input(DType::F32, Shape(vec![Dim::symbol("N"), Dim::Fixed(2)]), None);
        assert_eq!(fixed_batch(&free.values), 1);
    }

    #[test]
    fn inputs_are_quantized_with_the_parameters_of_the_other_model() {
        let shape = Shape::fixed(&[1, 3]);
        let float = input(DType::F32, shape.clone(), None);
        let int8 = input(DType::I8, shape.clone(), Some(Quantization::per_tensor(0.5, -10)));
        let x = Tensor::new(vec![1, 3], vec![0.0f32, 1.0, 1000.0]);
        let q = adapt_inputs(std::slice::from_ref(&x), &float, &int8).unwrap();
        assert_eq!(q[0].as_slice::<i8>().unwrap().as_ref(), [-10, -8, 127]);
        let back = adapt_inputs(&q, &int8, &float).unwrap();
        assert_eq!(back[0].to_f32(), [0.0, 1.0, 68.5]);
        let uint8 = input(DType::U8, shape, Some(Quantization::per_tensor(0.5, 118)));
        assert_eq!(adapt_inputs(&q, &int8, &uint8).unwrap()[0].as_slice::<u8>().unwrap().as_ref(), [118, 120, 255]);
    }

    #[test]
    fn inputs_of_other_shapes_do_not_correspond() {
        let (a, b) = (input(DType::F32, Shape::fixed(&[1, 3]), None), input(DType::F32, Shape::fixed(&[1, 4]), None));
        assert_eq!(adapt_inputs(&[Tensor::new(vec![1, 3], vec![0.0f32; 3])], &a, &b), None);
    }

    #[test]
    fn types_that_data_cannot_have_are_named() {
        let graph = input(DType::F64, Shape::fixed(&[1, 3]), None);
        let message = input_spec(&graph.values[0], Path::new("m.onnx")).unwrap_err().to_string();
        assert_eq!(message, "m.onnx: input `x` is float64, and samples of that type cannot be read");
    }
}
