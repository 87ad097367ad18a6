//! `fewbits inspect`

use fewbits::{Result, inspect_file};

use super::shapes;
use crate::cli::InspectArgs;
use crate::console::Console;

pub(super) fn execute(args: &InspectArgs, console: &Console) -> Result<()> {
    console.show(&inspect_file(&args.model, &shapes(&args.input_shape), args.edges)?)
}
