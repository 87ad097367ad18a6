//! Layers with integer weights.

use fewbits_graph::{Granularity, Quantization, ValueId};

/// The bias of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bias {
    /// Its float constant in the simulation.
    pub simulated: ValueId,
    pub(super) quantized: ValueId,
}

/// A layer whose weights are integers in the quantized graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Node name.
    pub node: String,
    /// The weights: a float constant of the simulation, not yet rounded.
    pub weights: ValueId,
    /// Their scales, one for each channel or one for all: a float constant that no node of the
    /// simulation reads.
    pub scales: ValueId,
    /// The bias, if the layer has one.
    pub bias: Option<Bias>,
    /// The group of the edge that the layer reads; `None` for one that reads floats.
    pub input: Option<usize>,
    /// Largest magnitude of the integers.
    pub largest: i32,
    /// Shape of the weights.
    pub shape: Vec<usize>,
    /// The axis of the channels; `None` for one scale.
    pub axis: Option<usize>,
    pub(super) quantized_weights: ValueId,
}

impl Layer {
    /// Number of weight scales.
    pub fn channels(&self) -> usize {
        self.axis.map_or(1, |axis| self.shape[axis])
    }

    /// Number of weights.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The scale that a weight has, by its index.
    pub fn channel_of(&self) -> impl Fn(usize) -> usize + use<> {
        let granularity = match self.axis {
            Some(axis) => Granularity::PerChannel { axis },
            None => Granularity::PerTensor,
        };
        Quantization { granularity, scales: Vec::new(), zero_points: Vec::new() }.parameter_of(&self.shape)
    }

    /// The integers that `weights` are rounded to, halves to even.
    pub fn integers(&self, weights: &[f32], scales: &[f32]) -> Vec<i8> {
        let (channel, largest) = (self.channel_of(), self.largest as f32);
        let round = |(i, w): (usize, &f32)| (w / scales[channel(i)]).round_ties_even().clamp(-largest, largest) as i8;
        weights.iter().enumerate().map(round).collect()
    }
}
