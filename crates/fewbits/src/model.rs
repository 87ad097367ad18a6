//! Model files, and models ready to run.

use std::path::{Path, PathBuf};

use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_engine::{Engine, Options, Rounding};
use fewbits_graph::{DType, Graph, Quantization, Tensor, ValueId};
use fewbits_quantize::Format;

use crate::{Error, Result};

/// The format that a file's extension names.
///
/// # Errors
/// [`Error::UnknownFormat`].
pub fn model_format(path: &Path) -> Result<Format> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "onnx" => Ok(Format::Onnx),
        "tflite" => Ok(Format::Tflite),
        _ => Err(Error::UnknownFormat { path: path.to_owned() }),
    }
}

/// Reads an `.onnx` or `.tflite` file as it is: nothing is simplified.
///
/// # Errors
/// [`Error::UnknownFormat`]; what the format's reader says.
pub fn read_model(path: &Path) -> Result<Graph> {
    let format = model_format(path)?;
    if let Err(source) = std::fs::metadata(path) {
        return Err(Error::io("read", path, source));
    }
    match format {
        Format::Onnx => {
            fewbits_onnx::read(path).map_err(|source| Error::Onnx { path: path.to_owned(), source: Box::new(source) })
        }
        Format::Tflite => fewbits_tflite::read(path)
            .map_err(|source| Error::Tflite { path: path.to_owned(), source: Box::new(source) }),
    }
}

/// Writes a graph in the format that the extension names. The file appears whole or not at all.
///
/// # Errors
/// [`Error::UnknownFormat`]; what the format's writer says.
pub fn write_model(graph: &Graph, path: &Path) -> Result<()> {
    match model_format(path)? {
        Format::Onnx => fewbits_onnx::write(graph, path)
            .map_err(|source| Error::Onnx { path: path.to_owned(), source: Box::new(source) }),
        Format::Tflite => fewbits_tflite::write(graph, path)
            .map_err(|source| Error::Tflite { path: path.to_owned(), source: Box::new(source) }),
    }
}

/// Bytes that a model takes on disk: its file, and its constants too where the file is smaller than
/// they are, because then they lie in external files beside it.
///
/// # Errors
/// [`Error::Io`].
pub fn size_on_disk(path: &Path, graph: &Graph) -> Result<u64> {
    let file = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    let constants: u64 = graph.values.iter().filter_map(|v| v.data.as_ref()).map(|t| t.bytes().len() as u64).sum();
    Ok(if constants > file { file + constants } else { file })
}

/// How a model is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Threads; 0 takes all cores. Results do not depend on it.
    pub threads: usize,
    /// Arithmetic of integer operators.
    pub rounding: Rounding,
    /// Sizes for inputs whose shape the model leaves open, by name.
    pub input_shapes: Vec<(String, Vec<usize>)>,
}

/// A model that is ready to run.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    graph: Graph,
    engine: Engine,
}

/// An output as real numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct RealOutput {
    /// Shape.
    pub shape: Vec<usize>,
    /// The elements; those of a quantized output are `(q − zero_point) × scale`.
    pub data: Vec<f32>,
    /// Whether the output stands for real numbers: it is of a float type, or quantized.
    pub is_real: bool,
}

impl Model {
    /// Reads, simplifies and compiles a model file.
    ///
    /// # Errors
    /// What reading, simplifying and compiling meet.
    pub fn open(path: &Path, options: &RunOptions) -> Result<Model> {
        Model::new(read_model(path)?, path, options)
    }

    /// Simplifies and compiles a graph; `path` is its name in messages.
    ///
    /// # Errors
    /// What simplifying and compiling meet.
    pub fn new(mut graph: Graph, path: &Path, options: &RunOptions) -> Result<Model> {
        crate::fix_input_shapes(&mut graph, &options.input_shapes).map_err(|what| Error::model(path, what))?;
        let graph = simplify(graph, &SimplifyOptions::default()).map_err(Error::engine(path))?;
        Model::simplified(graph, path, options)
    }

    /// Compiles a graph that is simplified already.
    ///
    /// # Errors
    /// What compiling meets.
    pub fn simplified(graph: Graph, path: &Path, options: &RunOptions) -> Result<Model> {
        let engine = Options { threads: options.threads, rounding: options.rounding };
        let engine = Engine::compile(&graph, &engine).map_err(Error::engine(path))?;
        Ok(Model { path: path.to_owned(), graph, engine })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The simplified graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The engine, for profiles and observers.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Computes the outputs, in the model's order, types and layouts.
    ///
    /// # Errors
    /// Inputs that do not fit the model.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.engine.run(inputs).map_err(Error::engine(&self.path))
    }

    /// As [`Model::run`], with every output as real numbers.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_real(&mut self, inputs: &[Tensor]) -> Result<Vec<RealOutput>> {
        let outputs = self.run(inputs)?;
        let graph = &self.graph;
        Ok(graph.outputs.iter().zip(&outputs).map(|(&id, tensor)| real_output(graph, id, tensor)).collect())
    }
}

fn real_output(graph: &Graph, id: ValueId, tensor: &Tensor) -> RealOutput {
    let mut data = tensor.to_f32();
    let quant = graph.value(id).quant.as_ref().and_then(Quantization::as_per_tensor);
    if let Some((scale, zero_point)) = quant {
        // Quantized outputs have at most 16 bits, exact in f32.
        data.iter_mut().for_each(|q| *q = (*q - zero_point as f32) * scale);
    }
    let is_real = quant.is_some() || matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::F64);
    RealOutput { shape: tensor.shape().to_vec(), data, is_real }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::Shape;

    #[test]
    fn the_extension_names_the_format() {
        assert_eq!(model_format(Path::new("a/b.ONNX")).unwrap(), Format::Onnx);
        assert_eq!(model_format(Path::new("b.int8.tflite")).unwrap(), Format::Tflite);
        for unknown in ["model.pt", "model", "onnx"] {
            let error = model_format(Path::new(unknown)).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(".onnx or .tflite"), "{error}");
        }
    }

    #[test]
    fn quantized_outputs_become_real() {
        let mut graph = Graph::default();
        let id = graph.add_input("y", DType::I8, Shape::fixed(&[2]));
        graph.value_mut(id).quant = Some(Quantization::per_tensor(0.5, -3));
        let real = real_output(&graph, id, &Tensor::new(vec![2], vec![-3i8, 5]));
        assert_eq!((real.data, real.is_real), (vec![0.0, 4.0], true));
        let ids = graph.add_input("ids", DType::I64, Shape::fixed(&[1]));
        assert!(!real_output(&graph, ids, &Tensor::new(vec![1], vec![7i64])).is_real);
    }
}
