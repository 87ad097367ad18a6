//! A float model on its way to be quantized.

use std::path::{Path, PathBuf};

use fewbits_engine::simplify::{SimplifyOptions, lower_for_quantization, simplify};
use fewbits_graph::Graph;
use fewbits_quantize::{
    Calibrator, Format, Mode, Recipe, Statistics, check_weights, equalize, learn_rounding, lower, quantize_dynamic,
    quantize_float16, quantize_int8, quantize_weight_only, smooth,
};
use fewbits_report::Overflow;

use crate::{Error, ModelData, Progress, Result};

/// A float model ready to be quantized for a format.
#[derive(Clone, Debug)]
pub struct Job {
    path: PathBuf,
    graph: Graph,
    mode: Mode,
    format: Format,
}

impl Job {
    /// Checks and simplifies a float graph; `path` is its name in messages.
    ///
    /// # Errors
    /// A model that is quantized already, holds NaN or infinite weights, or is inconsistent.
    pub fn new(graph: Graph, path: &Path, mode: Mode, format: Format) -> Result<Job> {
        if let Some(value) = graph.values.iter().find(|v| v.quant.is_some()) {
            let what = format!(
                "the model is quantized already (`{}` is {}); quantize the float model it was made from",
                value.name, value.dtype
            );
            return Err(Error::model(path, what));
        }
        check_weights(&graph).map_err(Error::quantize(path))?;
        let mut graph = simplify(graph, &SimplifyOptions::default()).map_err(Error::engine(path))?;
        // Folding may divide by a variance of zero.
        check_weights(&graph).map_err(Error::quantize(path))?;
        if mode == Mode::Int8 {
            graph = lower_for_quantization(graph).map_err(Error::engine(path))?;
            graph = lower(graph, format).map_err(Error::quantize(path))?;
        }
        Ok(Job { path: path.to_owned(), graph, mode, format })
    }

    /// The float graph that will be quantized.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The model's name in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format whose rules the result follows.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Runs all samples and gathers what ranges are chosen from, and how many images were left out.
    ///
    /// # Errors
    /// Data that cannot be read, activations that become NaN or infinite.
    pub fn calibrate(
        &self,
        data: &ModelData,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<(Statistics, usize)> {
        let mut calibrator = Calibrator::new(&self.graph, threads).map_err(Error::quantize(&self.path))?;
        let mut batches = data.batches(threads)?;
        progress.start("calibrating", data.runs());
        for batch in batches.by_ref() {
            calibrator.add(&batch?.inputs).map_err(Error::quantize(&self.path))?;
            progress.advance();
        }
        progress.finish();
        let statistics = calibrator.finish().map_err(Error::quantize(&self.path))?;
        Ok((statistics, batches.skipped().len()))
    }

    /// Moves ranges between layers as `recipe` says: by weights alone, or by what calibration with `data`
    /// shows. The function stays. Returns whether the graph changed.
    ///
    /// # Errors
    /// As [`calibrate`](Self::calibrate).
    pub fn equalize(
        &mut self,
        recipe: &Recipe,
        data: Option<&ModelData>,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<bool> {
        let smooths = recipe.smooth && data.is_some();
        if !(recipe.equalize || smooths) {
            return Ok(false);
        }
        let error = Error::quantize(&self.path);
        let statistics = data.map(|data| self.calibrate(data, threads, progress)).transpose()?.map(|(s, _)| s);
        let mut graph = match recipe.equalize {
            true => equalize(&self.graph, statistics.as_ref(), recipe).map_err(&error)?,
            false => self.graph.clone(),
        };
        if let Some(statistics) = statistics.filter(|_| smooths) {
            // Layer normalisations and convolutions never share an edge: these statistics still hold.
            graph = smooth(&graph, &statistics).map_err(&error)?;
        }
        Ok(std::mem::replace(&mut self.graph, graph) != self.graph)
    }

    /// Learns the rounding of a graph's weights, once [`quantize`](Self::quantize) made it, from
    /// `data`. All of its samples are held in memory.
    ///
    /// # Errors
    /// Data that cannot be read.
    pub fn learn(
        &self,
        quantized: &mut Graph,
        data: &ModelData,
        recipe: &Recipe,
        threads: usize,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let samples = data.batches(threads)?.map(|batch| Ok(batch?.inputs)).collect::<Result<Vec<_>>>()?;
        let mut advance = |done: usize, all: usize| match done {
            0 => progress.start("learning", all),
            _ => progress.advance(),
        };
        learn_rounding(&self.graph, quantized, &samples, recipe, threads, &mut advance)
            .map_err(Error::quantize(&self.path))?;
        progress.finish();
        Ok(())
    }

    /// Gives the graph narrower types. `statistics` are needed in int8 mode; in the others they
    /// correct biases.
    ///
    /// # Errors
    /// A recipe that does not fit the graph.
    pub fn quantize(&self, recipe: &Recipe, statistics: Option<&Statistics>) -> Result<(Graph, Vec<Overflow>)> {
        let error = Error::quantize(&self.path);
        match self.mode {
            Mode::Int8 => {
                let empty = Statistics::default();
                let graph = quantize_int8(&self.graph, statistics.unwrap_or(&empty), recipe, self.format);
                Ok((graph.map_err(error)?, Vec::new()))
            }
            Mode::WeightOnly => {
                let graph = quantize_weight_only(&self.graph, statistics, recipe, self.format);
                Ok((graph.map_err(error)?, Vec::new()))
            }
            Mode::Dynamic => Ok((quantize_dynamic(&self.graph, statistics, recipe).map_err(error)?, Vec::new())),
            Mode::Float16 => {
                let halves = quantize_float16(&self.graph, statistics, recipe).map_err(error)?;
                let overflow = |(tensor, elements)| Overflow { tensor, elements: elements as u64 };
                Ok((halves.graph, halves.overflows.into_iter().map(overflow).collect()))
            }
        }
    }
}
