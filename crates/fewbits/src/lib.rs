//! Makes trained neural networks small and fast, and proves it.
//!
//! The library behind the command `fewbits`, and the crate to depend on. A float model becomes an
//! int8 one in five lines:
//!
//! ```no_run
//! # fn main() -> fewbits::Result<()> {
//! let mut options = fewbits::QuantizeOptions::new("model.onnx", "model.int8.tflite");
//! options.data = Some("calibration.npz".into());
//! let report = fewbits::quantize_file(&options, &mut fewbits::Silent)?;
//! println!("{:.0} % of the size, agreement {:?}", 100.0 * report.ratio, report.agreement);
//! let model = fewbits::Model::open("model.int8.tflite".as_ref(), &fewbits::RunOptions::default())?;
//! # let _ = model;
//! # Ok(()) }
//! ```
//!
//! The parts, for programs that want to stand between them:
//!
//! | step | where |
//! |---|---|
//! | file ⇄ graph | [`read_model`], [`write_model`] |
//! | samples | [`data`] |
//! | graph → simpler graph, running | [`engine`] |
//! | statistics, ranges, narrower types | [`quantize`] |
//! | gradients, optimisers, fake quantization | [`train`] |
//! | graph → C | [`emit_c`] |
//! | what was measured | [`report`] |

mod dataset;
mod error;
mod export;
mod files;
mod inspect;
mod job;
mod measure;
mod model;
mod npy;
mod operators;
mod output;
mod progress;
mod quantizer;
mod samples;
mod search;
mod shapes;
mod synthetic;
mod trainer;
mod verdict;

pub use fewbits_data as data;
pub use fewbits_emit_c as emit_c;
pub use fewbits_engine as engine;
pub use fewbits_graph as graph;
pub use fewbits_kernels as kernels;
pub use fewbits_quantize as quantize;
pub use fewbits_report as report;
pub use fewbits_train as train;

pub use dataset::{DataOptions, ModelData, SampleBatch, SampleBatches, adapt_inputs};
pub use error::{Error, Result};
pub use export::{ExportOptions, c_name, export_file, is_c};
pub use files::write_file;
pub use inspect::{inspect_file, quantization_text};
pub use job::Job;
pub use measure::accuracy::{EvaluateOptions, Meter, evaluate_file};
pub use measure::analyze::{AnalyzeOptions, analyze_file};
pub use measure::compare::{CompareOptions, compare_files};
pub use measure::latency::{Repeat, time_runs};
pub use measure::paired::{Loss, Metric, Paired};
pub use model::{Model, RealOutput, RunOptions, model_format, read_model, size_on_disk, write_model};
pub use npy::to_npy;
pub use operators::supported_operators;
pub use progress::{Progress, Silent};
pub use quantizer::{QuantizeOptions, check_output, quantize_file, recipe_path};
pub use search::budget::SizeLimit;
pub use search::latency::LatencyLimit;
pub use shapes::{fix_input_shapes, run_shapes, synthetic_inputs};
pub use trainer::{Augment, Objective, TrainOptions, train_file};
