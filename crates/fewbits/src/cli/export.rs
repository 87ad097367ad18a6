//! `fewbits export` as it is typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fewbits::emit_c::{Arithmetic, Target};

use super::ShapeArg;

/// `--arithmetic`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArithmeticArg {
    /// LiteRT's reference kernels: fully-connected layers round once
    #[default]
    Litert,
    /// TensorFlow Lite Micro: they round twice
    Tflm,
}

impl From<ArithmeticArg> for Arithmetic {
    fn from(word: ArithmeticArg) -> Self {
        match word {
            ArithmeticArg::Litert => Arithmetic::LiteRt,
            ArithmeticArg::Tflm => Arithmetic::Tflm,
        }
    }
}

/// `fewbits export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The integer model, .onnx or .tflite
    pub(crate) model: PathBuf,
    /// The C file to write; its header goes beside it
    #[arg(long, short, value_name = "OUT.c")]
    pub(crate) output: PathBuf,
    /// What the C functions' names begin with [default: the file's name]
    #[arg(long, value_name = "IDENT")]
    pub(crate) name: Option<String>,
    /// The machine: any, host, cortex-m4, cortex-m7, cortex-m33, cortex-m55, rv32
    #[arg(long, value_name = "TARGET", default_value_t)]
    pub(crate) target: Target,
    /// Whose rounding, where the two references differ
    #[arg(long, value_name = "WHOSE", default_value = "litert")]
    pub(crate) arithmetic: ArithmeticArg,
    /// Refuse a model whose arena is larger than this many bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) ram: Option<usize>,
    /// Refuse a model whose constants and code are larger than this many bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) flash: Option<usize>,
    /// Fix the shape of an input
    #[arg(long, value_name = "NAME=1x3x224x224", num_args = 1..)]
    pub(crate) input_shape: Vec<ShapeArg>,
}
