//! `fewbits evaluate`

use fewbits::{EvaluateOptions, Result, evaluate_file};

use super::data_options;
use crate::cli::EvaluateArgs;
use crate::console::Console;

pub(super) fn execute(args: &EvaluateArgs, console: &Console) -> Result<()> {
    let options = EvaluateOptions {
        model: args.model.clone(),
        data: args.data.clone(),
        data_options: data_options(&args.data_args),
        reference: args.reference.clone(),
        samples: args.samples,
        rounding: args.rounding.into(),
        threads: args.threads,
    };
    console.show(&evaluate_file(&options, &mut console.progress())?)
}
