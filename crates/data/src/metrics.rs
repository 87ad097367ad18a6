//! Metrics: accuracy against labels, and agreement between two outputs.
//!
//! All take `f32`; a caller with integer outputs dequantizes first. Sums are
//! kept in `f64` and added in a fixed order, so a result depends on the values
//! and their order alone.

use crate::error::DataError;

/// Index of the largest value; the lowest index among equals, and a NaN is
/// below everything. `None` if there is no value that is not NaN.
pub fn argmax(values: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &value) in values.iter().enumerate() {
        if !value.is_nan() && best.is_none_or(|(_, top)| value > top) {
            best = Some((index, value));
        }
    }
    best.map(|(index, _)| index)
}

/// How many values come before `values[index]` in descending order, equal ones
/// in order of their index; `None` when it is NaN or not there.
fn rank(values: &[f32], index: usize) -> Option<usize> {
    let own = *values.get(index).filter(|value| !value.is_nan())?;
    let before = |&(at, &value): &(usize, &f32)| value > own || (value == own && at < index);
    Some(values.iter().enumerate().filter(before).count())
}

fn rows<'a>(
    metric: &'static str,
    values: &'a [f32],
    count: usize,
) -> Result<std::slice::ChunksExact<'a, f32>, DataError> {
    let wrong = DataError::MetricLength { metric, expected: count, got: values.len() };
    if count == 0 || values.is_empty() || !values.len().is_multiple_of(count) {
        return Err(wrong);
    }
    Ok(values.chunks_exact(values.len() / count))
}

/// Top-1 and top-5 accuracy, streaming. A sample is right in the top k when
/// fewer than k logits come before its label's; equal logits come in the order
/// of their classes. A label whose logit is NaN is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accuracy {
    samples: u64,
    top1: u64,
    top5: u64,
}

impl Accuracy {
    /// Nothing seen.
    pub fn new() -> Accuracy {
        Accuracy::default()
    }

    /// One sample: its logits (or probabilities), one a class.
    ///
    /// # Errors
    /// [`DataError::LabelOutOfRange`].
    pub fn push(&mut self, logits: &[f32], label: u32) -> Result<(), DataError> {
        let out_of_range = DataError::LabelOutOfRange { label, classes: logits.len() };
        let Some(class) = usize::try_from(label).ok().filter(|&class| class < logits.len()) else {
            return Err(out_of_range);
        };
        self.samples += 1;
        if let Some(rank) = rank(logits, class) {
            self.top1 += u64::from(rank < 1);
            self.top5 += u64::from(rank < 5);
        }
        Ok(())
    }

    /// A batch: `[labels.len(), classes]` logits, row-major.
    ///
    /// # Errors
    /// [`DataError::MetricLength`] when the logits do not divide into that many
    /// rows, [`DataError::LabelOutOfRange`].
    pub fn push_batch(&mut self, logits: &[f32], labels: &[u32]) -> Result<(), DataError> {
        for (row, &label) in rows("accuracy", logits, labels.len())?.zip(labels) {
            self.push(row, label)?;
        }
        Ok(())
    }

    /// Samples seen.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Share of samples whose label has the largest logit, 0 to 1; `None` before any.
    pub fn top1(&self) -> Option<f64> {
        share(self.top1, self.samples)
    }

    /// Share of samples whose label is among the five largest logits, 0 to 1.
    pub fn top5(&self) -> Option<f64> {
        share(self.top5, self.samples)
    }
}

/// Share of samples on which two outputs have the same [`argmax`], streaming.
/// A sample where either has none does not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    samples: u64,
    equal: u64,
}

impl Agreement {
    /// Nothing seen.
    pub fn new() -> Agreement {
        Agreement::default()
    }

    /// `samples` rows of each output, row-major, of the same shape.
    ///
    /// # Errors
    /// [`DataError::MetricLength`].
    pub fn push_batch(&mut self, reference: &[f32], other: &[f32], samples: usize) -> Result<(), DataError> {
        same_length("agreement", reference, other)?;
        let pairs = rows("agreement", reference, samples)?.zip(rows("agreement", other, samples)?);
        for (a, b) in pairs {
            let (a, b) = (argmax(a), argmax(b));
            self.samples += 1;
            self.equal += u64::from(a.is_some() && a == b);
        }
        Ok(())
    }

    /// Samples seen.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The share, 0 to 1; `None` before any sample.
    pub fn value(&self) -> Option<f64> {
        share(self.equal, self.samples)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    // Counts are far below 2^53, where `f64` is exact.
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn same_length<T>(metric: &'static str, a: &[T], b: &[T]) -> Result<(), DataError> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(DataError::MetricLength { metric, expected: a.len(), got: b.len() })
}

/// How far a tensor is from its reference, streaming: over all elements pushed,
///
/// - signal-to-quantization-noise ratio, 10 log₁₀(Σ r² / Σ (r − x)²) dB;
/// - cosine similarity, Σ r x / √(Σ r² · Σ x²);
/// - mean squared error, Σ (r − x)² / n;
/// - largest absolute difference, max |r − x|.
///
/// A NaN in either makes the first three NaN and the last NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    count: u64,
    signal: f64,
    other: f64,
    noise: f64,
    product: f64,
    max_abs: f64,
}

/// Independent partial sums, so that the compiler may use vectors.
const LANES: usize = 8;

impl Difference {
    /// Nothing seen.
    pub fn new() -> Difference {
        Difference::default()
    }

    /// Elements of the reference and of what is compared with it.
    ///
    /// # Errors
    /// [`DataError::MetricLength`].
    pub fn push(&mut self, reference: &[f32], other: &[f32]) -> Result<(), DataError> {
        same_length("difference", reference, other)?;
        let mut sums = [[0f64; LANES]; 4];
        let mut largest = [0f64; LANES];
        for (r, x) in reference.chunks(LANES).zip(other.chunks(LANES)) {
            for lane in 0..r.len() {
                let (r, x) = (f64::from(r[lane]), f64::from(x[lane]));
                let d = r - x;
                sums[0][lane] += r * r;
                sums[1][lane] += x * x;
                sums[2][lane] += d * d;
                sums[3][lane] += r * x;
                // `f64::max` would drop a NaN.
                let d = d.abs();
                largest[lane] = if d > largest[lane] || d.is_nan() { d } else { largest[lane] };
            }
        }
        let [signal, square, noise, product] = sums.map(|lanes| lanes.iter().sum::<f64>());
        self.count += reference.len() as u64;
        self.signal += signal;
        self.other += square;
        self.noise += noise;
        self.product += product;
        for d in largest {
            self.raise_max(d);
        }
        Ok(())
    }

    /// Adds what another accumulator saw.
    pub fn merge(&mut self, other: &Difference) {
        self.count += other.count;
        self.signal += other.signal;
        self.other += other.other;
        self.noise += other.noise;
        self.product += other.product;
        self.raise_max(other.max_abs);
    }

    fn raise_max(&mut self, d: f64) {
        if d > self.max_abs || d.is_nan() {
            self.max_abs = d;
        }
    }

    /// Elements seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// SQNR in decibels: +∞ when nothing differs, −∞ when only the reference
    /// is all zero; `None` before any element.
    pub fn sqnr_db(&self) -> Option<f64> {
        let db = if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() };
        (self.count > 0).then_some(db)
    }

    /// Cosine similarity, −1 to 1: 1 when both are all zero, 0 when one is;
    /// `None` before any element.
    pub fn cosine(&self) -> Option<f64> {
        let cosine = match (self.signal == 0.0, self.other == 0.0) {
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.0,
            // Two roots: the product of the sums could overflow. The clamp
            // takes off the last unit of rounding.
            _ => (self.product / (self.signal.sqrt() * self.other.sqrt())).clamp(-1.0, 1.0),
        };
        (self.count > 0).then_some(cosine)
    }

    /// Energy of the reference: Σ r².
    pub fn signal(&self) -> f64 {
        self.signal
    }

    /// Energy of the difference: Σ (r − x)².
    pub fn noise(&self) -> f64 {
        self.noise
    }

    /// Mean squared error; `None` before any element.
    pub fn mse(&self) -> Option<f64> {
        (self.count > 0).then(|| self.noise / self.count as f64)
    }

    /// Largest absolute difference; 0 before any element.
    pub fn max_abs(&self) -> f64 {
        self.max_abs
    }
}

/// Pearson's correlation, Σ (x − x̄)(y − ȳ) / √(Σ (x − x̄)² · Σ (y − ȳ)²), in
/// two passes. `None` when fewer than two pairs are given or one side is constant.
///
/// # Errors
/// [`DataError::MetricLength`].
pub fn pearson(x: &[f64], y: &[f64]) -> Result<Option<f64>, DataError> {
    same_length("correlation", x, y)?;
    if x.len() < 2 {
        return Ok(None);
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        let (a, b) = (a - mean_x, b - mean_y);
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    let defined = xx > 0.0 && yy > 0.0;
    Ok(defined.then(|| (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)))
}

/// Spearman's correlation: Pearson's of the ranks, equal values sharing the
/// mean of their ranks. `None` as for [`pearson`], and when there is a NaN.
///
/// # Errors
/// [`DataError::MetricLength`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<Option<f64>, DataError> {
    same_length("correlation", x, y)?;
    if x.iter().chain(y).any(|value| value.is_nan()) {
        return Ok(None);
    }
    pearson(&mean_ranks(x), &mean_ranks(y))
}

fn mean_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    // `total_cmp` sets −0 below 0, and `chunk_by` joins them again.
    let mut start = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = start as f64 + (equal.len() as f64 - 1.0) / 2.0;
        for &index in equal {
            ranks[index] = mean;
        }
        start += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argmax_takes_the_lowest_of_equals_and_no_nan() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[f32::NAN, f32::NEG_INFINITY]), Some(1));
        assert_eq!(argmax(&[f32::NAN]), None);
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn accuracy_counts_ties_in_order_of_class() {
        let mut accuracy = Accuracy::new();
        assert_eq!(accuracy.top1(), None);
        let equal = [1.0; 7];
        for label in 0..7 {
            accuracy.push(&equal, label).unwrap();
        }
        assert_eq!(accuracy.top1(), Some(1.0 / 7.0));
        assert_eq!(accuracy.top5(), Some(5.0 / 7.0));
        accuracy.push(&[f32::NAN, 0.0], 0).unwrap();
        assert_eq!((accuracy.samples(), accuracy.top5()), (8, Some(5.0 / 8.0)));
    }

    #[test]
    fn accuracy_of_a_batch_and_its_errors() {
        let mut accuracy = Accuracy::new();
        accuracy.push_batch(&[0.1, 0.9, 0.8, 0.2], &[1, 1]).unwrap();
        assert_eq!(accuracy.top1(), Some(0.5));
        assert!(accuracy.push_batch(&[0.0; 5], &[0, 1]).is_err());
        assert!(accuracy.push_batch(&[], &[]).is_err());
        let message = accuracy.push(&[0.0; 10], 10).unwrap_err().to_string();
        assert!(message.contains("label 10 is beyond the 10 classes"), "{message}");
    }

    #[test]
    fn agreement_compares_rows() {
        let mut agreement = Agreement::new();
        agreement.push_batch(&[0.0, 1.0, 2.0, 1.0], &[0.0, 5.0, 0.0, 1.0], 2).unwrap();
        assert_eq!((agreement.samples(), agreement.value()), (2, Some(0.5)));
        agreement.push_batch(&[f32::NAN], &[f32::NAN], 1).unwrap();
        assert_eq!(agreement.value(), Some(1.0 / 3.0));
        assert!(agreement.push_batch(&[0.0; 4], &[0.0; 2], 2).is_err());
    }

    #[test]
    fn difference_by_hand() {
        let mut d = Difference::new();
        assert_eq!((d.sqnr_db(), d.cosine(), d.mse()), (None, None, None));
        d.push(&[3.0], &[3.0]).unwrap();
        assert_eq!(d.sqnr_db(), Some(f64::INFINITY));
        d.push(&[4.0], &[4.5]).unwrap();
        // Signal 25, noise 0.25: 20 dB. Products 9 + 18 = 27; norms 5 and √29.25.
        assert!((d.sqnr_db().unwrap() - 20.0).abs() < 1e-12);
        assert!((d.cosine().unwrap() - 27.0 / (5.0 * 29.25f64.sqrt())).abs() < 1e-15);
        assert_eq!((d.mse(), d.max_abs(), d.count()), (Some(0.125), 0.5, 2));
    }

    #[test]
    fn difference_in_pieces_of_any_length_agrees() {
        let reference: Vec<f32> = (0..1001).map(|i| ((i * 37) % 101) as f32 - 50.0).collect();
        let other: Vec<f32> = reference.iter().map(|r| r + 0.25).collect();
        let mut whole = Difference::new();
        whole.push(&reference, &other).unwrap();
        let (mut first, mut second) = (Difference::new(), Difference::new());
        first.push(&reference[..13], &other[..13]).unwrap();
        second.push(&reference[13..], &other[13..]).unwrap();
        first.merge(&second);
        // Every term is a multiple of 1/16 below 2^53, so no sum rounds.
        assert_eq!(whole, first);
        assert_eq!(whole.mse(), Some(0.0625));
    }

    #[test]
    fn difference_at_the_edges() {
        let of = |r: &[f32], x: &[f32]| {
            let mut d = Difference::new();
            d.push(r, x).unwrap();
            d
        };
        assert_eq!(of(&[0.0], &[0.0]).cosine(), Some(1.0));
        assert_eq!(of(&[0.0], &[1.0]).cosine(), Some(0.0));
        assert_eq!(of(&[0.0], &[1.0]).sqnr_db(), Some(f64::NEG_INFINITY));
        let nan = of(&[1.0, f32::NAN, 1.0], &[1.0, 1.0, 5.0]);
        assert!(nan.max_abs().is_nan() && nan.sqnr_db().unwrap().is_nan() && nan.cosine().unwrap().is_nan());
        assert!(Difference::new().push(&[0.0], &[]).is_err());
    }

    #[test]
    fn correlations_by_hand() {
        let (x, y) = ([1.0, 2.0, 3.0, 4.0], [1.0, 8.0, 27.0, 64.0]);
        assert!((spearman(&x, &y).unwrap().unwrap() - 1.0).abs() < 1e-15);
        // Deviations (-1.5, -0.5, 0.5, 1.5) and (-24, -17, 2, 39).
        let by_hand = 104.0 / (5.0 * 2390.0f64).sqrt();
        assert!((pearson(&x, &y).unwrap().unwrap() - by_hand).abs() < 1e-15);
        assert_eq!(mean_ranks(&[5.0, 1.0, 5.0, -0.0, 0.0]), [3.5, 2.0, 3.5, 0.5, 0.5]);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]).unwrap(), None);
        assert_eq!(spearman(&[f64::NAN, 1.0], &[1.0, 2.0]).unwrap(), None);
        assert!(pearson(&[1.0], &[]).is_err());
    }
}
