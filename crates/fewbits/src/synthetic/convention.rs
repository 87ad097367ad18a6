//! Which numbers a model takes for black and white.

use std::collections::BTreeMap;

use fewbits_engine::{Engine, Options};
use fewbits_graph::{Activation, Graph, Op, Tensor, ValueId};

use crate::Result;

/// `x × scale + offset` for each channel of an image in `[0, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Convention {
    pub(super) name: String,
    scale: [f32; 3],
    offset: [f32; 3],
}

/// Mean and deviation of ImageNet's pixels, to which many models' inputs are normalised.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// A wider convention is taken as long as its score is no worse than this multiple of the best.
/// Activations beyond a range are clipped, which costs far more than a range that is too wide:
/// EfficientNet-Lite0 agrees with float on 99 % of images if it is calibrated in −1…1 (right), on 98.5 %
/// if in ImageNet's (−2.1…2.6), and on 58 % if in 0…1.
const TOLERANCE: f64 = 1.75;

/// Conventions of at least this share of the widest one's width count as wide as that.
const ABOUT: f32 = 0.9;

impl Convention {
    pub(super) fn range(low: f32, high: f32) -> Convention {
        Convention { name: format!("{low} to {high}"), scale: [high - low; 3], offset: [low; 3] }
    }

    /// The usual ones for images of so many channels.
    pub(super) fn usual(channels: usize) -> Vec<Convention> {
        let mut all = vec![
            Convention::range(0.0, 255.0),
            Convention::range(-128.0, 127.0),
            Convention::range(0.0, 1.0),
            Convention::range(-1.0, 1.0),
        ];
        if channels == 3 {
            let scale = DEVIATION.map(|d| 1.0 / d);
            let offset = [0, 1, 2].map(|c| -MEAN[c] / DEVIATION[c]);
            all.push(Convention { name: "ImageNet's mean and deviation".to_owned(), scale, offset });
        }
        all
    }

    pub(super) fn apply(&self, image: &[f32], channels: usize) -> Vec<f32> {
        let one = |(i, x): (usize, &f32)| x * self.scale[i % channels.min(3)] + self.offset[i % channels.min(3)];
        image.iter().enumerate().map(one).collect()
    }

    fn width(&self) -> f32 {
        self.scale.iter().fold(0.0, |m, s| s.max(m))
    }
}

/// How a convention was chosen.
pub(super) struct Choice {
    /// The conventions that samples alternate between: one, or several as wide that fit about as well.
    pub(super) indices: Vec<usize>,
    /// Batch normalisations it was chosen by; 0 where there are none.
    pub(super) norms: usize,
    /// Distance of the observed statistics from those expected, in nats, for the first of them; lower is
    /// better.
    pub(super) score: f64,
}

/// Chooses the convention under which the network sees what it was trained on.
///
/// Batch normalisations that the file still has hold mean and variance of their input on the training
/// data: those of the samples are compared with them. Where they are folded into convolutions, the first
/// convolution's outputs should be about standard normal: that is what a normalisation makes of them,
/// before its scale and shift, which are of order one. The distance is the Kullback–Leibler divergence
/// between normal distributions, its median over channels.
///
/// `samples(i)` makes the inputs of convention `i`.
pub(super) fn choose(
    source: &Graph,
    simplified: &Graph,
    conventions: &[Convention],
    samples: impl Fn(usize) -> Vec<Vec<Tensor>>,
    threads: usize,
) -> std::result::Result<Choice, fewbits_engine::Error> {
    let norms = norms(source);
    let (graph, expected) = match norms.is_empty() {
        false => (source.clone(), norms.clone()),
        true => first_convolution(simplified),
    };
    let mut engine = Engine::compile(&graph, &Options { threads, ..Options::default() })?;
    let mut scores = Vec::new();
    for i in 0..conventions.len() {
        let mut seen: BTreeMap<ValueId, Moments> = BTreeMap::new();
        for sample in samples(i) {
            engine.run_observed(&sample, &mut |id, view| {
                if let (Some(e), Some(data)) = (expected.get(&id), view.as_slice::<f32>()) {
                    seen.entry(id).or_default().add(data, e.len());
                }
            })?;
        }
        let mut distances: Vec<f64> = seen.iter().flat_map(|(id, m)| m.distances(&expected[id])).collect();
        distances.sort_by(f64::total_cmp);
        scores.push(distances.get(distances.len() / 2).copied().unwrap_or(f64::INFINITY));
    }
    let best = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let tolerance = if norms.is_empty() { TOLERANCE } else { 1.0 };
    let acceptable = || (0..scores.len()).filter(|&i| scores[i] <= best * tolerance);
    let widest = acceptable().fold(0.0f32, |m, i| m.max(conventions[i].width()));
    let mut indices: Vec<usize> = acceptable().filter(|&i| conventions[i].width() >= ABOUT * widest).collect();
    indices.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let score = indices.first().map_or(f64::INFINITY, |&i| scores[i]);
    Ok(Choice { indices, norms: norms.len(), score })
}

/// Mean and variance expected of each channel of a value.
type Expected = Vec<(f64, f64)>;

fn norms(graph: &Graph) -> BTreeMap<ValueId, Expected> {
    let floats = |id: Option<&Option<ValueId>>| graph.value((*id?)?).data.as_ref().map(Tensor::to_f32);
    let one = |node: &fewbits_graph::Node| {
        let Op::BatchNorm(_) = &node.op else { return None };
        let (mean, variance) = (floats(node.inputs.get(3))?, floats(node.inputs.get(4))?);
        let pairs = mean.iter().zip(&variance).map(|(&m, &v)| (f64::from(m), f64::from(v)));
        Some(((*node.inputs.first()?)?, pairs.collect()))
    };
    graph.nodes.iter().filter_map(one).collect()
}

/// A graph that ends at the first convolution, without its activation.
fn first_convolution(graph: &Graph) -> (Graph, BTreeMap<ValueId, Expected>) {
    let mut graph = graph.clone();
    let Some(at) = graph.nodes.iter().position(|n| matches!(n.op, Op::Conv2d(_))) else {
        return (graph, BTreeMap::new());
    };
    graph.nodes.truncate(at + 1);
    if let Some(activation) = graph.nodes[at].op.activation_mut() {
        *activation = Activation::None;
    }
    let out = graph.nodes[at].outputs[0];
    let channels = graph.value(out).shape.0.last().and_then(fewbits_graph::Dim::fixed).unwrap_or(0);
    graph.outputs = vec![out];
    // Value ids change.
    graph.prune();
    let expected = BTreeMap::from([(graph.outputs[0], vec![(0.0, 1.0); channels])]);
    (graph, expected)
}

/// Sums by channel.
#[derive(Default)]
struct Moments {
    sums: Vec<(f64, f64)>,
    count: f64,
}

impl Moments {
    fn add(&mut self, data: &[f32], channels: usize) {
        self.sums.resize(channels, (0.0, 0.0));
        for row in data.chunks_exact(channels.max(1)) {
            self.count += 1.0;
            for (sum, &x) in self.sums.iter_mut().zip(row) {
                let x = f64::from(x);
                *sum = (sum.0 + x, sum.1 + x * x);
            }
        }
    }

    /// Divergence of the seen from the expected normal distribution of each channel.
    fn distances<'a>(&'a self, expected: &'a Expected) -> impl Iterator<Item = f64> + 'a {
        self.sums.iter().zip(expected).filter(|(_, e)| e.1 > 1e-12).map(|((sum, squares), (mean, variance))| {
            let m = sum / self.count;
            let v = (squares / self.count - m * m).max(1e-12 * variance);
            0.5 * ((v + (m - mean).powi(2)) / variance - 1.0 - (v / variance).ln())
        })
    }
}

/// As the crate's errors.
pub(super) fn chosen<T>(path: &std::path::Path, result: std::result::Result<T, fewbits_engine::Error>) -> Result<T> {
    result.map_err(crate::Error::engine(path))
}
