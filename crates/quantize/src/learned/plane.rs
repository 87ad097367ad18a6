//! Rounding to the nearest plane.

use crate::weights::round_to;

/// A positive definite matrix of `k` features as `RᵀR`, features in ascending order of their
/// variance.
///
/// With it a quadratic is solved over the real numbers, and approximately over the integers by
/// Babai's nearest plane algorithm (1986), which is what GPTQ computes (Chen et al., "The Geometry
/// of LLM Quantization", 2025): features are rounded one by one, those of large variance first, and
/// each rests on what rounding the ones before it left.
pub(super) struct Planes {
    k: usize,
    /// The feature at each place.
    order: Vec<usize>,
    /// `Rᵀ`, lower triangular, `[k, k]`.
    factor: Vec<f32>,
}

impl Planes {
    /// Factors `h`, `[k, k]` (Cholesky, row by row).
    pub(super) fn new(h: &[f32], k: usize) -> Self {
        let mut order: Vec<usize> = (0..k).collect();
        order.sort_by(|&a, &b| h[a * (k + 1)].total_cmp(&h[b * (k + 1)]));
        let at = |i: usize| f64::from(h[order[i / k] * k + order[i % k]]);
        let mut rest: Vec<f64> = (0..k * k).map(at).collect();
        let mut factor = vec![0.0f32; k * k];
        for i in 0..k {
            // Rounding may leave nothing of a feature that others determine.
            let pivot = rest[i * (k + 1)].max(f64::MIN_POSITIVE).sqrt();
            let row: Vec<f64> = rest[i * k + i..(i + 1) * k].iter().map(|x| x / pivot).collect();
            for (j, &r) in row.iter().enumerate() {
                factor[(i + j) * k + i] = r as f32;
                let below = &mut rest[(i + j) * k + i..(i + j + 1) * k];
                if j > 0 {
                    below.iter_mut().zip(&row).for_each(|(x, s)| *x -= r * s);
                }
            }
        }
        Planes { k, order, factor }
    }

    /// `H⁻¹g`.
    pub(super) fn solve(&self, g: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0f32; self.k];
        for i in 0..self.k {
            let (own, row) = self.row(i);
            let known: f32 = row.iter().zip(&y).map(|(a, b)| a * b).sum();
            y[i] = (g[self.order[i]] - known) / own;
        }
        let mut x = vec![0.0f32; self.k];
        for i in (0..self.k).rev() {
            let (own, row) = self.row(i);
            let value = y[i] / own;
            x[self.order[i]] = value;
            y.iter_mut().zip(row).for_each(|(y, r)| *y -= r * value);
        }
        x
    }

    /// Integers up to `largest` in magnitude, which times `scale` are close to `x` in the metric of
    /// `H`.
    pub(super) fn nearest(&self, x: &[f32], scale: f32, largest: i8) -> Vec<i8> {
        let mut q = vec![0i8; self.k];
        // What the features rounded so far leave to the others, times the rows of R.
        let mut left = vec![0.0f32; self.k];
        for i in (0..self.k).rev() {
            let (own, row) = self.row(i);
            let feature = self.order[i];
            let real = x[feature] / scale;
            let value = round_to(real + left[i] / own, 1.0, largest);
            q[feature] = value;
            let error = real - f32::from(value);
            left.iter_mut().zip(row).for_each(|(l, r)| *l += r * error);
        }
        q
    }

    /// The pivot of place `i`, and what it has to do with the places before it.
    fn row(&self, i: usize) -> (f32, &[f32]) {
        let row = &self.factor[i * self.k..(i + 1) * self.k];
        (row[i], &row[..i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `AᵀA` and a little more.
    fn positive(a: &[f32], k: usize) -> Vec<f32> {
        let dot = |i: usize, j: usize| (0..k).map(|r| a[r * k + i] * a[r * k + j]).sum::<f32>();
        (0..k * k).map(|at| dot(at / k, at % k) + if at % (k + 1) == 0 { 0.1 } else { 0.0 }).collect()
    }

    fn error(h: &[f32], x: &[f32], q: &[i8], scale: f32) -> f32 {
        let e: Vec<f32> = x.iter().zip(q).map(|(x, &q)| x - scale * f32::from(q)).collect();
        let k = e.len();
        (0..k * k).map(|at| e[at / k] * h[at] * e[at % k]).sum()
    }

    proptest! {
        #[test]
        fn a_real_solution_solves(a in prop::collection::vec(-1f32..1.0, 36), x in prop::collection::vec(-1f32..1.0, 6)) {
            let h = positive(&a, 6);
            let g: Vec<f32> = h.chunks_exact(6).map(|row| row.iter().zip(&x).map(|(h, x)| h * x).sum()).collect();
            for (got, x) in Planes::new(&h, 6).solve(&g).iter().zip(&x) {
                prop_assert!((got - x).abs() < 1e-3, "{got} {x}");
            }
        }

        #[test]
        fn integers_are_found_again(a in prop::collection::vec(-1f32..1.0, 36), q in prop::collection::vec(-7i8..=7, 6)) {
            let h = positive(&a, 6);
            let x: Vec<f32> = q.iter().map(|&q| 0.25 * f32::from(q)).collect();
            prop_assert_eq!(Planes::new(&h, 6).nearest(&x, 0.25, 7), q);
        }
    }

    #[test]
    fn planes_beat_rounding_to_the_nearest() {
        // Strongly correlated features: all share a sign and most of their variance.
        let k = 12;
        let h: Vec<f32> = (0..k * k).map(|at| if at % (k + 1) == 0 { 1.0 } else { 0.9 }).collect();
        let x: Vec<f32> = (0..k).map(|i| 0.31 + 0.017 * i as f32).collect();
        let planes = Planes::new(&h, k).nearest(&x, 1.0, 7);
        let rounded: Vec<i8> = x.iter().map(|&x| round_to(x, 1.0, 7)).collect();
        assert!(error(&h, &x, &planes, 1.0) < 0.2 * error(&h, &x, &rounded, 1.0));
    }
}
