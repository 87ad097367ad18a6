//! Times of repeated runs.

use serde::Serialize;

/// Quantiles of the wall time of one run, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// A tenth of the runs was faster.
    pub p10_ms: f64,
    /// A tenth of the runs was slower.
    pub p90_ms: f64,
}

impl Latency {
    /// Quantiles of these times, in seconds; `None` without any. Between two runs the value is
    /// interpolated linearly.
    pub fn of_seconds(times: &[f64]) -> Option<Self> {
        if times.is_empty() {
            return None;
        }
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| 1e3 * quantile(&sorted, q);
        Some(Latency { median_ms: at(0.5), p10_ms: at(0.1), p90_ms: at(0.9) })
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    // `place` is at most len − 1, a small non-negative number.
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_and_ignore_order() {
        let times: Vec<f64> =
            [10.0, 0.0, 5.0, 2.0, 7.0, 1.0, 3.0, 9.0, 8.0, 4.0, 6.0].iter().map(|t| t / 1e3).collect();
        let latency = Latency::of_seconds(&times).unwrap();
        assert!((latency.median_ms - 5.0).abs() < 1e-9);
        assert!((latency.p10_ms - 1.0).abs() < 1e-9);
        assert!((latency.p90_ms - 9.0).abs() < 1e-9);
        let two = Latency::of_seconds(&[0.001, 0.003]).unwrap();
        assert!((two.median_ms - 2.0).abs() < 1e-9);
    }

    #[test]
    fn one_run_is_its_own_quantiles_and_none_is_nothing() {
        let one = Latency::of_seconds(&[0.004]).unwrap();
        assert_eq!((one.median_ms, one.p10_ms, one.p90_ms), (4.0, 4.0, 4.0));
        assert_eq!(Latency::of_seconds(&[]), None);
    }
}
