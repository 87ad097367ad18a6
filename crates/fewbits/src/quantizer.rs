//! From a float model file to a quantized one, and what it cost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fewbits_graph::{DType, Graph, Op, Tensor};
use fewbits_quantize::{
    ActivationBits, Format, IoType, Mode, Recipe, Statistics, WeightBits, WeightRounding, layers_without_blocks,
    pack_weights,
};
use fewbits_report::{Latency, Quantize};

use crate::export::header_path;
use crate::measure::accuracy::{Measured, evaluate};
use crate::measure::paired::{Loss, Metric};
use crate::output::write_result;
use crate::samples::Samples;
use crate::search::budget::{self, SizeLimit};
use crate::search::latency::{self, LatencyLimit};
use crate::search::{Allowed, Chosen, Found, Resources, classifies, search};
use crate::synthetic::synthesise;
use crate::verdict::{give_up, judge};
use crate::{
    DataOptions, Error, Job, Model, ModelData, Progress, Repeat, Result, RunOptions, c_name, fix_input_shapes, is_c,
    model_format, read_model, run_shapes, size_on_disk, synthetic_inputs, time_runs,
};

/// Most samples that are made where there are none.
const MOST_SYNTHETIC: usize = 1000;

/// What `quantize` is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeOptions {
    /// The float model, `.onnx` or `.tflite`.
    pub model: PathBuf,
    /// The file to write; its extension chooses the format. A `.c` file gets its header beside it; it
    /// needs mode int8.
    pub output: PathBuf,
    /// What to do; without it, the default recipe of int8 if there is data, of dynamic if not.
    pub recipe: Option<Recipe>,
    /// Samples to calibrate with, and to measure on; `none` to have samples made.
    pub data: Option<PathBuf>,
    /// The range that images are in, where they are made: the model's numbers for black and white.
    pub input_range: Option<(f32, f32)>,
    /// Samples to calibrate with, spread evenly over the data. Up to 50 of the others are held back
    /// to measure on; if there are not that many, a tenth of all (at least one, if there are two).
    pub samples: usize,
    /// Samples to measure on instead of held-back ones.
    pub eval: Option<PathBuf>,
    /// How the data is read.
    pub data_options: DataOptions,
    /// The most percentage points that may be lost, by `metric`. Recipes are tried from cheap to dear
    /// until one loses no more; what `recipe` says other than the default of its mode is kept in all
    /// of them. If none holds, nothing is written. Without `eval`, all samples that are not
    /// calibrated with are measured on.
    pub max_drop: Option<f64>,
    /// What a loss is measured by; if not given, top-1 where there are labels, else agreement for
    /// models whose outputs are classes, else the outputs' error.
    pub metric: Option<Metric>,
    /// The most that the file may take: weights are narrowed where it costs the outputs least.
    pub max_size: Option<SizeLimit>,
    /// The longest that a run may take on this machine with `latency_threads`: the layers that cost
    /// the outputs most stay float as long as it does not.
    pub max_latency: Option<LatencyLimit>,
    /// Threads for calibrating and evaluating; 0 takes all cores. The file written does not depend
    /// on it.
    pub threads: usize,
    /// Threads of the latency measurement; 0 takes all cores.
    pub latency_threads: usize,
    /// Fixes shapes of inputs, by name: the model written takes these only.
    pub input_shapes: Vec<(String, Vec<usize>)>,
}

impl QuantizeOptions {
    /// The defaults: 100 samples, all cores, latency on one thread.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        QuantizeOptions {
            model: model.into(),
            output: output.into(),
            recipe: None,
            data: None,
            input_range: None,
            samples: 100,
            eval: None,
            data_options: DataOptions::default(),
            max_drop: None,
            metric: None,
            max_size: None,
            max_latency: None,
            threads: 0,
            latency_threads: 1,
            input_shapes: Vec::new(),
        }
    }

    /// The recipe, given or default.
    pub fn effective_recipe(&self) -> Recipe {
        let mode = if self.data.is_some() { Mode::Int8 } else { Mode::Dynamic };
        self.recipe.clone().unwrap_or_else(|| Recipe::new(mode))
    }

    /// Whether samples are to be made.
    fn makes_data(&self) -> bool {
        self.data.as_deref() == Some(Path::new("none"))
    }

    /// What can be refused before any file is read.
    fn check(&self) -> Result<Recipe> {
        let usage = |what: &str| Err(Error::Usage(what.to_owned()));
        let recipe = self.effective_recipe();
        if recipe.mode != Mode::Int8 && is_c(&self.output) {
            return usage("C is written for int8 models: give calibration samples with --data");
        }
        if recipe.mode == Mode::Int8 && self.data.is_none() {
            return usage("mode int8 chooses ranges from samples: give them with --data, or use --mode dynamic");
        }
        if recipe.mode != Mode::Int8 && recipe.io != IoType::Float {
            return usage("integer inputs and outputs (--io) need mode int8: the other modes compute in float between");
        }
        let learned = recipe.weight_rounding == WeightRounding::Learned;
        let narrow = recipe.weight_widths() != [WeightBits::default()] || self.max_size.is_some();
        if recipe.mode == Mode::Float16 && (learned || narrow) {
            return usage(
                "learned rounding, --weights and --max-size are for integer weights: use --mode int8 or dynamic",
            );
        }
        if recipe.mode != Mode::Int8 && recipe.activations != ActivationBits::default() {
            return usage("--activations is for the integer activations of --mode int8");
        }
        if learned && recipe.mode == Mode::WeightOnly {
            return usage("learned rounding is for --mode int8 or dynamic: weights alone are rounded without data");
        }
        if recipe.block.is_some() && recipe.per_tensor {
            return usage("--block and --per-tensor contradict each other");
        }
        if recipe.block.is_some() && recipe.mode != Mode::WeightOnly {
            return usage("--block is for weights alone: give --activations float");
        }
        if learned && (self.data.is_none() || self.samples == 0) {
            return usage("rounding is learned from samples: give them with --data");
        }
        if recipe.smooth && (self.data.is_none() || self.samples == 0) {
            return usage("--smooth follows what samples show: give them with --data");
        }
        if self.samples == 0 && recipe.mode == Mode::Int8 {
            return usage("calibration needs at least one sample: --samples 0");
        }
        if self.makes_data() && self.samples > MOST_SYNTHETIC {
            return usage(&format!("--data none makes at most {MOST_SYNTHETIC} samples: lower --samples"));
        }
        if let Some((low, high)) = self.input_range {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return usage("--input-range takes two numbers, the lower one first");
            }
            if !self.makes_data() {
                return usage("--input-range is for --data none: samples that are given have their range");
            }
        }
        if self.max_drop.is_some() && (self.data.is_none() || self.makes_data()) && self.eval.is_none() {
            return usage("--max-drop is measured on samples: give them with --data or --eval");
        }
        let budget = self.max_size.is_some() || self.max_latency.is_some();
        if budget && self.data.is_none() && self.eval.is_none() {
            return usage("--max-size and --max-latency measure layers on samples: give them with --data or --eval");
        }
        if self.max_latency.is_some() && (self.max_size.is_some() || recipe.io != IoType::Float || is_c(&self.output)) {
            return usage("--max-latency leaves layers float: it goes with neither --max-size, nor --io, nor C");
        }
        Ok(recipe)
    }

    /// Steps of a search that make sense.
    fn allowed(&self, recipe: &Recipe) -> Allowed {
        Allowed {
            learning: self.data.is_some() && self.samples > 0,
            wider: self.max_size.is_none(),
            float: self.max_size.is_none()
                && self.max_latency.is_none()
                && recipe.io == IoType::Float
                && !is_c(&self.output),
        }
    }
}

/// The recipe's file beside a result: the result's name with the extension `recipe.toml`.
pub fn recipe_path(output: &Path) -> PathBuf {
    output.with_extension("recipe.toml")
}

/// Refuses an output that would replace the model, cannot be written, or is of no known format. What
/// is returned is the format whose rules the result follows: those of C are TFLite's.
///
/// # Errors
/// [`Error::Usage`], [`Error::UnknownFormat`], [`Error::Io`].
pub fn check_output(model: &Path, output: &Path) -> Result<Format> {
    let format = if is_c(output) { Format::Tflite } else { model_format(output)? };
    let same = match (model.canonicalize(), output.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => model == output,
    };
    if same {
        let what = format!("{} is the model itself: give the result another name", output.display());
        return Err(Error::Usage(what));
    }
    // Calibrating for minutes and failing to write then would be unkind.
    drop(crate::files::prepare(output)?);
    drop(crate::files::prepare(&recipe_path(output))?);
    if is_c(output) {
        drop(crate::files::prepare(&header_path(output, &c_name(output)))?);
    }
    Ok(format)
}

/// Quantizes a model file, writes the result and its recipe, and measures what it cost.
///
/// Nothing is written unless everything before succeeded. The measurements are those of the file
/// as written: it is read back for them. Those of C are the engine's on the graph that became C.
///
/// # Errors
/// Files and data that cannot be read or do not fit, an unwritable output, a request that
/// contradicts itself.
pub fn quantize_file(options: &QuantizeOptions, progress: &mut dyn Progress) -> Result<Quantize> {
    let recipe = options.check()?;
    let format = check_output(&options.model, &options.output)?;
    let mut graph = read_model(&options.model)?;
    let bytes_before = size_on_disk(&options.model, &graph)?;
    fix_input_shapes(&mut graph, &options.input_shapes).map_err(|what| Error::model(&options.model, what))?;
    let source = options.makes_data().then(|| graph.clone());
    let mut job = Job::new(graph, &options.model, recipe.mode, format)?;
    let calibrating = recipe.mode == Mode::Int8 || options.samples > 0;
    let synthetic = match source.filter(|_| calibrating) {
        Some(source) => {
            let range = options.input_range;
            Some(synthesise(&source, job.graph(), &options.model, options.samples, range, options.threads)?)
        }
        None => None,
    };
    let float = (recipe.equalize || recipe.smooth).then(|| job.graph().clone());
    // The other modes choose no ranges, but a bias can be corrected with what samples show.
    let learns = recipe.weight_rounding == WeightRounding::Learned;
    let useful = recipe.bias_correction || learns || options.max_drop.is_some();
    let calibrates = recipe.mode == Mode::Int8 || (useful && options.samples > 0);
    let data = match &synthetic {
        Some(made) => Samples::made(made.path(), options, &job)?,
        None => Samples::open(options, &job, calibrates)?,
    };
    job.equalize(&recipe, data.calibration.as_ref(), options.threads, progress)?;
    let (statistics, skipped) = match &data.calibration {
        Some(samples) => {
            let (statistics, skipped) = job.calibrate(samples, options.threads, progress)?;
            let widened = synthetic.is_some().then(|| statistics.clone().widened(recipe.calibration, job.graph()));
            (Some(widened.unwrap_or(statistics)), skipped)
        }
        None => (None, 0),
    };
    let mut report = Quantize {
        model: options.model.display().to_string(),
        mode: mode_name(recipe.mode).to_owned(),
        bytes_before,
        calibration_samples: statistics.as_ref().map_or(0, |s| s.samples as u64),
        synthetic: synthetic.map(|made| made.report.clone()),
        skipped: skipped as u64,
        max_drop_points: options.max_drop,
        ..Quantize::default()
    };
    let Some(made) = make(options, &job, &data, statistics.as_ref(), recipe, &mut report, progress)? else {
        report.notes.splice(0..0, data.notes);
        return Ok(report);
    };
    drop(statistics);
    let mut graph = made.graph;
    let islands = (made.recipe.mode == Mode::Int8).then(|| float_islands(&graph)).flatten();
    let stored = storage(&mut graph, &made.recipe, &options.output, format);
    let written = write_result(graph, &made.recipe, options)?;
    report.output = written.files;
    report.recipe = recipe_path(&options.output).display().to_string();
    report.bytes_after = written.bytes;
    report.ratio = written.bytes as f64 / bytes_before as f64;
    report.notes.extend(data.notes.iter().cloned().chain(islands).chain(stored));
    // What the result is measured against is the model as it was.
    let reference = float.as_ref().unwrap_or(job.graph());
    measure(reference, written.graph, made.measured, &data, options, &mut report, progress)?;
    judge(&mut report);
    Ok(report)
}

/// A recipe, the graph that it makes, and what was measured of it already.
struct Made {
    recipe: Recipe,
    graph: Graph,
    measured: Option<Measured>,
}

/// Quantizes as `recipe` says, within what `options` limit. `None`, with `report` filled, if
/// `options.max_drop` cannot be met.
fn make(
    options: &QuantizeOptions,
    job: &Job,
    data: &Samples,
    statistics: Option<&Statistics>,
    mut recipe: Recipe,
    report: &mut Quantize,
    progress: &mut dyn Progress,
) -> Result<Option<Made>> {
    let resources = Resources {
        job,
        statistics,
        calibration: data.calibration.as_ref(),
        measured: data.measured.as_ref(),
        metric: options.metric,
        threads: options.threads,
    };
    if let Some(limit) = options.max_size {
        let (narrowed, budget) = budget::within(&resources, &recipe, limit.bytes(report.bytes_before), progress)?;
        (recipe, report.size_budget) = (narrowed, Some(budget));
    }
    if let Some(limit) = options.max_latency {
        let (mixed, budget) = latency::within(&resources, &recipe, limit, options.latency_threads, progress)?;
        (recipe, report.latency_budget) = (mixed, Some(budget));
    }
    let Some(limit) = options.max_drop else {
        let (mut graph, overflows) = job.quantize(&recipe, statistics)?;
        report.overflows = overflows;
        let learns = recipe.weight_rounding == WeightRounding::Learned;
        if let Some(samples) = data.calibration.as_ref().filter(|_| learns) {
            job.learn(&mut graph, samples, &recipe, options.threads, progress)?;
        }
        return Ok(Some(Made { recipe, graph, measured: None }));
    };
    let started = Instant::now();
    let Found { chosen, steps, metric } = search(resources, &recipe, limit, options.allowed(&recipe), progress)?;
    report.search_seconds = Some(started.elapsed().as_secs_f64());
    report.metric = metric.map(|m| m.name().to_owned());
    report.samples = data.measured.as_ref().map_or(0, |m| m.dataset().len() as u64);
    report.steps = steps;
    let Some(Chosen { recipe, graph, measured }) = chosen else {
        give_up(report, limit);
        return Ok(None);
    };
    if recipe.mode == Mode::Float16 {
        report.overflows = job.quantize(&recipe, statistics)?.1;
    }
    Ok(Some(Made { recipe, graph, measured: Some(measured) }))
}

/// Stores weights of few bits as the format can; tells what did not come as was asked for.
pub(crate) fn storage(graph: &mut Graph, recipe: &Recipe, output: &Path, format: Format) -> Vec<String> {
    let mut notes = Vec::new();
    let some =
        |names: &[String]| format!("{} (`{}`{})", names.len(), names[0], if names.len() > 1 { ", …" } else { "" });
    if let Some(size) = recipe.block {
        let left = layers_without_blocks(graph, size);
        if !left.is_empty() {
            notes.push(format!("a scale for each channel, not for each block, in layers of {}", some(&left)));
        }
    }
    let bits = recipe.weight_widths().into_iter().map(u8::from).min().unwrap_or(8);
    let some_have = if recipe.weight_widths().len() > 1 { "some weights have" } else { "weights have" };
    let left = match bits {
        // C has bytes.
        ..=4 if !is_c(output) => pack_weights(graph, format),
        _ => Vec::new(),
    };
    if (5..8).contains(&bits) || (bits <= 4 && is_c(output)) {
        notes.push(format!("{some_have} {bits} bits each, but take a byte in the file"));
    } else if bits < 4 {
        notes.push(format!("{some_have} {bits} bits each, but take four in the file"));
    }
    if !left.is_empty() {
        notes.push(format!(
            "weights that fit 4 bits take a byte where a runtime needs it, in layers of {}",
            some(&left)
        ));
    }
    notes
}

/// What of an int8 graph computes on float edges, in words; `None` if nothing does.
fn float_islands(graph: &Graph) -> Option<String> {
    let mut islands: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|n| !matches!(n.op, Op::Quantize(_) | Op::Dequantize(_))) {
        let values = || node.inputs.iter().flatten().chain(&node.outputs).map(|&v| graph.value(v));
        if values().any(|v| v.dtype == DType::F32 && v.data.is_none()) {
            let narrow = values().any(|v| v.dtype == DType::I8 && v.data.is_some());
            islands.entry((node.op.name(), narrow)).or_default().push(&node.name);
        }
    }
    let one = |((op, narrow), names): (&(&str, bool), &Vec<&str>)| {
        let weights = if *narrow { " with int8 weights" } else { "" };
        let more = if names.len() > 1 { ", …" } else { "" };
        format!("{} {op}{weights} (`{}`{more})", names.len(), names[0])
    };
    let all: Vec<String> = islands.iter().map(one).collect();
    (!all.is_empty()).then(|| format!("on float edges: {}", all.join(", ")))
}

pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Dynamic => "dynamic",
        Mode::Int8 => "int8",
        Mode::Float16 => "float16",
        Mode::WeightOnly => "weight-only",
    }
}

fn measure(
    reference: &Graph,
    after: Graph,
    known: Option<Measured>,
    data: &Samples,
    options: &QuantizeOptions,
    report: &mut Quantize,
    progress: &mut dyn Progress,
) -> Result<()> {
    let run = |threads| RunOptions { threads, ..RunOptions::default() };
    let mut before = Model::simplified(reference.clone(), &options.model, &run(options.threads))?;
    let mut model = Model::new(after, &options.output, &run(options.threads))?;
    if let Some(samples) = &data.measured {
        let measured = match known {
            // A search has measured the same bytes.
            Some(measured) => measured,
            None => evaluate(&mut model, Some(&mut before), samples, None, options.threads, progress)?,
        };
        let result = measured.report;
        if measured.not_numbers {
            report.warnings.push("outputs hold NaN or infinity, in the float model or the quantized one".to_owned());
        }
        report.samples = result.samples;
        (report.agreement, report.sqnr_db, report.cosine) = (result.agreement, result.sqnr_db, result.cosine);
        (report.top1_before, report.top1_after) = (measured.reference_top1, result.top1);
        report.skipped += result.skipped;
        let metric = options.metric.unwrap_or_else(|| measured.paired.natural(classifies(reference)));
        if let Some(Loss { points, interval }) = measured.paired.loss(metric) {
            report.metric = Some(metric.name().to_owned());
            report.drop_points = Some(points).filter(|p| p.is_finite());
            (report.drop_low_points, report.drop_high_points) = (interval.map(|i| i.0), interval.map(|i| i.1));
        }
    }
    let inputs = match &data.measured {
        Some(samples) => first_inputs(samples)?,
        None => {
            let (shapes, chosen) = run_shapes(reference, None);
            if !chosen.is_empty() {
                let what = format!("latency was measured with {} (--input-shape fixes others)", chosen.join(", "));
                report.notes.push(what);
            }
            synthetic_inputs(reference, &shapes)
        }
    };
    if options.latency_threads != options.threads {
        let run = run(options.latency_threads);
        before = Model::simplified(reference.clone(), &options.model, &run)?;
        model = Model::simplified(model.graph().clone(), &options.output, &run)?;
    }
    report.threads = match options.latency_threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let adapted = crate::adapt_inputs(&inputs, reference, model.graph()).unwrap_or_else(|| inputs.clone());
    report.latency_before_ms = median_ms(&mut before, &inputs)?;
    report.latency_after_ms = median_ms(&mut model, &adapted)?;
    Ok(())
}

fn first_inputs(data: &ModelData) -> Result<Vec<Tensor>> {
    match data.batches(1)?.next() {
        Some(batch) => Ok(batch?.inputs),
        None => Err(Error::Usage("the data holds no sample".to_owned())),
    }
}

fn median_ms(model: &mut Model, inputs: &[Tensor]) -> Result<f64> {
    let times = time_runs(model, inputs, Repeat::SHORT)?;
    Ok(Latency::of_seconds(&times).map_or(0.0, |l| l.median_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::ops::{FullyConnected, Unary, UnaryKind};
    use fewbits_graph::{Activation, Quantization, Shape};

    #[test]
    fn requests_that_contradict_themselves_are_refused_before_reading() {
        let options = QuantizeOptions::new("none.onnx", "out.onnx");
        let with = |change: &dyn Fn(&mut QuantizeOptions)| {
            let mut options = options.clone();
            change(&mut options);
            options.check().unwrap_err()
        };
        let int8 = with(&|o| o.recipe = Some(Recipe::new(Mode::Int8)));
        assert!(int8.is_usage() && int8.to_string().contains("--data"));
        let c = with(&|o| o.output = "out.c".into());
        assert!(c.is_usage() && c.to_string().contains("int8"));
        let io = with(&|o| o.recipe = Some(Recipe { io: IoType::Int8, ..Recipe::new(Mode::Dynamic) }));
        assert!(io.to_string().contains("--io"));
        let learned = |mode| Recipe { weight_rounding: WeightRounding::Learned, ..Recipe::new(mode) };
        let half = with(&|o| o.recipe = Some(learned(Mode::Float16)));
        assert!(half.is_usage() && half.to_string().contains("integer weights"));
        let dynamic = with(&|o| o.recipe = Some(learned(Mode::Dynamic)));
        assert!(dynamic.is_usage() && dynamic.to_string().contains("--data"));
        let smooth = with(&|o| o.recipe = Some(Recipe { smooth: true, ..Recipe::new(Mode::Dynamic) }));
        assert!(smooth.is_usage() && smooth.to_string().contains("--data"));
        let drop = with(&|o| o.max_drop = Some(1.0));
        assert!(drop.to_string().contains("--max-drop"));
        let samples = with(&|o| (o.samples, o.data) = (0, Some("x.npz".into())));
        assert!(samples.to_string().contains("--samples 0"));
    }

    #[test]
    fn what_stays_float_is_named() {
        let mut graph = Graph::default();
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 4]));
        let w = graph.add_constant("w", Tensor::new(vec![2, 4], vec![1i8; 8]));
        graph.value_mut(w).quant = Some(Quantization::per_tensor(0.1, 0));
        let linear = FullyConnected { activation: Activation::None };
        let y = graph.add_node("dense", linear, &[Some(x), Some(w)], "y");
        let y = graph.add_node("first", Unary { kind: UnaryKind::Exp }, &[Some(y)], "z");
        graph.outputs = vec![graph.add_node("second", Unary { kind: UnaryKind::Exp }, &[Some(y)], "o")];
        let text = float_islands(&graph).unwrap();
        assert_eq!(text, "on float edges: 1 FullyConnected with int8 weights (`dense`), 2 Unary (`first`, …)");
        graph.nodes.clear();
        assert_eq!(float_islands(&graph), None);
    }

    #[test]
    fn the_mode_follows_from_the_data() {
        let mut options = QuantizeOptions::new("m.onnx", "o.onnx");
        assert_eq!(options.effective_recipe().mode, Mode::Dynamic);
        options.data = Some("x.npz".into());
        assert_eq!(options.effective_recipe().mode, Mode::Int8);
        assert_eq!(recipe_path(Path::new("a/m.int8.tflite")), Path::new("a/m.int8.recipe.toml"));
    }
}
