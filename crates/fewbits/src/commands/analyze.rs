//! `fewbits analyze`

use fewbits::quantize::Mode;
use fewbits::{AnalyzeOptions, Result, analyze_file};

use super::{data_options, shapes};
use crate::cli::AnalyzeArgs;
use crate::console::Console;

/// Layers that a terminal shows unless all are asked for.
const SHOWN: usize = 15;

pub(super) fn execute(args: &AnalyzeArgs, console: &Console) -> Result<()> {
    let options = AnalyzeOptions {
        model: args.model.clone(),
        data: args.data.clone(),
        recipe: args.recipe.recipe(Mode::Int8)?,
        samples: args.samples,
        layer_samples: args.layer_samples,
        html: args.html.clone(),
        data_options: data_options(&args.data_args),
        threads: args.threads,
        input_shapes: shapes(&args.input_shape),
    };
    let mut report = analyze_file(&options, &mut console.progress())?;
    report.shown = (!args.all).then_some(SHOWN);
    console.show(&report)
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use fewbits::quantize::{Calibration, Mode, Recipe};

    #[test]
    fn int8_is_analysed_unless_something_else_is_asked_for() {
        let recipe = |words: &[&str]| {
            let line = ["fewbits", "analyze", "m.onnx", "--data", "d"].iter().chain(words);
            match Cli::try_parse_from(line).unwrap().command {
                Command::Analyze(args) => args.recipe.recipe(Mode::Int8).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(recipe(&[]), Recipe::new(Mode::Int8));
        let flags = recipe(&["--mode", "dynamic", "--calibration", "entropy", "--exclude", "a", "b", "--per-tensor"]);
        assert_eq!((flags.mode, flags.calibration), (Mode::Dynamic, Calibration::Entropy));
        assert!(flags.per_tensor && flags.exclude == ["a", "b"]);
    }
}
