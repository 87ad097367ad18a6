//! Second moments of what a layer sees.

use fewbits_kernels::float::gemm::{MatrixRef, gemm};
use rayon::prelude::*;

use super::layer::{Layer, Window};

/// Fewest and most output positions of a sample that are looked at, if it has as many; between them,
/// as many as there are features. Neighbouring patches tell little new.
const POSITIONS: (usize, usize) = (64, 256);

/// Moments of one group of input features, `k` of them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) k: usize,
    /// `Σ x̂x̂ᵀ`, `[k, k]`.
    pub(super) gram: Vec<f64>,
    /// `Σ xx̂ᵀ`, `[k, k]`.
    pub(super) cross: Vec<f64>,
    /// `Σ x̂` and `Σ x`.
    pub(super) sums: (Vec<f64>, Vec<f64>),
}

impl Group {
    fn new(k: usize) -> Self {
        Group { k, gram: vec![0.0; k * k], cross: vec![0.0; k * k], sums: (vec![0.0; k], vec![0.0; k]) }
    }

    /// Adds `rows` patches of float (`x`) and quantized (`seen`) features, each `[rows, k]`.
    fn add(&mut self, seen: &[f32], x: &[f32], rows: usize) {
        let k = self.k;
        if k <= SMALL {
            for (seen, x) in seen.chunks_exact(k).zip(x.chunks_exact(k)) {
                for (i, &a) in seen.iter().enumerate() {
                    for j in 0..k {
                        self.gram[i * k + j] += f64::from(a) * f64::from(seen[j]);
                        self.cross[j * k + i] += f64::from(a) * f64::from(x[j]);
                    }
                }
            }
        } else {
            let mut product = vec![0.0f32; k * k];
            for (other, sum) in [(seen, &mut self.gram), (x, &mut self.cross)] {
                let (a, b) = (MatrixRef::transposed(other, k), MatrixRef::row_major(seen, k));
                gemm(k, k, rows, a, b, &mut product, k, false);
                sum.iter_mut().zip(&product).for_each(|(s, &p)| *s += f64::from(p));
            }
        }
        for (sums, rows) in [(&mut self.sums.0, seen), (&mut self.sums.1, x)] {
            for row in rows.chunks_exact(k) {
                sums.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
            }
        }
    }

    /// Sums to means, moments about them.
    fn centre(&mut self, count: f64) {
        let k = self.k;
        self.sums.0.iter_mut().chain(&mut self.sums.1).for_each(|s| *s /= count);
        for i in 0..k {
            for j in 0..k {
                let at = i * k + j;
                self.gram[at] = self.gram[at] / count - self.sums.0[i] * self.sums.0[j];
                self.cross[at] = self.cross[at] / count - self.sums.1[i] * self.sums.0[j];
            }
        }
    }
}

/// Features below which a matrix product is not worth its setting up.
const SMALL: usize = 32;

/// Moments of all groups of a layer's input.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    window: Window,
    /// One for each group of input channels (each channel of a depthwise layer).
    pub(super) groups: Vec<Group>,
    /// Patches added.
    pub(super) rows: usize,
    /// Samples added.
    pub(super) samples: usize,
}

impl Moments {
    pub(super) fn new(layer: &Layer) -> Self {
        let window = layer.window.clone();
        let groups = vec![Group::new(window.features()); window.groups];
        Moments { window, groups, rows: 0, samples: 0 }
    }

    /// Adds one sample: the layer's float input and the one it has in the quantized graph, both of
    /// `shape`.
    pub(super) fn add(&mut self, x: &[f32], seen: &[f32], shape: &[usize]) {
        let positions =
            self.window.positions(shape, self.window.features().clamp(POSITIONS.0, POSITIONS.1), self.samples);
        let window = &self.window;
        self.groups.par_iter_mut().enumerate().for_each(|(g, group)| {
            let patches = |data: &[f32]| -> Vec<f32> {
                let mut rows = Vec::with_capacity(positions.len() * group.k);
                positions.iter().for_each(|&p| window.patch(data, shape, p, g, &mut rows));
                rows
            };
            let (seen, x) = (patches(seen), patches(x));
            group.add(&seen, &x, positions.len());
        });
        self.rows += positions.len();
        self.samples += 1;
    }

    /// Centred moments of all that was added.
    pub(super) fn finish(mut self) -> Self {
        let count = self.rows.max(1) as f64;
        self.groups.par_iter_mut().for_each(|group| group.centre(count));
        self
    }
}
