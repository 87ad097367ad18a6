//! `fewbits train` as it is typed.

use std::path::PathBuf;

use clap::Args;
use fewbits::train::Decay;
use fewbits::{Augment, Objective};

use super::values::{DecayArg, LossArg, MethodArg};
use super::{DataArgs, IoArg, RecipeArgs, ShapeArg};

/// `fewbits train`
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The float model, .onnx or .tflite
    pub(crate) model: PathBuf,
    /// The file to write; .onnx, .tflite or .c chooses the format
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Samples to train on, as for quantize; labels are needed for --loss labels and both only
    #[arg(long, value_name = "DATA")]
    pub(crate) data: PathBuf,
    /// Samples to measure on after each epoch [default: a tenth of --data, at most 500, held back]
    #[arg(long, value_name = "DATA")]
    pub(crate) eval: Option<PathBuf>,
    /// What is minimised: the distance to the labels, to the float model's outputs, or both
    #[arg(long, default_value = "distill")]
    pub(crate) loss: LossArg,
    /// Temperature of distillation
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub(crate) temperature: f32,
    /// Epochs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) epochs: u64,
    /// At most this many steps an epoch
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    /// Samples of a step
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) batch: usize,
    /// The largest learning rate [default: 1e-4 with adamw, 1e-2 with sgd]
    #[arg(long, value_name = "RATE")]
    pub(crate) lr: Option<f32>,
    /// How the learning rate goes on
    #[arg(long, default_value = "cosine")]
    pub(crate) schedule: DecayArg,
    /// Share of all steps over which the learning rate grows from 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub(crate) warm_up: f32,
    /// The optimiser
    #[arg(long, default_value = "adamw")]
    pub(crate) optimizer: MethodArg,
    /// Weight decay
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(crate) weight_decay: f32,
    /// Limit of the norm of all gradients
    #[arg(long, value_name = "NORM")]
    pub(crate) clip: Option<f32>,
    /// Evaluate and write a moving average of the parameters, with this decay (0.999)
    #[arg(long, value_name = "DECAY")]
    pub(crate) ema: Option<f32>,
    /// Change samples: any of flip, crop=PIXELS, shift=STEPS, color=X, noise=X, mixup=X, joined by
    /// commas
    #[arg(long, value_name = "LIST", default_value = "")]
    pub(crate) augment: Augment,
    /// Seed of the order of samples and of their changes
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Train the float model instead: the control that shows what is due to training alone
    #[arg(long)]
    pub(crate) float: bool,
    /// Keep scales and zero points as calibration chose them
    #[arg(long)]
    pub(crate) fixed_ranges: bool,
    /// Samples to calibrate with before the first step, spread evenly over the data
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) samples: usize,
    /// Keep the state here, after each epoch and each --checkpoint-steps steps
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Steps between checkpoints within an epoch
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) checkpoint_steps: u64,
    /// Go on from the checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Stop after this many steps, as if killed
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) stop_after: Option<u64>,
    /// Write a line an epoch to this CSV file
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    /// Element type of the model's inputs and outputs [default: float]
    #[arg(long, value_name = "TYPE")]
    pub(crate) io: Option<IoArg>,
    /// Threads; 0 takes all cores. The result does not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Fix the shape of an input
    #[arg(long, value_name = "NAME=1x3x224x224", num_args = 1..)]
    pub(crate) input_shape: Vec<ShapeArg>,
    #[command(flatten)]
    pub(crate) data_args: DataArgs,
}

impl TrainArgs {
    /// Loss and schedule in the library's words.
    pub(crate) fn choices(&self) -> (Objective, Decay) {
        (self.loss.into(), self.schedule.into())
    }
}
