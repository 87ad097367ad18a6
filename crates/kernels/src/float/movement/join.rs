//! Concatenation and splitting along an axis.

/// Joins tensors `[outer, len_i, inner]` along the middle axis: `inputs` are the data and
/// `len_i * inner` of each; `out` is `[outer, sum of len_i, inner]`.
///
/// # Panics
/// If the sizes do not add up.
pub fn concat<T: Copy>(inputs: &[(&[T], usize)], out: &mut [T]) {
    let total: usize = inputs.iter().map(|(_, run)| run).sum();
    if total == 0 {
        assert!(out.is_empty());
        return;
    }
    assert!(out.len().is_multiple_of(total));
    let outer = out.len() / total;
    assert!(inputs.iter().all(|(x, run)| x.len() == outer * run));
    let mut first = 0;
    for &(x, run) in inputs {
        for i in 0..outer {
            out[i * total + first..][..run].copy_from_slice(&x[i * run..(i + 1) * run]);
        }
        first += run;
    }
}

/// The inverse of [`concat`]: cuts `x` `[outer, sum of len_i, inner]` into `outputs`, each with
/// its `len_i * inner`.
///
/// # Panics
/// If the sizes do not add up.
pub fn split<T: Copy>(x: &[T], outputs: &mut [(&mut [T], usize)]) {
    let total: usize = outputs.iter().map(|(_, run)| run).sum();
    if total == 0 {
        assert!(x.is_empty());
        return;
    }
    assert!(x.len().is_multiple_of(total));
    let outer = x.len() / total;
    assert!(outputs.iter().all(|(y, run)| y.len() == outer * run));
    let mut first = 0;
    for (out, run) in outputs {
        for i in 0..outer {
            out[i * *run..(i + 1) * *run].copy_from_slice(&x[i * total + first..][..*run]);
        }
        first += *run;
    }
}
