//! How right a model is, and how close to another.

use std::path::{Path, PathBuf};

use fewbits_data::metrics::{Accuracy, Agreement, Difference, argmax};
use fewbits_engine::Rounding;
use fewbits_report::{Evaluate, format};

use crate::measure::paired::Paired;
use crate::model::RealOutput;
use crate::{DataOptions, Error, Model, ModelData, Progress, Result, RunOptions, SampleBatch, adapt_inputs};

/// Accumulates the metrics of `evaluate` over samples.
///
/// Classes are along the last axis of the first output that has one: its elements are the classes
/// if only one axis besides the samples is longer than 1, else each vector along the last axis is a
/// decision of its own. Agreement counts decisions; top-1 and top-5 need one decision a sample.
/// SQNR and cosine are over all outputs that stand for real numbers.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    accuracy: Accuracy,
    reference: Accuracy,
    agreement: Agreement,
    difference: Difference,
    samples: usize,
    unlabelled: Option<String>,
    paired: Paired,
}

impl Meter {
    /// Adds the outputs of a run over `count` samples, beside those of the reference and the
    /// labels.
    ///
    /// # Errors
    /// A label beyond the classes, or outputs of different sizes.
    pub fn push(
        &mut self,
        outputs: &[RealOutput],
        reference: Option<&[RealOutput]>,
        labels: Option<&[u32]>,
        count: usize,
    ) -> Result<()> {
        self.samples += count;
        let decisions = outputs.iter().position(|o| classes(o).is_some_and(|n| n > 1));
        if let Some(at) = decisions {
            let (output, rows) = (&outputs[at], decisions_of(&outputs[at], count));
            if let (Some(other), Some(rows)) = (reference.and_then(|r| r.get(at)), rows) {
                let data = head(&other.data, &other.shape, count);
                let own = head(&output.data, &output.shape, count);
                self.agreement.push_batch(data, own, rows)?;
                self.pair(data, own, rows, labels);
            }
        }
        if let Some(labels) = labels {
            self.push_labels(decisions.map(|at| &outputs[at]), labels, count, false)?;
            let other = decisions.and_then(|at| reference?.get(at));
            if other.is_some() {
                self.push_labels(other, labels, count, true)?;
            }
        }
        let mut difference = Difference::new();
        for (output, other) in outputs.iter().zip(reference.unwrap_or_default()) {
            if output.is_real && other.is_real {
                let other = head(&other.data, &other.shape, count);
                difference.push(other, head(&output.data, &output.shape, count))?;
            }
        }
        if reference.is_some() {
            self.paired.add_energy(difference.signal(), difference.noise());
        }
        self.difference.merge(&difference);
        Ok(())
    }

    /// Notes on which of `rows` decisions the reference and the model part.
    fn pair(&mut self, reference: &[f32], own: &[f32], rows: usize, labels: Option<&[u32]>) {
        let size = own.len() / rows.max(1);
        for (row, (a, b)) in reference.chunks_exact(size.max(1)).zip(own.chunks_exact(size.max(1))).enumerate() {
            let (a, b) = (argmax(a), argmax(b));
            self.paired.add_decision(a.is_some() && a == b);
            if let Some(labels) = labels.filter(|l| l.len() == rows) {
                let right = |class: Option<usize>| class.is_some_and(|c| c as u64 == u64::from(labels[row]));
                self.paired.add_answer(right(a), right(b));
            }
        }
    }

    /// The samples on which the model and the reference part.
    pub fn paired(&self) -> &Paired {
        &self.paired
    }

    fn push_labels(
        &mut self,
        output: Option<&RealOutput>,
        labels: &[u32],
        count: usize,
        reference: bool,
    ) -> Result<()> {
        let Some(output) = output.filter(|o| decisions_of(o, count) == Some(count)) else {
            let what = "top-1 was not measured: the model has no output with one row of classes a sample";
            self.unlabelled = Some(what.to_owned());
            return Ok(());
        };
        let accuracy = if reference { &mut self.reference } else { &mut self.accuracy };
        accuracy.push_batch(head(&output.data, &output.shape, count), labels)?;
        Ok(())
    }

    /// Samples added.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Top-1 of the reference, as a fraction.
    pub fn reference_top1(&self) -> Option<f64> {
        self.reference.top1()
    }

    /// Whether outputs held NaN or infinity, so that they have no distance.
    pub fn not_numbers(&self) -> bool {
        self.difference.sqnr_db().is_some_and(f64::is_nan)
    }

    /// The result; `skipped` images were left out of the data.
    pub fn finish(&self, skipped: usize, mut notes: Vec<String>) -> Evaluate {
        notes.extend(self.unlabelled.clone());
        if self.not_numbers() {
            notes.push("SQNR and cosine were not measured: outputs hold NaN or infinity".to_owned());
        }
        Evaluate {
            samples: self.samples as u64,
            top1: self.accuracy.top1(),
            top5: self.accuracy.top5(),
            agreement: self.agreement.value(),
            sqnr_db: format::finite_sqnr(self.difference.sqnr_db()),
            cosine: self.difference.cosine().filter(|c| !c.is_nan()),
            skipped: skipped as u64,
            notes,
        }
    }
}

/// Elements of one decision; `None` for outputs without an axis beside the samples.
fn classes(output: &RealOutput) -> Option<usize> {
    let axes = output.shape.get(1..).filter(|axes| !axes.is_empty())?;
    match axes.iter().filter(|&&n| n > 1).count() {
        0 | 1 => Some(axes.iter().product()),
        _ => axes.last().copied(),
    }
}

/// Decisions in the first `count` samples of an output.
fn decisions_of(output: &RealOutput, count: usize) -> Option<usize> {
    let classes = classes(output).filter(|&n| n > 0)?;
    Some(head(&output.data, &output.shape, count).len() / classes)
}

/// The first `count` samples of an output; all of it if its first axis does not count samples.
fn head<'a>(data: &'a [f32], shape: &[usize], count: usize) -> &'a [f32] {
    match shape.split_first() {
        Some((&rows, rest)) if rows > count => &data[..count * rest.iter().product::<usize>()],
        _ => data,
    }
}

/// What `evaluate` is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluateOptions {
    /// The model.
    pub model: PathBuf,
    /// The data.
    pub data: PathBuf,
    /// How the data is read.
    pub data_options: DataOptions,
    /// Model to compare with.
    pub reference: Option<PathBuf>,
    /// At most this many samples, spread evenly over the data; all if not given.
    pub samples: Option<usize>,
    /// Arithmetic of the model's integer operators (the reference always computes the usual way).
    pub rounding: Rounding,
    /// Threads; 0 takes all cores.
    pub threads: usize,
}

/// Measures a model on data, and beside a reference.
///
/// With a reference, the data is read as the reference's inputs ask and converted for the model
/// (quantized with its inputs' parameters), so that both see the same real numbers; where the
/// inputs differ in shape, each model gets the data as it asks for it itself.
///
/// # Errors
/// Files and data that cannot be read or do not fit.
pub fn evaluate_file(options: &EvaluateOptions, progress: &mut dyn Progress) -> Result<Evaluate> {
    let run = RunOptions { threads: options.threads, rounding: options.rounding, ..RunOptions::default() };
    let mut model = Model::open(&options.model, &run)?;
    let plain = RunOptions { threads: options.threads, ..RunOptions::default() };
    let mut reference = options.reference.as_deref().map(|path| Model::open(path, &plain)).transpose()?;
    let open = |model: &Model| open_data(&options.data, model, options);
    let (data, own) = match &reference {
        None => (open(&model)?, None),
        // Sizes that do not correspond (another layout) show when both data sets are opened.
        Some(reference) if corresponds(reference, &model) => (open(reference)?, None),
        Some(reference) => (open(reference)?, Some(open(&model)?)),
    };
    let measured = evaluate(&mut model, reference.as_mut(), &data, own.as_ref(), options.threads, progress)?;
    Ok(measured.report)
}

fn open_data(path: &Path, model: &Model, options: &EvaluateOptions) -> Result<ModelData> {
    let data = ModelData::open(path, model.graph(), model.path(), &options.data_options)?;
    let chosen = options.samples.map(|n| data.dataset().spread(n));
    if chosen.as_ref().is_some_and(fewbits_data::Dataset::is_empty) {
        return Err(Error::Usage("at least one sample is needed: --samples 0".to_owned()));
    }
    Ok(chosen.map_or_else(|| data.clone(), |d| data.with(d)))
}

/// Whether inputs of `from` can be converted to those of `to`.
fn corresponds(from: &Model, to: &Model) -> bool {
    let (a, b) = (from.graph(), to.graph());
    let same = |a: &fewbits_graph::Shape, b: &fewbits_graph::Shape| {
        let fits = |(a, b): (&fewbits_graph::Dim, &fewbits_graph::Dim)| match (a.fixed(), b.fixed()) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        a.rank() == b.rank() && a.0.iter().zip(&b.0).skip(1).all(fits)
    };
    a.inputs.len() == b.inputs.len()
        && a.inputs.iter().zip(&b.inputs).all(|(&x, &y)| same(&a.value(x).shape, &b.value(y).shape))
}

/// What was measured beside a reference.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) report: Evaluate,
    /// The reference's own top-1, as a fraction.
    pub(crate) reference_top1: Option<f64>,
    /// The outputs hold NaN or infinity.
    pub(crate) not_numbers: bool,
    /// The samples on which the two part.
    pub(crate) paired: Paired,
}

/// Runs a model (and a reference) over data that was opened for the reference, or for the model
/// without one. `own`: data opened for the model, where the reference's cannot be converted.
pub(crate) fn evaluate(
    model: &mut Model,
    mut reference: Option<&mut Model>,
    data: &ModelData,
    own: Option<&ModelData>,
    threads: usize,
    progress: &mut dyn Progress,
) -> Result<Measured> {
    let mut meter = Meter::default();
    let mut batches = data.batches(threads)?;
    let mut own_batches = own.map(|own| own.batches(threads)).transpose()?;
    progress.start("evaluating", data.runs());
    for batch in batches.by_ref() {
        let batch = batch?;
        let inputs = match &mut own_batches {
            Some(own) => own.next().ok_or_else(|| mismatch(model))??.inputs,
            None => inputs_for(model, reference.as_deref(), &batch)?,
        };
        let outputs = model.run_real(&inputs)?;
        let expected = reference.as_mut().map(|r| r.run_real(&batch.inputs)).transpose()?;
        meter.push(&outputs, expected.as_deref(), batch.labels.as_deref(), batch.count)?;
        progress.advance();
    }
    progress.finish();
    Ok(Measured::new(meter, batches.skipped().len(), data))
}

impl Measured {
    /// What `meter` saw of `data`, of which `skipped` images were left out.
    pub(crate) fn new(meter: Meter, skipped: usize, data: &ModelData) -> Measured {
        Measured {
            reference_top1: meter.reference_top1(),
            not_numbers: meter.not_numbers(),
            paired: *meter.paired(),
            report: meter.finish(skipped, data.dataset().notes().to_vec()),
        }
    }
}

fn inputs_for(model: &Model, reference: Option<&Model>, batch: &SampleBatch) -> Result<Vec<fewbits_graph::Tensor>> {
    let Some(reference) = reference else {
        return Ok(batch.inputs.clone());
    };
    adapt_inputs(&batch.inputs, reference.graph(), model.graph()).ok_or_else(|| mismatch(model))
}

fn mismatch(model: &Model) -> Error {
    Error::model(model.path(), "its inputs do not correspond to those of the model it is compared with")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(shape: &[usize], data: &[f32]) -> RealOutput {
        RealOutput { shape: shape.to_vec(), data: data.to_vec(), is_real: true }
    }

    #[test]
    fn classes_lie_along_the_only_long_axis_or_the_last() {
        assert_eq!(classes(&output(&[2, 10], &[0.0; 20])), Some(10));
        assert_eq!(classes(&output(&[1, 10, 1, 1], &[0.0; 10])), Some(10));
        assert_eq!(classes(&output(&[1, 2, 2, 5], &[0.0; 20])), Some(5));
        assert_eq!(classes(&output(&[3], &[0.0; 3])), None);
    }

    #[test]
    fn labels_and_reference_are_both_counted() {
        let mut meter = Meter::default();
        let a = [output(&[2, 3], &[0.0, 1.0, 0.5, 3.0, 2.0, 1.0])];
        let b = [output(&[2, 3], &[0.0, 1.0, 0.5, 1.0, 2.0, 3.0])];
        meter.push(&a, Some(&b), Some(&[1, 2]), 2).unwrap();
        let report = meter.finish(0, Vec::new());
        assert_eq!((report.samples, report.top1, report.top5, report.agreement), (2, Some(0.5), Some(1.0), Some(0.5)));
        assert_eq!(meter.reference_top1(), Some(1.0));
        assert!((report.sqnr_db.unwrap() - 10.0 * (15.25f64 / 8.0).log10()).abs() < 1e-9);
    }

    #[test]
    fn repeated_rows_of_a_short_batch_do_not_count() {
        let mut meter = Meter::default();
        let a = [output(&[4, 2], &[1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])];
        meter.push(&a, Some(&a), Some(&[0, 1]), 2).unwrap();
        let report = meter.finish(0, Vec::new());
        assert_eq!(
            (report.samples, report.top1, report.agreement, report.sqnr_db),
            (2, Some(1.0), Some(1.0), Some(200.0))
        );
    }

    #[test]
    fn outputs_that_are_no_numbers_are_said() {
        let mut meter = Meter::default();
        let a = [output(&[1, 2], &[f32::INFINITY, 1.0])];
        meter.push(&a, Some(&a), None, 1).unwrap();
        assert!(meter.not_numbers());
        let report = meter.finish(0, Vec::new());
        assert_eq!((report.sqnr_db, report.cosine), (None, None));
        assert!(report.notes[0].contains("NaN or infinity"));
    }

    #[test]
    fn outputs_without_classes_have_no_agreement() {
        let mut meter = Meter::default();
        let a = [output(&[1, 1], &[0.5])];
        meter.push(&a, Some(&a), Some(&[0]), 1).unwrap();
        let report = meter.finish(0, Vec::new());
        assert_eq!((report.top1, report.agreement, report.cosine), (None, None, Some(1.0)));
        assert!(report.notes[0].contains("top-1 was not measured"));
    }
}
