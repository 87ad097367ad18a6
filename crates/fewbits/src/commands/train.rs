//! `fewbits train`

use fewbits::quantize::Mode;
use fewbits::train::Method;
use fewbits::{Result, TrainOptions, train_file};

use super::{data_options, shapes};
use crate::cli::TrainArgs;
use crate::console::Console;

/// Learning rates that suit fine-tuning, where none is given.
fn default_rate(method: Method) -> f32 {
    match method {
        Method::AdamW { .. } => 1e-4,
        Method::Sgd { .. } => 1e-2,
    }
}

pub(super) fn execute(args: &TrainArgs, console: &Console) -> Result<()> {
    let report = train_file(&options(args)?, &mut console.progress())?;
    console.show(&report)
}

fn options(args: &TrainArgs) -> Result<TrainOptions> {
    let mut recipe = args.recipe.recipe(Mode::Int8)?;
    recipe.io = args.io.map_or(recipe.io, Into::into);
    let method: Method = args.optimizer.into();
    let (objective, decay) = args.choices();
    Ok(TrainOptions {
        eval: args.eval.clone(),
        data_options: data_options(&args.data_args),
        recipe,
        samples: args.samples,
        float: args.float,
        learn_ranges: !args.fixed_ranges,
        objective,
        temperature: args.temperature,
        epochs: args.epochs,
        steps: args.steps,
        batch: args.batch,
        rate: args.lr.unwrap_or_else(|| default_rate(method)),
        decay,
        warm_up: args.warm_up,
        method,
        weight_decay: args.weight_decay,
        clip: args.clip,
        average: args.ema,
        augment: args.augment,
        seed: args.seed,
        checkpoint: args.checkpoint.clone(),
        checkpoint_steps: args.checkpoint_steps,
        resume: args.resume,
        stop_after: args.stop_after,
        log: args.log.clone(),
        threads: args.threads,
        input_shapes: shapes(&args.input_shape),
        ..TrainOptions::new(&args.model, &args.data, &args.output)
    })
}
