//! Quantization-aware training: from a float model file and data to a quantized model file.

mod augment;
mod checkpoint;
mod learner;
mod objective;
mod options;
mod random;

use std::path::Path;
use std::time::{Duration, Instant};

use fewbits_graph::{Graph, Node, ValueId};
use fewbits_quantize::{Format, Mode, WeightRounding};
use fewbits_report::{Train, TrainEpoch};
use fewbits_train::{Schedule, Simulation, Trainee};

pub use augment::Augment;
pub use objective::Objective;
pub use options::TrainOptions;

use crate::measure::accuracy::evaluate;
use crate::output::write_result;
use crate::quantizer::storage;

use crate::{
    Error, Job, Model, ModelData, Progress, QuantizeOptions, Result, RunOptions, SampleBatch, check_output,
    fix_input_shapes, read_model, size_on_disk, write_model,
};
use checkpoint::{Progressed, State};
use learner::{Learner, Setup};
use objective::{Losses, take_logits};
use random::Random;

/// Purpose of the random numbers that order samples; augmentation's is another.
const ORDERING: u64 = 0;

/// All losses are of the order of 1; beyond this one there is nothing left to train.
const DIVERGED: f64 = 1e6;

/// Most samples held back from training to measure on.
const HELD_BACK: usize = 500;

/// Trains a model file's quantized form on data, and writes the best epoch's.
///
/// # Errors
/// Files and data that cannot be read or do not fit, a model that cannot be differentiated, a loss
/// that is no number.
pub fn train_file(options: &TrainOptions, progress: &mut dyn Progress) -> Result<Train> {
    options.check()?;
    let format = check_output(&options.model, &options.output)?;
    let mut graph = read_model(&options.model)?;
    let bytes_before = size_on_disk(&options.model, &graph)?;
    fix_input_shapes(&mut graph, &options.input_shapes).map_err(|what| Error::model(&options.model, what))?;
    let mut job = Job::new(graph, &options.model, Mode::Int8, format)?;
    let data = TrainData::open(options, &job)?;
    job.equalize(&options.recipe, Some(&data.calibration), options.threads, progress)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
    let pool = pool.map_err(|e| Error::Usage(format!("cannot start {} threads: {e}", options.threads)))?;
    let start = Start::new(options, &job, &data, progress)?;
    let mut run = Run::new(options, &job, format, &data, &start, &pool)?;
    if options.resume {
        run.resume()?;
    }
    run.train(progress, &pool)?;
    run.finish(bytes_before, progress)
}

/// Samples to train and to measure on.
struct TrainData {
    train: ModelData,
    eval: ModelData,
    calibration: ModelData,
    /// Rows of one pass, and passes of one step.
    rows: usize,
    passes: usize,
    notes: Vec<String>,
}

impl TrainData {
    fn open(options: &TrainOptions, job: &Job) -> Result<TrainData> {
        let open = |path: &Path| ModelData::open(path, job.graph(), &options.model, &options.data_options);
        let all = open(&options.data)?;
        let mut notes = all.dataset().notes().to_vec();
        let (train, eval) = match &options.eval {
            Some(path) => (all.clone(), open(path)?),
            None => {
                let (held, rest) = all.dataset().split((all.dataset().len() / 10).clamp(1, HELD_BACK));
                notes.push(format!("{} samples of --data were held back to measure on", held.len()));
                (all.with(rest), all.with(held))
            }
        };
        if options.objective.needs_labels() && !train.dataset().has_labels() {
            let what = "this loss needs labels, and the data has none: give --labels, or use --loss distill";
            return Err(Error::Usage(what.to_owned()));
        }
        let calibration = train.with(train.dataset().spread(options.samples));
        // A model of a fixed batch gets the step's samples in several passes.
        let fixed = train.batch();
        let free = job
            .graph()
            .inputs
            .iter()
            .all(|&v| job.graph().value(v).shape.0.first().is_none_or(|d| d.fixed().is_none()));
        let rows = if free { options.batch } else { fixed };
        let passes = (options.batch / rows).max(1);
        if train.dataset().len() < rows * passes {
            let what = format!(
                "{} samples do not fill a batch of {}: use a smaller --batch",
                train.dataset().len(),
                rows * passes
            );
            return Err(Error::Usage(what));
        }
        options
            .augment
            .check(&job.graph().inputs.iter().map(|&v| job.graph().value(v).clone()).collect::<Vec<_>>())
            .map_err(|what| Error::Usage(format!("--augment: {what}")))?;
        Ok(TrainData { train: train.with_batch(rows), eval, calibration, rows, passes, notes })
    }

    fn steps(&self, options: &TrainOptions) -> u64 {
        let all = (self.train.dataset().len() / (self.rows * self.passes)) as u64;
        options.steps.map_or(all, |n| n.min(all))
    }
}

/// The graph that training starts from.
struct Start {
    /// The quantized graph, or the float one.
    graph: Graph,
    trainee: Trainee,
    /// The float graph with logits as outputs.
    teacher: Graph,
    /// There are logits, so that outputs are classes.
    logits: bool,
}

impl Start {
    fn new(options: &TrainOptions, job: &Job, data: &TrainData, progress: &mut dyn Progress) -> Result<Start> {
        let untrainable = |e: fewbits_train::Error| Error::model(&options.model, e.to_string());
        let mut teacher = job.graph().clone();
        let logits = take_logits(&mut teacher);
        teacher.prune();
        if options.float {
            let mut graph = job.graph().clone();
            let whole = graph.clone();
            take_logits(&mut graph);
            let trainee = Trainee::float(graph).map_err(untrainable)?;
            return Ok(Start { graph: whole, trainee, teacher, logits });
        }
        let (statistics, _) = job.calibrate(&data.calibration, options.threads, progress)?;
        let (mut quantized, _) = job.quantize(&options.recipe, Some(&statistics))?;
        if options.recipe.weight_rounding == WeightRounding::Learned {
            job.learn(&mut quantized, &data.calibration, &options.recipe, options.threads, progress)?;
        }
        let largest = |node: &Node| i32::from(options.recipe.weight_bits(node).largest());
        let mut simulation = Simulation::new(job.graph(), &quantized, largest).map_err(untrainable)?;
        take_logits(&mut simulation.graph);
        let trainee = Trainee::simulated(simulation, options.learn_ranges).map_err(untrainable)?;
        Ok(Start { graph: quantized, trainee, teacher, logits })
    }
}

/// A training in progress.
struct Run<'a> {
    options: &'a TrainOptions,
    job: &'a Job,
    format: Format,
    data: &'a TrainData,
    start: &'a Start,
    learner: Learner,
    schedule: Schedule,
    state: Progressed,
    best: Vec<Vec<f32>>,
    began: Instant,
    /// Time spent in steps by this process, and the samples of these.
    spent: (Duration, u64),
}

impl<'a> Run<'a> {
    fn new(
        options: &'a TrainOptions,
        job: &'a Job,
        format: Format,
        data: &'a TrainData,
        start: &'a Start,
        pool: &rayon::ThreadPool,
    ) -> Result<Run<'a>> {
        let first = data.train.with(data.train.dataset().take(data.rows)).whole()?;
        let shapes: Vec<Vec<usize>> = first.inputs.iter().map(|t| t.shape().to_vec()).collect();
        let outputs = &start.trainee.graph.outputs;
        let labelled = data.train.dataset().has_labels();
        let classes_at = (start.logits || labelled)
            .then(|| outputs.iter().position(|&v| is_classes(&start.trainee.graph, v)))
            .flatten();
        if options.objective.needs_labels() && classes_at.is_none() {
            let what = "no output has one row of classes a sample: labels cannot be learned, use --loss distill";
            return Err(Error::model(&options.model, what));
        }
        let losses = Losses { objective: options.objective, temperature: options.temperature, classes_at };
        let setup = Setup {
            trainee: start.trainee.clone(),
            teacher: &start.teacher,
            shapes,
            losses,
            augment: options.augment,
            method: options.method,
            weight_decay: options.weight_decay,
            average: options.average,
            clip: options.clip,
            seed: options.seed,
            threads: options.threads,
        };
        let learner = pool.install(|| Learner::new(setup)).map_err(|e| Error::model(&options.model, e.to_string()))?;
        let steps = data.steps(options) * options.epochs;
        let warm_up = (f64::from(options.warm_up) * steps as f64) as u64;
        let schedule = Schedule { rate: options.rate, warm_up, steps, decay: options.decay };
        let state = Progressed { request: options.request(), ..Progressed::default() };
        Ok(Run {
            options,
            job,
            format,
            data,
            start,
            learner,
            schedule,
            state,
            best: Vec::new(),
            began: Instant::now(),
            spent: (Duration::ZERO, 0),
        })
    }

    fn resume(&mut self) -> Result<()> {
        let Some(path) = &self.options.checkpoint else { return Ok(()) };
        let request = self.state.request.clone();
        self.state = self.files().read(path, &request)?;
        Ok(())
    }

    fn files(&mut self) -> State<'_> {
        State {
            parameters: &mut self.learner.trainee.parameters,
            optimizer: &mut self.learner.optimizer,
            average: &mut self.learner.average,
            best: &mut self.best,
        }
    }

    fn save(&mut self) -> Result<()> {
        let Some(path) = self.options.checkpoint.clone() else { return Ok(()) };
        let state = self.state.clone();
        self.files().write(&path, &state)
    }

    fn train(&mut self, progress: &mut dyn Progress, pool: &rayon::ThreadPool) -> Result<()> {
        let per_epoch = self.data.steps(self.options);
        while self.state.steps < self.schedule.steps {
            let epoch = self.state.steps / per_epoch;
            self.epoch(epoch, per_epoch, progress, pool)?;
            self.close_epoch(epoch, progress)?;
            self.save()?;
        }
        Ok(())
    }

    fn epoch(
        &mut self,
        epoch: u64,
        per_epoch: u64,
        progress: &mut dyn Progress,
        pool: &rayon::ThreadPool,
    ) -> Result<()> {
        let (data, options) = (self.data, self.options);
        let order = Random::new(&[options.seed, ORDERING, epoch]).order(data.train.dataset().len());
        let mut batches = data.train.with(data.train.dataset().subset(&order)?).batches(options.threads)?;
        progress.start(&format!("epoch {}/{}", epoch + 1, options.epochs), per_epoch as usize);
        for step in epoch * per_epoch..(epoch + 1) * per_epoch {
            let passes: Vec<SampleBatch> = batches.by_ref().take(data.passes).collect::<Result<_>>()?;
            if passes.len() < data.passes || passes.iter().any(|b| b.count < data.rows) {
                // Images that do not decode were left out.
                self.state.steps = (epoch + 1) * per_epoch;
                break;
            }
            progress.advance();
            if step < self.state.steps {
                continue;
            }
            if options.stop_after.is_some_and(|n| step >= n) {
                return Err(self.interrupted(step));
            }
            let rate = self.schedule.at(step);
            let started = Instant::now();
            let stepped = pool.install(|| self.learner.look(passes, step))?;
            if stepped.loss.is_nan() || stepped.loss > DIVERGED {
                return Err(self.diverged(step, rate, stepped.loss));
            }
            // Only now is the state known to be one that gives a finite loss.
            if (step == 0 || step % per_epoch > 0) && step.is_multiple_of(options.checkpoint_steps) {
                self.save()?;
            }
            pool.install(|| self.learner.step(stepped.gradients, rate));
            self.spent.0 += started.elapsed();
            self.spent.1 += (data.rows * data.passes) as u64;
            self.state.steps = step + 1;
            self.state.loss += stepped.loss;
            self.state.seen += (data.rows * data.passes) as u64;
            self.state.right += stepped.right as u64;
            progress.note(&self.note(step % per_epoch + 1));
        }
        progress.finish();
        Ok(())
    }

    fn note(&self, steps: u64) -> String {
        let loss = self.state.loss / steps as f64;
        let rate = self.state.seen as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        format!("loss {loss:.4}, {rate:.0} samples/s")
    }

    fn where_to_go_on(&self) -> String {
        match &self.options.checkpoint {
            Some(path) if path.exists() => format!("the last good state is in {}", path.display()),
            _ => "no checkpoint was kept (--checkpoint)".to_owned(),
        }
    }

    fn diverged(&self, step: u64, rate: f32, loss: f64) -> Error {
        let what = format!(
            "the loss is {loss:.3e} at step {}: training diverged at learning rate {rate:.2e}; use a smaller --lr, or --clip; {}",
            step + 1,
            self.where_to_go_on()
        );
        Error::model(&self.options.model, what)
    }

    fn interrupted(&self, step: u64) -> Error {
        Error::model(&self.options.model, format!("stopped after {step} steps, as asked; {}", self.where_to_go_on()))
    }

    /// Measures the epoch's model and keeps it if it is the best.
    fn close_epoch(&mut self, epoch: u64, progress: &mut dyn Progress) -> Result<()> {
        let evaluated = self.learner.evaluated();
        if evaluated.iter().flatten().any(|x| !x.is_finite()) {
            return Err(self.diverged(self.state.steps, self.schedule.at(self.state.steps), f64::NAN));
        }
        let (measured, _) = self.measure(self.graph_with(&evaluated), progress, self.unlabelled())?;
        let steps = self.data.steps(self.options).max(1);
        let seen = self.state.seen;
        let labelled = self.data.train.dataset().has_labels() && seen > 0;
        self.state.epochs.push(TrainEpoch {
            epoch: epoch + 1,
            steps: self.state.steps,
            learning_rate: f64::from(self.schedule.at(self.state.steps.saturating_sub(1))),
            loss: self.state.loss / steps as f64,
            train_top1: labelled.then(|| self.state.right as f64 / seen as f64),
            top1: measured.top1,
            sqnr_db: measured.sqnr_db,
        });
        (self.state.loss, self.state.seen, self.state.right) = (0.0, 0, 0);
        self.began = Instant::now();
        let score = measured.top1.or(measured.sqnr_db).unwrap_or(f64::NEG_INFINITY);
        if self.state.best.is_none_or(|best| score > best) {
            (self.state.best, self.state.best_epoch, self.best) = (Some(score), epoch + 1, evaluated);
        }
        if let Some(path) = &self.options.log {
            crate::write_file(path, fewbits_report::train_csv(&self.state.epochs).as_bytes())?;
        }
        Ok(())
    }

    /// Whether the float model's outputs are the measure, as there are no labels to measure with.
    fn unlabelled(&self) -> bool {
        !self.data.eval.dataset().has_labels()
    }

    /// The graph with other parameters.
    fn graph_with(&self, values: &[Vec<f32>]) -> Graph {
        let mut trainee = self.learner.trainee.clone();
        for (p, values) in trainee.parameters.iter_mut().zip(values) {
            p.values.clone_from(values);
        }
        trainee.export(&self.start.graph)
    }

    /// Top-1 of the float model is measured with `reference`.
    fn measure(
        &self,
        graph: Graph,
        progress: &mut dyn Progress,
        reference: bool,
    ) -> Result<(fewbits_report::Evaluate, Option<f64>)> {
        let run = RunOptions { threads: self.options.threads, ..RunOptions::default() };
        let mut model = Model::new(graph, &self.options.output, &run)?;
        let float = || Model::simplified(self.job.graph().clone(), &self.options.model, &run);
        let mut float = reference.then(float).transpose()?;
        let data = &self.data.eval;
        let measured = evaluate(&mut model, float.as_mut(), data, None, self.options.threads, progress)?;
        Ok((measured.report, measured.reference_top1))
    }

    fn finish(self, bytes_before: u64, progress: &mut dyn Progress) -> Result<Train> {
        let options = self.options;
        let (before, float_top1) = self.measure(self.start.graph.clone(), progress, true)?;
        let mut graph = self.graph_with(&self.best);
        let mut notes = self.data.notes.clone();
        let (graph, bytes, files) = if options.float {
            write_model(&graph, &options.output)?;
            let graph = read_model(&options.output)?;
            let bytes = size_on_disk(&options.output, &graph)?;
            (graph, bytes, options.output.display().to_string())
        } else {
            notes.extend(storage(&mut graph, &options.recipe, &options.output, self.format));
            let written = write_result(graph, &options.recipe, &QuantizeOptions::new(&options.model, &options.output))?;
            (written.graph, written.bytes, written.files)
        };
        let (after, _) = self.measure(graph, progress, true)?;
        Ok(Train {
            model: options.model.display().to_string(),
            output: files,
            float: options.float,
            bytes_before,
            bytes_after: bytes,
            samples: after.samples,
            top1_float: float_top1,
            top1_before: before.top1,
            top1_after: after.top1,
            agreement_before: before.agreement,
            agreement_after: after.agreement,
            sqnr_db_before: before.sqnr_db,
            sqnr_db_after: after.sqnr_db,
            best_epoch: self.state.best_epoch,
            epochs: self.state.epochs.clone(),
            training_samples: self.data.train.dataset().len() as u64,
            pass_bytes: self.learner.bytes() as u64,
            samples_per_second: self.spent.1 as f64 / self.spent.0.as_secs_f64().max(1e-9),
            notes,
        })
    }
}

/// Whether an output has one row of classes a sample.
fn is_classes(graph: &Graph, v: ValueId) -> bool {
    let shape = &graph.value(v).shape.0;
    let long = shape.iter().skip(1).filter(|d| d.fixed() != Some(1)).count();
    shape.len() >= 2 && long == 1 && shape.last().is_some_and(|d| d.fixed() != Some(1))
}
