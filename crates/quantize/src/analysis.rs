//! Which layer broke: the quantized graph's edges beside the float graph's.

use std::collections::BTreeMap;

use fewbits_engine::{Engine, Options, TensorView};
use fewbits_graph::{DType, Graph, Quantization, Tensor, ValueId};

use crate::Result;

/// How far a layer of the quantized graph is from the float graph's, over all compared samples,
/// with everything before it quantized too.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerError {
    /// Node name in the float graph.
    pub node: String,
    /// Operator name.
    pub op: &'static str,
    /// Name of the compared value, the node's output.
    pub value: String,
    /// `10·log₁₀(Σ float² ÷ Σ (float − quantized)²)`; infinite where they are equal.
    pub sqnr_db: f64,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
}

/// The layers of a float and a quantized graph, in execution order.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Layers whose output exists under one name in both graphs.
    pub layers: Vec<LayerError>,
    /// Samples compared.
    pub samples: usize,
}

#[derive(Clone, Copy, Default)]
struct Sums {
    signal: f64,
    noise: f64,
    dot: f64,
    other: f64,
    max_abs: f64,
}

impl Sums {
    fn add(&mut self, float: &[f32], quantized: impl Iterator<Item = f32>) {
        for (&a, b) in float.iter().zip(quantized) {
            let (a, b) = (f64::from(a), f64::from(b));
            self.signal += a * a;
            self.noise += (a - b) * (a - b);
            self.dot += a * b;
            self.other += b * b;
            self.max_abs = self.max_abs.max((a - b).abs());
        }
    }
}

/// Runs both graphs over the samples (a tensor for each public input, in the float graph's types)
/// and compares every layer that exists in both, by name.
///
/// # Errors
/// If a graph does not run on the samples.
pub fn compare<'a>(
    float: &Graph,
    quantized: &Graph,
    samples: impl IntoIterator<Item = &'a [Tensor]>,
    threads: usize,
) -> Result<Comparison> {
    let options = Options { threads, ..Options::default() };
    let mut engines = (Engine::compile(float, &options)?, Engine::compile(quantized, &options)?);
    let pairs = matching_values(float, quantized);
    let mut sums: BTreeMap<ValueId, Sums> = BTreeMap::new();
    let mut count = 0;
    for sample in samples {
        let mut seen: BTreeMap<ValueId, Vec<f32>> = BTreeMap::new();
        engines.0.run_observed(sample, &mut |id, view: &TensorView<'_>| {
            if let (Some(&other), Some(data)) = (pairs.get(&id), view.as_slice::<f32>()) {
                seen.insert(other, data.to_vec());
            }
        })?;
        let inputs = adapt_inputs(quantized, sample);
        engines.1.run_observed(&inputs, &mut |id, view: &TensorView<'_>| {
            if let Some(float) = seen.get(&id) {
                let real = real_values(view, quantized.value(id).quant.as_ref());
                sums.entry(id).or_default().add(float, real.into_iter());
            }
        })?;
        count += 1;
    }
    let layer = |node: &fewbits_graph::Node| {
        let id = *node.outputs.first()?;
        let s = sums.get(pairs.get(&id)?)?;
        Some(LayerError {
            node: node.name.clone(),
            op: node.op.name(),
            value: float.value(id).name.clone(),
            sqnr_db: 10.0 * (s.signal / s.noise).log10(),
            cosine: if s.signal * s.other > 0.0 { s.dot / (s.signal * s.other).sqrt() } else { 1.0 },
            max_abs: s.max_abs,
        })
    };
    Ok(Comparison { layers: float.nodes.iter().filter_map(layer).collect(), samples: count })
}

/// Float values and their counterparts of the same name and shape.
fn matching_values(float: &Graph, quantized: &Graph) -> BTreeMap<ValueId, ValueId> {
    let names = quantized.names();
    let pair = |id: ValueId| {
        let value = float.value(id);
        let other = *names.get(value.name.as_str())?;
        let comparable = value.dtype == DType::F32
            && value.data.is_none()
            && (quantized.value(other).quant.is_some() || quantized.value(other).dtype == DType::F32);
        (comparable && quantized.value(other).shape.rank() == value.shape.rank()).then_some((id, other))
    };
    float.value_ids().filter_map(pair).collect()
}

/// The elements as real numbers.
fn real_values(view: &TensorView<'_>, quant: Option<&Quantization>) -> Vec<f32> {
    let (scale, zero) = quant.and_then(Quantization::as_per_tensor).unwrap_or((1.0, 0));
    let real = |q: i32| (q - zero) as f32 * scale;
    if let Some(data) = view.as_slice::<f32>() {
        data.to_vec()
    } else if let Some(data) = view.as_slice::<i8>() {
        data.iter().map(|&q| real(q.into())).collect()
    } else if let Some(data) = view.as_slice::<u8>() {
        data.iter().map(|&q| real(q.into())).collect()
    } else if let Some(data) = view.as_slice::<i16>() {
        data.iter().map(|&q| real(q.into())).collect()
    } else {
        Vec::new()
    }
}

/// Float samples as a quantized graph's public inputs want them.
pub fn adapt_inputs(graph: &Graph, sample: &[Tensor]) -> Vec<Tensor> {
    let adapt = |(&id, tensor): (&ValueId, &Tensor)| {
        let value = graph.value(id);
        let params = value.quant.as_ref().and_then(Quantization::as_per_tensor);
        match (value.dtype, params) {
            (DType::I8 | DType::U8, Some((scale, zero))) if tensor.dtype() == DType::F32 => {
                let (low, high) = if value.dtype == DType::I8 { (-128.0, 127.0) } else { (0.0, 255.0) };
                let quantize = |x: f32| ((x / scale).round_ties_even() + zero as f32).clamp(low, high);
                let data = tensor.to_f32().into_iter().map(quantize);
                match value.dtype {
                    DType::I8 => Tensor::new(tensor.shape().to_vec(), data.map(|q| q as i8).collect::<Vec<_>>()),
                    _ => Tensor::new(tensor.shape().to_vec(), data.map(|q| q as u8).collect::<Vec<_>>()),
                }
            }
            _ => tensor.clone(),
        }
    };
    graph.inputs.iter().zip(sample).map(adapt).collect()
}
