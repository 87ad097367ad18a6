//! From statistics to ranges.

use std::collections::BTreeMap;

use fewbits_graph::ValueId;
use serde::{Deserialize, Serialize};

use crate::Histogram;

/// How the range of an activation is chosen from its statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calibration {
    /// Smallest and largest element of all samples.
    Minmax,
    /// Exponential moving average of the samples' minima and maxima (Jacob et al. 2018, §3.1).
    MovingAverage,
    /// All but one in 10,000 elements on each side (Wu et al. 2020, §3.3).
    Percentile,
    /// The clipping threshold of least Kullback–Leibler divergence (Migacz 2017).
    Entropy,
    /// The range of least mean squared quantization error (Banner et al. 2019; Nagel et al. 2021, §3.1).
    #[default]
    Mse,
}

/// The chosen `(min, max)` of every float value that was observed.
pub type Ranges = BTreeMap<ValueId, (f32, f32)>;

/// Share of elements that `Percentile` leaves out on each side.
const TAIL: f64 = 1e-4;

/// Levels of an 8-bit type.
const LEVELS: usize = 256;

impl Calibration {
    /// The range that `histogram`'s edge gets, as it was observed (not yet extended to 0).
    pub fn range(self, histogram: &Histogram) -> (f32, f32) {
        self.range_at(histogram, LEVELS)
    }

    /// The range for a type of `levels` values. Only [`Mse`](Self::Mse) weighs rounding against
    /// clipping, and so depends on them.
    pub(crate) fn range_at(self, histogram: &Histogram, levels: usize) -> (f32, f32) {
        let (min, max) = histogram.min_max();
        let (lo, hi) = match self {
            Calibration::Minmax => (min, max),
            Calibration::MovingAverage => histogram.moving_average(),
            Calibration::Percentile => percentile(histogram),
            Calibration::Entropy => entropy(histogram),
            Calibration::Mse => mean_squared_error(histogram, levels),
        };
        // A method may not widen what was seen.
        (lo.max(min), hi.min(max))
    }
}

fn percentile(histogram: &Histogram) -> (f32, f32) {
    without_tails(|| histogram.bins(), TAIL)
}

/// The interval that leaves out a share of the elements on each side; `(0, 0)` if there are none.
pub(crate) fn without_tails<I>(bins: impl Fn() -> I, share: f64) -> (f32, f32)
where
    I: DoubleEndedIterator<Item = (f32, f32, u64)>,
{
    let allowed = bins().map(|(_, _, n)| n as f64).sum::<f64>() * share;
    let border = |bins: &mut dyn Iterator<Item = (f32, f32, u64)>, outward: f32| {
        let mut passed = 0.0;
        for (centre, width, n) in bins {
            passed += n as f64;
            if passed > allowed {
                return centre + outward * width / 2.0;
            }
        }
        0.0
    };
    (border(&mut bins(), -1.0), border(&mut bins().rev(), 1.0))
}

/// Clipping to `[max(min, −t), min(max, t)]` for the `t` whose quantized distribution is closest
/// to the observed one. As in Migacz's description, clipped elements count at the borders of the
/// reference, and quantized mass is spread over the reference's non-empty bins. The bins at 0 are
/// left out: zeros are exact at any scale, and their spike (after a ReLU most elements) would
/// otherwise outweigh all else.
fn entropy(histogram: &Histogram) -> (f32, f32) {
    let (min, max) = histogram.min_max();
    let bins: Vec<(f32, f32, u64)> = histogram.bins().filter(|(centre, width, _)| centre.abs() > *width).collect();
    if bins.is_empty() {
        return (min, max);
    }
    let largest = min.abs().max(max.abs());
    let mut best = (f64::INFINITY, largest);
    for step in 0..CANDIDATES {
        let t = largest * (1.0 - step as f32 / CANDIDATES as f32 * 0.95);
        // With fewer bins than levels nothing is quantized and the divergence means nothing.
        if max.min(t) - min.max(-t) < LEVELS as f32 * bins[0].1 {
            break;
        }
        let divergence = clipped_divergence(&bins, min.max(-t), max.min(t));
        if divergence < best.0 {
            best = (divergence, t);
        }
    }
    (min.max(-best.1), max.min(best.1))
}

/// Candidates that a search over ranges tries.
const CANDIDATES: usize = 100;

/// Kullback–Leibler divergence between the elements clipped to `[lo, hi]` and their 8-bit form.
fn clipped_divergence(bins: &[(f32, f32, u64)], lo: f32, hi: f32) -> f64 {
    let step = (hi - lo) / LEVELS as f32;
    if step <= 0.0 {
        return f64::INFINITY;
    }
    let inside: Vec<(usize, f64)> = bins
        .iter()
        .filter(|(c, ..)| (lo..=hi).contains(c))
        .map(|&(c, _, n)| ((((c - lo) / step) as usize).min(LEVELS - 1), n as f64))
        .collect();
    if inside.is_empty() {
        return f64::INFINITY;
    }
    let outside = |keep: &dyn Fn(f32) -> bool| bins.iter().filter(|b| keep(b.0)).map(|b| b.2 as f64).sum::<f64>();
    let (below, above) = (outside(&|c| c < lo), outside(&|c| c > hi));
    let mut level_sum = [0.0f64; LEVELS];
    let mut level_bins = [0.0f64; LEVELS];
    for &(level, n) in &inside {
        level_sum[level] += n;
        level_bins[level] += 1.0;
    }
    let total: f64 = bins.iter().map(|b| b.2 as f64).sum();
    let kept: f64 = inside.iter().map(|b| b.1).sum();
    let last = inside.len() - 1;
    let term = |i: usize| {
        let (level, n) = inside[i];
        let border = if i == 0 { below } else { 0.0 } + if i == last { above } else { 0.0 };
        let p = (n + border) / total;
        let q = level_sum[level] / level_bins[level] / kept;
        p * (p / q).ln()
    };
    (0..inside.len()).map(term).sum()
}

/// Shrinks the two ends in turn while the expected squared error of rounding and clipping falls.
fn mean_squared_error(histogram: &Histogram, levels: usize) -> (f32, f32) {
    let (min, max) = histogram.min_max();
    let (min, max) = (min.min(0.0), max.max(0.0));
    let bins: Vec<(f32, f32, u64)> = histogram.bins().collect();
    let mut range = (min, max);
    let squared_error = |lo: f32, hi: f32| match levels {
        LEVELS => squared_error(&bins, lo, hi),
        few => squared_error_of_few(&bins, lo, hi, few),
    };
    let mut best = squared_error(range.0, range.1);
    for _ in 0..2 {
        for candidate in shrinking(min) {
            let error = squared_error(candidate, range.1);
            if error < best {
                (best, range.0) = (error, candidate);
            }
        }
        for candidate in shrinking(max) {
            let error = squared_error(range.0, candidate);
            if error < best {
                (best, range.1) = (error, candidate);
            }
        }
    }
    range
}

/// Candidates from `end` towards 0, finer near `end`.
fn shrinking(end: f32) -> impl Iterator<Item = f32> {
    let count = if end == 0.0 { 0 } else { CANDIDATES };
    (0..count).map(move |i| end * (1.0 - (i as f32 / CANDIDATES as f32).powi(2) * 0.9))
}

/// Sum over the elements of the squared error of 8-bit quantization to `[lo, hi]`: uniform
/// rounding noise `step² / 12` inside, the distance to the border outside.
fn squared_error(bins: &[(f32, f32, u64)], lo: f32, hi: f32) -> f64 {
    let step = f64::from(hi - lo) / (LEVELS - 1) as f64;
    let rounding = step * step / 12.0;
    let error = |&(centre, width, n): &(f32, f32, u64)| {
        // A bin of exact zeros has no rounding error, as 0 is always a quantized value.
        let clip = f64::from((lo - centre).max(centre - hi).max(0.0));
        let inside = if centre.abs() <= width { rounding.min(f64::from(width).powi(2)) } else { rounding };
        n as f64 * (clip * clip + inside)
    };
    bins.iter().map(error).sum()
}

/// As [`squared_error`] for few levels, of which many elements lie within the first: their rounding
/// error is no noise.
fn squared_error_of_few(bins: &[(f32, f32, u64)], lo: f32, hi: f32, levels: usize) -> f64 {
    let step = (hi - lo) / (levels - 1) as f32;
    if step <= 0.0 {
        return f64::INFINITY;
    }
    let error = |&(centre, width, n): &(f32, f32, u64)| {
        let held = (centre.clamp(lo, hi) / step).round() * step;
        n as f64 * (f64::from(centre - held).powi(2) + f64::from(width).powi(2) / 12.0)
    };
    bins.iter().map(error).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(n: usize) -> Vec<f32> {
        // Sum of uniforms from a fixed linear congruential generator.
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    fn observed(sample: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        h.add(sample).unwrap();
        h
    }

    #[test]
    fn every_method_keeps_a_plain_uniform_range() {
        let sample: Vec<f32> = (0..=100_000).map(|i| i as f32 / 100_000.0 * 6.0).collect();
        let h = observed(&sample);
        for method in [Calibration::Minmax, Calibration::MovingAverage, Calibration::Percentile, Calibration::Mse] {
            let (lo, hi) = method.range(&h);
            assert!((0.0..0.01).contains(&lo) && hi > 5.9 && hi <= 6.0, "{method:?}: {lo} {hi}");
        }
    }

    #[test]
    fn clipping_methods_cut_a_lone_outlier() {
        let mut sample = normal(200_000);
        sample.push(400.0);
        let h = observed(&sample);
        assert_eq!(Calibration::Minmax.range(&h).1, 400.0);
        for method in [Calibration::Percentile, Calibration::Entropy, Calibration::Mse] {
            let (lo, hi) = method.range(&h);
            // Of mean squared error, one such outlier is worth a fifth of the range (by hand: 318).
            assert!(hi < 350.0 && hi > 2.0 && lo < -2.0, "{method:?}: {lo} {hi}");
        }
    }

    #[test]
    fn mse_range_is_near_the_best_of_a_direct_search() {
        let sample: Vec<f32> = normal(50_000).iter().map(|x| x * x * x).collect();
        let direct = |hi: f32, lo: f32| -> f64 {
            let step = (hi - lo) / 255.0;
            let error = |&x: &f32| {
                let q = (((x - lo) / step).round().clamp(0.0, 255.0) * step + lo - x) as f64;
                q * q
            };
            sample.iter().map(error).sum()
        };
        let (lo, hi) = Calibration::Mse.range(&observed(&sample));
        let (min, max) = Calibration::Minmax.range(&observed(&sample));
        let best =
            (1..=100).map(|i| direct(max * i as f32 / 100.0, min * i as f32 / 100.0)).fold(f64::INFINITY, f64::min);
        assert!(direct(hi, lo) <= 1.05 * best, "{} against {best}", direct(hi, lo));
    }
}
