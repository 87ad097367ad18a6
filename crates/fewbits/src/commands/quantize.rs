//! `fewbits quantize`

use fewbits::quantize::{Mode, Recipe};
use fewbits::{QuantizeOptions, Result, quantize_file};

use super::{Outcome, data_options, shapes};
use crate::cli::QuantizeArgs;
use crate::console::Console;

pub(super) fn execute(args: &QuantizeArgs, console: &Console) -> Result<Outcome> {
    let report = quantize_file(&options(args)?, &mut console.progress())?;
    console.show(&report)?;
    if report.accepted {
        return Ok(Outcome::Success);
    }
    // Nobody may take what is on stdout for a success.
    console.missed(&report.warnings);
    Ok(Outcome::Missed)
}

fn options(args: &QuantizeArgs) -> Result<QuantizeOptions> {
    Ok(QuantizeOptions {
        model: args.model.clone(),
        output: args.output.clone(),
        recipe: Some(recipe(args)?),
        data: args.data.clone(),
        // The parser takes two numbers or none.
        input_range: args.input_range.as_deref().and_then(|r| Some((*r.first()?, *r.get(1)?))),
        samples: args.samples,
        eval: args.eval.clone(),
        data_options: data_options(&args.data_args),
        max_drop: args.max_drop.map(|drop| drop.0),
        metric: args.metric,
        max_size: args.max_size,
        max_latency: args.max_latency,
        threads: args.threads.unwrap_or(0),
        latency_threads: args.threads.unwrap_or(1),
        input_shapes: shapes(&args.input_shape),
    })
}

/// The recipe file, or the default one, with the flags over it.
fn recipe(args: &QuantizeArgs) -> Result<Recipe> {
    let default = if args.data.is_some() { Mode::Int8 } else { Mode::Dynamic };
    let mut recipe = args.recipe.recipe(default)?;
    recipe.io = args.io.map_or(recipe.io, Into::into);
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use fewbits::quantize::{Calibration, IoType};

    fn args(words: &[&str]) -> QuantizeArgs {
        let line = ["fewbits", "quantize", "m.onnx", "-o", "o.onnx"].iter().chain(words);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Quantize(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_mode_follows_from_the_data_unless_given() {
        assert_eq!(recipe(&args(&[])).unwrap().mode, Mode::Dynamic);
        assert_eq!(recipe(&args(&["--data", "d"])).unwrap().mode, Mode::Int8);
        assert_eq!(recipe(&args(&["--data", "d", "--mode", "float16"])).unwrap().mode, Mode::Float16);
    }

    #[test]
    fn flags_go_before_the_recipe_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.toml");
        std::fs::write(&path, "mode = 'int8'\ncalibration = 'entropy'\nio = 'int8'\nexclude = ['a']\n").unwrap();
        let file = path.to_str().unwrap();
        let plain = recipe(&args(&["--recipe", file])).unwrap();
        assert_eq!(
            (plain.calibration, plain.io, plain.exclude),
            (Calibration::Entropy, IoType::Int8, vec!["a".to_owned()])
        );
        let flags =
            recipe(&args(&["--recipe", file, "--calibration", "minmax", "--exclude", "b", "c", "--per-tensor"]));
        let flags = flags.unwrap();
        assert_eq!(
            (flags.calibration, flags.io, flags.exclude),
            (Calibration::Minmax, IoType::Int8, vec!["b".to_owned(), "c".to_owned()])
        );
        assert!(flags.per_tensor);
    }

    #[test]
    fn a_bad_recipe_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.toml");
        std::fs::write(&path, "mode = 'int8'\ncalibrat = 'entropy'\n").unwrap();
        let message = recipe(&args(&["--recipe", path.to_str().unwrap()])).unwrap_err().to_string();
        assert!(message.contains("r.toml") && message.contains("calibrat"), "{message}");
    }
}
