//! What an optimiser changes, and how it becomes what a tape computes with.

use fewbits_graph::{Graph, ValueId};
use fewbits_kernels::float::fake_quantize::Grid;
use fewbits_kernels::float::grad::fake_quantize::fake_quantize_gradient;

use crate::{Gradients, Layer, Params, Result, Simulation};

/// Something that is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name of the constant.
    pub name: String,
    /// The present elements.
    pub values: Vec<f32>,
    /// What a step of an optimiser of normalised steps (Adam) is measured in: 1 for weights, the
    /// first value for a scale, so that it changes by a share of itself.
    pub unit: f32,
    /// Factor of the gradient for optimisers that follow it (SGD): 1 for weights, `1 / √(n·q)` for
    /// scales, as LSQ has it (Esser et al. 2020, §2.2).
    pub rate: f32,
    /// Whether weight decay applies.
    pub decays: bool,
    /// The interval that it must stay in.
    pub bounds: (f32, f32),
    /// The constant of the graph.
    id: ValueId,
}

/// How the elements of a layer's weights fall into channels.
struct Channels {
    outer: usize,
    count: usize,
    inner: usize,
}

impl Channels {
    fn of(layer: &Layer) -> Channels {
        let size = |dims: &[usize]| dims.iter().product();
        match layer.axis {
            Some(a) => {
                Channels { outer: size(&layer.shape[..a]), count: layer.shape[a], inner: size(&layer.shape[a + 1..]) }
            }
            None => Channels { outer: 1, count: 1, inner: size(&layer.shape) },
        }
    }

    fn len(&self) -> usize {
        self.outer * self.inner
    }

    fn runs(&self, channel: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let (count, inner) = (self.count, self.inner);
        (0..self.outer).map(move |o| (o * count + channel) * inner..(o * count + channel + 1) * inner)
    }

    fn gather(&self, channel: usize, from: &[f32], to: &mut [f32]) {
        for (run, to) in self.runs(channel).zip(to.chunks_exact_mut(self.inner.max(1))) {
            to.copy_from_slice(&from[run]);
        }
    }

    fn scatter(&self, channel: usize, from: &[f32], to: &mut [f32]) {
        for (run, from) in self.runs(channel).zip(from.chunks_exact(self.inner.max(1))) {
            to[run].copy_from_slice(from);
        }
    }
}

/// A graph with everything in it that is trained: weights, biases, and, of a simulation, scales and
/// zero points. Layers' weights are rounded before the tape sees them, and gradients go straight
/// through.
#[derive(Clone, Debug)]
pub struct Trainee {
    /// What a [`Tape`](crate::Tape) is compiled from.
    pub graph: Graph,
    /// Everything that is trained.
    pub parameters: Vec<Parameter>,
    simulation: Option<Simulation>,
    /// The constants that the tape reads, with the parameter behind each.
    tape: Params,
    behind: Vec<usize>,
    /// For each layer the parameters of weights, scales and bias.
    layers: Vec<[Option<usize>; 3]>,
}

/// The least share of its first value that a scale may shrink to.
const SMALLEST_SCALE: f32 = 1.0 / 64.0;

impl Trainee {
    /// All weights and biases of a float graph.
    ///
    /// # Errors
    /// None for an inferred graph.
    pub fn float(graph: Graph) -> Result<Trainee> {
        let tape = Params::of(&graph, &Params::all_of(&graph, 1))?;
        let parameter = |i: usize| plain(&graph, tape.id(i), tape.values[i].clone());
        let parameters = (0..tape.len()).map(parameter).collect();
        let behind = (0..tape.len()).collect();
        Ok(Trainee { graph, parameters, simulation: None, tape, behind, layers: Vec::new() })
    }

    /// Weights, weight scales and biases of a simulation's layers, and scales and zero points of its
    /// edges; scales and zero points only if `learn_ranges`. Zero points at an end of their type stay:
    /// one-sided edges remain so.
    ///
    /// # Errors
    /// None for a simulation as it was built.
    pub fn simulated(simulation: Simulation, learn_ranges: bool) -> Result<Trainee> {
        let graph = simulation.graph.clone();
        let values = |id: ValueId| graph.value(id).data.as_ref().map_or_else(Vec::new, fewbits_graph::Tensor::to_f32);
        let mut parameters = Vec::new();
        let mut layers = Vec::new();
        let mut read = Vec::new();
        for layer in &simulation.layers {
            let at = parameters.len();
            read.push((layer.weights, at));
            parameters.push(plain(&graph, layer.weights, values(layer.weights)));
            let steps = layer.elements() / layer.channels().max(1) * layer.largest as usize;
            let scales = learn_ranges.then_some(parameters.len());
            if learn_ranges {
                parameters.push(scale(&graph, layer.scales, values(layer.scales), steps));
            }
            let bias = layer.bias.map(|bias| {
                read.push((bias.simulated, parameters.len()));
                parameters.push(Parameter { decays: false, ..plain(&graph, bias.simulated, values(bias.simulated)) });
                parameters.len() - 1
            });
            layers.push([Some(at), scales, bias]);
        }
        for group in simulation.groups.iter().filter(|g| learn_ranges && !g.fixed) {
            let zero = values(group.zero_point).first().copied().unwrap_or(0.0);
            let (low, high) = (group.low as f32, group.high as f32);
            read.push((group.scale, parameters.len()));
            let steps = group.elements * (high - zero).max(zero - low) as usize;
            parameters.push(scale(&graph, group.scale, values(group.scale), steps));
            if zero > low && zero < high {
                read.push((group.zero_point, parameters.len()));
                parameters.push(Parameter {
                    bounds: (low, high),
                    decays: false,
                    ..plain(&graph, group.zero_point, vec![zero])
                });
            }
        }
        let ids: Vec<ValueId> = read.iter().map(|r| r.0).collect();
        let (tape, behind) = (Params::of(&graph, &ids)?, read.into_iter().map(|r| r.1).collect());
        Ok(Trainee { graph, parameters, simulation: Some(simulation), tape, behind, layers })
    }

    /// The constants that a tape of [`graph`](Self::graph) is to be compiled with as trainable.
    pub fn trainable(&self) -> Vec<ValueId> {
        (0..self.tape.len()).map(|i| self.tape.id(i)).collect()
    }

    /// Layers with integer weights, with the places of weights, scales and bias in
    /// [`parameters`](Self::parameters).
    pub fn layers(&self) -> impl Iterator<Item = (&Layer, [Option<usize>; 3])> {
        self.simulation.iter().flat_map(|s| &s.layers).zip(self.layers.iter().copied())
    }

    /// The constants of the tape as [`round`](Self::round) left them.
    pub fn constants(&self) -> &Params {
        &self.tape
    }

    /// Makes the constants of the tape from the present parameters: weights and biases are rounded.
    pub fn round(&mut self) {
        for (i, &p) in self.behind.iter().enumerate() {
            self.tape.values[i].copy_from_slice(&self.parameters[p].values);
        }
        let Some(simulation) = &self.simulation else { return };
        for (layer, places) in simulation.layers.iter().zip(&self.layers) {
            let scales = self.scales(layer, places[1]);
            if let Some(at) = self.place(places[0]) {
                round_weights(layer, &scales, &mut self.tape.values[at]);
            }
            if let (Some(at), Some(group)) = (self.place(places[2]), layer.input) {
                let group = &simulation.groups[group];
                let input = self.parameter_of(group.scale).map_or(1.0, |s| s[0]);
                for (c, b) in self.tape.values[at].iter_mut().enumerate() {
                    let step = input * scales[if scales.len() == 1 { 0 } else { c }];
                    *b = (*b / step).round_ties_even() * step;
                }
            }
        }
    }

    /// Where the tape reads a parameter from.
    fn place(&self, parameter: Option<usize>) -> Option<usize> {
        parameter.and_then(|p| self.behind.iter().position(|&b| b == p))
    }

    fn scales(&self, layer: &Layer, place: Option<usize>) -> Vec<f32> {
        match place {
            Some(p) => self.parameters[p].values.clone(),
            None => self.parameter_of(layer.scales).unwrap_or_default(),
        }
    }

    /// The present elements of a constant of the graph.
    fn parameter_of(&self, id: ValueId) -> Option<Vec<f32>> {
        let trained = self.parameters.iter().find(|p| p.id == id).map(|p| p.values.clone());
        trained.or_else(|| Some(self.graph.value(id).data.as_ref()?.to_f32()))
    }

    /// The gradients of the parameters, in their order, from those of the tape's constants.
    pub fn pull_back(&self, gradients: Gradients<'_>) -> Vec<Vec<f32>> {
        let mut out: Vec<Vec<f32>> = self.parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
        for (i, &p) in self.behind.iter().enumerate() {
            out[p].copy_from_slice(gradients.param(i));
        }
        let Some(simulation) = &self.simulation else { return out };
        for (layer, places) in simulation.layers.iter().zip(&self.layers) {
            let Some(at) = places[0] else { continue };
            let scales = self.scales(layer, places[1]);
            let mut weights = std::mem::take(&mut out[at]);
            let steps = pull_back_weights(layer, &scales, &self.parameters[at].values, &mut weights);
            out[at] = weights;
            if let Some(place) = places[1] {
                out[place] = steps;
            }
        }
        out
    }

    /// Keeps parameters within their bounds.
    pub fn hold(&mut self) {
        for p in &mut self.parameters {
            let (low, high) = p.bounds;
            p.values.iter_mut().for_each(|x| *x = x.clamp(low, high));
        }
    }

    /// `graph` with the present parameters: the float graph that is trained, or the quantized one that
    /// was simulated.
    pub fn export(&self, graph: &Graph) -> Graph {
        let mut out = graph.clone();
        let values = |id: ValueId| self.parameter_of(id).unwrap_or_default();
        match &self.simulation {
            Some(simulation) => simulation.export(&mut out, &values),
            None => {
                for p in &self.parameters {
                    if let Some(data) = &mut out.value_mut(p.id).data {
                        *data = fewbits_graph::Tensor::new(data.shape().to_vec(), p.values.clone());
                    }
                }
            }
        }
        out
    }
}

fn plain(graph: &Graph, id: ValueId, values: Vec<f32>) -> Parameter {
    let value = graph.value(id);
    // Biases and normalisations have one axis.
    let decays = value.shape.rank() > 1;
    let bounds = (f32::NEG_INFINITY, f32::INFINITY);
    Parameter { name: value.name.clone(), values, unit: 1.0, rate: 1.0, decays, bounds, id }
}

fn scale(graph: &Graph, id: ValueId, values: Vec<f32>, steps: usize) -> Parameter {
    let unit = values.iter().sum::<f32>() / values.len().max(1) as f32;
    let least = values.iter().copied().fold(f32::INFINITY, f32::min) * SMALLEST_SCALE;
    Parameter {
        unit,
        rate: 1.0 / (steps.max(1) as f32).sqrt(),
        decays: false,
        bounds: (least, f32::INFINITY),
        ..plain(graph, id, values)
    }
}

fn grid(layer: &Layer, scale: f32) -> Grid {
    let end = layer.largest as f32;
    Grid { scale, zero_point: 0.0, low: -end, high: end }
}

fn round_weights(layer: &Layer, scales: &[f32], weights: &mut [f32]) {
    let channels = Channels::of(layer);
    let (mut exact, mut rounded) = (vec![0.0; channels.len()], vec![0.0; channels.len()]);
    for (c, &scale) in scales.iter().enumerate() {
        channels.gather(c, weights, &mut exact);
        grid(layer, scale).apply(&exact, &mut rounded);
        channels.scatter(c, &rounded, weights);
    }
}

/// Turns the gradient of rounded weights into that of the weights; returns that of the scales.
fn pull_back_weights(layer: &Layer, scales: &[f32], weights: &[f32], gradient: &mut [f32]) -> Vec<f32> {
    let channels = Channels::of(layer);
    let mut buffers = [(); 3].map(|()| vec![0.0; channels.len()]);
    let [exact, given, passed] = &mut buffers;
    let one = |(c, &scale): (usize, &f32)| {
        channels.gather(c, weights, exact);
        channels.gather(c, gradient, given);
        let sums = fake_quantize_gradient(grid(layer, scale), exact, given, passed, false);
        channels.scatter(c, passed, gradient);
        sums.scale as f32
    };
    scales.iter().enumerate().map(one).collect()
}
