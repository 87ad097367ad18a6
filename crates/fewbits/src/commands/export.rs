//! `fewbits export`

use std::path::Path;

use fewbits::emit_c::{Options, Target};
use fewbits::{ExportOptions, Result, c_name, export_file};

use super::shapes;
use crate::cli::ExportArgs;
use crate::console::Console;

pub(super) fn execute(args: &ExportArgs, console: &Console) -> Result<()> {
    let options = ExportOptions {
        model: args.model.clone(),
        output: args.output.clone(),
        c: Options {
            name: args.name.clone().unwrap_or_else(|| c_name(&args.output)),
            target: args.target,
            arithmetic: args.arithmetic.into(),
            ram: args.ram,
            flash: args.flash,
        },
        input_shapes: shapes(&args.input_shape),
    };
    console.show(&export_file(&options)?)
}

/// C of a model that was just quantized, for any target and without limits.
pub(super) fn plain(model: &Path, output: &Path) -> ExportOptions {
    ExportOptions {
        model: model.to_owned(),
        output: output.to_owned(),
        c: Options { name: c_name(output), target: Target::Any, ..Options::default() },
        input_shapes: Vec::new(),
    }
}
