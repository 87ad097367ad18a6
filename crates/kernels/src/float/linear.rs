//! Fully-connected layers and batched matrix products.
//!
//! With constant weights use [`PackedMatrix`](super::gemm::PackedMatrix) instead: it is packed
//! once, and has its own kernel for one row.

use super::Clamp;
use super::dispatch::{avx2, multiversion};
use super::gemm::{MatrixRef, gemm, gemm_single};
use super::parallel;
use crate::isa::Avx2;
use rayon::prelude::*;

/// Independent partial sums of a dot product: four AVX2 registers.
const LANES: usize = 32;
/// Up to this many rows, dot products with each weight row beat the packing of a library GEMM.
const DOT_ROWS: usize = 4;

/// `out[m, n] = clamp(x[m, k] * weights[n, k]^T + bias[n])`, all row-major.
///
/// # Panics
/// If a slice does not fit.
pub fn fully_connected(
    m: usize,
    n: usize,
    k: usize,
    x: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    clamp: Clamp,
) {
    assert_eq!(x.len(), m * k);
    assert_eq!(weights.len(), n * k);
    assert_eq!(out.len(), m * n);
    assert!(bias.is_none_or(|b| b.len() == n));
    if m <= DOT_ROWS {
        let isa = avx2();
        for (x, out) in x.chunks_exact(k.max(1)).zip(out.chunks_exact_mut(n.max(1))) {
            gemv(isa, x, weights, out);
        }
        if k == 0 {
            out.fill(0.0);
        }
    } else {
        let b = MatrixRef::transposed(weights, k);
        gemm(m, n, k, MatrixRef::row_major(x, k), b, out, n, false);
    }
    add_bias_clamp(out, n, bias, clamp);
}

/// `out[i] = clamp(out[i] + bias[i % n])`: the epilogue of a product that has none.
///
/// # Panics
/// If `bias` is not `[n]`.
pub fn add_bias_clamp(out: &mut [f32], n: usize, bias: Option<&[f32]>, clamp: Clamp) {
    if let Some(bias) = bias {
        assert_eq!(bias.len(), n);
        for row in out.chunks_exact_mut(n.max(1)) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y = clamp.apply(*y + b);
            }
        }
    } else if !clamp.is_none() {
        for y in out {
            *y = clamp.apply(*y);
        }
    }
}

/// `out[j] = x . weights[j, ..]`.
fn gemv(isa: Option<Avx2>, x: &[f32], weights: &[f32], out: &mut [f32]) {
    let k = x.len();
    let parallel = parallel::worthwhile(weights.len() / 4);
    let rows = (parallel::CHUNK / k.max(1)).max(1);
    parallel::chunks_mut(out, rows, parallel, |i, out| {
        for (j, y) in out.iter_mut().enumerate() {
            let row = i * rows + j;
            *y = dot_on(isa, x, &weights[row * k..(row + 1) * k]);
        }
    });
}

/// Dot product of two slices of one length, in 32 partial sums combined as a fixed tree.
///
/// # Panics
/// If the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    dot_on(avx2(), a, b)
}

multiversion! {
    fn dot_on(a: &[f32], b: &[f32]) -> f32 = dot_body
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let (a_main, a_rest) = a.as_chunks::<LANES>();
    let (b_main, b_rest) = b.as_chunks::<LANES>();
    let mut acc = [0.0f32; LANES];
    for (a, b) in a_main.iter().zip(b_main) {
        for i in 0..LANES {
            acc[i] = a[i].mul_add(b[i], acc[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        acc[i] = a.mul_add(*b, acc[i]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] += acc[i + width];
        }
        width /= 2;
    }
    acc[0]
}

/// One batch of matrix products `out[i] = op(a[i]) * op(b[i])`, all row-major and dense.
#[derive(Clone, Copy, Debug)]
pub struct BatchMatmul {
    /// Rows of `op(a)` and of the output.
    pub m: usize,
    /// Columns of `op(b)` and of the output.
    pub n: usize,
    /// Inner size.
    pub k: usize,
    /// `a` is stored `[k, m]` instead of `[m, k]`.
    pub transpose_a: bool,
    /// `b` is stored `[n, k]` instead of `[k, n]`.
    pub transpose_b: bool,
}

impl BatchMatmul {
    /// Computes `offsets_a.len()` products: matrix `i` of the left operand starts at
    /// `a[offsets_a[i]]`, of the right one at `b[offsets_b[i]]`, of the output at
    /// `out[i * m * n]`. Broadcasting a batch is repeating its offset; see
    /// [`Broadcast::offsets`](super::binary::Broadcast::offsets).
    ///
    /// # Panics
    /// If the offset lists differ in length or a matrix reaches beyond its slice.
    pub fn run(&self, a: &[f32], offsets_a: &[usize], b: &[f32], offsets_b: &[usize], out: &mut [f32], clamp: Clamp) {
        let &Self { m, n, k, .. } = self;
        assert_eq!(offsets_a.len(), offsets_b.len());
        assert_eq!(out.len(), offsets_a.len() * m * n);
        if out.is_empty() {
            return;
        }
        let spread = offsets_a.len() >= rayon::current_num_threads() && parallel::worthwhile(out.len() * k / 8);
        if spread {
            out.par_chunks_mut(m * n)
                .zip(offsets_a.par_iter().zip(offsets_b))
                .for_each(|(out, (&i, &j))| self.one(&a[i..], &b[j..], out, false));
        } else {
            for (out, (&i, &j)) in out.chunks_mut(m * n).zip(offsets_a.iter().zip(offsets_b)) {
                self.one(&a[i..], &b[j..], out, true);
            }
        }
        add_bias_clamp(out, n, None, clamp);
    }

    fn one(&self, a: &[f32], b: &[f32], out: &mut [f32], threads: bool) {
        let &Self { m, n, k, .. } = self;
        if self.transpose_b && m == 1 {
            assert!(n * k <= b.len() && k <= a.len());
            return gemv(avx2(), &a[..k], &b[..n * k], out);
        }
        let view = |data, transposed, rows, cols| {
            if transposed { MatrixRef::transposed(data, rows) } else { MatrixRef::row_major(data, cols) }
        };
        let a = view(a, self.transpose_a, m, k);
        let b = view(b, self.transpose_b, k, n);
        if threads {
            gemm(m, n, k, a, b, out, n, false);
        } else {
            gemm_single(m, n, k, a, b, out, n);
        }
    }
}
