//! The command line as it is typed.

mod analyze;
mod export;
mod recipe;
mod train;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fewbits::{LatencyLimit, Metric, SizeLimit};

pub(crate) use analyze::AnalyzeArgs;
pub(crate) use export::ExportArgs;
pub(crate) use recipe::RecipeArgs;
pub(crate) use train::TrainArgs;
pub(crate) use values::{Drop, InputArg, IoArg, RoundingArg, ShapeArg};

/// Makes trained neural networks small and fast, and proves it.
#[derive(Debug, Parser)]
#[command(name = "fewbits", version, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 success, 1 error, 2 wrong usage, 3 --max-drop exceeded.")]
pub(crate) struct Cli {
    /// Print one JSON object instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Quantize a float model, write the result, and measure what it cost
    Quantize(QuantizeArgs),
    /// Train a model with its quantization in the loop, and write the quantized model
    Train(TrainArgs),
    /// Show what quantization does to a model layer by layer, why, and which flag addresses it
    Analyze(AnalyzeArgs),
    /// Show operators, shapes, parameters, multiply-accumulates, bytes and quantization of a model
    Inspect(InspectArgs),
    /// Write an integer model as C for microcontrollers
    Export(ExportArgs),
    /// Measure accuracy on labelled data, and closeness to a reference model
    Evaluate(EvaluateArgs),
    /// Compare two models layer by layer, worst first
    Compare(CompareArgs),
    /// Measure the latency of a model
    Bench(BenchArgs),
    /// Run a model on arrays and write its outputs
    Run(RunArgs),
    /// Quantize an embedded model in all modes and show size, accuracy and latency side by side
    Demo(DemoArgs),
    /// List the kernels and which of them this CPU can run
    Kernels,
    /// List the operators that the readers understand, as Markdown
    Operators,
}

/// How data is read.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// What to do with an image that does not decode
    #[arg(long, value_name = "ACTION", default_value = "stop")]
    pub(crate) on_bad_image: values::OnBadImageArg,
    /// Labels of the samples (.csv, .txt or .npy), where the data has none of its own
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Added to every label: 1 for models whose class 0 is the background
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) label_offset: Option<i64>,
}

/// `fewbits quantize`
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// The float model, .onnx or .tflite
    pub(crate) model: PathBuf,
    /// The file to write; .onnx, .tflite or .c chooses the format
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Samples to calibrate with: .npz, .npy, a directory of .npy or of images, or a .toml that
    /// names one of them and its preprocessing; `none` makes samples
    #[arg(long, value_name = "DATA")]
    pub(crate) data: Option<PathBuf>,
    /// What black and white are for the model, with --data none [default: inferred]
    #[arg(long, value_names = ["LOW", "HIGH"], num_args = 2, allow_negative_numbers = true)]
    pub(crate) input_range: Option<Vec<f32>>,
    /// Samples to calibrate with, spread evenly over the data; up to 50 others are held back to
    /// measure on
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) samples: usize,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// Element type of an int8 model's inputs and outputs [default: float]
    #[arg(long, value_name = "TYPE")]
    pub(crate) io: Option<IoArg>,
    /// Find the cheapest recipe that loses at most this many percentage points, on --eval or on all
    /// samples that are not calibrated with; if none does, write nothing and exit with code 3
    #[arg(long, value_name = "POINTS")]
    pub(crate) max_drop: Option<Drop>,
    /// What a loss is measured by: top-1, agreement (with the float model) or output-error (its
    /// energy, in percent of the outputs') [default: top-1 with labels, else agreement for
    /// classifiers, else output-error]
    #[arg(long, value_name = "METRIC")]
    pub(crate) metric: Option<Metric>,
    /// Narrow weights to 4, 3 or 2 bits where it costs least, until the model takes at most this: bytes
    /// as 300000, 300K or 1.5M, or a share of the float model as 0.2 or 20%
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<SizeLimit>,
    /// Leave those layers float whose quantization costs most, as long as a run on this machine takes
    /// at most this: a time as 5ms, or a share of the float model's as 60%
    #[arg(long, value_name = "TIME")]
    pub(crate) max_latency: Option<LatencyLimit>,
    /// Samples to measure on instead of held-back ones
    #[arg(long, value_name = "DATA")]
    pub(crate) eval: Option<PathBuf>,
    /// Threads; 0 takes all cores [default: all cores, and one for measuring latency]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Fix the shape of an input: the model written takes that shape only
    #[arg(long, value_name = "NAME=1x3x224x224", num_args = 1..)]
    pub(crate) input_shape: Vec<ShapeArg>,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

/// `fewbits inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The model
    pub(crate) model: PathBuf,
    /// List every value with its type, shape and quantization
    #[arg(long)]
    pub(crate) edges: bool,
    /// Shape of an input, for counting multiply-accumulates
    #[arg(long, value_name = "NAME=1x3x224x224", num_args = 1..)]
    pub(crate) input_shape: Vec<ShapeArg>,
}

/// `fewbits evaluate`
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// The model
    pub(crate) model: PathBuf,
    /// The data, as for quantize; labels give top-1 and top-5
    #[arg(long, value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// A model to compare with: gives agreement, SQNR and cosine
    #[arg(long, value_name = "MODEL")]
    pub(crate) reference: Option<PathBuf>,
    /// At most this many samples, spread evenly over the data [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<usize>,
    /// Arithmetic of integer operators: float is the fast one, fixed that of microcontrollers
    #[arg(long, default_value = "float")]
    pub(crate) rounding: RoundingArg,
    /// Threads; 0 takes all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

/// `fewbits compare`
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The float model
    pub(crate) float: PathBuf,
    /// The quantized model
    pub(crate) quantized: PathBuf,
    /// The data, as for quantize
    #[arg(long, value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// Samples, spread evenly over the data
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) samples: usize,
    /// Only the worst layers
    #[arg(long, value_name = "K")]
    pub(crate) top: Option<usize>,
    /// Threads; 0 takes all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

/// `fewbits bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The model
    pub(crate) model: PathBuf,
    /// Threads; 0 takes all cores
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,
    /// Exactly this many runs
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub(crate) iterations: Option<usize>,
    /// As many runs as fit into this time, at least five
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Size of a free first dimension
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch: u64,
    /// Show the time by operator and by node
    #[arg(long)]
    pub(crate) profile: bool,
    /// Shape of an input
    #[arg(long, value_name = "NAME=1x3x224x224", num_args = 1..)]
    pub(crate) input_shape: Vec<ShapeArg>,
    /// Arithmetic of integer operators
    #[arg(long, default_value = "float")]
    pub(crate) rounding: RoundingArg,
}

/// `fewbits run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The model
    pub(crate) model: PathBuf,
    /// An input and the array it gets; the name may be left out for a model of one input
    #[arg(long, value_name = "NAME=FILE.npy", num_args = 1.., required = true)]
    pub(crate) input: Vec<InputArg>,
    /// Where the outputs are written, as <output>.npy
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: PathBuf,
    /// Arithmetic of integer operators
    #[arg(long, default_value = "float")]
    pub(crate) rounding: RoundingArg,
    /// Threads; 0 takes all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
}

/// `fewbits demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where the models and the data are written
    #[arg(long, value_name = "DIR", default_value = "fewbits-demo")]
    pub(crate) output_dir: PathBuf,
}
