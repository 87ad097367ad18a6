//! Quantization and back: what an integer edge does to float numbers.

use super::Clamp;
use super::dispatch::{avx2, multiversion};
use super::parallel::{self, CHUNK};

/// The numbers that a quantized tensor can hold: `(q − zero_point) × scale` for whole `q` in `[low,
/// high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Distance of neighbours, positive.
    pub scale: f32,
    /// The `q` that stands for 0, a whole number.
    pub zero_point: f32,
    /// Smallest `q`.
    pub low: f32,
    /// Largest `q`.
    pub high: f32,
}

impl Grid {
    /// The steps from zero that the grid reaches.
    pub(super) fn steps(&self) -> Clamp {
        Clamp { min: self.low - self.zero_point, max: self.high - self.zero_point }
    }

    /// `y` = the element of the grid nearest to each of `x`, halves to even. NaN stays NaN.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        let isa = avx2();
        parallel::chunks_mut(y, CHUNK, parallel::worthwhile(x.len()), |i, y| {
            run(isa, *self, &x[i * CHUNK..][..y.len()], y);
        });
    }
}

multiversion! {
    fn run(grid: Grid, x: &[f32], y: &mut [f32]) = run_body
}

#[inline(always)]
fn run_body(grid: Grid, x: &[f32], y: &mut [f32]) {
    let steps = grid.steps();
    for (y, x) in y.iter_mut().zip(x) {
        *y = steps.apply((x / grid.scale).round_ties_even()) * grid.scale;
    }
}
