//! The straight-through gradient of fake quantization, and that of its step size.

use rayon::prelude::*;

use crate::float::dispatch::{avx2, multiversion};
use crate::float::fake_quantize::Grid;
use crate::float::parallel::{self, CHUNK};

/// Sums over a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GridGradient {
    /// With respect to the scale (LSQ: Esser et al., "Learned Step Size Quantization", ICLR 2020,
    /// eq. 3): the rounding error in steps where `x` is inside of the grid, the end of the grid where
    /// it is not.
    pub scale: f64,
    /// With respect to the zero point (LSQ+: Bhalgat et al. 2020): `−scale` where `x` is outside.
    pub zero_point: f64,
}

/// Backward pass of [`Grid::apply`]: `dx = dy` where `x` is inside of the grid and 0 where it is held
/// at an end (Bengio et al. 2013); added to `dx` if `accumulate`. Returns the gradients of the grid.
///
/// # Panics
/// If the lengths differ.
pub fn fake_quantize_gradient(grid: Grid, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) -> GridGradient {
    assert!(x.len() == dx.len() && dy.len() == dx.len());
    let isa = avx2();
    let piece = |(x, dy), dx: &mut [f32]| run(isa, grid, x, dy, dx, accumulate);
    let sums: Vec<[f64; 2]> = if parallel::worthwhile(x.len()) {
        let given = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
        given.zip(dx.par_chunks_mut(CHUNK)).map(|(given, dx)| piece(given, dx)).collect()
    } else {
        let given = x.chunks(CHUNK).zip(dy.chunks(CHUNK));
        given.zip(dx.chunks_mut(CHUNK)).map(|(given, dx)| piece(given, dx)).collect()
    };
    let [scale, outside] = sums.into_iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    GridGradient { scale, zero_point: -f64::from(grid.scale) * outside }
}

multiversion! {
    fn run(grid: Grid, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) -> [f64; 2] = run_body
}

/// Independent sums, so that they fit a register.
const LANES: usize = 8;

#[inline(always)]
fn run_body(grid: Grid, x: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) -> [f64; 2] {
    let steps = grid.steps();
    let (mut scale, mut outside) = ([0.0f32; LANES], [0.0f32; LANES]);
    let rows = x.chunks(LANES).zip(dy.chunks(LANES)).zip(dx.chunks_mut(LANES));
    for ((x, dy), dx) in rows {
        let lanes = scale.iter_mut().zip(&mut outside);
        for ((x, dy), (dx, (scale, outside))) in x.iter().zip(dy).zip(dx.iter_mut().zip(lanes)) {
            let exact = x / grid.scale;
            let whole = exact.round_ties_even();
            let held = steps.apply(whole);
            let inside = held == whole;
            let passed = if inside { *dy } else { 0.0 };
            *dx = if accumulate { *dx + passed } else { passed };
            *scale += dy * if inside { whole - exact } else { held };
            *outside += if inside { 0.0 } else { *dy };
        }
    }
    let sum = |lanes: [f32; LANES]| lanes.iter().copied().map(f64::from).sum();
    [sum(scale), sum(outside)]
}
