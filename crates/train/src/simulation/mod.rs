//! A quantized graph as a float graph that can be trained.
//!
//! The quantized graph decides: wherever it has an integer edge, the simulation has a
//! [`FakeQuantize`] with that edge's scale and zero point; where edges share parameters there, they
//! share constants here; where it has integer weights, the simulation has float weights that round to
//! them. So what is trained is what is exported (Jacob et al., "Quantization and Training of Neural
//! Networks for Efficient Integer-Arithmetic-Only Inference", 2018, §3).

mod build;
mod layers;

use fewbits_graph::{Graph, Node, Quantization, Tensor, Value, ValueId};
use fewbits_quantize::quantized_bias;

pub use layers::Layer;

use crate::Result;

/// Quantized edges that share one scale and zero point.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeGroup {
    /// The scale, a float scalar constant of the simulation.
    pub scale: ValueId,
    /// The zero point, a float scalar constant of the simulation.
    pub zero_point: ValueId,
    /// Smallest quantized value.
    pub low: i32,
    /// Largest quantized value.
    pub high: i32,
    /// An operator of the group prescribes its parameters (soft-max, logistic, tanh).
    pub fixed: bool,
    /// Elements of one edge of the group, the batch left out where the shape says; 1 if it does not.
    pub elements: usize,
    /// The edges, in the quantized graph.
    edges: Vec<ValueId>,
}

/// A quantized graph, and the float graph that simulates it.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The simulation: float inputs and outputs, of the names that the quantized graph's have.
    pub graph: Graph,
    /// Layers with integer weights, in execution order.
    pub layers: Vec<Layer>,
    /// The integer edges.
    pub groups: Vec<EdgeGroup>,
}

impl Simulation {
    /// Simulates `quantized`, which was made from the simplified graph `float`: weights start from
    /// its weights (found by node name) as far as they round to the integers that `quantized` has, so
    /// that the simulation computes what `quantized` does, at first. `largest(node)` is the largest
    /// magnitude of a layer's integer weights.
    ///
    /// # Errors
    /// An inconsistent graph.
    pub fn new(float: &Graph, quantized: &Graph, largest: impl Fn(&Node) -> i32) -> Result<Simulation> {
        build::Builder::new(float, quantized, &largest).build()
    }

    /// Writes scales, zero points, weights and biases into the graph that was simulated. `values`
    /// gives the present elements of a constant of [`graph`](Self::graph).
    pub fn export(&self, quantized: &mut Graph, values: &dyn Fn(ValueId) -> Vec<f32>) {
        let scalar = |id: ValueId| values(id).first().copied().unwrap_or(1.0);
        for group in self.groups.iter().filter(|g| !g.fixed) {
            let (scale, zero_point) = (scalar(group.scale), scalar(group.zero_point));
            let zero_point = (zero_point.round_ties_even() as i32).clamp(group.low, group.high);
            for &edge in &group.edges {
                quantized.value_mut(edge).quant = Some(Quantization::per_tensor(scale, zero_point));
            }
        }
        for layer in &self.layers {
            let (weights, scales) = (values(layer.weights), values(layer.scales));
            let integers = layer.integers(&weights, &scales);
            let target = quantized.value_mut(layer.quantized_weights);
            target.data = Some(Tensor::new(layer.shape.clone(), integers));
            if let Some(quant) = &mut target.quant {
                quant.scales.clone_from(&scales);
            }
            if let Some(bias) = &layer.bias {
                let real = values(bias.simulated);
                let target = quantized.value_mut(bias.quantized);
                match layer.input {
                    Some(group) => {
                        let input = scalar(self.groups[group].scale);
                        let scales = scales.iter().map(|w| w * input).collect();
                        let real: Vec<f64> = real.into_iter().map(f64::from).collect();
                        let (tensor, quant) = quantized_bias(&real, scales);
                        (target.data, target.quant) = (Some(tensor), Some(quant));
                    }
                    None => target.data = Some(Tensor::new(vec![real.len()], real)),
                }
            }
        }
    }
}

/// The numbers that a quantized constant stands for.
fn real(value: &Value) -> Option<Vec<f32>> {
    let data = value.data.as_ref()?;
    let Some(quant) = &value.quant else { return Some(data.to_f32()) };
    let parameter = quant.parameter_of(data.shape());
    let one = |(i, q): (usize, f64)| {
        let p = parameter(i);
        ((q - f64::from(quant.zero_points[p])) * f64::from(quant.scales[p])) as f32
    };
    Some(data.to_i64()?.into_iter().map(|q| q as f64).enumerate().map(one).collect())
}
