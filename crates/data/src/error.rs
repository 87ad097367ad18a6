//! The errors of this crate.

use std::path::PathBuf;

use crate::array::DType;

/// What can be wrong with data, its description, or the numbers given to a metric.
///
/// `array` fields name an array as a reader would look for it: the file, and
/// for a member of an archive its name (`calib.npz: array 'input'`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or directory could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// The path is of no kind that this crate reads.
    #[error(
        "{} is no data source: expected an .npz, an .npy, a .toml, a directory of .npy, or a \
         directory of .jpg/.jpeg/.png images",
        path.display()
    )]
    UnknownSource {
        /// The path given.
        path: PathBuf,
    },

    /// The source exists and holds no sample.
    #[error("{origin} holds no data: {reason}")]
    Empty {
        /// The file, directory or array.
        origin: String,
        /// What was looked for.
        reason: String,
    },

    /// The model takes a number of inputs that this source cannot feed.
    #[error("{origin} feeds a model of one input, and this model has {inputs}: {hint}")]
    InputCount {
        /// The file or directory.
        origin: String,
        /// Inputs of the model.
        inputs: usize,
        /// What to do.
        hint: &'static str,
    },

    /// A file is not a well-formed `.npy` or `.npz`, or uses a part of the format that is not read here.
    #[error("{array}: {reason}")]
    BadArray {
        /// The array or archive.
        array: String,
        /// What is wrong.
        reason: String,
    },

    /// The file is shorter than its header says.
    #[error("{array}: the header promises {expected} bytes of data and the file has {got}")]
    Truncated {
        /// The array.
        array: String,
        /// Bytes that the shape and element type need.
        expected: u64,
        /// Bytes that are there.
        got: u64,
    },

    /// No array is there for an input of the model.
    #[error("{origin} has no array for input '{input}' of the model: found {}", list(found))]
    MissingArray {
        /// The archive or directory.
        origin: String,
        /// The input's name.
        input: String,
        /// The arrays that are there.
        found: Vec<String>,
    },

    /// An array has a shape that the input does not take.
    #[error("{array}: input '{input}' expects shape {expected}, got {got}{hint}")]
    Shape {
        /// The array.
        array: String,
        /// The input's name.
        input: String,
        /// The shape expected; `N` is the number of samples, `?` is free.
        expected: String,
        /// The array's shape.
        got: String,
        /// What to do, or nothing; begins with its own separator.
        hint: String,
    },

    /// An array has an element type that cannot become the input's without loss.
    #[error(
        "{array}: input '{input}' expects {expected}, got {got}, which does not convert without \
         loss; save the array as {expected}"
    )]
    ElementType {
        /// The array.
        array: String,
        /// The input's name.
        input: String,
        /// The type that the model expects.
        expected: DType,
        /// The array's type, as NumPy calls it.
        got: &'static str,
    },

    /// One value has no exact counterpart in the input's type.
    #[error("{array}: sample {sample} holds {value}, which {expected} cannot represent")]
    Value {
        /// The array.
        array: String,
        /// Index of the sample along the first axis.
        sample: usize,
        /// The value, as text.
        value: String,
        /// The type that the model expects.
        expected: DType,
    },

    /// A NaN or an infinity.
    #[error("{array}: sample {sample} holds {value}; calibration and metrics need finite numbers")]
    NotFinite {
        /// The array.
        array: String,
        /// Index of the sample along the first axis.
        sample: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f64,
    },

    /// Two arrays, or an array and its labels, differ in their number of samples.
    #[error("{second} has {got} entries and {first} has {expected}: one is needed for each sample")]
    Count {
        /// What set the number.
        first: String,
        /// Its number of samples.
        expected: usize,
        /// What differs from it.
        second: String,
        /// Its number of entries.
        got: usize,
    },

    /// Samples of different shapes were asked for in one batch.
    #[error(
        "'{first}' has shape {expected:?} and '{second}' has shape {got:?} for input {input}: they \
         cannot share a batch; use batches of one, or pad the samples to one shape"
    )]
    Ragged {
        /// Index of the input.
        input: usize,
        /// First sample of the batch.
        first: String,
        /// Its shape.
        expected: Vec<usize>,
        /// The sample that differs.
        second: String,
        /// Its shape.
        got: Vec<usize>,
    },

    /// An image could not be decoded or has a size that the preprocessing refuses.
    #[error("{}: this image cannot be used: {reason}", path.display())]
    BadImage {
        /// The image file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },

    /// Every image was left out under `on_bad_image = "skip"`.
    #[error("all {skipped} images were skipped; the first: {first}")]
    AllSkipped {
        /// How many.
        skipped: usize,
        /// The first one's error.
        first: String,
    },

    /// A labels file has a line that is neither a class nor a file and its class.
    #[error("{}, line {line}: {reason}", path.display())]
    Labels {
        /// The labels file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What was expected and what came.
        reason: String,
    },

    /// A label is negative or too large once the offset is added.
    #[error("{origin}: label {label} with offset {offset} is not a class number")]
    Label {
        /// Where the label stands.
        origin: String,
        /// The label as read.
        label: i64,
        /// The offset added to it.
        offset: i64,
    },

    /// A TOML file does not parse or has an unknown key; the message names both place and key.
    #[error("{}: {message}", path.display())]
    Toml {
        /// The TOML file.
        path: PathBuf,
        /// The parser's message, with line and column.
        message: String,
    },

    /// A key of the TOML file, or the option of the same name, has a value that makes no sense.
    #[error("{origin}: {key}: {problem}")]
    Config {
        /// The TOML file, or "options".
        origin: String,
        /// The key, with its table (`preprocess.size`).
        key: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },

    /// An input of the model cannot be fed with images.
    #[error("input '{input}' with shape {shape} of {dtype} cannot be fed with images: {reason}")]
    NotAnImageInput {
        /// The input's name.
        input: String,
        /// The input's shape.
        shape: String,
        /// The input's type.
        dtype: DType,
        /// Why not, and what to do.
        reason: String,
    },

    /// An index beyond the end of the data.
    #[error("sample {index} was asked for, and there are {len}")]
    Index {
        /// The index.
        index: usize,
        /// The number of samples.
        len: usize,
    },

    /// A batch size of zero.
    #[error("a batch needs at least one sample")]
    BatchSize,

    /// A decoding thread could not be started, or ended before its work was done.
    #[error("the thread that reads '{sample}' {reason}")]
    Worker {
        /// The sample that was waited for.
        sample: String,
        /// What happened.
        reason: String,
    },

    /// Two slices given to a metric differ in length, or do not divide into rows.
    #[error("{metric}: expected {expected} values, got {got}")]
    MetricLength {
        /// The metric.
        metric: &'static str,
        /// Values expected.
        expected: usize,
        /// Values that came.
        got: usize,
    },

    /// A label names a class that the model does not have.
    #[error(
        "label {label} is beyond the {classes} classes of the model's output; if the model has a \
         background class or starts counting elsewhere, set label_offset"
    )]
    LabelOutOfRange {
        /// The label.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
}

impl DataError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> DataError {
        DataError::Io { path: path.into(), source }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}
