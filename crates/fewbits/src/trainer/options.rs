//! What `train` is asked.

use std::path::PathBuf;

use fewbits_quantize::{IoType, Mode, Recipe};
use fewbits_train::{Decay, Method};

use super::{Augment, Objective};
use crate::{DataOptions, Error, Result};

/// What `train` is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// The float model, `.onnx` or `.tflite`.
    pub model: PathBuf,
    /// The file to write; its extension chooses the format.
    pub output: PathBuf,
    /// Samples to train on.
    pub data: PathBuf,
    /// Samples to measure on after each epoch; without them, some of `data` are held back.
    pub eval: Option<PathBuf>,
    /// How the data is read.
    pub data_options: DataOptions,
    /// The quantization that is trained for; its mode is int8.
    pub recipe: Recipe,
    /// Samples to calibrate with before the first step.
    pub samples: usize,
    /// Train the float model instead, as a control.
    pub float: bool,
    /// Train scales and zero points too (LSQ).
    pub learn_ranges: bool,
    /// The loss.
    pub objective: Objective,
    /// Temperature of distillation.
    pub temperature: f32,
    /// Epochs.
    pub epochs: u64,
    /// At most this many steps an epoch.
    pub steps: Option<u64>,
    /// Samples of a step.
    pub batch: usize,
    /// The largest learning rate.
    pub rate: f32,
    /// How it goes on.
    pub decay: Decay,
    /// Share of all steps over which the learning rate grows from 0.
    pub warm_up: f32,
    /// The optimiser.
    pub method: Method,
    /// Weight decay.
    pub weight_decay: f32,
    /// Limit of the norm of gradients.
    pub clip: Option<f32>,
    /// Decay of the moving average of parameters that is evaluated and written; none if not given.
    pub average: Option<f32>,
    /// How samples are changed.
    pub augment: Augment,
    /// Seed of the order of samples and of their changes.
    pub seed: u64,
    /// Where the state is kept, after each epoch and each `checkpoint_steps` steps.
    pub checkpoint: Option<PathBuf>,
    /// Steps between checkpoints within an epoch.
    pub checkpoint_steps: u64,
    /// Go on from the checkpoint.
    pub resume: bool,
    /// Stop after this many steps, as if killed: the checkpoint goes on from there.
    pub stop_after: Option<u64>,
    /// Write a line an epoch to this CSV file.
    pub log: Option<PathBuf>,
    /// Threads; 0 takes all cores. The result does not depend on it.
    pub threads: usize,
    /// Fixes shapes of inputs, by name.
    pub input_shapes: Vec<(String, Vec<usize>)>,
}

impl TrainOptions {
    /// The defaults: int8, one epoch of distillation in batches of 32.
    pub fn new(model: impl Into<PathBuf>, data: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        TrainOptions {
            model: model.into(),
            output: output.into(),
            data: data.into(),
            eval: None,
            data_options: DataOptions::default(),
            recipe: Recipe::new(Mode::Int8),
            samples: 100,
            float: false,
            learn_ranges: true,
            objective: Objective::default(),
            temperature: 1.0,
            epochs: 1,
            steps: None,
            batch: 32,
            rate: 1e-4,
            decay: Decay::Cosine,
            warm_up: 0.05,
            method: Method::AdamW { betas: [0.9, 0.999] },
            weight_decay: 0.0,
            clip: None,
            average: None,
            augment: Augment::default(),
            seed: 0,
            checkpoint: None,
            checkpoint_steps: 500,
            resume: false,
            stop_after: None,
            log: None,
            threads: 0,
            input_shapes: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let usage = |what: &str| Err(Error::Usage(what.to_owned()));
        if self.recipe.mode != Mode::Int8 {
            return usage("training is for --mode int8: the other modes choose no ranges that could be learned");
        }
        if self.recipe.io != IoType::Float && self.float {
            return usage("--io is for integer models, and --float trains the float model");
        }
        if self.epochs == 0 || self.batch == 0 || self.steps == Some(0) {
            return usage("--epochs, --steps and --batch must be at least 1");
        }
        if self.samples == 0 && !self.float {
            return usage("calibration needs at least one sample: --samples 0");
        }
        if self.resume && self.checkpoint.is_none() {
            return usage("--resume goes on from a checkpoint: name it with --checkpoint");
        }
        Ok(())
    }

    /// Everything that the result depends on, as text.
    pub(super) fn request(&self) -> String {
        let recipe = self.recipe.to_toml().replace('\n', "; ");
        format!(
            "{} on {} ({:?}, measured on {:?}), {recipe}samples {}, float {}, ranges {}, {:?} T={}, {} epochs of {:?} steps of {}, rate {} {:?} warm-up {}, {:?}, decay {}, clip {:?}, average {:?}, {:?}, seed {}",
            self.model.display(),
            self.data.display(),
            self.data_options,
            self.eval,
            self.samples,
            self.float,
            self.learn_ranges,
            self.objective,
            self.temperature,
            self.epochs,
            self.steps,
            self.batch,
            self.rate,
            self.decay,
            self.warm_up,
            self.method,
            self.weight_decay,
            self.clip,
            self.average,
            self.augment,
            self.seed,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_tell_what_changes_the_result() {
        let options = TrainOptions::new("m.onnx", "d", "o.onnx");
        let other = TrainOptions { threads: 2, log: Some("l.csv".into()), ..options.clone() };
        assert_eq!(options.request(), other.request());
        assert_ne!(options.request(), TrainOptions { seed: 1, ..options.clone() }.request());
        assert_ne!(options.request(), TrainOptions { rate: 1e-3, ..options.clone() }.request());
    }

    #[test]
    fn contradictions_are_refused() {
        let options = TrainOptions::new("m.onnx", "d", "o.onnx");
        for (wrong, word) in [
            (TrainOptions { epochs: 0, ..options.clone() }, "--epochs"),
            (TrainOptions { resume: true, ..options.clone() }, "--checkpoint"),
            (TrainOptions { recipe: Recipe::new(Mode::Dynamic), ..options.clone() }, "int8"),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(word), "{error}");
        }
    }
}
