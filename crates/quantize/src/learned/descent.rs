//! The quadratic of one output channel, and its descent.

use fewbits_kernels::float::gemm::{MatrixRef, gemm};
use rayon::prelude::*;

use super::moments::{Group, Moments};
use super::plane::Planes;
use crate::weights::{candidate_scales, round_to};

/// Independent looks that a sample counts as: its patches overlap and resemble each other. Of 1, 2, 4,
/// 16 and 64 the one that was best on MobileNetV1, EfficientNet-Lite0 and ResNet-20 together.
const LOOKS: f64 = 4.0;

/// Part of the mean variance that every feature gets, so that none is free.
const RIDGE: f64 = 1e-3;

/// Passes over the weights, for each scale tried.
const SWEEPS: usize = 30;

/// How often the scale follows the integers.
const ROUNDS: usize = 4;

/// Scales tried, beside the best one for rounding alone. More find little.
const STARTS: [f32; 6] = [1.1, 1.0, 0.9, 0.8, 0.7, 0.6];

/// Output channels that are solved together: their products with the moments are matrix products.
const BLOCK: usize = 32;

/// `s²·qᵀHq − 2s·qᵀCw` of the output channels that share their input features.
pub(super) struct Quadratic {
    k: usize,
    h: Vec<f32>,
    /// Transposed.
    c: Vec<f32>,
    planes: Planes,
}

/// What the scale of a channel may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// This one.
    Fixed(f32),
    /// Any that is not less.
    AtLeast(f32),
}

/// Scale and integers of an output channel.
pub(super) type Channel = (f32, Vec<i8>);

impl Quadratic {
    /// Moments of few samples say little of most directions: the off-diagonal ones are shrunk by as
    /// much as there are features for each independent look (the idea of Ledoit and Wolf 2004),
    /// and what they no longer say, the float weights do.
    pub(super) fn new(group: &Group, moments: &Moments) -> Self {
        let k = group.k;
        let looks = (moments.samples as f64 * LOOKS).min(moments.rows as f64);
        let shrink = k as f64 / (k as f64 + looks);
        let mean = (0..k).map(|i| group.gram[i * k + i]).sum::<f64>() / k as f64;
        let ridge = RIDGE * mean + f64::from(f32::MIN_POSITIVE);
        let shrunk = |moments: &[f64]| -> Vec<f32> {
            let one = |(at, x): (usize, &f64)| {
                let own = if at / k == at % k { shrink * group.gram[at] + ridge } else { 0.0 };
                ((1.0 - shrink) * x + own) as f32
            };
            moments.iter().enumerate().map(one).collect()
        };
        let h = shrunk(&group.gram);
        Quadratic { k, c: shrunk(&group.cross), planes: Planes::new(&h, k), h }
    }

    /// Scales and integers of least error found for the float weights, one row for each channel.
    pub(super) fn solve(&self, weights: &[Vec<f32>], starts: &[Start], largest: i8) -> Vec<Channel> {
        let blocks = weights.par_chunks(BLOCK).zip(starts.par_chunks(BLOCK));
        blocks.flat_map_iter(|(weights, starts)| self.block(weights, starts, largest)).collect()
    }

    fn block(&self, weights: &[Vec<f32>], starts: &[Start], largest: i8) -> Vec<Channel> {
        let g = self.times(&self.c, weights.concat());
        let first: Vec<f32> = weights.iter().zip(starts).map(|(w, s)| self.first_scale(w, *s, largest)).collect();
        let wanted: Vec<Vec<f32>> = g.chunks_exact(self.k).map(|g| self.planes.solve(g)).collect();
        let mut best: Vec<Option<State<'_>>> = weights.iter().map(|_| None).collect();
        for factor in STARTS {
            let scale = |o: usize| match starts[o] {
                Start::Fixed(scale) => scale,
                Start::AtLeast(least) => (first[o] * factor).max(least),
            };
            let round = |(o, w): (usize, &Vec<f32>)| self.planes.nearest(w, scale(o), largest);
            let integers: Vec<Vec<i8>> = wanted.iter().enumerate().map(round).collect();
            let real = |(o, q): (usize, &Vec<i8>)| q.iter().map(|&q| f32::from(q) * scale(o)).collect::<Vec<f32>>();
            let product = self.times(&self.h, integers.iter().enumerate().flat_map(real).collect());
            let rows = g.chunks_exact(self.k).zip(product.chunks_exact(self.k));
            for (o, (q, (g, p))) in integers.into_iter().zip(rows).enumerate() {
                let residual = g.iter().zip(p).map(|(g, p)| g - p).collect();
                let mut state = State { h: &self.h, g, scale: scale(o), q, residual };
                state.settle(starts[o], largest);
                if best[o].as_ref().is_none_or(|b| state.error() < b.error()) {
                    best[o] = Some(state);
                }
            }
        }
        best.into_iter().flatten().map(|state| (state.scale, state.q)).collect()
    }

    /// `rows` of `k` elements times a matrix.
    fn times(&self, matrix: &[f32], rows: Vec<f32>) -> Vec<f32> {
        let (k, count) = (self.k, rows.len() / self.k);
        let mut out = vec![0.0; rows.len()];
        gemm(count, k, k, MatrixRef::row_major(&rows, k), MatrixRef::row_major(matrix, k), &mut out, k, false);
        out
    }

    /// The scale of least error if weights were just rounded and features independent.
    fn first_scale(&self, w: &[f32], start: Start, largest: i8) -> f32 {
        if let Start::Fixed(scale) = start {
            return scale;
        }
        let error = |scale: f32| -> f32 {
            let one = |(i, &x): (usize, &f32)| {
                let error = f32::from(round_to(x, scale, largest)) * scale - x;
                self.h[i * (self.k + 1)] * error * error
            };
            w.iter().enumerate().map(one).sum()
        };
        let tried = candidate_scales(w, largest).into_iter().flatten().map(|s| (error(s), s));
        // Any scale holds zeros.
        tried.reduce(|a, b| if b.0 < a.0 { b } else { a }).map_or(1.0 / f32::from(largest), |(_, scale)| scale)
    }
}

/// Integers on their way down.
struct State<'a> {
    h: &'a [f32],
    g: &'a [f32],
    scale: f32,
    q: Vec<i8>,
    /// `g − s·Hq`: minus half of the gradient by the real weights.
    residual: Vec<f32>,
}

impl State<'_> {
    /// The objective, up to a constant.
    fn error(&self) -> f32 {
        let sum: f32 = self.q.iter().zip(self.g).zip(&self.residual).map(|((&q, g), r)| f32::from(q) * (g + r)).sum();
        -self.scale * sum
    }

    /// Integers and scale in turns.
    fn settle(&mut self, start: Start, largest: i8) {
        self.descend(largest);
        let Start::AtLeast(least) = start else { return };
        for _ in 0..ROUNDS {
            if !self.rescale(least) || !self.descend(largest) {
                break;
            }
        }
    }

    /// Moves each weight to its best value until none moves; tells whether any did.
    fn descend(&mut self, largest: i8) -> bool {
        let k = self.q.len();
        let mut any = false;
        for _ in 0..SWEEPS {
            let mut moved = false;
            for i in 0..k {
                let row = &self.h[i * k..(i + 1) * k];
                let wanted = f32::from(self.q[i]) + self.residual[i] / (self.scale * row[i]);
                let new = round_to(wanted, 1.0, largest);
                if new != self.q[i] {
                    let step = self.scale * f32::from(new - self.q[i]);
                    self.residual.iter_mut().zip(row).for_each(|(r, h)| *r -= step * h);
                    self.q[i] = new;
                    moved = true;
                }
            }
            any |= moved;
            if !moved {
                break;
            }
        }
        any
    }

    /// The best scale for these integers; tells whether it is another.
    fn rescale(&mut self, least: f32) -> bool {
        let (mut linear, mut square) = (0.0f64, 0.0f64);
        for ((&q, &g), &r) in self.q.iter().zip(self.g).zip(&self.residual) {
            linear += f64::from(q) * f64::from(g);
            square += f64::from(q) * f64::from(g - r) / f64::from(self.scale);
        }
        let best = ((linear / square) as f32).max(least);
        if !best.is_normal() || best <= 0.0 || best == self.scale {
            return false;
        }
        let ratio = best / self.scale;
        self.residual.iter_mut().zip(self.g).for_each(|(r, g)| *r = g - ratio * (g - *r));
        self.scale = best;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const K: usize = 5;

    /// A quadratic whose quantized inputs are the float ones.
    fn quadratic(a: &[f32]) -> Quadratic {
        let dot = |i: usize, j: usize| (0..K).map(|r| a[r * K + i] * a[r * K + j]).sum::<f32>();
        let h: Vec<f32> = (0..K * K).map(|at| dot(at / K, at % K) + f32::from(u8::from(at % (K + 1) == 0))).collect();
        Quadratic { k: K, c: h.clone(), planes: Planes::new(&h, K), h }
    }

    /// `(w − s·q)ᵀH(w − s·q)`.
    fn error(quadratic: &Quadratic, w: &[f32], scale: f32, q: &[i8]) -> f64 {
        let e: Vec<f64> = w.iter().zip(q).map(|(&w, &q)| f64::from(w) - f64::from(scale) * f64::from(q)).collect();
        (0..K * K).map(|at| e[at / K] * f64::from(quadratic.h[at]) * e[at % K]).sum()
    }

    proptest! {
        #[test]
        fn no_single_weight_could_do_better(
            a in prop::collection::vec(-1f32..1.0, K * K), w in prop::collection::vec(-1f32..1.0, K), bits in 1u32..=4,
        ) {
            let (quadratic, largest) = (quadratic(&a), (1i8 << bits) - 1);
            let (scale, q) = quadratic.solve(std::slice::from_ref(&w), &[Start::AtLeast(0.0)], largest).remove(0);
            let found = error(&quadratic, &w, scale, &q);
            for i in 0..K {
                for step in [-1, 1] {
                    let mut other = q.clone();
                    other[i] += step;
                    if other[i].abs() <= largest {
                        prop_assert!(found <= error(&quadratic, &w, scale, &other) + 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn mostly_it_is_the_best_of_all_integers() {
        let numbers = |seed: usize, n: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 500.0 - 1.0).collect()
        };
        let mut found_best = 0;
        for seed in 0..200 {
            let (quadratic, w) = (quadratic(&numbers(seed, K * K)), numbers(seed + 1000, K));
            let (scale, q) = quadratic.solve(std::slice::from_ref(&w), &[Start::Fixed(0.6)], 1).remove(0);
            assert_eq!(scale, 0.6);
            let every = (0..3usize.pow(K as u32))
                .map(|code| -> Vec<i8> { (0..K as u32).map(|i| (code / 3usize.pow(i) % 3) as i8 - 1).collect() });
            let best = every.map(|q| error(&quadratic, &w, 0.6, &q)).fold(f64::INFINITY, f64::min);
            found_best += usize::from(error(&quadratic, &w, 0.6, &q) <= best + 1e-6);
        }
        assert!(found_best >= 170, "{found_best} of 200");
    }

    #[test]
    fn a_bound_on_the_scale_holds_and_zeros_stay() {
        let quadratic = quadratic(&[0.5; K * K]);
        let weights = [vec![0.1, -0.2, 0.3, 0.0, 0.05], vec![0.0; K]];
        let solved = quadratic.solve(&weights, &[Start::AtLeast(0.2), Start::AtLeast(0.0)], 7);
        assert!(solved[0].0 >= 0.2);
        assert!(solved[1].0 > 0.0 && solved[1].1 == [0; K]);
    }
}
