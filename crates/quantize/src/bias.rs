//! Bias correction: rounding weights shifts the mean of each output channel by
//! `E[(ŵ − w)·x] = (ŵ − w)·E[x]`, which the bias can take back (Nagel et al. 2019, §4.2; the means
//! are those of calibration).

use fewbits_graph::{Graph, Node, Op, Quantization, Tensor, ValueId};

use crate::{Recipe, Statistics};

/// The least weight scale that a bias of this magnitude allows: it is int32 in units of input scale ×
/// weight scale, and half of the range is left to the products.
pub(crate) fn smallest_scale(bias: f32, input_scale: f32) -> f32 {
    bias / (input_scale * (1u32 << 30) as f32)
}

/// A bias as int32, in units of input scale × weight scale: `scales` has one for each channel, or one.
pub fn quantized_bias(bias: &[f64], scales: Vec<f32>) -> (Tensor, Quantization) {
    let scale = |c: usize| f64::from(scales[if scales.len() == 1 { 0 } else { c }]);
    let quantized = bias.iter().enumerate().map(|(c, b)| (b / scale(c)).round_ties_even() as i32);
    let tensor = Tensor::new(vec![bias.len()], quantized.collect::<Vec<i32>>());
    let quant = match scales.as_slice() {
        &[scale] => Quantization::per_tensor(scale, 0),
        _ => Quantization::per_channel(0, scales),
    };
    (tensor, quant)
}

/// What each quantized weight stands for.
pub(crate) fn dequantized(quantized: &Tensor, quant: &Quantization) -> Vec<f64> {
    let parameter = quant.parameter_of(quantized.shape());
    let real = |(i, &q): (usize, &f32)| f64::from(q) * f64::from(quant.scales[parameter(i)]);
    quantized.to_f32().iter().enumerate().map(real).collect()
}

/// The shift of each output channel's mean that rounding `weights` to `rounded` causes, for inputs
/// whose channels have the given means. Borders, where padding takes part, count as the interior.
///
/// `None` for operators whose outputs do not all see the same weights (transposed convolution).
pub(crate) fn mean_shift(node: &Node, weights: &Tensor, rounded: &[f64], means: &[f64]) -> Option<Vec<f64>> {
    let float = weights.to_f32();
    let shape = weights.shape();
    let error = |i: usize| rounded[i] - f64::from(float[i]);
    let mut shift;
    match &node.op {
        Op::Conv2d(_) | Op::FullyConnected(_) => {
            let (outputs, inner) = (shape[0], *shape.last()?);
            let groups = means.len() / inner.max(1);
            shift = vec![0.0; outputs];
            for (i, _) in float.iter().enumerate() {
                let output = i / (float.len() / outputs);
                let group = output / (outputs / groups.max(1)).max(1);
                shift[output] += error(i) * means.get(group * inner + i % inner)?;
            }
        }
        Op::DepthwiseConv2d(op) => {
            let outputs = *shape.last()?;
            shift = vec![0.0; outputs];
            for (i, _) in float.iter().enumerate() {
                let output = i % outputs;
                shift[output] += error(i) * means.get(output / op.multiplier.max(1))?;
            }
        }
        _ => return None,
    }
    Some(shift)
}

/// Takes the shift that rounding the weights of node `index` to `rounded` causes back through its
/// float bias, if `recipe` asks for it and `statistics` know the node's input. Value ids are those
/// of the graph that was observed.
pub(crate) fn correct_float_bias(
    graph: &mut Graph,
    index: usize,
    weights: &Tensor,
    rounded: &[f64],
    statistics: Option<&Statistics>,
    recipe: &Recipe,
) {
    let node = &graph.nodes[index];
    let means = node.inputs.first().copied().flatten().and_then(|x| statistics?.channel_means(x));
    let Some(shift) =
        means.filter(|_| recipe.bias_correction).and_then(|means| mean_shift(node, weights, rounded, &means))
    else {
        return;
    };
    let old: Option<ValueId> = node.inputs.get(2).copied().flatten();
    let data = old.and_then(|id| graph.value(id).data.as_ref());
    if old.is_some() && data.is_none_or(|data| data.elements() != shift.len()) {
        return;
    }
    let name = match old {
        Some(id) => format!("{}_corrected", graph.value(id).name),
        None => format!("{}_bias", node.name),
    };
    let before = data.map_or_else(|| vec![0.0; shift.len()], Tensor::to_f32);
    let after: Vec<f32> = before.iter().zip(&shift).map(|(&b, s)| (f64::from(b) - s) as f32).collect();
    let bias = graph.add_constant(name, Tensor::new(vec![shift.len()], after));
    let inputs = &mut graph.nodes[index].inputs;
    inputs.resize(inputs.len().max(3), None);
    inputs[2] = Some(bias);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{WeightBits, WeightScales, quantize_weights};
    use fewbits_graph::Activation;
    use fewbits_graph::ops::{Conv2d, FullyConnected};

    #[test]
    fn the_shift_is_the_difference_of_mean_outputs() {
        let weights = Tensor::new(vec![2, 3], vec![0.3f32, -0.7, 0.11, 1.0, 0.013, -0.5]);
        let (quantized, quant) = quantize_weights(&weights, Some(0), WeightScales::Max, WeightBits::default(), |_| 0.0);
        let node = Node {
            name: String::new(),
            op: FullyConnected { activation: Activation::None }.into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let means = [2.0, -3.0, 5.0];
        let shift = mean_shift(&node, &weights, &dequantized(&quantized, &quant), &means).unwrap();
        let (q, w) = (quantized.to_f32(), weights.to_f32());
        for o in 0..2 {
            let dot = |f: &dyn Fn(usize) -> f64| -> f64 { (0..3).map(|i| f(3 * o + i) * means[i]).sum() };
            let expected = dot(&|i| f64::from(q[i]) * f64::from(quant.scales[o])) - dot(&|i| f64::from(w[i]));
            assert!((shift[o] - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn groups_read_their_own_channels() {
        // Two groups of one input channel; the second channel is always 0, so its group has no shift.
        let weights = Tensor::new(vec![2, 1, 2, 1], vec![0.3f32, 1.0, 0.3, 1.0]);
        let (quantized, quant) = quantize_weights(&weights, Some(0), WeightScales::Max, WeightBits::default(), |_| 0.0);
        let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [0; 4], groups: 2, activation: Activation::None };
        let node = Node { name: String::new(), op: op.into(), inputs: Vec::new(), outputs: Vec::new() };
        let shift = mean_shift(&node, &weights, &dequantized(&quantized, &quant), &[1.0, 0.0]).unwrap();
        assert!(shift[0].abs() > 1e-4 && shift[1] == 0.0, "{shift:?}");
    }
}
