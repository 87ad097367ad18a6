//! Weights: symmetric, zero point 0; of eight bits in [−127, 127].

use fewbits_graph::{DType, Graph, Quantization, Tensor};
use serde::{Deserialize, Serialize};

use crate::rounding::{Filters, Integers};
use crate::{Error, Recipe, Result, WeightRounding};

/// How the scale of a weight channel is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightScales {
    /// The largest magnitude becomes the largest value of the type.
    Max,
    /// The scale of least mean squared error, which may clip the largest weights.
    Mse,
    /// `Max` for eight bits; `Mse` for fewer, where a whole step for each outlier is too dear.
    #[default]
    Auto,
}

impl WeightScales {
    /// `Max` or `Mse`: what it means for weights of that many bits.
    pub fn resolved(self, bits: WeightBits) -> Self {
        match self {
            WeightScales::Auto if bits.0 == 8 => WeightScales::Max,
            WeightScales::Auto => WeightScales::Mse,
            chosen => chosen,
        }
    }
}

/// Bits of a weight: 2 to 8. They are int8 until [`pack_weights`](crate::pack_weights) stores those of up
/// to four bits as int4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct WeightBits(u8);

impl Default for WeightBits {
    fn default() -> Self {
        WeightBits(8)
    }
}

impl WeightBits {
    /// Largest quantized magnitude: the most negative value of the type is left out so that
    /// products stay symmetric.
    pub fn largest(self) -> i8 {
        i8::MAX >> (8 - self.0)
    }
}

impl TryFrom<u8> for WeightBits {
    type Error = String;

    fn try_from(bits: u8) -> std::result::Result<Self, String> {
        if (2..=8).contains(&bits) {
            Ok(WeightBits(bits))
        } else {
            Err(format!("{bits} bits for weights: 2 to 8 are possible"))
        }
    }
}

impl From<WeightBits> for u8 {
    fn from(bits: WeightBits) -> u8 {
        bits.0
    }
}

/// Candidate scales that [`WeightScales::Mse`] tries, from 1 down to [`SMALLEST_CANDIDATE`] of the
/// largest.
const CANDIDATES: usize = 50;

/// Clipping at less of the largest weight never paid on the shared models, at two bits either.
const SMALLEST_CANDIDATE: f32 = 0.2;

/// Scales from the one that holds all of `channel` downwards; `None` if all weights are 0, or too
/// small for f32's normal numbers.
pub(crate) fn candidate_scales(channel: &[f32], largest: i8) -> Option<impl Iterator<Item = f32> + use<>> {
    let magnitude = channel.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let scale = magnitude / f32::from(largest);
    let step = (1.0 - SMALLEST_CANDIDATE) / CANDIDATES as f32;
    scale.is_normal().then(|| (0..CANDIDATES).map(move |i| scale * (1.0 - step * i as f32)))
}

/// The scale of one channel.
fn channel_scale(channel: &[f32], method: WeightScales, largest: i8) -> f32 {
    // Any scale holds zeros.
    let Some(mut candidates) = candidate_scales(channel, largest) else { return 1.0 / f32::from(largest) };
    let error = |scale: f32| -> f64 {
        channel.iter().map(|&x| f64::from(f32::from(round_to(x, scale, largest)) * scale - x).powi(2)).sum()
    };
    match method {
        WeightScales::Mse => {
            let best = candidates.map(|s| (error(s), s)).reduce(|a, b| if b.0 < a.0 { b } else { a });
            best.map_or(1.0, |(_, scale)| scale)
        }
        _ => candidates.next().unwrap_or(1.0),
    }
}

pub(crate) fn round_to(x: f32, scale: f32, largest: i8) -> i8 {
    (x / scale).round_ties_even().clamp(-f32::from(largest), f32::from(largest)) as i8
}

/// Quantizes float weights: one scale for each index of `axis`, or one for all without an axis.
/// `smallest_scale(channel)` is a lower bound of a channel's scale (biases must fit into int32).
///
/// Returns the int8 tensor of the same shape and its parameters.
pub fn quantize_weights(
    weights: &Tensor,
    axis: Option<usize>,
    method: WeightScales,
    bits: WeightBits,
    smallest_scale: impl Fn(usize) -> f32,
) -> (Tensor, Quantization) {
    let (method, largest) = (method.resolved(bits), bits.largest());
    let data = weights.to_f32();
    let shape = weights.shape();
    let mut quant = match axis {
        Some(axis) => Quantization::per_channel(axis, vec![1.0; shape[axis]]),
        None => Quantization::per_tensor(1.0, 0),
    };
    let channel_of = quant.parameter_of(shape);
    let mut by_channel: Vec<Vec<f32>> = vec![Vec::new(); quant.scales.len()];
    for (i, &x) in data.iter().enumerate() {
        by_channel[channel_of(i)].push(x);
    }
    for (c, (scale, weights)) in quant.scales.iter_mut().zip(&by_channel).enumerate() {
        *scale = channel_scale(weights, method, largest).max(smallest_scale(c));
    }
    let quantized: Vec<i8> =
        data.iter().enumerate().map(|(i, &x)| round_to(x, quant.scales[channel_of(i)], largest)).collect();
    (Tensor::new(shape.to_vec(), quantized), quant)
}

/// As [`quantize_weights`], for the weights of a layer: as `recipe` says, but of `bits` bits.
/// `filters` tells how they lie.
pub(crate) fn quantize_layer_weights(
    weights: &Tensor,
    filters: Filters<'_>,
    recipe: &Recipe,
    bits: WeightBits,
    smallest_scale: impl Fn(usize) -> f32,
) -> (Tensor, Quantization) {
    let axis = (!recipe.per_tensor).then_some(filters.axis);
    let (tensor, quant) = quantize_weights(weights, axis, recipe.weight_scales, bits, smallest_scale);
    let Some(nearest) = tensor.as_slice::<i8>().filter(|_| recipe.weight_rounding != WeightRounding::Nearest) else {
        return (tensor, quant);
    };
    let (data, mut rounded) = (weights.to_f32(), nearest.into_owned());
    let channel = quant.parameter_of(filters.shape);
    let grid = Integers::symmetric(bits);
    filters.balance(&grid, |i| f64::from(data[i]) / f64::from(quant.scales[channel(i)]), &mut rounded);
    (Tensor::new(filters.shape.to_vec(), rounded), quant)
}

/// Checks that every float constant a node reads is finite.
///
/// # Errors
/// [`Error::BadWeight`] names the first that is not. Infinite scalars (clip bounds, attention
/// masks) are legal and not looked at.
pub fn check_weights(graph: &Graph) -> Result<()> {
    for node in &graph.nodes {
        for &id in node.inputs.iter().flatten() {
            let value = graph.value(id);
            let Some(data) = value.data.as_ref().filter(|t| t.dtype() == DType::F32 && t.elements() > 1) else {
                continue;
            };
            let slice = data.as_slice::<f32>().unwrap_or_default();
            if let Some((index, x)) = slice.iter().enumerate().find(|(_, x)| !x.is_finite()) {
                return Err(Error::BadWeight {
                    value: value.name.clone(),
                    node: node.name.clone(),
                    what: if x.is_nan() { "NaN" } else { "infinity" },
                    index,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn channels_are_quantized_alone(data in prop::collection::vec(-10f32..10.0, 24), axis in 0usize..3) {
            let weights = Tensor::new(vec![2, 3, 4], data.clone());
            let (q, quant) = quantize_weights(&weights, Some(axis), WeightScales::Max, WeightBits(8), |_| 0.0);
            prop_assert_eq!(quant.scales.len(), weights.shape()[axis]);
            let q = q.as_slice::<i8>().unwrap();
            for i in 0..24 {
                let index = [i / 12, i / 4 % 3, i % 4];
                let scale = quant.scales[index[axis]];
                prop_assert!((f32::from(q[i]) * scale - data[i]).abs() <= 0.5001 * scale);
            }
        }

        #[test]
        fn mse_is_never_worse_than_max(data in prop::collection::vec(-1f32..1.0, 64), bits in 2u8..=8) {
            let weights = Tensor::new(vec![64], data.clone());
            let error = |method| -> f64 {
                let (q, quant) = quantize_weights(&weights, None, method, WeightBits(bits), |_| 0.0);
                let q = q.as_slice::<i8>().unwrap();
                data.iter().zip(q.iter()).map(|(x, &q)| f64::from(f32::from(q) * quant.scales[0] - x).powi(2)).sum()
            };
            prop_assert!(error(WeightScales::Mse) <= error(WeightScales::Max));
        }
    }

    #[test]
    fn bits_are_two_to_eight() {
        let largest = |bits: u8| WeightBits::try_from(bits).map(WeightBits::largest);
        assert_eq!([2, 3, 4, 5, 6, 7, 8].map(|b| largest(b).unwrap()), [1, 3, 7, 15, 31, 63, 127]);
        assert!(largest(1).unwrap_err().contains("2 to 8") && largest(9).is_err());
    }

    #[test]
    fn a_channel_of_zeros_has_a_usable_scale() {
        let (q, quant) = quantize_weights(
            &Tensor::new(vec![2, 2], vec![0.0f32, 0.0, 1.0, -1.0]),
            Some(0),
            WeightScales::Max,
            WeightBits(8),
            |_| 0.0,
        );
        assert!(quant.scales.iter().all(|s| s.is_normal()));
        assert_eq!(&*q.as_slice::<i8>().unwrap(), &[0, 0, 127, -127]);
    }
}
