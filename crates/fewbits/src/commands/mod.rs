//! One file a command: arguments in, library calls, a report out.

mod analyze;
mod bench;
mod catalogue;
mod compare;
mod demo;
mod evaluate;
mod export;
mod inspect;
mod quantize;
mod run;
mod train;

use fewbits::{DataOptions, Result};

use crate::cli::{Command, DataArgs, ShapeArg};
use crate::console::Console;

/// How a command ended that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// `--max-drop` was exceeded.
    Missed,
}

impl Outcome {
    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Outcome::Success => 0,
            Outcome::Missed => 3,
        }
    }
}

/// Does what the command says.
pub(crate) fn execute(command: &Command, console: &Console) -> Result<Outcome> {
    match command {
        Command::Quantize(args) => return quantize::execute(args, console),
        Command::Train(args) => train::execute(args, console)?,
        Command::Analyze(args) => analyze::execute(args, console)?,
        Command::Inspect(args) => inspect::execute(args, console)?,
        Command::Export(args) => export::execute(args, console)?,
        Command::Evaluate(args) => evaluate::execute(args, console)?,
        Command::Compare(args) => compare::execute(args, console)?,
        Command::Bench(args) => bench::execute(args, console)?,
        Command::Run(args) => run::execute(args, console)?,
        Command::Demo(args) => demo::execute(args, console)?,
        Command::Kernels => catalogue::kernels(console)?,
        Command::Operators => catalogue::operators(console)?,
    }
    Ok(Outcome::Success)
}

fn data_options(args: &DataArgs) -> DataOptions {
    DataOptions {
        skip_bad_images: args.on_bad_image.into(),
        labels: args.labels.clone(),
        label_offset: args.label_offset,
        any_number: false,
    }
}

fn shapes(args: &[ShapeArg]) -> Vec<(String, Vec<usize>)> {
    args.iter().map(|ShapeArg(name, extents)| (name.clone(), extents.clone())).collect()
}
