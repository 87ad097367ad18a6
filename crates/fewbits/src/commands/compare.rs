//! `fewbits compare`

use fewbits::{CompareOptions, Result, compare_files};

use super::data_options;
use crate::cli::CompareArgs;
use crate::console::Console;

pub(super) fn execute(args: &CompareArgs, console: &Console) -> Result<()> {
    let options = CompareOptions {
        float: args.float.clone(),
        quantized: args.quantized.clone(),
        data: args.data.clone(),
        data_options: data_options(&args.data_args),
        samples: args.samples,
        top: args.top,
        threads: args.threads,
    };
    console.show(&compare_files(&options, &mut console.progress())?)
}
