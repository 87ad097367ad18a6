//! Labelled data, preprocessing and metrics.
//!
//! [`Dataset::open`] takes a path and what a model expects of its inputs
//! ([`InputSpec`]), checks one against the other, and streams samples or
//! batches in a fixed order from threads of its own. The path is one of:
//!
//! | path | what it holds |
//! |---|---|
//! | `x.npz` | arrays named as the inputs, first axis = samples; optional `labels` |
//! | `x.npy` | the samples of a model of one input |
//! | a directory of `.npy` | `<input>.npy` for every input, optional `labels.npy`; or, for a model of one input, one file a sample |
//! | a directory of images | class sub-directories, or a `labels.csv` / `labels.txt`, or unlabelled |
//! | `x.toml` | names one of the above and its preprocessing, see [`config`] |
//!
//! The exact rules of each are in [`source`]; how pixels become inputs is in
//! [`preprocess`]. This crate knows nothing of models or graphs: callers
//! describe the inputs, and hand outputs to [`metrics`] as slices of `f32`.

pub mod config;
pub mod metrics;
pub mod preprocess;
pub mod source;

mod array;
mod convert;
mod dataset;
mod error;
mod labels;
mod npy;
mod spec;
mod stream;

pub use array::{Array, ArrayData, DType};
pub use dataset::{Dataset, OpenOptions};
pub use error::DataError;
pub use spec::{InputQuantization, InputSpec};
pub use stream::{Batch, Batches, Sample, Samples, Skipped};
