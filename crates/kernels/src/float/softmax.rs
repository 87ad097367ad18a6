//! Softmax and log-softmax, shifted by the maximum so that they never overflow.

use super::dispatch::{avx2, multiversion};
use super::{parallel, vmath};

/// Columns handled together along a middle axis.
const BLOCK: usize = 64;
/// Partial sums of a row: fixed, so that the result is the same everywhere.
const LANES: usize = 16;

/// Softmax of each row of `x` `[rows, n]`: `out = e^(beta (x - max)) / sum`.
///
/// # Panics
/// If the lengths differ or `n` does not divide them.
pub fn softmax(x: &[f32], n: usize, beta: f32, out: &mut [f32]) {
    rows(x, n, beta, false, out);
}

/// Log-softmax of each row of `x` `[rows, n]`: `out = beta (x - max) - ln sum e^(beta (x - max))`.
///
/// # Panics
/// If the lengths differ or `n` does not divide them.
pub fn log_softmax(x: &[f32], n: usize, beta: f32, out: &mut [f32]) {
    rows(x, n, beta, true, out);
}

/// Softmax, or log-softmax if `log`, over the middle axis of `x` `[outer, axis, inner]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn softmax_axis(x: &[f32], axis: usize, inner: usize, beta: f32, log: bool, out: &mut [f32]) {
    if inner == 1 {
        return rows(x, axis, beta, log, out);
    }
    assert_eq!(x.len(), out.len());
    let slab = axis * inner;
    if slab == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(slab));
    let isa = avx2();
    let parallel = parallel::worthwhile(x.len() * 8);
    parallel::chunks_mut(out, slab, parallel, |i, out| {
        middle(isa, &x[i * slab..(i + 1) * slab], inner, beta, log, out);
    });
}

fn rows(x: &[f32], n: usize, beta: f32, log: bool, out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    if n == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(n));
    let isa = avx2();
    let parallel = parallel::worthwhile(x.len() * 8);
    let chunk = (parallel::CHUNK / n).max(1) * n;
    parallel::chunks_mut(out, chunk, parallel, |i, out| {
        let x = &x[i * chunk..i * chunk + out.len()];
        for (x, y) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            row(isa, x, beta, log, y);
        }
    });
}

multiversion! {
    fn row(x: &[f32], beta: f32, log: bool, out: &mut [f32]) = row_body
}

#[inline(always)]
fn row_body(x: &[f32], beta: f32, log: bool, out: &mut [f32]) {
    let max = lanes(x, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    for (y, x) in out.iter_mut().zip(x) {
        *y = vmath::exp(beta * (x - max));
    }
    let sum = lanes(out, 0.0, |a, b| a + b);
    if log {
        let shift = vmath::ln(sum);
        for (y, x) in out.iter_mut().zip(x) {
            *y = beta * (x - max) - shift;
        }
    } else {
        let scale = 1.0 / sum;
        for y in out {
            *y *= scale;
        }
    }
}

/// Folds a slice in sixteen lanes, then the lanes as a tree.
#[inline(always)]
fn lanes(x: &[f32], init: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [init; LANES];
    let (main, rest) = x.as_chunks::<LANES>();
    for x in main {
        for i in 0..LANES {
            acc[i] = f(acc[i], x[i]);
        }
    }
    for (acc, x) in acc.iter_mut().zip(rest) {
        *acc = f(*acc, *x);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] = f(acc[i], acc[i + width]);
        }
        width /= 2;
    }
    acc[0]
}

multiversion! {
    fn middle(x: &[f32], inner: usize, beta: f32, log: bool, out: &mut [f32]) = middle_body
}

#[inline(always)]
fn middle_body(x: &[f32], inner: usize, beta: f32, log: bool, out: &mut [f32]) {
    for first in (0..inner).step_by(BLOCK) {
        let width = BLOCK.min(inner - first);
        let mut max = [f32::NEG_INFINITY; BLOCK];
        for line in x.chunks_exact(inner) {
            for (m, x) in max.iter_mut().zip(&line[first..first + width]) {
                *m = if *x > *m { *x } else { *m };
            }
        }
        let mut sum = [0.0f32; BLOCK];
        for (line, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(inner)) {
            let out = &mut out[first..first + width];
            for (j, (x, y)) in line[first..first + width].iter().zip(out).enumerate() {
                let e = vmath::exp(beta * (x - max[j]));
                sum[j] += e;
                *y = e;
            }
        }
        for s in &mut sum {
            *s = if log { vmath::ln(*s) } else { 1.0 / *s };
        }
        for (line, out) in x.chunks_exact(inner).zip(out.chunks_exact_mut(inner)) {
            let out = &mut out[first..first + width];
            for (j, (x, y)) in line[first..first + width].iter().zip(out).enumerate() {
                *y = if log { beta * (x - max[j]) - sum[j] } else { *y * sum[j] };
            }
        }
    }
}
