//! Samples for a model of which there is no data (`--data none`).
//!
//! What is made depends on the input: images for what has the shape of one, in the range that fits the
//! network best; token ids below the size of the table that they index; else normal numbers.

mod convention;
mod leaves;

use std::path::Path;

use fewbits_graph::{DType, Graph, Op, Tensor, Value, ValueId};
use fewbits_report::{Confidence, Synthetic};
use tempfile::TempDir;

use self::convention::{Choice, Convention, choose, chosen};
use self::leaves::{dead_leaves, normal};
use crate::shapes::SplitMix;
use crate::{Error, Result, run_shapes, to_npy};

/// Sides that make an input an image.
const SMALLEST_SIDE: usize = 8;

/// Samples that conventions are compared with.
const COMPARED: usize = 8;

/// The seed of all samples.
const SEED: u64 = 0x1eaf;

/// Samples on disk, while this lives.
pub(crate) struct SyntheticData {
    directory: TempDir,
    /// What was made, and how far it can be trusted.
    pub(crate) report: Synthetic,
}

impl SyntheticData {
    /// Where the samples lie, as data for the model.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Makes `samples` samples for the public inputs of a model. `source` is the graph as it was read,
/// `simplified` what will be calibrated. `range` is what images lie in, if that is known.
///
/// # Errors
/// A temporary directory that cannot be written; what running the model meets.
pub(crate) fn synthesise(
    source: &Graph,
    simplified: &Graph,
    path: &Path,
    samples: usize,
    range: Option<(f32, f32)>,
    threads: usize,
) -> Result<SyntheticData> {
    let (shapes, _) = run_shapes(simplified, Some(1));
    let kinds: Vec<Kind> =
        simplified.inputs.iter().zip(&shapes).map(|(&id, shape)| Kind::of(simplified, id, shape)).collect();
    let (mut conventions, mut choice) = (Vec::new(), None);
    if let Some(channels) = kinds.iter().find_map(|kind| kind.channels()) {
        conventions = match range {
            Some((low, high)) => vec![Convention::range(low, high)],
            None => Convention::usual(channels),
        };
        let at = |i: usize, n| sample(simplified, &kinds, &shapes, conventions.get(i), range, n);
        let made = |i: usize| (0..COMPARED).map(|n| at(i, n)).collect();
        choice = Some(chosen(path, choose(source, simplified, &conventions, made, threads))?);
    }
    let used: Vec<&Convention> = choice.iter().flat_map(|c| &c.indices).filter_map(|&i| conventions.get(i)).collect();
    let report = judged(&kinds, samples, &used, choice.as_ref(), range);
    let convention = |n: usize| used.get(n % used.len().max(1)).copied();
    let all: Vec<Vec<Tensor>> =
        (0..samples).map(|n| sample(simplified, &kinds, &shapes, convention(n), range, n)).collect();
    let directory = tempfile::tempdir().map_err(|e| Error::io("create", &std::env::temp_dir(), e))?;
    for (i, &id) in simplified.inputs.iter().enumerate() {
        let parts: Vec<&Tensor> = all.iter().map(|sample| &sample[i]).collect();
        let file = directory.path().join(format!("{}.npy", file_stem(&simplified.value(id).name)));
        std::fs::write(&file, to_npy(&stacked(&parts))).map_err(|e| Error::io("write", &file, e))?;
    }
    Ok(SyntheticData { directory, report })
}

/// What an input is taken for.
enum Kind {
    Image {
        height: usize,
        width: usize,
        channels: usize,
        channels_first: bool,
    },
    /// Indices below a number.
    Ids {
        below: u64,
    },
    /// Integers that are no indices: masks.
    Ones,
    Features,
}

impl Kind {
    fn of(graph: &Graph, id: ValueId, shape: &[usize]) -> Kind {
        let value = graph.value(id);
        let coloured = |c: usize| c == 1 || c == 3;
        match (value.dtype.is_float(), shape) {
            (true, &[_, c, h, w]) if coloured(c) && h.min(w) >= SMALLEST_SIDE => {
                Kind::Image { height: h, width: w, channels: c, channels_first: true }
            }
            (true, &[_, h, w, c]) if coloured(c) && h.min(w) >= SMALLEST_SIDE => {
                Kind::Image { height: h, width: w, channels: c, channels_first: false }
            }
            (true, _) => Kind::Features,
            (false, _) => rows_indexed(graph, id).map_or(Kind::Ones, |below| Kind::Ids { below }),
        }
    }

    fn channels(&self) -> Option<usize> {
        match self {
            Kind::Image { channels, .. } => Some(*channels),
            _ => None,
        }
    }
}

/// Rows of the constant table that an input indexes.
fn rows_indexed(graph: &Graph, id: ValueId) -> Option<u64> {
    let table = |node: &fewbits_graph::Node| {
        let Op::Gather(gather) = &node.op else { return None };
        let data = graph.value(node.inputs[0]?).data.as_ref()?;
        (node.inputs.get(1) == Some(&Some(id))).then(|| data.shape().get(gather.axis).copied()).flatten()
    };
    graph.nodes.iter().filter_map(table).min().and_then(|n| u64::try_from(n).ok())
}

/// Sample `n`: a tensor for each input.
fn sample(
    graph: &Graph,
    kinds: &[Kind],
    shapes: &[Vec<usize>],
    convention: Option<&Convention>,
    range: Option<(f32, f32)>,
    n: usize,
) -> Vec<Tensor> {
    let mut random = SplitMix(SEED.wrapping_add((n as u64) << 20));
    let inputs = graph.inputs.iter().zip(kinds).zip(shapes);
    inputs.map(|((&id, kind), shape)| input(&mut random, graph.value(id), kind, shape, convention, range)).collect()
}

fn input(
    random: &mut SplitMix,
    value: &Value,
    kind: &Kind,
    shape: &[usize],
    convention: Option<&Convention>,
    range: Option<(f32, f32)>,
) -> Tensor {
    let count: usize = shape.iter().product();
    let floats = match kind {
        &Kind::Image { height, width, channels, channels_first } => {
            let pictures = (0..shape[0]).flat_map(|_| {
                let image = dead_leaves(random, height, width, channels);
                let image = convention.map_or_else(|| image.clone(), |c| c.apply(&image, channels));
                if channels_first { planes(&image, channels) } else { image }
            });
            pictures.collect()
        }
        Kind::Features => match range {
            Some((low, high)) => (0..count).map(|_| low + (high - low) * random.unit()).collect(),
            None => (0..count).map(|_| normal(random)).collect::<Vec<f32>>(),
        },
        &Kind::Ids { below } => return integers(value, shape, (0..count).map(|_| random.next() % below.max(1))),
        Kind::Ones => return integers(value, shape, (0..count).map(|_| 1)),
    };
    let tensor = Tensor::new(shape.to_vec(), floats);
    if value.dtype == DType::F32 { tensor } else { crate::dataset::from_real(tensor, value) }
}

fn planes(image: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|c| image.iter().skip(c).step_by(channels).copied()).collect()
}

/// Table sizes and ones fit every integer type that indexes.
fn integers(value: &Value, shape: &[usize], numbers: impl Iterator<Item = u64>) -> Tensor {
    let shape = shape.to_vec();
    match value.dtype {
        DType::I32 => Tensor::new(shape, numbers.map(|n| i32::try_from(n).unwrap_or(0)).collect()),
        DType::I64 => Tensor::new(shape, numbers.map(|n| i64::try_from(n).unwrap_or(0)).collect()),
        DType::U8 => Tensor::new(shape, numbers.map(|n| u8::try_from(n).unwrap_or(0)).collect()),
        DType::Bool => Tensor::from_bools(shape, &numbers.map(|n| n != 0).collect::<Vec<bool>>()),
        _ => Tensor::new(shape, numbers.map(|n| i8::try_from(n).unwrap_or(0)).collect()),
    }
}

/// An input's name as that of a file, as the readers of arrays look for it.
fn file_stem(name: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if kept(c) { c } else { '_' }).collect()
}

/// Samples along the first axis.
fn stacked(parts: &[&Tensor]) -> Tensor {
    let mut shape = parts.first().map_or_else(Vec::new, |t| t.shape().to_vec());
    if let Some(rows) = shape.first_mut() {
        *rows *= parts.len();
    }
    let bytes: Vec<u8> = parts.iter().flat_map(|t| t.bytes().iter().copied()).collect();
    let dtype = parts.first().map_or(DType::F32, |t| t.dtype());
    // Samples of one input have one size: the bytes fill the shape.
    Tensor::from_bytes(dtype, shape, bytes.into()).unwrap_or_else(|| Tensor::new(vec![0], Vec::<f32>::new()))
}

/// Divergence, in nats, up to which samples count as what batch normalisations were trained on.
///
/// Of the digits that `fewbits demo` has: 0.13 in their own range of 0 to 16, 0.54 in the nearest usual one.
const LIKE_TRAINING: f64 = 0.35;

fn judged(
    kinds: &[Kind],
    samples: usize,
    conventions: &[&Convention],
    choice: Option<&Choice>,
    range: Option<(f32, f32)>,
) -> Synthetic {
    let names: Vec<&str> = conventions.iter().map(|c| c.name.as_str()).collect();
    let images = kinds.iter().all(|kind| kind.channels().is_some());
    let (made, confidence, reason) = match choice {
        Some(choice) if images => {
            let norms = choice.norms;
            let (confidence, why) = match (norms > 0, choice.score <= LIKE_TRAINING, range.is_some()) {
                (true, true, _) => (
                    Confidence::High,
                    format!(
                        "{norms} batch normalisations see what they saw in training (divergence {:.2})",
                        choice.score
                    ),
                ),
                (true, false, _) => {
                    let what = "the batch normalisations see something else than in training";
                    (Confidence::Low, format!("{what} (divergence {:.2})", choice.score))
                }
                (false, _, true) => {
                    (Confidence::Medium, "the range was given, the file has no batch normalisation".to_owned())
                }
                (false, true, false) => {
                    (Confidence::Medium, "the range was inferred from the first convolution, which fits it".to_owned())
                }
                (false, false, false) => {
                    let what = "the range was inferred from the first convolution, and fits it badly";
                    (Confidence::Low, format!("{what} (divergence {:.2}): --input-range gives it", choice.score))
                }
            };
            (format!("{samples} dead-leaves images in {}", names.join(" and in ")), confidence, why)
        }
        _ => {
            let ids = kinds.iter().any(|kind| matches!(kind, Kind::Ids { .. }));
            let made = if ids { "samples of random token ids" } else { "samples of random numbers" };
            (
                format!("{samples} {made}"),
                Confidence::Low,
                "real inputs are nothing like random ones (--mode dynamic needs no ranges)".to_owned(),
            )
        }
    };
    Synthetic { made, confidence, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbits_graph::ops::{BatchNorm, Conv2d, Gather};
    use fewbits_graph::{Activation, Dim, Shape};

    /// A convolution of 1×1 whose outputs are standard normal where the image is in `[low, high]`; with
    /// a batch normalisation that says so, or with that folded.
    fn network(low: f32, high: f32, folded: bool) -> Graph {
        let mut g = Graph::default();
        let x = g.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), 32.into(), 32.into(), 3.into()]));
        let (middle, spread) = (low + 0.45 * (high - low), 0.3 * (high - low));
        let slope = if folded { 1.0 / spread } else { 1.0 };
        let weights = (0..9).map(|i| if i % 4 == 0 { slope } else { 0.0 }).collect::<Vec<f32>>();
        let w = g.add_constant("w", Tensor::new(vec![3, 1, 1, 3], weights));
        let b = g.add_constant("b", Tensor::new(vec![3], vec![if folded { -middle * slope } else { 0.0 }; 3]));
        let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [0; 4], groups: 1, activation: Activation::None };
        let mut y = g.add_node("conv", op, &[Some(x), Some(w), Some(b)], "y");
        if !folded {
            let mut constant =
                |name: &str, value: f32| Some(g.add_constant(name, Tensor::new(vec![3], vec![value; 3])));
            let parameters = [
                constant("gamma", 1.0),
                constant("beta", 0.0),
                constant("mean", middle),
                constant("var", spread * spread),
            ];
            let inputs: Vec<Option<ValueId>> = std::iter::once(Some(y)).chain(parameters).collect();
            y = g.add_node("norm", BatchNorm { epsilon: 1e-5, activation: Activation::None }, &inputs, "z");
        }
        g.outputs = vec![y];
        g.infer().unwrap();
        g
    }

    fn made(graph: &Graph, range: Option<(f32, f32)>) -> SyntheticData {
        synthesise(graph, graph, Path::new("m.onnx"), 12, range, 1).unwrap()
    }

    #[test]
    fn batch_normalisations_tell_the_range() {
        for (low, high) in [(0.0, 255.0), (0.0, 1.0), (-1.0, 1.0)] {
            let report = made(&network(low, high, false), None).report;
            assert!(report.made.ends_with(&format!("in {low} to {high}")), "{}", report.made);
            assert_eq!(report.confidence, Confidence::High, "{}", report.reason);
        }
    }

    #[test]
    fn the_first_convolution_tells_the_scale() {
        let wide = made(&network(0.0, 255.0, true), None).report;
        assert!(wide.made.contains("0 to 255") && wide.confidence == Confidence::Medium, "{wide:?}");
        let narrow = made(&network(-1.0, 1.0, true), None).report;
        assert!(!narrow.made.contains("255") && !narrow.made.contains("128"), "{narrow:?}");
        let given = made(&network(-1.0, 1.0, true), Some((-1.0, 1.0))).report;
        assert!(given.made.ends_with("in -1 to 1") && given.confidence == Confidence::Medium, "{given:?}");
    }

    #[test]
    fn samples_are_the_same_every_time() {
        let graph = network(0.0, 1.0, true);
        let read = |data: &SyntheticData| std::fs::read(data.path().join("x.npy")).unwrap();
        assert!(read(&made(&graph, None)) == read(&made(&graph, None)));
    }

    #[test]
    fn tokens_are_below_the_table_size_and_masks_are_one() {
        let mut g = Graph::default();
        let shape = Shape(vec![Dim::symbol("N"), Dim::symbol("S")]);
        let ids = g.add_input("token:ids", DType::I64, shape.clone());
        g.add_input("mask", DType::I64, shape);
        let table = g.add_constant("table", Tensor::new(vec![7, 2], vec![0.5f32; 14]));
        g.outputs = vec![g.add_node("embed", Gather { axis: 0 }, &[Some(table), Some(ids)], "e")];
        g.infer().unwrap();
        let data = made(&g, None);
        assert_eq!(data.report.confidence, Confidence::Low);
        let spec = |name: &str| fewbits_data::InputSpec::new(name, fewbits_data::DType::I64, vec![None, None]);
        let specs = [spec("token:ids"), spec("mask")];
        let set = fewbits_data::Dataset::open(data.path(), &specs, &fewbits_data::OpenOptions::default()).unwrap();
        assert_eq!(set.len(), 12);
        let sample = set.sample(3).unwrap();
        let numbers = |i: usize| match &sample.inputs[i].data {
            fewbits_data::ArrayData::I64(v) => v.clone(),
            other => panic!("{other:?}"),
        };
        assert!(numbers(0).iter().all(|n| (0..7).contains(n)) && numbers(0).iter().any(|&n| n != numbers(0)[0]));
        assert!(numbers(1).iter().all(|&n| n == 1));
    }
}
