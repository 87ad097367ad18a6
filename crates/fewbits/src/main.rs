//! Command line of fewbits.
//!
//! Raw arguments are parsed first ([`cli`]), then turned into what the library is asked
//! ([`commands`]). Exit codes: 0 success, 1 error, 2 a request that cannot be meant, 3 an accuracy
//! target that was missed.

mod cli;
mod commands;
mod console;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    let console = console::Console::new(arguments.json, arguments.quiet);
    match commands::execute(&arguments.command, &console) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => {
            console.error(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}
