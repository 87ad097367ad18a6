//! One step of training: forward, backward, update.

use fewbits_engine::{Engine, Options};
use fewbits_graph::{Graph, Tensor};
use fewbits_train::{Average, Method, Optimizer, Tape, Trainee, clip};

use super::augment::{Augment, Mix};
use super::objective::Losses;
use super::random::Random;
use crate::{Error, Result, SampleBatch};

/// A model in training.
pub(super) struct Learner {
    pub(super) trainee: Trainee,
    pub(super) optimizer: Optimizer,
    pub(super) average: Option<Average>,
    tape: Tape,
    teacher: Option<Engine>,
    losses: Losses,
    augment: Augment,
    clip: Option<f32>,
    seed: u64,
}

/// How a learner is set up.
pub(super) struct Setup<'a> {
    pub(super) trainee: Trainee,
    /// The float graph, with logits as outputs.
    pub(super) teacher: &'a Graph,
    /// Shapes of the inputs of one pass.
    pub(super) shapes: Vec<Vec<usize>>,
    pub(super) losses: Losses,
    pub(super) augment: Augment,
    pub(super) method: Method,
    pub(super) weight_decay: f32,
    pub(super) average: Option<f32>,
    pub(super) clip: Option<f32>,
    pub(super) seed: u64,
    pub(super) threads: usize,
}

/// What a step sees.
pub(super) struct Stepped {
    pub(super) loss: f64,
    /// Samples whose class was right, if there are labels.
    pub(super) right: usize,
    /// By parameter.
    pub(super) gradients: Vec<Vec<f32>>,
}

/// Purposes of random numbers.
const AUGMENTING: u64 = 1;

impl Learner {
    pub(super) fn new(setup: Setup<'_>) -> std::result::Result<Learner, fewbits_train::Error> {
        let trainee = setup.trainee;
        let options = fewbits_train::Options {
            input_shapes: setup.shapes,
            trainable: trainee.trainable(),
            input_gradients: Vec::new(),
        };
        let tape = Tape::compile(&trainee.graph, &options)?;
        let engine = Options { threads: setup.threads, ..Options::default() };
        let teacher = setup.losses.objective.needs_teacher().then(|| Engine::compile(setup.teacher, &engine));
        Ok(Learner {
            optimizer: Optimizer::new(setup.method, setup.weight_decay, &trainee.parameters),
            average: setup.average.map(|decay| Average::new(decay, &trainee.parameters)),
            tape,
            teacher: teacher.transpose()?,
            losses: setup.losses,
            augment: setup.augment,
            clip: setup.clip,
            seed: setup.seed,
            trainee,
        })
    }

    /// Bytes that the passes hold.
    pub(super) fn bytes(&self) -> usize {
        self.tape.bytes()
    }

    /// The mean loss of several passes, those of step `step`, and its gradients. Nothing is changed.
    pub(super) fn look(&mut self, passes: Vec<SampleBatch>, step: u64) -> Result<Stepped> {
        let failed = |e: fewbits_train::Error| Error::Usage(e.to_string());
        let share = 1.0 / passes.len().max(1) as f32;
        let mut stepped = Stepped { loss: 0.0, right: 0, gradients: Vec::new() };
        self.trainee.round();
        for (pass, mut batch) in passes.into_iter().enumerate() {
            let mut random = Random::new(&[self.seed, AUGMENTING, step, pass as u64]);
            let mix = if self.augment.is_none() { None } else { self.augment.apply(&mut batch.inputs, &mut random) };
            let target = self.teach(&batch.inputs).map_err(|e| failed(e.into()))?;
            let labels = batch.labels.as_ref().map(|l| l.iter().map(|&l| l as usize).collect::<Vec<_>>());
            let lost = self.pass(&batch.inputs, labels.as_deref(), target.as_deref(), mix.as_ref(), share);
            let (loss, right, gradients) = lost.map_err(failed)?;
            stepped.loss += loss * f64::from(share);
            stepped.right += right;
            match stepped.gradients.as_mut_slice() {
                [] => stepped.gradients = gradients,
                sums => sums.iter_mut().zip(&gradients).for_each(|(s, g)| fewbits_train::add(g, s)),
            }
        }
        Ok(stepped)
    }

    /// Takes a step of learning rate `rate` against `gradients`.
    pub(super) fn step(&mut self, mut gradients: Vec<Vec<f32>>, rate: f32) {
        if let Some(limit) = self.clip {
            clip(&self.trainee.parameters, &mut gradients, limit);
        }
        self.optimizer.step(&mut self.trainee.parameters, &gradients, rate);
        self.trainee.hold();
        if let Some(average) = &mut self.average {
            average.follow(&self.trainee.parameters, self.optimizer.steps);
        }
    }

    /// Forward and backward once; gradients are of `share` of the loss.
    fn pass(
        &mut self,
        inputs: &[Tensor],
        labels: Option<&[usize]>,
        target: Option<&[Vec<f32>]>,
        mix: Option<&Mix>,
        share: f32,
    ) -> fewbits_train::Result<(f64, usize, Vec<Vec<f32>>)> {
        self.tape.forward(inputs, self.trainee.constants())?;
        let mut lost = self.losses.of(&self.tape, labels, target, mix)?;
        lost.gradients.iter_mut().flatten().for_each(|g| *g *= share);
        let outputs: Vec<&[f32]> = lost.gradients.iter().map(Vec::as_slice).collect();
        let gradients = self.tape.backward(&outputs)?;
        Ok((lost.value, lost.right.unwrap_or(0), self.trainee.pull_back(gradients)))
    }

    fn teach(&mut self, inputs: &[Tensor]) -> fewbits_engine::Result<Option<Vec<Vec<f32>>>> {
        let Some(teacher) = &mut self.teacher else { return Ok(None) };
        Ok(Some(teacher.run(inputs)?.iter().map(Tensor::to_f32).collect()))
    }

    /// The parameters that are evaluated: their average if there is one.
    pub(super) fn evaluated(&self) -> Vec<Vec<f32>> {
        match &self.average {
            Some(average) => average.values.clone(),
            None => self.trainee.parameters.iter().map(|p| p.values.clone()).collect(),
        }
    }
}
