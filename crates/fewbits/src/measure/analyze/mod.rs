//! What quantization does to a model: layers, causes, flags, modes, and the page that shows them.

mod layers;
mod modes;

use std::path::{Path, PathBuf};

use fewbits_engine::macs;
use fewbits_graph::{Graph, Tensor};
use fewbits_quantize::{
    Calibration, Comparison, Diagnosis, Finding, Form, Format, Mode, Probe, Recipe, Remedy, Sensitivity, Statistics,
    WeightRounding, WeightScales, compare, diagnose, forms, quantized_layers, sensitivity,
};
use fewbits_report::{Analyze, Diagnosed, Severity, Trial, format};

use crate::quantizer::mode_name;
use crate::samples::hold_back;
use crate::{
    DataOptions, Error, Job, ModelData, Progress, Result, fix_input_shapes, model_format, read_model, size_on_disk,
    write_file,
};
use layers::layers;
use modes::Modes;

/// Samples that each layer is measured on, unless the model is large. On EfficientNet-Lite0 the eight
/// layers that cost most by 8 samples are those by 32, and gains differ by half a decibel at most.
const LAYER_SAMPLES: usize = 8;

/// Multiply-accumulates that measuring all layers may take: some two and a half minutes of one AVX2 core.
/// It bounds the samples by the model alone, so that results do not depend on the machine.
const LAYER_MACS: u64 = 4_000_000_000_000;

/// Most remedies that are measured; findings beyond are listed without.
const MOST_REMEDIES: usize = 24;

/// Layers that are excluded together in the last of the flags tried.
const EXCLUDED_TOGETHER: usize = 3;

/// A cause makes this share of the noise, or its remedy buys this many decibels, to matter.
const HIGH: (f64, f64) = (0.25, 3.0);

/// Fewer levels than these (2 of 8 bits) left to a layer's typical channel are worth a look even where
/// the outputs of these samples do not show it: what is lost there may be what other samples need.
const GRAVE_LEVELS: f32 = 4.0;

/// Decibels that a remedy must buy to be advice.
const LEAST_GAIN: f64 = 0.1;

/// Outputs this good lose few decisions: then a share of the noise matters less.
const GOOD_DB: f64 = 20.0;

/// The same for what is worth a look.
const MEDIUM: (f64, f64) = (0.05, 0.5);

/// What `analyze` is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzeOptions {
    /// The float model, `.onnx` or `.tflite`.
    pub model: PathBuf,
    /// Samples to calibrate with, and to measure on.
    pub data: PathBuf,
    /// How data is read.
    pub data_options: DataOptions,
    /// The recipe to analyse.
    pub recipe: Recipe,
    /// Samples to calibrate with, spread evenly over the data. Up to 50 of the others are measured on;
    /// if there are not that many, a tenth of all.
    pub samples: usize,
    /// Samples that each layer is measured on; if not given, 8, or fewer for large models.
    pub layer_samples: Option<usize>,
    /// The page to write.
    pub html: Option<PathBuf>,
    /// Threads; 0 takes all cores. Results but latencies do not depend on it.
    pub threads: usize,
    /// Fixes shapes of inputs, by name.
    pub input_shapes: Vec<(String, Vec<usize>)>,
}

impl AnalyzeOptions {
    /// The defaults: int8, 100 samples, all cores.
    pub fn new(model: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        AnalyzeOptions {
            model: model.into(),
            data: data.into(),
            data_options: DataOptions::default(),
            recipe: Recipe::new(Mode::Int8),
            samples: 100,
            layer_samples: None,
            html: None,
            threads: 0,
            input_shapes: Vec::new(),
        }
    }

    /// What can be refused before any long work.
    fn check(&self) -> Result<()> {
        if self.samples == 0 || self.layer_samples == Some(0) {
            return Err(Error::Usage("at least one sample is needed: --samples 0".to_owned()));
        }
        if self.recipe.weight_rounding == WeightRounding::Learned {
            let what = "analyze quantizes many times over and learns no rounding: use balanced";
            return Err(Error::Usage(what.to_owned()));
        }
        if self.recipe.equalize || self.recipe.smooth {
            let what = "analyze looks at the layers as they are: leave --equalize and --smooth to quantize";
            return Err(Error::Usage(what.to_owned()));
        }
        if self.recipe.mode == Mode::WeightOnly {
            let what = "analyze is for what is computed in narrow types; of a weight-only model, `fewbits compare` \
                        shows every layer";
            return Err(Error::Usage(what.to_owned()));
        }
        let Some(html) = &self.html else { return Ok(()) };
        let same = |other: &Path| match (html.canonicalize(), other.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => html == other,
        };
        if same(&self.model) || same(&self.data) {
            let what = format!("{} is the model or the data itself: give the page another name", html.display());
            return Err(Error::Usage(what));
        }
        drop(crate::files::prepare(html)?);
        Ok(())
    }
}

/// Quantizes a model in memory, measures what each layer loses, looks for causes, tries what addresses
/// them, and writes the page if one is asked for. No model is written.
///
/// # Errors
/// Files and data that cannot be read or do not fit, an unwritable page.
pub fn analyze_file(options: &AnalyzeOptions, progress: &mut dyn Progress) -> Result<Analyze> {
    options.check()?;
    let path = &options.model;
    let format = model_format(path)?;
    let mut graph = read_model(path)?;
    let bytes = size_on_disk(path, &graph)?;
    fix_input_shapes(&mut graph, &options.input_shapes).map_err(|what| Error::model(path, what))?;
    let job = Job::new(graph.clone(), path, options.recipe.mode, format)?;
    let data = ModelData::open(&options.data, job.graph(), path, &options.data_options)?;
    let (calibration, measured) = split(&data, options.samples)?;
    let (statistics, skipped) = job.calibrate(&calibration, options.threads, progress)?;
    let study = Study::new(options, &job, format, &statistics, &measured, progress)?;
    let mut report = study.report(progress)?;
    report.bytes = bytes;
    report.notes = data.dataset().notes().to_vec();
    if skipped > 0 {
        report.notes.push(format!("{skipped} images were left out because they do not decode"));
    }
    if measured.dataset().len() == data.dataset().len() {
        report.notes.push("there is one sample only: it was calibrated with and measured on".to_owned());
    }
    drop(study);
    report.samples = measured.dataset().len() as u64;
    let modes = Modes { options, graph: &graph, format, calibration: &calibration, measured: &measured };
    report.modes = modes.figures(bytes, statistics, progress)?;
    if let Some(html) = &options.html {
        report.html = Some(html.display().to_string());
        let page = report.to_html().map_err(|e| Error::Usage(format!("the result has no HTML form: {e}")))?;
        write_file(html, page.as_bytes())?;
    }
    Ok(report)
}

/// Samples to calibrate with, and others to measure on.
fn split(data: &ModelData, samples: usize) -> Result<(ModelData, ModelData)> {
    let dataset = data.dataset();
    if dataset.is_empty() {
        return Err(Error::Usage("the data holds no sample".to_owned()));
    }
    let (calibration, held) = hold_back(dataset, samples);
    Ok((data.with(calibration), held.map_or_else(|| data.clone(), |held| data.with(held))))
}

/// The layers of one recipe.
struct Study<'a> {
    options: &'a AnalyzeOptions,
    probe: Probe<'a>,
    forms: Vec<Form>,
    sensitivity: Sensitivity,
    comparison: Comparison,
    diagnosis: Diagnosis,
    calibration_samples: usize,
}

impl<'a> Study<'a> {
    fn new(
        options: &'a AnalyzeOptions,
        job: &'a Job,
        format: Format,
        statistics: &Statistics,
        measured: &ModelData,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let (graph, recipe) = (job.graph(), &options.recipe);
        let error = || Error::quantize(&options.model);
        let samples = layer_samples(options.layer_samples, options.threads, graph, measured)?;
        let probe = Probe::new(graph, statistics, recipe, format, samples, options.threads).map_err(error())?;
        let forms = forms(graph, probe.quantized());
        let layers = quantized_layers(graph, &forms);
        progress.start("layers", 2 * layers.len() + 1);
        let sensitivity = sensitivity(&probe, &forms, &layers, &mut || progress.advance()).map_err(error())?;
        progress.start("comparing", probe.samples().len());
        let counted = probe.samples().iter().map(|sample| {
            progress.advance();
            sample.as_slice()
        });
        let comparison = compare(graph, probe.quantized(), counted, options.threads).map_err(error())?;
        progress.finish();
        let mut diagnosis = diagnose(graph, statistics, recipe, probe.quantized(), &forms);
        diagnosis.add_sensitive(graph, &sensitivity);
        let calibration_samples = statistics.samples;
        Ok(Study { options, probe, forms, sensitivity, comparison, diagnosis, calibration_samples })
    }

    fn report(&self, progress: &mut dyn Progress) -> Result<Analyze> {
        let (findings, flags) = self.trials(progress)?;
        Ok(Analyze {
            model: self.options.model.display().to_string(),
            mode: mode_name(self.options.recipe.mode).to_owned(),
            calibration_samples: self.calibration_samples as u64,
            sensitivity_samples: self.probe.samples().len() as u64,
            sensitivity_sqnr_db: format::finite_sqnr(Some(self.sensitivity.output_db)),
            findings,
            flags,
            layers: layers(self.probe.graph(), &self.forms, &self.sensitivity, &self.comparison, &self.diagnosis),
            ..Analyze::default()
        })
    }

    /// Measures what addresses the findings, and flags for the whole model.
    fn trials(&self, progress: &mut dyn Progress) -> Result<(Vec<Diagnosed>, Vec<Trial>)> {
        let recipe = &self.options.recipe;
        let mut findings: Vec<&Finding> = self.diagnosis.findings.iter().collect();
        // Those at the layers that cost most first: they are the ones that are measured.
        findings.sort_by(|a, b| self.noise_share(b).total_cmp(&self.noise_share(a)).then(a.node.cmp(&b.node)));
        let mut remedies: Vec<&Remedy> = Vec::new();
        for remedy in findings.iter().flat_map(|f| &f.remedies) {
            if !remedies.contains(&remedy) && remedies.len() < MOST_REMEDIES {
                remedies.push(remedy);
            }
        }
        let general = self.general();
        let asked: Vec<&Remedy> = remedies.iter().copied().chain(&general).collect();
        progress.start("flags", asked.len());
        let measured = self.probe.sqnr_db(asked.len(), |i| asked[i].apply(recipe), &mut || progress.advance());
        let measured = measured.map_err(Error::quantize(&self.options.model))?;
        progress.finish();
        let trial = |remedy: &Remedy| {
            let db = asked.iter().position(|r| *r == remedy).map(|at| measured[at]);
            Trial {
                flag: remedy.flag(recipe),
                sqnr_db: format::finite_sqnr(db),
                gain_db: format::finite_sqnr(db.map(|db| db - self.sensitivity.output_db)),
            }
        };
        let mut diagnosed: Vec<Diagnosed> = findings.iter().map(|f| self.diagnosed(f, &trial)).collect();
        // Stable: findings of one severity stay in the order of what their layer costs.
        diagnosed.sort_by_key(|d| d.severity);
        let mut flags: Vec<Trial> = general.iter().map(trial).collect();
        let gain = |t: &Trial| t.gain_db.unwrap_or(f64::NEG_INFINITY);
        flags.sort_by(|a, b| gain(b).total_cmp(&gain(a)));
        Ok((diagnosed, flags))
    }

    /// Changes of the recipe that concern the whole model, or the layers that cost most.
    fn general(&self) -> Vec<Remedy> {
        let recipe = &self.options.recipe;
        let mut all = Vec::new();
        if recipe.mode == Mode::Int8 {
            let methods = [
                Calibration::Minmax,
                Calibration::MovingAverage,
                Calibration::Percentile,
                Calibration::Entropy,
                Calibration::Mse,
            ];
            all.extend(methods.into_iter().filter(|&m| m != recipe.calibration).map(Remedy::Calibration));
        }
        if recipe.mode != Mode::Float16 {
            let other = match recipe.weight_scales.resolved(recipe.weights) {
                WeightScales::Max => WeightScales::Mse,
                _ => WeightScales::Max,
            };
            all.push(Remedy::WeightScales(other));
            all.extend(recipe.per_tensor.then_some(Remedy::PerChannel));
        }
        let mut layers = self.sensitivity.layers.clone();
        layers.sort_by(|a, b| b.kept_db.total_cmp(&a.kept_db).then(a.node.cmp(&b.node)));
        let names: Vec<String> = layers.iter().map(|l| self.probe.graph().node(l.node).name.clone()).collect();
        let together = [1, EXCLUDED_TOGETHER].into_iter().filter(|&n| n < names.len());
        all.extend(together.map(|n| Remedy::Exclude(names[..n].to_vec())));
        all
    }

    /// The noise that the finding's layer makes alone, as a share of that of the whole model.
    fn noise_share(&self, finding: &Finding) -> f64 {
        let layer = self.sensitivity.layers.iter().find(|l| l.node == finding.node);
        layer.map_or(0.0, |l| 10f64.powf((self.sensitivity.output_db - l.alone_db) / 10.0))
    }

    fn diagnosed(&self, finding: &Finding, trial: &dyn Fn(&Remedy) -> Trial) -> Diagnosed {
        let node = self.probe.graph().node(finding.node);
        // Another mode quantizes less of everything: what it gains says nothing of this cause, and it
        // comes last.
        let is_mode = |remedy: &Remedy| matches!(remedy, Remedy::Mode(_));
        let mut tried: Vec<(bool, Trial)> = finding.remedies.iter().map(|r| (is_mode(r), trial(r))).collect();
        let gain_of = |t: &Trial| t.gain_db.unwrap_or(f64::NEG_INFINITY);
        tried.sort_by(|a, b| a.0.cmp(&b.0).then(gain_of(&b.1).total_cmp(&gain_of(&a.1))));
        let gain = tried.iter().filter(|(mode, _)| !mode).map(|(_, t)| gain_of(t)).fold(0.0, f64::max);
        // What was seen not to help is no advice; the best stays, with its number.
        let mut rank = 0..;
        tried.retain(|(_, t)| rank.next() == Some(0) || t.gain_db.is_none_or(|gain| gain >= LEAST_GAIN));
        let remedies: Vec<Trial> = tried.into_iter().map(|(_, t)| t).collect();
        let share = self.noise_share(finding);
        let grave = finding.cause.levels().is_some_and(|levels| levels < GRAVE_LEVELS);
        let severity = match () {
            () if remedies.is_empty() => Severity::Low,
            () if gain >= HIGH.1 || (share >= HIGH.0 && self.sensitivity.output_db < GOOD_DB) => Severity::High,
            () if grave || share >= MEDIUM.0 || gain >= MEDIUM.1 => Severity::Medium,
            () => Severity::Low,
        };
        Diagnosed {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            cause: finding.cause.key().to_owned(),
            title: finding.cause.title().to_owned(),
            explanation: finding.cause.explanation(),
            severity,
            remedies,
        }
    }
}

/// The samples that layers are measured on: some of the measured ones, as many as the model's size
/// allows.
pub(crate) fn layer_samples(
    asked: Option<usize>,
    threads: usize,
    graph: &Graph,
    measured: &ModelData,
) -> Result<Vec<Vec<Tensor>>> {
    let inputs = |count: usize| -> Result<Vec<Vec<Tensor>>> {
        let samples = measured.with(measured.dataset().spread(count));
        samples.batches(threads)?.map(|batch| Ok(batch?.inputs)).collect()
    };
    let count = match asked {
        Some(count) => count,
        None => {
            let first = inputs(1)?;
            let shapes: Vec<Vec<usize>> = first.iter().flatten().map(|t| t.shape().to_vec()).collect();
            let sized = graph.with_input_shapes(&shapes).ok();
            let of_run = sized.map_or(0, |g| g.nodes.iter().filter_map(|n| macs(&g, n)).fold(0, u64::saturating_add));
            let runs = of_run.saturating_mul(2 * graph.nodes.len() as u64).max(1);
            usize::try_from(LAYER_MACS / runs).unwrap_or(LAYER_SAMPLES).clamp(1, LAYER_SAMPLES)
        }
    };
    inputs(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused_before_reading() {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("m.onnx");
        std::fs::write(&model, b"x").unwrap();
        let options = AnalyzeOptions::new(&model, "none.npz");
        let refused = |change: &dyn Fn(&mut AnalyzeOptions)| {
            let mut options = options.clone();
            change(&mut options);
            options.check().unwrap_err()
        };
        assert!(refused(&|o| o.samples = 0).is_usage());
        assert!(refused(&|o| o.html = Some(model.clone())).to_string().contains("itself"));
        let missing = refused(&|o| o.html = Some(dir.path().join("none/a.html")));
        assert!(missing.to_string().contains("none/a.html"), "{missing}");
        assert!(options.check().is_ok());
    }
}
