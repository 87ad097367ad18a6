//! What a quantized model lost against the float one, sample by sample, and how sure that is.
//!
//! Both models see the same samples, so what differs are the few samples on which they part. The
//! uncertainty of the difference follows from these alone, and is far smaller than that of either
//! accuracy.

use std::fmt;
use std::str::FromStr;

/// What a loss of accuracy is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Share of the samples whose label has the largest output: points of top-1.
    Top1,
    /// Share of the decisions that are the float model's: points below 100 %.
    Agreement,
    /// Energy of the outputs' error as a share of the energy of the float outputs: 1 point is an SQNR
    /// of 20 dB, a root-mean-square error of a tenth.
    Error,
}

impl Metric {
    /// A word for tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Top1 => "top-1",
            Metric::Agreement => "agreement",
            Metric::Error => "output-error",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Metric::Top1, Metric::Agreement, Metric::Error];
        let found = all.into_iter().find(|m| m.name() == text);
        found.ok_or_else(|| format!("expected top-1, agreement or output-error, got '{text}'"))
    }
}

/// A loss in percentage points, with its 95 % confidence interval where there is one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// The loss as measured; below 0 is a gain.
    pub points: f64,
    /// Lower and upper end of the interval.
    pub interval: Option<(f64, f64)>,
}

/// Half the width of a 95 % interval in standard deviations.
const Z: f64 = 1.96;

/// Counts of samples on which two models part, streaming.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paired {
    /// Samples with labels.
    labelled: u64,
    /// Right in the reference only, and in the other only.
    lost: u64,
    won: u64,
    decisions: u64,
    /// Decisions that differ.
    flipped: u64,
    /// Of runs: number, signal, noise, and the sums of their squares and of their product.
    runs: u64,
    signal: f64,
    noise: f64,
    signal_squared: f64,
    noise_squared: f64,
    product: f64,
}

impl Paired {
    /// One labelled sample: whether the reference was right, and the other.
    pub fn add_answer(&mut self, reference: bool, other: bool) {
        self.labelled += 1;
        self.lost += u64::from(reference && !other);
        self.won += u64::from(other && !reference);
    }

    /// One decision: whether the two took the same.
    pub fn add_decision(&mut self, same: bool) {
        self.decisions += 1;
        self.flipped += u64::from(!same);
    }

    /// One run: the energy of the reference's outputs, and of the difference.
    pub fn add_energy(&mut self, signal: f64, noise: f64) {
        self.runs += 1;
        self.signal += signal;
        self.noise += noise;
        self.signal_squared += signal * signal;
        self.noise_squared += noise * noise;
        self.product += signal * noise;
    }

    /// The metric that can be measured: labels go first, then decisions where the model `classifies`.
    pub fn natural(&self, classifies: bool) -> Metric {
        match (self.labelled > 0, self.decisions > 0 && classifies) {
            (true, _) => Metric::Top1,
            (false, true) => Metric::Agreement,
            (false, false) => Metric::Error,
        }
    }

    /// What was lost; `None` if nothing was seen that has this metric. Outputs that are no numbers
    /// have lost everything.
    pub fn loss(&self, metric: Metric) -> Option<Loss> {
        match metric {
            Metric::Top1 => (self.labelled > 0).then(|| self.top1()),
            Metric::Agreement => (self.decisions > 0).then(|| self.disagreement()),
            Metric::Error => (self.runs > 0).then(|| self.error()),
        }
    }

    /// The difference of two paired proportions, its interval after Agresti and Min, "Simple improved
    /// confidence intervals for comparing matched proportions" (2005): half a sample more in each of
    /// the four cells keeps it honest where no sample differs.
    fn top1(&self) -> Loss {
        let (n, lost, won) = (self.labelled as f64, self.lost as f64, self.won as f64);
        let middle = (lost - won) / (n + 2.0);
        let variance = (lost + won + 1.0) / (n + 2.0) - middle * middle;
        let half = Z * (variance / (n + 2.0)).sqrt();
        Loss { points: 100.0 * (lost - won) / n, interval: Some((100.0 * (middle - half), 100.0 * (middle + half))) }
    }

    /// One proportion, its interval after Agresti and Coull (1998).
    fn disagreement(&self) -> Loss {
        let (n, flipped) = (self.decisions as f64, self.flipped as f64);
        let all = n + Z * Z;
        let middle = (flipped + Z * Z / 2.0) / all;
        let half = Z * (middle * (1.0 - middle) / all).sqrt();
        let (low, high) = ((middle - half).max(0.0), (middle + half).min(1.0));
        Loss { points: 100.0 * flipped / n, interval: Some((100.0 * low, 100.0 * high)) }
    }

    /// A ratio of two means, its variance to first order (the delta method).
    fn error(&self) -> Loss {
        // Equal outputs have no error, also where they are all 0.
        let share = if self.noise == 0.0 { 0.0 } else { self.noise / self.signal };
        if !share.is_finite() {
            return Loss { points: f64::INFINITY, interval: None };
        }
        let residual = self.noise_squared - 2.0 * share * self.product + share * share * self.signal_squared;
        let half = Z * residual.max(0.0).sqrt() / self.signal;
        let interval =
            (self.runs > 1 && half.is_finite()).then(|| (100.0 * (share - half).max(0.0), 100.0 * (share + half)));
        Loss { points: 100.0 * share, interval }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_samples_that_differ_make_the_difference_uncertain() {
        let counted = |both: usize, lost: usize, won: usize| {
            let mut paired = Paired::default();
            (0..both).for_each(|_| paired.add_answer(true, true));
            (0..lost).for_each(|_| paired.add_answer(true, false));
            (0..won).for_each(|_| paired.add_answer(false, true));
            paired.loss(Metric::Top1).unwrap()
        };
        let few = counted(396, 3, 1);
        assert_eq!(few.points, 0.5);
        // 4 of 400 differ: half a point of standard deviation.
        let (low, high) = few.interval.unwrap();
        assert!(low < -0.5 && low > -0.8 && high > 1.4 && high < 1.7, "{few:?}");
        let (low, high) = counted(400, 0, 0).interval.unwrap();
        assert!(low < 0.0 && high > 0.0 && high - low < 1.1, "no difference seen is not none: {low} {high}");
        let many = counted(300, 60, 40).interval.unwrap();
        assert!(many.1 - many.0 > 9.0, "{many:?}");
    }

    #[test]
    fn disagreement_stays_a_share() {
        let mut paired = Paired::default();
        (0..50).for_each(|_| paired.add_decision(true));
        let loss = paired.loss(Metric::Agreement).unwrap();
        let (low, high) = loss.interval.unwrap();
        assert!(loss.points == 0.0 && low == 0.0 && high > 5.0 && high < 10.0, "{loss:?}");
        paired.add_decision(false);
        assert!((paired.loss(Metric::Agreement).unwrap().points - 100.0 / 51.0).abs() < 1e-9);
    }

    #[test]
    fn one_point_of_error_is_20_db() {
        let mut paired = Paired::default();
        paired.add_energy(50.0, 0.5);
        assert_eq!(paired.loss(Metric::Error).unwrap(), Loss { points: 1.0, interval: None });
        paired.add_energy(50.0, 1.5);
        let loss = paired.loss(Metric::Error).unwrap();
        let (low, high) = loss.interval.unwrap();
        assert!(
            (loss.points - 2.0).abs() < 1e-9 && (low - 0.614).abs() < 0.01 && (high - 3.386).abs() < 0.01,
            "{loss:?}"
        );
        paired.add_energy(1.0, f64::NAN);
        assert_eq!(paired.loss(Metric::Error).unwrap().points, f64::INFINITY);
        let mut silent = Paired::default();
        silent.add_energy(0.0, 0.0);
        assert_eq!(silent.loss(Metric::Error).unwrap().points, 0.0);
    }

    #[test]
    fn labels_go_first() {
        let mut paired = Paired::default();
        assert_eq!((paired.natural(true), paired.loss(Metric::Top1)), (Metric::Error, None));
        paired.add_decision(true);
        assert_eq!((paired.natural(true), paired.natural(false)), (Metric::Agreement, Metric::Error));
        paired.add_answer(true, true);
        assert_eq!(paired.natural(false), Metric::Top1);
        for metric in [Metric::Top1, Metric::Agreement, Metric::Error] {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        assert!("mAP".parse::<Metric>().unwrap_err().contains("top-1, agreement"));
    }
}
