//! What can go wrong between a command and its result.

use std::path::{Path, PathBuf};

use fewbits_data::DataError;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request contradicts itself or lacks something; nothing was done.
    #[error("{0}")]
    Usage(String),
    /// A model file's extension is neither of the known ones.
    #[error("{}: unknown model format; use a file name that ends in .onnx or .tflite", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// An ONNX file cannot be read or written.
    #[error("{}", with_path(path, source))]
    Onnx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<fewbits_onnx::Error>,
    },
    /// A TFLite file cannot be read or written.
    #[error("{}", with_path(path, source))]
    Tflite {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<fewbits_tflite::Error>,
    },
    /// The engine cannot run a model.
    #[error("{}", with_path(path, source))]
    Engine {
        /// The model's file.
        path: PathBuf,
        /// Why.
        source: Box<fewbits_engine::Error>,
    },
    /// A model cannot be quantized as asked.
    #[error("{}", with_path(path, source))]
    Quantize {
        /// The model's file.
        path: PathBuf,
        /// Why.
        source: Box<fewbits_quantize::Error>,
    },
    /// A model cannot be written as C.
    #[error("{}", with_path(path, source))]
    EmitC {
        /// The model's file.
        path: PathBuf,
        /// Why.
        source: Box<fewbits_emit_c::Error>,
    },
    /// A model does not have the form that the request needs.
    #[error("{}: {what}", path.display())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The data cannot be read, or does not fit the model.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The system refused a file.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// "read", "write" or "create".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        Error::Data(Box::new(error))
    }
}

impl Error {
    /// Whether the request, not the files, is to blame.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Usage(_) | Error::UnknownFormat { .. })
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::Io { action, path: path.to_owned(), source }
    }

    /// Names the file of an engine's error.
    pub fn engine(path: &Path) -> impl Fn(fewbits_engine::Error) -> Self + '_ {
        move |source| Error::Engine { path: path.to_owned(), source: Box::new(source) }
    }

    /// Names the file of a quantization's error.
    pub fn quantize(path: &Path) -> impl Fn(fewbits_quantize::Error) -> Self + '_ {
        move |source| Error::Quantize { path: path.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn model(path: &Path, what: impl Into<String>) -> Self {
        Error::Model { path: path.to_owned(), what: what.into() }
    }
}

/// The message with the file's name before it, unless it says it already.
fn with_path(path: &Path, source: &dyn std::error::Error) -> String {
    let (path, message) = (path.display().to_string(), source.to_string());
    if message.contains(&path) { message } else { format!("{path}: {message}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_once() {
        let io = |text: &str| std::io::Error::other(text.to_owned());
        assert_eq!(with_path(Path::new("m.onnx"), &io("damaged")), "m.onnx: damaged");
        assert_eq!(with_path(Path::new("m.onnx"), &io("m.onnx: damaged")), "m.onnx: damaged");
    }
}
