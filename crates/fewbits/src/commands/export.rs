//! `fewbits export`

use fewbits::emit_c::Options;
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
