//! Learned rounding: integer weights and scales that keep each layer's outputs on the calibration
//! samples, rather than the weights themselves.
//!
//! The objective is that of AdaRound (Nagel et al., "Up or Down? Adaptive Rounding for Post-Training
//! Quantization", ICML 2020), layer by layer in execution order, with the float layer's output on
//! float inputs as the target and the quantized network's own activations as the inputs, so that a
//! layer also takes back what those before it did. For one output channel with integer weights `q`
//! and scale `s` it is quadratic,
//!
//! `E‖w·x − s·q·x̂‖² = s²·qᵀHq − 2s·qᵀCw + const`, with `H = E[x̂x̂ᵀ]` and `C = E[x̂xᵀ]`
//!
//! both centred, as the bias takes the means. Two matrices therefore hold all that is needed of the
//! samples, and no gradient steps are. Weights are first rounded to the nearest plane (`plane`, what
//! GPTQ does), then moved one at a time to their best value until none moves, the scale following
//! (`descent`, as in QuantEase, Behdin et al. 2023).

mod descent;
mod layer;
mod moments;
mod plane;
mod segment;

use fewbits_engine::{Engine, Options};
use fewbits_graph::{Graph, Tensor, ValueId};
use rayon::ThreadPoolBuilder;

use crate::{Recipe, Result, adapt_inputs};
use layer::Layer;
use moments::Moments;
use segment::Walk;

/// Replaces the weights, weight scales and biases of `quantized` by learned ones, in place.
///
/// `quantized` was made from the simplified `float` graph by [`quantize_int8`](crate::quantize_int8)
/// or [`quantize_dynamic`](crate::quantize_dynamic) with the same `recipe`: nodes are matched by
/// name. `samples` hold a tensor for each public input of `float`. Layers without constant integer
/// weights of their own are left alone, as are transposed convolutions, and layers that see fewer
/// patches than they have features. `progress` is called with the number of layers done and of all.
///
/// # Errors
/// If a graph does not run on the samples.
pub fn learn_rounding(
    float: &Graph,
    quantized: &mut Graph,
    samples: &[Vec<Tensor>],
    recipe: &Recipe,
    threads: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let options = Options { threads, ..Options::default() };
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| fewbits_engine::Error::Threads { threads, reason: e.to_string() })?;
    let adapted: Vec<Vec<Tensor>> = samples.iter().map(|s| adapt_inputs(quantized, s)).collect();
    let mut walks = (Walk::new(float, samples.to_vec()), Walk::new(quantized, adapted));
    let layers = Layer::all(float, quantized);
    for (done, layer) in layers.iter().enumerate() {
        progress(done, layers.len());
        let inputs = (layer.float_input(float), layer.quantized_input(quantized));
        let stages = (walks.0.stage(float, layer.float, inputs.0), walks.1.stage(quantized, layer.quantized, inputs.1));
        let mut engines = (Engine::compile(&stages.0.graph, &options)?, Engine::compile(&stages.1.graph, &options)?);
        let mut moments = Moments::new(layer);
        for sample in 0..samples.len() {
            let x = walks.0.step(&stages.0, &mut engines.0, sample)?;
            let seen = walks.1.step(&stages.1, &mut engines.1, sample)?;
            let seen = real(quantized, inputs.1, &seen);
            pool.install(|| moments.add(&x.to_f32(), &seen, x.shape()));
        }
        walks.0.moved(&stages.0);
        walks.1.moved(&stages.1);
        // From fewer patches than features (classifiers behind global pooling) only the samples would be
        // learned: 0.7 dB worse on EfficientNet-Lite0's other images.
        if moments.rows >= layer.window.features() {
            let solved = pool.install(|| layer.solve(float, quantized, &moments.finish(), recipe));
            layer.replace(quantized, solved);
        }
    }
    progress(layers.len(), layers.len());
    quantized.prune();
    quantized.infer()?;
    quantized.validate()?;
    Ok(())
}

/// The numbers that a tensor on an edge stands for.
fn real(graph: &Graph, id: ValueId, tensor: &Tensor) -> Vec<f32> {
    let mut numbers = tensor.to_f32();
    if let Some((scale, zero_point)) = graph.value(id).quant.as_ref().and_then(|q| q.as_per_tensor()) {
        numbers.iter_mut().for_each(|q| *q = (*q - zero_point as f32) * scale);
    }
    numbers
}
