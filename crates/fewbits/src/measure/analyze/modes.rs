//! Size, accuracy and latency of a model in every mode.

use fewbits_graph::Graph;
use fewbits_quantize::{Format, Mode, Recipe, Statistics};
use fewbits_report::{Latency, ModeFigures};

use super::AnalyzeOptions;
use crate::quantizer::mode_name;
use crate::{Job, Meter, Model, ModelData, Progress, Repeat, Result, RunOptions, time_runs};

/// What all modes share.
pub(super) struct Modes<'a> {
    pub(super) options: &'a AnalyzeOptions,
    /// The float model as it was read.
    pub(super) graph: &'a Graph,
    pub(super) format: Format,
    pub(super) calibration: &'a ModelData,
    pub(super) measured: &'a ModelData,
}

impl Modes<'_> {
    /// The float model, whose file has `bytes`, and the modes: the analysed one with its recipe and
    /// `statistics`, the others with their defaults.
    pub(super) fn figures(
        &self,
        bytes: u64,
        statistics: Statistics,
        progress: &mut dyn Progress,
    ) -> Result<Vec<ModeFigures>> {
        let analysed = self.options.recipe.mode;
        let float = self.job(Mode::Float16)?;
        let mut graphs = vec![float.graph().clone()];
        let mut rows = vec![ModeFigures { mode: "float".to_owned(), bytes: Some(bytes), ..ModeFigures::default() }];
        // Int8 mode spells operators out; the other two share one graph, and so one pass over samples.
        let (mut spelled_out, mut plain) =
            if analysed == Mode::Int8 { (Some(statistics), None) } else { (None, Some(statistics)) };
        for mode in [Mode::Float16, Mode::Dynamic, Mode::Int8] {
            let job = self.job(mode)?;
            let known = if mode == Mode::Int8 { &mut spelled_out } else { &mut plain };
            let statistics = match known {
                Some(statistics) => statistics,
                None => known.insert(job.calibrate(self.calibration, self.options.threads, progress)?.0),
            };
            let recipe = if mode == analysed { self.options.recipe.clone() } else { Recipe::new(mode) };
            let quantized = job.quantize(&recipe, Some(statistics))?.0;
            rows.push(ModeFigures {
                mode: mode_name(mode).to_owned(),
                analysed: mode == analysed,
                bytes: self.file_bytes(&quantized),
                ..ModeFigures::default()
            });
            graphs.push(quantized);
        }
        drop((spelled_out, plain));
        self.measure(&mut rows, &graphs, progress)?;
        Ok(rows)
    }

    fn job(&self, mode: Mode) -> Result<Job> {
        Job::new(self.graph.clone(), &self.options.model, mode, self.format)
    }

    /// Size of the file that would be written; `None` if the format cannot hold the graph.
    fn file_bytes(&self, graph: &Graph) -> Option<u64> {
        let bytes = match self.format {
            Format::Onnx => fewbits_onnx::to_bytes(graph).ok(),
            Format::Tflite => fewbits_tflite::to_bytes(graph).ok(),
        };
        bytes.map(|b| b.len() as u64)
    }

    /// Accuracy and latency of all graphs; the first is the float one.
    fn measure(&self, rows: &mut [ModeFigures], graphs: &[Graph], progress: &mut dyn Progress) -> Result<()> {
        let mut models =
            graphs.iter().map(|g| self.compiled(g, self.options.threads)).collect::<Result<Vec<Model>>>()?;
        let mut meters = vec![Meter::default(); models.len()];
        let mut first = None;
        progress.start("modes", self.measured.runs() + graphs.len());
        for batch in self.measured.batches(self.options.threads)? {
            let batch = batch?;
            let expected = models[0].run_real(&batch.inputs)?;
            meters[0].push(&expected, None, batch.labels.as_deref(), batch.count)?;
            for (model, meter) in models.iter_mut().zip(&mut meters).skip(1) {
                let inputs = crate::adapt_inputs(&batch.inputs, &graphs[0], model.graph());
                let outputs = model.run_real(&inputs.unwrap_or_else(|| batch.inputs.clone()))?;
                meter.push(&outputs, Some(&expected), batch.labels.as_deref(), batch.count)?;
            }
            first.get_or_insert(batch.inputs);
            progress.advance();
        }
        drop(models);
        let first = first.unwrap_or_default();
        for ((graph, meter), row) in graphs.iter().zip(&meters).zip(rows) {
            let mut model = self.compiled(graph, 1)?;
            let result = meter.finish(0, Vec::new());
            (row.sqnr_db, row.agreement, row.top1) = (result.sqnr_db, result.agreement, result.top1);
            let inputs = crate::adapt_inputs(&first, &graphs[0], model.graph()).unwrap_or_else(|| first.clone());
            let times = time_runs(&mut model, &inputs, Repeat::SHORT)?;
            row.median_ms = Latency::of_seconds(&times).map_or(0.0, |l| l.median_ms);
            progress.advance();
        }
        progress.finish();
        Ok(())
    }

    fn compiled(&self, graph: &Graph, threads: usize) -> Result<Model> {
        Model::new(graph.clone(), &self.options.model, &RunOptions { threads, ..RunOptions::default() })
    }
}
