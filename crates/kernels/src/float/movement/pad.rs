//! Padding.

/// What fills the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PadMode<T> {
    /// One value.
    Constant(T),
    /// The nearest element of the edge.
    Edge,
    /// Mirrored without repeating the edge (ONNX and TFLite `reflect`).
    Reflect,
    /// Mirrored with the edge repeated (TFLite `symmetric`).
    Symmetric,
}

/// Pads `x` of shape `dims` by `before[i]` and `after[i]` elements on axis `i` into `out`. The
/// mirrored modes fold as often as the padding needs.
///
/// # Panics
/// If a length does not fit, or a mode other than constant pads an empty axis.
pub fn pad<T: Copy>(x: &[T], dims: &[usize], before: &[usize], after: &[usize], mode: PadMode<T>, out: &mut [T]) {
    let rank = dims.len();
    assert!(before.len() == rank && after.len() == rank);
    assert_eq!(x.len(), dims.iter().product::<usize>());
    let out_dims: Vec<usize> = (0..rank).map(|i| before[i] + dims[i] + after[i]).collect();
    assert_eq!(out.len(), out_dims.iter().product::<usize>());
    // Trailing axes without padding are copied whole.
    let Some(last) = (0..rank).rev().find(|&i| before[i] + after[i] > 0) else {
        return out.copy_from_slice(x);
    };
    let run: usize = dims[last + 1..].iter().product();
    if out.is_empty() {
        return;
    }
    let mut strides = vec![run; last + 1];
    for i in (0..last).rev() {
        strides[i] = strides[i + 1] * dims[i + 1];
    }
    let tables: Vec<Vec<Option<usize>>> = (0..=last)
        .map(|i| {
            let at = |o: usize| source(o, before[i], dims[i], mode).map(|s| s * strides[i]);
            (0..out_dims[i]).map(at).collect()
        })
        .collect();
    let width = out_dims[last];
    for (row, line) in out.chunks_exact_mut(width * run).enumerate() {
        let mut rest = row;
        let mut base = Some(0);
        for table in tables[..last].iter().rev() {
            base = base.zip(table[rest % table.len()]).map(|(a, b)| a + b);
            rest /= table.len();
        }
        for (piece, at) in line.chunks_exact_mut(run).zip(&tables[last]) {
            match (base.zip(*at), mode) {
                (Some((base, at)), _) => piece.copy_from_slice(&x[base + at..][..run]),
                (None, PadMode::Constant(value)) => piece.fill(value),
                (None, _) => panic!("only constant padding has no source"),
            }
        }
    }
}

/// The input coordinate that output coordinate `o` shows.
fn source<T>(o: usize, before: usize, len: usize, mode: PadMode<T>) -> Option<usize> {
    let at = o as isize - before as isize;
    if (0..len as isize).contains(&at) {
        return Some(at as usize);
    }
    if let PadMode::Constant(_) = mode {
        return None;
    }
    assert!(len > 0, "an empty axis has no element to repeat");
    let n = len as isize;
    Some(match mode {
        PadMode::Constant(_) | PadMode::Edge => at.clamp(0, n - 1) as usize,
        PadMode::Reflect if n == 1 => 0,
        PadMode::Reflect => {
            let at = at.rem_euclid(2 * (n - 1));
            at.min(2 * (n - 1) - at) as usize
        }
        PadMode::Symmetric => {
            let at = at.rem_euclid(2 * n);
            at.min(2 * n - 1 - at) as usize
        }
    })
}
