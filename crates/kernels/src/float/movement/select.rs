//! Selection by a condition, one-hot encoding, ranges.

use super::View;
use crate::float::parallel;

/// ONNX/TFLite `Where`/`SelectV2`: `out = condition != 0 ? a : b`, each of the three operands a
/// view already expanded to the output shape (see [`View::expand`]).
///
/// # Panics
/// If the views differ in shape or a slice does not fit.
pub fn select<T: Copy + Send + Sync>(condition: (&[u8], &View), a: (&[T], &View), b: (&[T], &View), out: &mut [T]) {
    assert_eq!(condition.1.dims(), a.1.dims());
    assert_eq!(condition.1.dims(), b.1.dims());
    let dense = View::dense(a.1.dims());
    let same = |view: &View| *view == dense;
    // `b` goes straight to the output; `a` replaces it where the condition holds.
    b.1.copy(b.0, out);
    if same(condition.1) && same(a.1) {
        let parallel = parallel::worthwhile(out.len());
        parallel::chunks_mut(out, parallel::CHUNK, parallel, |i, out| {
            let range = i * parallel::CHUNK..i * parallel::CHUNK + out.len();
            let from = condition.0[range.clone()].iter().zip(&a.0[range]);
            out.iter_mut().zip(from).for_each(|(y, (c, a))| *y = if *c != 0 { *a } else { *y });
        });
        return;
    }
    let (flags, values) = (condition.1.offsets(), a.1.offsets());
    for ((y, c), v) in out.iter_mut().zip(flags).zip(values) {
        if condition.0[c] != 0 {
            *y = a.0[v];
        }
    }
}

/// One-hot encoding: `out` `[outer, depth, inner]` is `off` except `on` where the middle
/// coordinate equals `indices` `[outer, inner]`. Negative indices count from the end; indices
/// outside the depth leave `off` (ONNX).
///
/// # Panics
/// If a length does not fit.
pub fn one_hot<T: Copy>(indices: &[i64], depth: usize, inner: usize, on: T, off: T, out: &mut [T]) {
    assert_eq!(out.len(), indices.len() * depth);
    assert!(inner > 0 && indices.len().is_multiple_of(inner));
    out.fill(off);
    for (i, &index) in indices.iter().enumerate() {
        if let Ok(at) = super::resolve(index, depth, i) {
            out[(i / inner * depth + at) * inner + i % inner] = on;
        }
    }
}

/// `out[i] = start + i * delta`, each computed afresh so that no error accumulates.
pub fn range_f32(start: f32, delta: f32, out: &mut [f32]) {
    for (i, y) in out.iter_mut().enumerate() {
        *y = start + i as f32 * delta;
    }
}

/// `out[i] = start + i * delta`, wrapping.
pub fn range_i64(start: i64, delta: i64, out: &mut [i64]) {
    let mut value = start;
    for y in out {
        *y = value;
        value = value.wrapping_add(delta);
    }
}
