//! Cumulative sums, positions of extremes, the k largest or smallest.

use std::cmp::Ordering;
use std::ops::Add;

/// Running sums of `x` `[outer, axis, inner]` along the middle axis. `exclusive` leaves each
/// element itself out; `reverse` runs from the end.
///
/// # Panics
/// If a length does not fit.
pub fn cumsum<T: Copy + Default + Add<Output = T>>(
    x: &[T],
    axis: usize,
    inner: usize,
    exclusive: bool,
    reverse: bool,
    out: &mut [T],
) {
    assert_eq!(x.len(), out.len());
    let slab = axis * inner;
    if slab == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(slab));
    for (x, out) in x.chunks_exact(slab).zip(out.chunks_exact_mut(slab)) {
        for j in 0..inner {
            let mut sum = T::default();
            for i in 0..axis {
                let at = if reverse { axis - 1 - i } else { i } * inner + j;
                let with = sum + x[at];
                out[at] = if exclusive { sum } else { with };
                sum = with;
            }
        }
    }
}

/// Which extreme, and which of equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgOrder {
    /// The largest instead of the smallest.
    pub largest: bool,
    /// The last of equal extremes instead of the first (ONNX `select_last_index`).
    pub last: bool,
}

/// Position along the middle axis of the extreme of `x` `[outer, axis, inner]`; `out` is `[outer,
/// inner]`. NaN never wins against a number.
///
/// # Panics
/// If the axis is empty or a length does not fit.
pub fn arg_extreme<T: Copy + PartialOrd>(x: &[T], axis: usize, inner: usize, order: ArgOrder, out: &mut [i64]) {
    assert!(axis > 0, "the extreme of nothing");
    assert_eq!(x.len(), out.len() * axis);
    if inner == 0 {
        return;
    }
    for (x, out) in x.chunks_exact(axis * inner).zip(out.chunks_exact_mut(inner)) {
        for (j, y) in out.iter_mut().enumerate() {
            let mut best = 0;
            for i in 1..axis {
                let (new, old) = (x[i * inner + j], x[best * inner + j]);
                let wins = match compare(&new, &old, order.largest) {
                    Ordering::Less => true,
                    Ordering::Equal => order.last,
                    Ordering::Greater => false,
                };
                if wins {
                    best = i;
                }
            }
            *y = best as i64;
        }
    }
}

/// Rank of `a` against `b`: `Less` comes first. What does not compare (NaN) comes last.
fn compare<T: PartialOrd>(a: &T, b: &T, largest: bool) -> Ordering {
    let ordered = |x: &T| x.partial_cmp(x).is_some();
    match a.partial_cmp(b) {
        Some(order) if largest => order.reverse(),
        Some(order) => order,
        None => ordered(b).cmp(&ordered(a)),
    }
}

/// A selection of the `k` first elements in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// How many.
    pub k: usize,
    /// The largest instead of the smallest.
    pub largest: bool,
    /// Best first; otherwise in the order of their positions.
    pub sorted: bool,
}

/// The `k` largest or smallest of `x` `[outer, axis, inner]` along the middle axis: `values` and
/// `indices` are `[outer, k, inner]`. Of equal elements the one with the lower position is first;
/// NaN comes last.
///
/// # Panics
/// If `k` exceeds the axis or a length does not fit.
pub fn top_k<T: Copy + PartialOrd>(
    x: &[T],
    axis: usize,
    inner: usize,
    selection: TopK,
    values: &mut [T],
    indices: &mut [i64],
) {
    let TopK { k, largest, sorted } = selection;
    assert!(k <= axis, "k exceeds the axis");
    assert_eq!(values.len(), indices.len());
    let (slab, picked) = (axis * inner, k * inner);
    if picked == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(slab) && values.len() == x.len() / slab * picked);
    let mut order: Vec<usize> = Vec::with_capacity(axis);
    for (o, x) in x.chunks_exact(slab).enumerate() {
        for j in 0..inner {
            let rank = |a: &usize, b: &usize| compare(&x[a * inner + j], &x[b * inner + j], largest).then(a.cmp(b));
            order.clear();
            order.extend(0..axis);
            if k < axis {
                order.select_nth_unstable_by(k, rank);
            }
            let chosen = &mut order[..k];
            if sorted {
                chosen.sort_unstable_by(rank);
            } else {
                chosen.sort_unstable();
            }
            for (i, &at) in chosen.iter().enumerate() {
                values[o * picked + i * inner + j] = x[at * inner + j];
                indices[o * picked + i * inner + j] = at as i64;
            }
        }
    }
}
