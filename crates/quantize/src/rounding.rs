//! Rounding weights so that their errors cancel: SQuant (Guo et al., "SQuant: On-the-Fly Data-Free
//! Quantization via Diagonal Hessian Approximation", ICLR 2022), which needs no data.
//!
//! Rounding each weight to the nearest value leaves a filter with a random sum of errors. Its inputs
//! are anything but random: neighbouring pixels of a channel are alike, and after a ReLU all
//! channels are positive, so the sum shifts the whole output. A few weights that lie near the middle
//! between two values are therefore rounded the other way: first within the taps over one input
//! channel, then over the filter as a whole.

use fewbits_graph::Op;
use half::f16;
use serde::{Deserialize, Serialize};

use crate::WeightBits;

/// How weights find their place between two representable values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRounding {
    /// To the nearest.
    Nearest,
    /// To one of the two around it, so that the errors of a filter add up to nothing (SQuant).
    #[default]
    Balanced,
    /// As is best for the layer's outputs on the calibration samples, scales with it (see
    /// [`learn_rounding`](crate::learn_rounding)).
    Learned,
}

/// Values that a weight may be rounded to.
pub(crate) trait Grid {
    /// Their type.
    type Value: Copy;
    /// The number that a value stands for.
    fn real(&self, value: Self::Value) -> f64;
    /// The next value, upwards or downwards, if there is one.
    fn next(&self, value: Self::Value, up: bool) -> Option<Self::Value>;
}

/// From `smallest` to `largest`, in units of the scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integers {
    pub(crate) smallest: i8,
    pub(crate) largest: i8,
}

impl Integers {
    /// As many negative values as positive ones.
    pub(crate) fn symmetric(bits: WeightBits) -> Self {
        Integers { smallest: -bits.largest(), largest: bits.largest() }
    }

    /// All values of the type.
    pub(crate) fn all_of(bits: WeightBits) -> Self {
        Integers { smallest: -bits.largest() - 1, largest: bits.largest() }
    }

    /// The nearest value, halves to even.
    pub(crate) fn nearest(&self, x: f64) -> i8 {
        x.round_ties_even().clamp(f64::from(self.smallest), f64::from(self.largest)) as i8
    }
}

impl Grid for Integers {
    type Value = i8;

    fn real(&self, value: i8) -> f64 {
        f64::from(value)
    }

    fn next(&self, value: i8, up: bool) -> Option<i8> {
        if up {
            value.checked_add(1).filter(|&q| q <= self.largest)
        } else {
            value.checked_sub(1).filter(|&q| q >= self.smallest)
        }
    }
}

/// Finite IEEE halves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halves;

impl Grid for Halves {
    type Value = f16;

    fn real(&self, value: f16) -> f64 {
        value.to_f64()
    }

    fn next(&self, value: f16, up: bool) -> Option<f16> {
        let bits = value.to_bits();
        let magnitude = bits & 0x7fff;
        let next = match (magnitude, (bits == magnitude) == up) {
            (0, _) => 1 | if up { 0 } else { 0x8000 },
            (_, true) => bits + 1,
            (_, false) => bits - 1,
        };
        Some(f16::from_bits(next)).filter(|n| n.is_finite())
    }
}

/// How the weights of a layer lie: `shape`, with output channels along `axis`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filters<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) axis: usize,
    /// Whether all taps over an input channel meet in each output, as they do in a convolution but
    /// not in a transposed one.
    pub(crate) taps_meet: bool,
}

impl<'a> Filters<'a> {
    /// The filters of a layer whose weights have `shape`; `None` for operators without weights.
    pub(crate) fn of(op: &Op, shape: &'a [usize]) -> Option<Self> {
        let (axis, taps_meet) = match op {
            Op::Conv2d(_) | Op::FullyConnected(_) => (0, true),
            Op::ConvTranspose2d(_) => (0, false),
            Op::DepthwiseConv2d(_) => (3, true),
            _ => return None,
        };
        (axis < shape.len()).then_some(Filters { shape, axis, taps_meet })
    }

    /// Moves some of the `rounded` weights to the other side of the `real` ones.
    pub(crate) fn balance<G: Grid>(self, grid: &G, real: impl Fn(usize) -> f64, rounded: &mut [G::Value]) {
        let channels = self.shape[self.axis];
        let inner: usize = self.shape[self.axis + 1..].iter().product();
        let outer = self.shape[..self.axis].iter().product::<usize>();
        // The input channel of a weight: the last axis, if that is not the output channel itself.
        let inputs = if self.axis + 1 < self.shape.len() { self.shape.last().copied().unwrap_or(1) } else { 1 };
        for channel in 0..channels {
            let start = |o: usize| (o * channels + channel) * inner;
            let filter: Vec<usize> = (0..outer).flat_map(|o| start(o)..start(o) + inner).collect();
            if !self.taps_meet || filter.len() == inputs {
                settle(grid, filter.into_iter().map(|i| vec![i]), &real, rounded);
                continue;
            }
            // The taps over an input channel lie `inputs` apart, and a filter begins at its first channel.
            let over_input = |c: usize| filter[c..].iter().step_by(inputs).copied().collect::<Vec<_>>();
            let taps: Vec<Vec<usize>> = (0..inputs).map(over_input).collect();
            for group in &taps {
                settle(grid, group.iter().map(|&i| vec![i]), &real, rounded);
            }
            settle(grid, taps.into_iter(), &real, rounded);
        }
    }
}

/// The cheapest way to move a group of weights towards a wanted sum.
struct Move {
    weight: usize,
    step: f64,
    /// Growth of the group's squared error for each unit of the step.
    cost: f64,
}

/// Brings the sum of all errors as near to 0 as moving one weight of each group can, cheapest
/// first.
fn settle<G: Grid>(
    grid: &G,
    groups: impl Iterator<Item = Vec<usize>>,
    real: &impl Fn(usize) -> f64,
    rounded: &mut [G::Value],
) {
    let groups: Vec<Vec<usize>> = groups.collect();
    let error = |rounded: &[G::Value], i: usize| grid.real(rounded[i]) - real(i);
    let mut total: f64 = groups.iter().flatten().map(|&i| error(rounded, i)).sum();
    let up = total < 0.0;
    let mut moves: Vec<Move> = Vec::new();
    for group in &groups {
        let sum: f64 = group.iter().map(|&i| error(rounded, i)).sum();
        let step = |&i: &usize| {
            // Only to the other side of the real number, never farther from it.
            let crosses = (error(rounded, i) < 0.0) == up && error(rounded, i) != 0.0;
            let step = grid.real(grid.next(rounded[i], up).filter(|_| crosses)?) - grid.real(rounded[i]);
            let alone = step.abs() + 2.0 * error(rounded, i) * step.signum();
            Some((alone, Move { weight: i, step, cost: step.abs() + 2.0 * sum * step.signum() }))
        };
        let cheapest = group.iter().filter_map(step).reduce(|a, b| if b.0 < a.0 { b } else { a });
        moves.extend(cheapest.map(|(_, m)| m));
    }
    // Stable, so equal costs keep the order of the weights.
    moves.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    for m in moves {
        if (total + m.step).abs() < total.abs() {
            total += m.step;
            if let Some(next) = grid.next(rounded[m.weight], up) {
                rounded[m.weight] = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WEIGHTS: Integers = Integers { smallest: -127, largest: 127 };

    fn sum(real: &[f64], rounded: &[i8], of: impl Fn(usize) -> bool) -> f64 {
        (0..real.len()).filter(|&i| of(i)).map(|i| f64::from(rounded[i]) - real[i]).sum()
    }

    proptest! {
        #[test]
        fn filters_keep_their_sums(real in prop::collection::vec(-126.5f64..126.5, 4 * 9 * 5)) {
            let mut rounded: Vec<i8> = real.iter().map(|w| w.round_ties_even() as i8).collect();
            let shape = [4, 3, 3, 5];
            Filters { shape: &shape, axis: 0, taps_meet: true }.balance(&WEIGHTS, |i| real[i], &mut rounded);
            for (w, &q) in real.iter().zip(&rounded) {
                prop_assert!((w - f64::from(q)).abs() < 1.0, "a weight goes to one of its two neighbours");
            }
            for o in 0..4 {
                prop_assert!(sum(&real, &rounded, |i| i / 45 == o).abs() <= 0.5 + 1e-9);
                for c in 0..5 {
                    prop_assert!(sum(&real, &rounded, |i| i / 45 == o && i % 5 == c).abs() <= 1.0 + 1e-9);
                }
            }
        }

        #[test]
        fn depthwise_and_transposed_filters_keep_theirs(real in prop::collection::vec(-126.5f64..126.5, 9 * 6)) {
            for (shape, axis) in [([1, 3, 3, 6], 3), ([6, 3, 3, 1], 0)] {
                let mut rounded: Vec<i8> = real.iter().map(|w| w.round_ties_even() as i8).collect();
                Filters { shape: &shape, axis, taps_meet: axis == 3 }.balance(&WEIGHTS, |i| real[i], &mut rounded);
                for o in 0..6 {
                    let of = |i: usize| if axis == 3 { i % 6 == o } else { i / 9 == o };
                    prop_assert!(sum(&real, &rounded, of).abs() <= 0.5 + 1e-9);
                }
            }
        }

        #[test]
        fn halves_keep_their_sum(real in prop::collection::vec(1f32..2.0, 64)) {
            let mut rounded: Vec<f16> = real.iter().map(|&w| f16::from_f32(w)).collect();
            let filters = Filters { shape: &[1, 64], axis: 0, taps_meet: true };
            filters.balance(&Halves, |i| f64::from(real[i]), &mut rounded);
            let error: f64 = rounded.iter().zip(&real).map(|(h, &w)| h.to_f64() - f64::from(w)).sum();
            // Half of the step between halves from 1 to 2; rounding to nearest leaves several.
            prop_assert!(error.abs() <= 2f64.powi(-11) + 1e-9, "{error}");
        }
    }

    #[test]
    fn grids_end_where_they_should() {
        for bits in [8, 4, 2] {
            let grid = Integers::symmetric(WeightBits::try_from(bits).unwrap());
            let largest = grid.largest;
            assert_eq!((grid.next(largest, true), grid.next(-largest, false)), (None, None));
            assert_eq!((grid.next(largest, false), grid.next(0, true)), (Some(largest - 1), Some(1)));
        }
        let tiny = f16::from_bits(1);
        assert_eq!(Halves.next(f16::ZERO, true), Some(tiny));
        assert_eq!(Halves.next(f16::ZERO, false), Some(-tiny));
        assert_eq!(Halves.next(tiny, false), Some(f16::ZERO));
        assert_eq!(Halves.next(-tiny, true).map(f16::to_f64), Some(0.0));
        assert_eq!(Halves.next(f16::MAX, true), None);
        assert_eq!(Halves.next(f16::from_f32(-1.0), true), Some(f16::from_f64(2f64.powi(-11) - 1.0)));
    }
}
