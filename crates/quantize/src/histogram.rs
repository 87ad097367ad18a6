//! The streaming statistics of one edge: bounded memory, whatever the number of samples.

/// Bins of a [`Histogram`].
pub const BINS: usize = 4096;

/// Elements that one task counts; fixed, so that the counts do not depend on threads.
const CHUNK: usize = 1 << 16;

/// A histogram over `[−width, width)` whose width doubles as larger values arrive, with exact
/// minimum and maximum and the extremes of single samples.
///
/// The width is a power of two: doubling it merges bins in pairs, so the counts are those of one
/// pass with the final width, and do not depend on the order of the samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    width: f32,
    min: f32,
    max: f32,
    average: Option<(f32, f32)>,
    unbounded: bool,
}

/// A sample held a NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber;

/// Magnitudes from here on stand for infinity: attention masks are −∞ or the lowest float. Such
/// an edge has no range that integers could hold.
const UNBOUNDED: f32 = 1e30;

/// Values below share the middle bins: with narrower ones, bins a unit would overflow.
const NARROWEST: f32 = 1e-30;

/// Share of a new sample in the moving average of minima and maxima.
const AVERAGING: f32 = 0.1;

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: vec![0; BINS],
            width: 0.0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            average: None,
            unbounded: false,
        }
    }
}

impl Histogram {
    /// Adds all elements of one sample.
    ///
    /// # Errors
    /// If an element is NaN; nothing is added then.
    pub fn add(&mut self, sample: &[f32]) -> Result<(), NotANumber> {
        let Some((min, max)) = extremes(sample)? else {
            return Ok(());
        };
        self.unbounded |= min <= -UNBOUNDED || max >= UNBOUNDED;
        if self.unbounded {
            return Ok(());
        }
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        self.average = Some(match self.average {
            None => (min, max),
            Some((lo, hi)) => (lo + AVERAGING * (min - lo), hi + AVERAGING * (max - hi)),
        });
        self.widen(min.abs().max(max.abs()));
        self.count(sample);
        Ok(())
    }

    fn widen(&mut self, magnitude: f32) {
        let needed = power_of_two_above(magnitude.max(NARROWEST));
        if self.width == 0.0 {
            self.width = needed;
        }
        while self.width < needed {
            let mut merged = vec![0; BINS];
            for (i, &n) in self.counts.iter().enumerate() {
                merged[BINS / 4 + i / 2] += n;
            }
            self.counts = merged;
            self.width *= 2.0;
        }
    }

    fn count(&mut self, sample: &[f32]) {
        use rayon::prelude::*;
        let scale = (BINS / 2) as f32 / self.width;
        if sample.len() <= CHUNK {
            count_into(&mut self.counts, sample, scale);
            return;
        }
        let partial = sample
            .par_chunks(CHUNK)
            .fold(
                || vec![0u64; BINS],
                |mut counts, chunk| {
                    count_into(&mut counts, chunk, scale);
                    counts
                },
            )
            .reduce(
                || vec![0u64; BINS],
                |mut a, b| {
                    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                    a
                },
            );
        self.counts.iter_mut().zip(partial).for_each(|(a, b)| *a += b);
    }

    /// Whether no element was added.
    pub fn is_empty(&self) -> bool {
        self.average.is_none()
    }

    /// Whether elements were infinite (or as good as); nothing is counted from then on.
    pub fn is_unbounded(&self) -> bool {
        self.unbounded
    }

    /// Exact smallest and largest element; `(0, 0)` when empty.
    pub fn min_max(&self) -> (f32, f32) {
        if self.is_empty() { (0.0, 0.0) } else { (self.min, self.max) }
    }

    /// Exponential moving average of the samples' minima and maxima.
    pub fn moving_average(&self) -> (f32, f32) {
        self.average.unwrap_or((0.0, 0.0))
    }

    /// Number of elements added.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Non-empty bins as `(centre, width, count)`, ascending.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = (f32, f32, u64)> + '_ {
        let bin = 2.0 * self.width / BINS as f32;
        let centre = move |i: usize| (i as f32 + 0.5) * bin - self.width;
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(move |(i, &n)| (centre(i), bin, n))
    }

    /// Joins the statistics of two edges that will share one range.
    pub fn merge(&mut self, other: &Histogram) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        let mut other = other.clone();
        let width = self.width.max(other.width);
        self.widen(width / 2.0);
        other.widen(width / 2.0);
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        let ((a, b), (c, d)) = (self.moving_average(), other.moving_average());
        self.average = Some((a.min(c), b.max(d)));
    }
}

fn count_into(counts: &mut [u64], sample: &[f32], scale: f32) {
    for &x in sample {
        // In range by the choice of the width; the clamp guards the last bin against rounding.
        let bin = (x * scale + (BINS / 2) as f32) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
}

/// Smallest power of two that is larger than `x` (positive, finite).
fn power_of_two_above(x: f32) -> f32 {
    2.0f32.powi(x.log2().floor() as i32 + 1)
}

fn extremes(sample: &[f32]) -> Result<Option<(f32, f32)>, NotANumber> {
    let Some(&first) = sample.first() else {
        return Ok(None);
    };
    let (mut min, mut max, mut nan) = (first, first, false);
    for &x in sample {
        min = min.min(x);
        max = max.max(x);
        nan |= x.is_nan();
    }
    if nan { Err(NotANumber) } else { Ok(Some((min, max))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_and_widening_do_not_change_counts(mut samples in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 1..50), 1..8)) {
            let fill = |samples: &[Vec<f32>]| {
                let mut h = Histogram::default();
                samples.iter().for_each(|s| h.add(s).unwrap());
                h
            };
            let forward = fill(&samples);
            samples.reverse();
            let backward = fill(&samples);
            prop_assert_eq!(&forward.counts, &backward.counts);
            prop_assert_eq!(forward.min_max(), backward.min_max());
            prop_assert_eq!(forward.total(), samples.iter().map(|s| s.len() as u64).sum::<u64>());
        }

        #[test]
        fn every_value_lies_in_its_bin(x in -1e6f32..1e6) {
            let mut h = Histogram::default();
            h.add(&[x]).unwrap();
            let (centre, width, n) = h.bins().next().unwrap();
            prop_assert_eq!(n, 1);
            // A bin's number is rounded to 24 bits, 12 of which are the number's own.
            prop_assert!((x - centre).abs() <= 0.501 * width);
        }
    }

    #[test]
    fn zeros_lie_in_the_middle() {
        let mut h = Histogram::default();
        h.add(&[0.0; 3]).unwrap();
        let bins: Vec<(f32, f32, u64)> = h.bins().collect();
        assert!(matches!(bins[..], [(centre, width, 3)] if centre.abs() <= width), "{bins:?}");
    }

    #[test]
    fn merging_equals_adding_both() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        a.add(&[0.5, -0.25]).unwrap();
        b.add(&[100.0, 3.0]).unwrap();
        both.add(&[0.5, -0.25]).unwrap();
        both.add(&[100.0, 3.0]).unwrap();
        a.merge(&b);
        assert_eq!(a.counts, both.counts);
        assert_eq!(a.min_max(), both.min_max());
    }

    #[test]
    fn nan_is_refused_and_infinity_remembered() {
        let mut h = Histogram::default();
        assert_eq!(h.add(&[1.0, f32::NAN]), Err(NotANumber));
        assert!(h.is_empty() && !h.is_unbounded());
        h.add(&[1.0, f32::NEG_INFINITY]).unwrap();
        assert!(h.is_unbounded());
    }

    #[test]
    fn large_samples_are_counted_alike_in_parallel() {
        let sample: Vec<f32> = (0..3 * CHUNK + 17).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut whole = Histogram::default();
        whole.add(&sample).unwrap();
        let mut parts = Histogram::default();
        sample.chunks(1000).for_each(|c| parts.add(c).unwrap());
        assert_eq!(whole.counts, parts.counts);
    }
}
