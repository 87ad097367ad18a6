//! `fewbits analyze` as it is typed.

use std::path::PathBuf;

use clap::Args;

use super::{DataArgs, RecipeArgs, ShapeArg};

/// `fewbits analyze`
#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    /// The float model, .onnx or .tflite
    pub(crate) model: PathBuf,
    /// Samples, as for quantize; those not calibrated with are measured on
    #[arg(long, value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// Samples to calibrate with, spread evenly over the data
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) samples: usize,
    /// Samples that each layer is measured on [default: up to 8, fewer for large models]
    #[arg(long, value_name = "N")]
    pub(crate) layer_samples: Option<usize>,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// Write a page with plots that works without a network
    #[arg(long, value_name = "OUT.html")]
    pub(crate) html: Option<PathBuf>,
    /// Show every layer, not only those that cost most
    #[arg(long)]
    pub(crate) all: bool,
    /// Threads; 0 takes all cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Fix the shape of an input
    #[arg(long, value_name = "NAME=1x3x224x224", num_args = 1..)]
    pub(crate) input_shape: Vec<ShapeArg>,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}
