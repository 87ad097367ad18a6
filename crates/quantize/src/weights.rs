//! Weights: symmetric, zero point 0, range [−127, 127].

use fewbits_graph::{DType, Graph, Quantization, Tensor};
use serde::{Deserialize, Serialize};

use crate::rounding::Filters;
use crate::{Error, Recipe, Result, WeightRounding};

/// How the scale of a weight channel is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightScales {
    /// The largest magnitude becomes 127.
    #[default]
    Max,
    /// The scale of least mean squared error, which may clip the largest weights.
    Mse,
}

/// Largest quantized magnitude: −128 is left out so that products stay symmetric.
const LARGEST: f32 = 127.0;

/// Candidate scales that [`WeightScales::Mse`] tries, from 1 down to 0.5 of the largest.
const CANDIDATES: usize = 50;

/// The scale of one channel.
fn channel_scale(channel: &[f32], method: WeightScales) -> f32 {
    let largest = channel.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let scale = largest / LARGEST;
    if !scale.is_normal() {
        // All weights are 0 (or too small for f32's normal numbers): any scale holds them.
        return 1.0 / LARGEST;
    }
    match method {
        WeightScales::Max => scale,
        WeightScales::Mse => {
            let error = |scale: f32| -> f64 {
                channel.iter().map(|&x| f64::from(round_to(x, scale) as f32 * scale - x).powi(2)).sum()
            };
            let candidates = (0..CANDIDATES).map(|i| scale * (1.0 - 0.5 * i as f32 / CANDIDATES as f32));
            let best =
                candidates.map(|s| (error(s), s)).fold((f64::INFINITY, scale), |a, b| if b.0 < a.0 { b } else { a });
            best.1
        }
    }
}

fn round_to(x: f32, scale: f32) -> i8 {
    (x / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}

/// Quantizes float weights: one scale for each index of `axis`, or one for all without an axis.
/// `smallest_scale(channel)` is a lower bound of a channel's scale (biases must fit into int32).
///
/// Returns the int8 tensor of the same shape and its parameters.
pub fn quantize_weights(
    weights: &Tensor,
    axis: Option<usize>,
    method: WeightScales,
    smallest_scale: impl Fn(usize) -> f32,
) -> (Tensor, Quantization) {
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
        *scale = channel_scale(weights, method).max(smallest_scale(c));
    }
    let quantized: Vec<i8> = data.iter().enumerate().map(|(i, &x)| round_to(x, quant.scales[channel_of(i)])).collect();
    (Tensor::new(shape.to_vec(), quantized), quant)
}

/// As [`quantize_weights`], for the weights of a layer and as `recipe` says. `filters` tells how
/// they lie.
pub(crate) fn quantize_layer_weights(
    weights: &Tensor,
    filters: Filters<'_>,
    recipe: &Recipe,
    smallest_scale: impl Fn(usize) -> f32,
) -> (Tensor, Quantization) {
    let axis = (!recipe.per_tensor).then_some(filters.axis);
    let (tensor, quant) = quantize_weights(weights, axis, recipe.weight_scales, smallest_scale);
    let Some(nearest) = tensor.as_slice::<i8>().filter(|_| recipe.weight_rounding == WeightRounding::Balanced) else {
        return (tensor, quant);
    };
    let (data, mut rounded) = (weights.to_f32(), nearest.into_owned());
    let channel = quant.parameter_of(filters.shape);
    filters.balance(|i| f64::from(data[i]) / f64::from(quant.scales[channel(i)]), &mut rounded);
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
            let (q, quant) = quantize_weights(&weights, Some(axis), WeightScales::Max, |_| 0.0);
            prop_assert_eq!(quant.scales.len(), weights.shape()[axis]);
            let q = q.as_slice::<i8>().unwrap();
            for i in 0..24 {
                let index = [i / 12, i / 4 % 3, i % 4];
                let scale = quant.scales[index[axis]];
                prop_assert!((f32::from(q[i]) * scale - data[i]).abs() <= 0.5001 * scale);
            }
        }

        #[test]
        fn mse_is_never_worse_than_max(data in prop::collection::vec(-1f32..1.0, 64)) {
            let weights = Tensor::new(vec![64], data.clone());
            let error = |method| -> f64 {
                let (q, quant) = quantize_weights(&weights, None, method, |_| 0.0);
                let q = q.as_slice::<i8>().unwrap();
                data.iter().zip(q.iter()).map(|(x, &q)| f64::from(f32::from(q) * quant.scales[0] - x).powi(2)).sum()
            };
            prop_assert!(error(WeightScales::Mse) <= error(WeightScales::Max));
        }
    }

    #[test]
    fn a_channel_of_zeros_has_a_usable_scale() {
        let (q, quant) = quantize_weights(
            &Tensor::new(vec![2, 2], vec![0.0f32, 0.0, 1.0, -1.0]),
            Some(0),
            WeightScales::Max,
            |_| 0.0,
        );
        assert!(quant.scales.iter().all(|s| s.is_normal()));
        assert_eq!(&*q.as_slice::<i8>().unwrap(), &[0, 0, 127, -127]);
    }
}
