//! Recipes measured for real: quantized, written to bytes, read back, and run beside the float model.

use std::time::Instant;

use fewbits_graph::{Graph, Tensor};
use fewbits_quantize::{
    Format, Probe, Recipe, Statistics, WeightBits, WeightRounding, forms, layer_widths, pack_weights, quantized_layers,
    weight_layers, with_learned_layers,
};
use fewbits_report::SearchStep;

use super::ladder::{Bench, Raise};
use super::metric::classifies;
use crate::measure::accuracy::Measured;
use crate::measure::analyze::layer_samples;
use crate::measure::paired::{Loss, Metric};
use crate::model::RealOutput;
use crate::{Error, Job, Meter, Model, ModelData, Progress, Result, RunOptions, SampleBatch, adapt_inputs};

/// Samples and float outputs are kept between steps up to this many bytes; beyond it they are read and
/// computed again for each.
const KEPT_BYTES: usize = 256 << 20;

/// What a search has at hand.
pub(crate) struct Resources<'a> {
    pub(crate) job: &'a Job,
    pub(crate) statistics: Option<&'a Statistics>,
    pub(crate) calibration: Option<&'a ModelData>,
    pub(crate) measured: Option<&'a ModelData>,
    /// What a loss is measured by; chosen by the data and the model if not given.
    pub(crate) metric: Option<Metric>,
    pub(crate) threads: usize,
}

/// The trials of one search.
pub(crate) struct Trials<'a> {
    resources: Resources<'a>,
    limit: f64,
    evaluation: Evaluation,
    classifies: bool,
    metric: Option<Metric>,
    steps: Vec<SearchStep>,
    /// The last that kept the accuracy: its step, its graph, and what was measured.
    held: Option<(usize, Graph, Measured)>,
    /// The last recipe with learned rounding, and what became of it.
    learned: Option<(Recipe, Graph)>,
    /// When the work of the next step began.
    since: Instant,
    progress: &'a mut dyn Progress,
}

impl<'a> Trials<'a> {
    pub(crate) fn new(resources: Resources<'a>, limit: f64, progress: &'a mut dyn Progress) -> Result<Self> {
        let evaluation = Evaluation::new(&resources)?;
        Ok(Trials {
            classifies: classifies(resources.job.graph()),
            metric: resources.metric,
            resources,
            limit,
            evaluation,
            steps: Vec::new(),
            held: None,
            learned: None,
            since: Instant::now(),
            progress,
        })
    }

    /// What losses are measured by, once one was.
    pub(crate) fn metric(&self) -> Option<Metric> {
        self.metric
    }

    /// The steps; the graph of the one that held last, and what was measured of it.
    pub(crate) fn finish(mut self) -> (Vec<SearchStep>, Option<(Graph, Measured)>) {
        let held = self.held.map(|(step, graph, measured)| {
            self.steps[step].chosen = true;
            (graph, measured)
        });
        (self.steps, held)
    }

    /// Measures a graph and notes the step. `real` graphs may become the result.
    fn judge(&mut self, name: &str, recipe: &Recipe, graph: Graph, real: bool) -> Result<f64> {
        let job = self.resources.job;
        let (read, bytes) = round_trip(&graph, job)?;
        let options = RunOptions { threads: self.resources.threads, ..RunOptions::default() };
        let mut model = Model::new(read, job.path(), &options)?;
        let measured = self.evaluation.measure(&mut model, self.progress)?;
        let natural = || measured.paired.natural(self.classifies);
        let metric = *self.metric.get_or_insert_with(natural);
        let Some(Loss { points, interval }) = measured.paired.loss(metric) else {
            return Err(Error::Usage(unmeasurable(metric)));
        };
        let holds = points <= self.limit;
        let now = Instant::now();
        self.steps.push(SearchStep {
            name: name.to_owned(),
            changes: changes(recipe),
            top1: measured.report.top1,
            agreement: measured.report.agreement,
            sqnr_db: measured.report.sqnr_db,
            drop_points: Some(points).filter(|p| p.is_finite()),
            drop_low_points: interval.map(|i| i.0),
            drop_high_points: interval.map(|i| i.1),
            bytes,
            seconds: now.duration_since(self.since).as_secs_f64(),
            holds,
            chosen: false,
        });
        if real && holds {
            self.held = Some((self.steps.len() - 1, graph, measured));
        }
        self.since = now;
        Ok(points)
    }

    /// Layers by what the outputs gain if they stay float beside everything else quantized.
    fn rank_float(&mut self, recipe: &Recipe) -> Result<Vec<String>> {
        let Resources { job, statistics, threads, .. } = &self.resources;
        let (graph, error) = (job.graph(), Error::quantize(job.path()));
        let (none, samples) = (Statistics::default(), ranking_samples(&self.resources)?);
        let probe = Probe::new(graph, statistics.unwrap_or(&none), recipe, job.format(), samples, *threads);
        let probe = probe.map_err(&error)?;
        let layers = quantized_layers(graph, &forms(graph, probe.quantized()));
        self.progress.start("ranking", layers.len());
        let without = |i: usize| Raise::Float.apply(recipe, &[graph.node(layers[i]).name.clone()]);
        let db = probe.sqnr_db(layers.len(), without, &mut || self.progress.advance()).map_err(&error)?;
        self.progress.finish();
        // NaN, where outputs are no numbers, comes last.
        let key = |i: usize| if db[i].is_nan() { f64::NEG_INFINITY } else { db[i] };
        let mut order: Vec<usize> = (0..layers.len()).collect();
        order.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(layers[a].cmp(&layers[b])));
        Ok(order.into_iter().map(|i| graph.node(layers[i]).name.clone()).collect())
    }

    /// Layers by the noise that eight bits for their weights take away, for each byte they add.
    fn rank_wide(&mut self, recipe: &Recipe) -> Result<Vec<String>> {
        let Resources { job, statistics, threads, .. } = &self.resources;
        let (graph, error) = (job.graph(), Error::quantize(job.path()));
        let quantized = job.quantize(recipe, *statistics)?.0;
        let eight = WeightBits::default();
        let bits = |nodes: &[fewbits_graph::NodeId]| recipe.weight_bits(graph.node(nodes[0]));
        let mut layers = weight_layers(graph, &quantized);
        layers.retain(|nodes| bits(nodes) < eight);
        let mut widths = recipe.weight_widths();
        if !widths.contains(&eight) {
            widths.push(eight);
        }
        let samples = ranking_samples(&self.resources)?;
        self.progress.start("ranking", layers.len() * widths.len());
        let mut advance = || self.progress.advance();
        let measured = layer_widths(graph, *statistics, recipe, &layers, &widths, &samples, *threads, &mut advance);
        let measured = measured.map_err(&error)?;
        self.progress.finish();
        let at = |bits: WeightBits| widths.iter().position(|w| *w == bits).unwrap_or(0);
        let gain = |i: usize| {
            let layer = &measured[i];
            (layer.noise[at(bits(&layer.nodes))] - layer.noise[at(eight)]) / layer.elements.max(1) as f64
        };
        let mut order: Vec<usize> = (0..measured.len()).collect();
        order.sort_by(|&a, &b| gain(b).total_cmp(&gain(a)).then(a.cmp(&b)));
        let nodes = order.into_iter().flat_map(|i| &measured[i].nodes);
        Ok(nodes.map(|&id| graph.node(id).name.clone()).collect())
    }
}

/// Some samples to rank layers on: those calibrated with, so that the others stay unseen.
pub(super) fn ranking_samples(resources: &Resources<'_>) -> Result<Vec<Vec<Tensor>>> {
    let Resources { job, calibration, measured, threads, .. } = resources;
    match calibration.or(*measured) {
        Some(data) => layer_samples(None, *threads, job.graph(), data),
        None => Err(Error::Usage("layers are ranked on samples: give them with --data".to_owned())),
    }
}

/// The same recipe with rounding that needs no learning.
pub(super) fn unlearned(recipe: &Recipe) -> Recipe {
    match recipe.weight_rounding {
        WeightRounding::Learned => Recipe { weight_rounding: WeightRounding::Balanced, ..recipe.clone() },
        _ => recipe.clone(),
    }
}

impl Bench for Trials<'_> {
    fn measure(&mut self, name: &str, recipe: &Recipe) -> Result<f64> {
        let Resources { job, statistics, calibration, threads, .. } = &self.resources;
        let (mut graph, _) = job.quantize(recipe, *statistics)?;
        if let Some(samples) = calibration.filter(|_| recipe.weight_rounding == WeightRounding::Learned) {
            job.learn(&mut graph, samples, recipe, *threads, self.progress)?;
            self.learned = Some((recipe.clone(), graph.clone()));
        }
        self.judge(name, recipe, graph, true)
    }

    fn estimate(&mut self, name: &str, recipe: &Recipe) -> Result<f64> {
        let Resources { job, statistics, .. } = &self.resources;
        let (mut graph, _) = job.quantize(&unlearned(recipe), *statistics)?;
        if let Some((of, learned)) = &self.learned {
            let float = job.graph();
            let node = |name: &str| float.nodes.iter().find(|n| n.name == name);
            let same = |name: &str| node(name).is_some_and(|n| of.weight_bits(n) == recipe.weight_bits(n));
            graph = with_learned_layers(learned, graph, same);
        }
        self.judge(name, recipe, graph, false)
    }

    fn rank(&mut self, recipe: &Recipe, raise: Raise) -> Result<Vec<String>> {
        match raise {
            Raise::EightBits => self.rank_wide(&unlearned(recipe)),
            Raise::Float => self.rank_float(&unlearned(recipe)),
        }
    }
}

fn unmeasurable(metric: Metric) -> String {
    match metric {
        Metric::Top1 => "top-1 needs labels, and a model with one row of classes a sample: use --metric agreement",
        Metric::Agreement => "agreement needs an output with several classes a sample: use --metric output-error",
        Metric::Error => "the model has no float output that could be compared",
    }
    .to_owned()
}

/// Size of the file that a graph becomes.
pub(crate) fn file_bytes(graph: &Graph, job: &Job) -> Result<u64> {
    Ok(round_trip(graph, job)?.1)
}

/// The graph that a reader of the file has, and the file's size.
fn round_trip(graph: &Graph, job: &Job) -> Result<(Graph, u64)> {
    let mut graph = graph.clone();
    pack_weights(&mut graph, job.format());
    let graph = &graph;
    let path = || job.path().to_owned();
    match job.format() {
        Format::Onnx => {
            let error = |source| Error::Onnx { path: path(), source: Box::new(source) };
            let bytes = fewbits_onnx::to_bytes(graph).map_err(error)?;
            let size = bytes.len() as u64;
            Ok((fewbits_onnx::read_bytes(bytes, None).map_err(error)?, size))
        }
        Format::Tflite => {
            let error = |source| Error::Tflite { path: path(), source: Box::new(source) };
            let bytes = fewbits_tflite::to_bytes(graph).map_err(error)?;
            Ok((fewbits_tflite::read_bytes(&bytes).map_err(error)?, bytes.len() as u64))
        }
    }
}

/// Lines of a recipe that differ from those of its mode's default.
fn changes(recipe: &Recipe) -> Vec<String> {
    // What a recipe writes, it reads.
    let table = |recipe: &Recipe| recipe.to_toml().parse::<toml::Table>().unwrap_or_default();
    let default = table(&Recipe::new(recipe.mode));
    let own = table(recipe);
    let other = own.iter().filter(|(key, value)| default.get(*key) != Some(*value));
    other.map(|(key, value)| format!("{key} = {value}")).collect()
}

/// The samples that every recipe is measured on, and the float model's answers.
struct Evaluation {
    data: ModelData,
    float: Model,
    threads: usize,
    kept: Option<Vec<(SampleBatch, Vec<RealOutput>)>>,
    /// Whether the samples were seen to be too many to be kept.
    too_many: bool,
    /// Images that do not decode.
    skipped: usize,
}

impl Evaluation {
    fn new(resources: &Resources<'_>) -> Result<Self> {
        let Some(data) = resources.measured else {
            let what = "--max-drop is measured on samples that were not calibrated with: give some with --eval";
            return Err(Error::Usage(what.to_owned()));
        };
        let options = RunOptions { threads: resources.threads, ..RunOptions::default() };
        let float = Model::simplified(resources.job.graph().clone(), resources.job.path(), &options)?;
        Ok(Evaluation {
            data: data.clone(),
            float,
            threads: resources.threads,
            kept: None,
            too_many: false,
            skipped: 0,
        })
    }

    /// Runs a model over all samples.
    fn measure(&mut self, model: &mut Model, progress: &mut dyn Progress) -> Result<Measured> {
        let mut meter = Meter::default();
        progress.start("evaluating", self.data.runs());
        if let Some(kept) = &self.kept {
            for (batch, expected) in kept {
                push(&mut meter, &self.float, model, batch, expected)?;
                progress.advance();
            }
        } else {
            let (mut kept, mut bytes) = (Vec::new(), 0);
            let mut batches = self.data.batches(self.threads)?;
            for batch in batches.by_ref() {
                let batch = batch?;
                let expected = self.float.run_real(&batch.inputs)?;
                push(&mut meter, &self.float, model, &batch, &expected)?;
                progress.advance();
                bytes += batch.inputs.iter().map(|t| t.bytes().len()).sum::<usize>();
                bytes += expected.iter().map(|o| size_of_val(o.data.as_slice())).sum::<usize>();
                if bytes > KEPT_BYTES {
                    (self.too_many, kept) = (true, Vec::new());
                } else if !self.too_many {
                    kept.push((batch, expected));
                }
            }
            self.kept = (!self.too_many).then_some(kept);
            self.skipped = batches.skipped().len();
        }
        progress.finish();
        Ok(Measured::new(meter, self.skipped, &self.data))
    }
}

fn push(
    meter: &mut Meter,
    float: &Model,
    model: &mut Model,
    batch: &SampleBatch,
    expected: &[RealOutput],
) -> Result<()> {
    let inputs = adapt_inputs(&batch.inputs, float.graph(), model.graph());
    let outputs = model.run_real(&inputs.unwrap_or_else(|| batch.inputs.clone()))?;
    meter.push(&outputs, Some(expected), batch.labels.as_deref(), batch.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_quantize::{Calibration, Mode, Override};

    #[test]
    fn only_what_differs_from_the_default_is_said() {
        assert!(changes(&Recipe::new(Mode::Dynamic)).is_empty());
        let mut recipe =
            Recipe { calibration: Calibration::Entropy, bias_correction: false, ..Recipe::new(Mode::Int8) };
        recipe.exclude = vec!["a".to_owned()];
        recipe.overrides.insert("b".to_owned(), Override { weights: Some(WeightBits::default()) });
        let lines = [
            "bias-correction = false",
            "calibration = \"entropy\"",
            "exclude = [\"a\"]",
            "overrides = { b = { weights = 8 } }",
        ];
        assert_eq!(changes(&recipe), lines);
    }
}
