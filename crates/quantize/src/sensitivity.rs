//! What the quantization of each layer costs at the model's outputs: the layer alone, and
//! everything but the layer.
//!
//! Both need a quantization and some runs for each layer. They stay affordable because few samples
//! tell layers apart (the caller chooses them), ranges are chosen and weights are rounded once for all
//! experiments, the float outputs are computed once, and layers are measured side by side, each on one
//! thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use fewbits_engine::{Engine, Options};
use fewbits_graph::{DType, Graph, Node, NodeId, Quantization, Tensor};

use crate::domain::moves;
use crate::reuse::{with_layers_of, without_rounding};
use crate::{
    Error, Format, IoType, Mode, Recipe, Result, Statistics, adapt_inputs, quantize_dynamic, quantize_float16,
    quantize_int8, quantize_weight_only,
};

/// Most layers measured at a time: each holds a compiled copy of the model.
const MOST_AT_ONCE: usize = 8;

/// Quantizes `graph` in the mode of `recipe`, as the command does; halves that overflow stay float.
///
/// # Errors
/// A recipe that does not fit the graph.
pub fn quantize_graph(graph: &Graph, statistics: &Statistics, recipe: &Recipe, format: Format) -> Result<Graph> {
    match recipe.mode {
        Mode::Int8 => quantize_int8(graph, statistics, recipe, format),
        Mode::Dynamic => quantize_dynamic(graph, Some(statistics), recipe),
        Mode::Float16 => Ok(quantize_float16(graph, Some(statistics), recipe)?.graph),
        Mode::WeightOnly => quantize_weight_only(graph, Some(statistics), recipe, format),
    }
}

/// What quantization made of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    Float,
    /// Integer edges.
    Int8,
    /// Integer weights, float edges.
    Int8Weights,
    /// Half-precision weights, float edges.
    Float16Weights,
}

impl Form {
    /// A word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Form::Float => "float",
            Form::Int8 => "int8",
            Form::Int8Weights => "int8 weights",
            Form::Float16Weights => "float16 weights",
        }
    }

    /// The form that `node` of a quantized graph has.
    fn of(graph: &Graph, node: &Node) -> Form {
        let edges = node.inputs.iter().flatten().chain(&node.outputs).map(|&v| graph.value(v));
        let mut form = Form::Float;
        for value in edges {
            match (value.dtype, value.data.is_some()) {
                (DType::I8, false) => return Form::Int8,
                (DType::I8, true) => form = Form::Int8Weights,
                (DType::F16, true) if form == Form::Float => form = Form::Float16Weights,
                _ => {}
            }
        }
        form
    }
}

/// The form of each node of the float graph `graph` in its quantization `quantized`.
pub fn forms(graph: &Graph, quantized: &Graph) -> Vec<Form> {
    let by_name: BTreeMap<&str, &Node> = quantized.nodes.iter().map(|n| (n.name.as_str(), n)).collect();
    let form = |node: &Node| by_name.get(node.name.as_str()).map_or(Form::Float, |n| Form::of(quantized, n));
    graph.nodes.iter().map(form).collect()
}

/// The nodes whose quantization loses something: those of a narrow form, but for operators that
/// only move integers.
pub fn quantized_layers(graph: &Graph, forms: &[Form]) -> Vec<NodeId> {
    let loses = |&(node, form): &(&Node, &Form)| match form {
        Form::Float => false,
        Form::Int8 => !moves(&node.op),
        Form::Int8Weights | Form::Float16Weights => true,
    };
    let nodes = graph.nodes.iter().zip(forms).enumerate();
    nodes.filter(|(_, pair)| loses(pair)).map(|(i, _)| NodeId(i)).collect()
}

/// Measures changes of a recipe by the signal-to-quantization-noise ratio of the model's outputs.
pub struct Probe<'a> {
    graph: &'a Graph,
    statistics: Statistics,
    format: Format,
    recipe: Recipe,
    /// The graph as the recipe itself quantizes it.
    quantized: Graph,
    samples: Vec<Vec<Tensor>>,
    /// The float model's outputs by sample; outputs that are no floats are not compared.
    expected: Vec<Vec<Tensor>>,
    signal: f64,
    threads: usize,
}

impl<'a> Probe<'a> {
    /// Runs the float graph over `samples` (a tensor for each public input), and quantizes it with
    /// `recipe`, whose changes will be measured, `threads` at a time (0: one a core). Inputs and
    /// outputs stay float whatever it says: integer ones would forbid every float layer that an
    /// experiment leaves.
    ///
    /// # Errors
    /// [`Error::NoSamples`]; samples or a recipe that do not fit the graph.
    pub fn new(
        graph: &'a Graph,
        statistics: &Statistics,
        recipe: &Recipe,
        format: Format,
        samples: Vec<Vec<Tensor>>,
        threads: usize,
    ) -> Result<Self> {
        if samples.is_empty() {
            return Err(Error::NoSamples);
        }
        let mut engine = Engine::compile(graph, &Options { threads, ..Options::default() })?;
        let expected = samples.iter().map(|s| engine.run(s)).collect::<fewbits_engine::Result<Vec<_>>>()?;
        let real = expected.iter().flatten().filter(|t| t.dtype().is_float());
        let signal = real.flat_map(|t| t.to_f32()).map(|x| f64::from(x) * f64::from(x)).sum();
        let statistics = statistics.with_ranges(recipe.calibration);
        let recipe = Recipe { io: IoType::Float, ..recipe.clone() };
        let quantized = quantize_graph(graph, &statistics, &recipe, format)?;
        Ok(Probe { graph, statistics, format, recipe, quantized, samples, expected, signal, threads })
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The graph as the recipe quantizes it.
    pub fn quantized(&self) -> &Graph {
        &self.quantized
    }

    /// The float graph.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The samples.
    pub fn samples(&self) -> &[Vec<Tensor>] {
        &self.samples
    }

    /// The graph as `recipe` quantizes it, with float inputs and outputs.
    ///
    /// # Errors
    /// A recipe that does not fit the graph.
    pub fn quantize(&self, recipe: &Recipe) -> Result<Graph> {
        let recipe = Recipe { io: IoType::Float, ..recipe.clone() };
        // Only which nodes stay float may differ for weights to be the same.
        if (Recipe { exclude: self.recipe.exclude.clone(), ..recipe.clone() }) == self.recipe {
            let quick = quantize_graph(self.graph, &self.statistics, &without_rounding(&recipe), self.format)?;
            if let Some(graph) = with_layers_of(&self.quantized, quick) {
                return Ok(graph);
            }
        }
        quantize_graph(self.graph, &self.statistics, &recipe, self.format)
    }

    /// SQNR in decibels of the outputs under each of `count` recipes, computed side by side.
    /// `recipe(i)` makes the i-th; `advance` is called as each is done. NaN where outputs are no
    /// numbers, infinite where they are equal. Results do not depend on threads.
    ///
    /// # Errors
    /// The first recipe that does not fit the graph.
    pub fn sqnr_db(
        &self,
        count: usize,
        recipe: impl Fn(usize) -> Recipe + Sync,
        advance: &mut dyn FnMut(),
    ) -> Result<Vec<f64>> {
        side_by_side(count, self.threads, |at| self.measure(&recipe(at)), advance)
    }

    fn measure(&self, recipe: &Recipe) -> Result<f64> {
        let quantized = self.quantize(recipe)?;
        let mut engine = Engine::compile(&quantized, &Options { threads: 1, ..Options::default() })?;
        let mut noise = 0.0;
        for (sample, expected) in self.samples.iter().zip(&self.expected) {
            let outputs = engine.run(&adapt_inputs(&quantized, sample))?;
            let pairs = expected.iter().zip(&outputs).zip(&quantized.outputs);
            for ((float, narrow), &id) in pairs.filter(|((float, _), _)| float.dtype().is_float()) {
                let quant = quantized.value(id).quant.as_ref().and_then(Quantization::as_per_tensor);
                let (scale, zero) = quant.unwrap_or((1.0, 0));
                let real = narrow.to_f32().into_iter().map(|q| (q - zero as f32) * scale);
                let difference = float.to_f32().into_iter().zip(real).map(|(a, b)| f64::from(a) - f64::from(b));
                noise += difference.map(|d| d * d).sum::<f64>();
            }
        }
        // Equal outputs have no noise, also where they are all 0.
        Ok(if noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / noise).log10() })
    }
}

/// `measure(0)` to `measure(count - 1)`, `threads` at a time (0: one a core); `advance` is called as
/// each is done.
///
/// # Errors
/// The first error by index.
pub(crate) fn side_by_side(
    count: usize,
    threads: usize,
    measure: impl Fn(usize) -> Result<f64> + Sync,
    advance: &mut dyn FnMut(),
) -> Result<Vec<f64>> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { cores() } else { threads };
    let (next, (send, receive)) = (AtomicUsize::new(0), mpsc::channel());
    let mut results: Vec<Option<Result<f64>>> = (0..count).map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(MOST_AT_ONCE).min(count) {
            let (send, next, measure) = (send.clone(), &next, &measure);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count || send.send((at, measure(at))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (at, result) in receive {
            results[at] = Some(result);
            advance();
        }
    });
    // A worker that panicked has ended the scope with its panic: every result is there.
    results.into_iter().flatten().collect()
}

/// What a layer's quantization costs at the outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSensitivity {
    /// The node of the float graph.
    pub node: NodeId,
    /// SQNR of the outputs in decibels if this layer alone is quantized: its weights and its edges.
    pub alone_db: f64,
    /// SQNR of the outputs if everything but this layer is quantized.
    pub kept_db: f64,
}

/// Layer by layer, in execution order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensitivity {
    /// SQNR of the outputs with everything quantized.
    pub output_db: f64,
    /// One for each of the layers asked for.
    pub layers: Vec<LayerSensitivity>,
}

/// Quantizes each of `layers` alone, and all but it, as the probe's recipe says, and measures the
/// outputs. `forms` are those of the probe's quantized graph. `advance` is called `2 × layers + 1`
/// times.
///
/// # Errors
/// A recipe that does not fit the graph.
pub fn sensitivity(
    probe: &Probe<'_>,
    forms: &[Form],
    layers: &[NodeId],
    advance: &mut dyn FnMut(),
) -> Result<Sensitivity> {
    let recipe = probe.recipe();
    let name = |node: NodeId| probe.graph().node(node).name.clone();
    // Movement goes where its neighbours go; it is left out too, so that nothing else is narrow.
    let narrow: Vec<NodeId> = probe.graph().node_ids().filter(|n| forms[n.0] != Form::Float).collect();
    let alone = |layer: NodeId| Recipe {
        exclude: narrow.iter().filter(|&&n| n != layer).map(|&n| name(n)).chain(recipe.exclude.clone()).collect(),
        ..recipe.clone()
    };
    let kept = |layer: NodeId| Recipe {
        exclude: recipe.exclude.iter().cloned().chain([name(layer)]).collect(),
        ..recipe.clone()
    };
    let experiment = |i: usize| match layers.get(i / 2) {
        None => recipe.clone(),
        Some(&layer) if i.is_multiple_of(2) => alone(layer),
        Some(&layer) => kept(layer),
    };
    let mut measured = probe.sqnr_db(2 * layers.len() + 1, experiment, advance)?;
    let output_db = measured.pop().unwrap_or(f64::NAN);
    let pairs = measured.chunks_exact(2).zip(layers);
    let layers = pairs.map(|(db, &node)| LayerSensitivity { node, alone_db: db[0], kept_db: db[1] });
    Ok(Sensitivity { output_db, layers: layers.collect() })
}
