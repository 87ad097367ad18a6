//! Affine functions of channels folded into the weights beside them.
//!
//! `y = s ⊙ (W x + b) + t` is `(s W) x + (s ⊙ b + t)`, and `W (s ⊙ x + t) + b` is
//! `(W s) x + (W t + b)`: batch normalisation with fixed statistics is such a function (Jacob et
//! al. 2018, section 3.2), and so are additions, subtractions, multiplications and divisions by
//! constants of one element a channel.

use fewbits_graph::ops::BinaryKind;
use fewbits_graph::{Activation, DType, Graph, NodeId, Op, Result, Tensor, ValueId};

use super::Context;
use super::edit::Edit;

/// `y = scale[c] × x + shift[c]`, the vectors as long as there are channels.
pub(super) struct Affine {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

/// No layer has more output channels; the shapes of a hostile file must not size an allocation.
const MOST_CHANNELS: usize = 1 << 22;

/// A node as an affine function of its floating-point input, with that input.
pub(super) fn affine_of(edit: &Edit<'_>, node: NodeId) -> Option<(ValueId, Affine)> {
    let channels = edit.shape(edit.out(node)).0.last()?.fixed().filter(|&c| c <= MOST_CHANNELS)?;
    let (x, affine) = match edit.op(node) {
        Op::BatchNorm(op) => {
            let parameter = |slot| edit.floats(edit.input(node, slot)?).filter(|p| p.len() == channels);
            let (gamma, beta, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
            let inverse = |v: f32| 1.0 / (f64::from(v) + f64::from(op.epsilon)).sqrt();
            let scale: Vec<f64> = gamma.iter().zip(&variance).map(|(&g, &v)| f64::from(g) * inverse(v)).collect();
            let shift = (0..channels).map(|c| f64::from(beta[c]) - f64::from(mean[c]) * scale[c]).collect();
            (edit.input(node, 0)?, Affine { scale, shift })
        }
        Op::Binary(op) => {
            let (a, b) = (edit.input(node, 0)?, edit.input(node, 1)?);
            match (channel_constant(edit, b, channels), channel_constant(edit, a, channels)) {
                (Some(c), None) => (a, arithmetic(op.kind, c, false)?),
                (None, Some(c)) => (b, arithmetic(op.kind, c, true)?),
                _ => return None,
            }
        }
        _ => return None,
    };
    // Broadcasting a constant may widen the tensor; then this is no function of each channel.
    let same_shape = edit.shape(x) == edit.shape(edit.out(node));
    let finite = affine.scale.iter().chain(&affine.shift).all(|n| n.is_finite());
    (same_shape && finite && edit.is_f32(x)).then_some((x, affine))
}

/// The elements of a floating-point constant that differs at most along the last axis, one for each
/// channel.
fn channel_constant(edit: &Edit<'_>, v: ValueId, channels: usize) -> Option<Vec<f64>> {
    let data = edit.floats(v)?;
    let per_channel = data.len() == channels && edit.shape(v).0.last()?.fixed() == Some(channels);
    match data.as_slice() {
        &[one] => Some(vec![f64::from(one); channels]),
        all if per_channel => Some(all.iter().map(|&n| f64::from(n)).collect()),
        _ => None,
    }
}

/// `x kind c`, or `c kind x` if the constant comes first.
fn arithmetic(kind: BinaryKind, c: Vec<f64>, constant_first: bool) -> Option<Affine> {
    let (zeros, ones) = (vec![0.0; c.len()], vec![1.0; c.len()]);
    match (kind, constant_first) {
        (BinaryKind::Add, _) => Some(Affine { scale: ones, shift: c }),
        (BinaryKind::Mul, _) => Some(Affine { scale: c, shift: zeros }),
        (BinaryKind::Sub, false) => Some(Affine { scale: ones, shift: c.iter().map(|n| -n).collect() }),
        (BinaryKind::Sub, true) => Some(Affine { scale: ones.iter().map(|n| -n).collect(), shift: c }),
        (BinaryKind::Div, false) => Some(Affine { scale: c.iter().map(|n| 1.0 / n).collect(), shift: zeros }),
        _ => None,
    }
}

/// How an operator's weights lie.
struct Layout {
    /// Weights axis of the output channels.
    out_axis: usize,
    /// Input channel that element `[o, …, k]` of the weights multiplies, from `o` and `k`.
    in_channel: fn(&Op, out_channel: usize, last: usize, shape: &[usize]) -> usize,
}

fn layout(op: &Op) -> Option<Layout> {
    fn grouped(groups: usize, o: usize, k: usize, shape: &[usize]) -> usize {
        o / (shape[0] / groups.max(1)).max(1) * shape[3] + k
    }
    match op {
        Op::Conv2d(_) | Op::ConvTranspose2d(_) => Some(Layout {
            out_axis: 0,
            in_channel: |op, o, k, shape| match op {
                Op::Conv2d(c) => grouped(c.groups, o, k, shape),
                Op::ConvTranspose2d(c) => grouped(c.groups, o, k, shape),
                _ => k,
            },
        }),
        Op::DepthwiseConv2d(_) => Some(Layout {
            out_axis: 3,
            in_channel: |op, o, _, _| match op {
                Op::DepthwiseConv2d(d) => o / d.multiplier.max(1),
                _ => o,
            },
        }),
        Op::FullyConnected(_) => Some(Layout { out_axis: 0, in_channel: |_, _, k, _| k }),
        _ => None,
    }
}

/// The operator's bias in double precision, zeros if it has none; `None` if it is not a constant.
fn bias_of(edit: &Edit<'_>, node: NodeId, channels: usize) -> Option<Vec<f64>> {
    match edit.input(node, 2) {
        None => Some(vec![0.0; channels]),
        Some(v) => Some(edit.floats(v)?.into_iter().map(f64::from).collect()),
    }
}

fn set_bias(edit: &mut Edit<'_>, node: NodeId, bias: &[f64]) {
    let data: Vec<f32> = bias.iter().map(|&b| b as f32).collect();
    let name = format!("{}_bias", edit.node(node).name);
    edit.set_constant(node, 2, Tensor::new(vec![data.len()], data), None, &name);
}

/// Multiplies weights element `[o, …, k]` by `factor(o, k)`; `None` if they are no `f32` constant.
fn scaled_weights(
    edit: &Edit<'_>,
    node: NodeId,
    out_axis: usize,
    factor: impl Fn(usize, usize, &[usize]) -> f64,
) -> Option<Tensor> {
    let w = edit.constant(edit.input(node, 1)?).filter(|t| t.dtype() == DType::F32)?;
    let (shape, mut data) = (w.shape().to_vec(), w.to_f32());
    let inner: usize = shape[out_axis + 1..].iter().product();
    let last = shape.last().copied()?;
    for (i, n) in data.iter_mut().enumerate() {
        let o = i / inner.max(1) % shape[out_axis];
        *n = (f64::from(*n) * factor(o, i % last, &shape)) as f32;
    }
    data.iter().all(|n| n.is_finite()).then(|| Tensor::new(shape, data))
}

/// Folds an affine function into the convolution or fully-connected layer before it, whose output
/// nothing else reads. The activation fused into the function moves along. A mere shift leaves the
/// weights alone, so that it folds into any storage of them.
pub(super) fn fold_after(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if !edit.is_removed(node) {
            fold_into_producer(&mut edit, node);
        }
    }
    edit.finish()
}

fn fold_into_producer(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let (x, affine) = affine_of(edit, node)?;
    let main = edit.sole_producer(x)?;
    let layout = layout(edit.op(main))?;
    if edit.op(main).activation() != Some(Activation::None) || !edit.is_f32(edit.input(main, 0)?) {
        return None;
    }
    let channels = affine.scale.len();
    let bias = bias_of(edit, main, channels).filter(|b| b.len() == channels)?;
    let weights = match affine.scale.iter().all(|&s| s == 1.0) {
        true => None,
        false => Some(scaled_weights(edit, main, layout.out_axis, |o, _, _| affine.scale[o])?),
    };
    let bias: Vec<f64> = (0..channels).map(|c| bias[c] * affine.scale[c] + affine.shift[c]).collect();
    if !bias.iter().all(|&b| (b as f32).is_finite()) {
        return None;
    }
    if let Some(weights) = weights {
        edit.set_constant(main, 1, weights, None, "");
    }
    if edit.input(main, 2).is_some() || bias.iter().any(|&b| b != 0.0) {
        set_bias(edit, main, &bias);
    }
    let activation = edit.op(node).activation().unwrap_or_default();
    if let Some(place) = edit.op_mut(main).activation_mut() {
        *place = activation;
    }
    edit.absorb(main, node);
    Some(())
}

/// Folds an affine function into the convolution or fully-connected layer after it. Where that pads
/// with zeros the function must have no shift: padding is not shifted. Transposed convolutions are
/// left alone, whose border sums fewer products.
pub(super) fn fold_before(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        fold_into_consumer(&mut edit, node);
    }
    edit.finish()
}

fn fold_into_consumer(edit: &mut Edit<'_>, main: NodeId) -> Option<()> {
    let layout = layout(edit.op(main))?;
    let padded = match edit.op(main) {
        Op::Conv2d(op) => op.padding != [0; 4],
        Op::DepthwiseConv2d(op) => op.padding != [0; 4],
        Op::FullyConnected(_) => false,
        _ => return None,
    };
    let node = edit.sole_producer(edit.input(main, 0)?)?;
    if edit.op(node).activation() != Some(Activation::None) {
        return None;
    }
    let (x, affine) = affine_of(edit, node)?;
    if padded && affine.shift.iter().any(|&t| t != 0.0) {
        return None;
    }
    let op = edit.op(main).clone();
    let weights =
        scaled_weights(edit, main, layout.out_axis, |o, k, shape| affine.scale[(layout.in_channel)(&op, o, k, shape)])?;
    let moved =
        scaled_weights(edit, main, layout.out_axis, |o, k, shape| affine.shift[(layout.in_channel)(&op, o, k, shape)])?;
    let channels = weights.shape()[layout.out_axis];
    let mut bias = bias_of(edit, main, channels).filter(|b| b.len() == channels)?;
    let inner: usize = weights.shape()[layout.out_axis + 1..].iter().product();
    for (i, n) in moved.to_f32().into_iter().enumerate() {
        bias[i / inner.max(1) % channels] += f64::from(n);
    }
    edit.set_constant(main, 1, weights, None, "");
    if edit.input(main, 2).is_some() || bias.iter().any(|&b| b != 0.0) {
        set_bias(edit, main, &bias);
    }
    edit.set_input(main, 0, Some(x));
    edit.remove(node);
    Some(())
}
