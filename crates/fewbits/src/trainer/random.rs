//! Numbers that depend on nothing but what they are for.

use crate::shapes::SplitMix;

/// A generator keyed by a list of numbers: training draws each batch's from (seed, purpose, step), so
/// that a resumed run needs no state of a generator.
pub(super) struct Random(SplitMix);

impl Random {
    pub(super) fn new(key: &[u64]) -> Random {
        let fold = |state: u64, part: &u64| SplitMix(state ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next();
        Random(SplitMix(key.iter().fold(0x6665_7762_6974_7321, fold)))
    }

    /// Uniform in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.0.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[−1, 1)`.
    pub(super) fn signed(&mut self) -> f32 {
        (2.0 * self.unit() - 1.0) as f32
    }

    /// Uniform in `0..n`, for `n` far below 2⁵³.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Standard normal (Box & Muller 1958).
    pub(super) fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }

    /// Beta(a, a) for 0 < a ≤ 1 (Jöhnk 1964).
    pub(super) fn beta(&mut self, a: f32) -> f32 {
        let power = 1.0 / f64::from(a);
        for _ in 0..1000 {
            let (x, y) = (self.unit().powf(power), self.unit().powf(power));
            if x + y > 0.0 && x + y <= 1.0 {
                return (x / (x + y)) as f32;
            }
        }
        // For tiny a both powers vanish: the distribution is at its ends.
        self.below(2) as f32
    }

    /// `0..n` in random order (Fisher & Yates).
    pub(super) fn order(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_have_their_means() {
        let mut random = Random::new(&[1, 2, 3]);
        let mean = |mut f: Box<dyn FnMut() -> f32 + '_>| (0..20_000).map(|_| f()).sum::<f32>() / 20_000.0;
        assert!(mean(Box::new(|| random.signed())).abs() < 0.02);
        assert!(mean(Box::new(|| random.normal())).abs() < 0.03);
        assert!((mean(Box::new(|| random.normal().powi(2))) - 1.0).abs() < 0.05);
        assert!((mean(Box::new(|| random.beta(0.2))) - 0.5).abs() < 0.02);
        // Var Beta(a, a) = 1 / (4 (2a + 1)).
        assert!((mean(Box::new(|| (random.beta(0.2) - 0.5).powi(2))) - 1.0 / 5.6).abs() < 0.01);
        let mut order = random.order(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
