//! Gathering and scattering by index tensors. Negative indices count from the end.

use super::{IndexError, resolve};

/// ONNX/TFLite `Gather`: `out[o, i, ..] = x[o, indices[i], ..]`, `x` being `[outer, axis, inner]`
/// and `out` `[outer, indices, inner]`.
///
/// # Errors
/// If an index is outside the axis.
///
/// # Panics
/// If a length does not fit.
pub fn gather<T: Copy>(x: &[T], axis: usize, inner: usize, indices: &[i64], out: &mut [T]) -> Result<(), IndexError> {
    let slab = axis * inner;
    let outer = x.len().checked_div(slab).unwrap_or(0);
    assert_eq!(x.len(), outer * slab);
    for (position, &index) in indices.iter().enumerate() {
        let from = resolve(index, axis, position)? * inner;
        for o in 0..outer {
            let to = (o * indices.len() + position) * inner;
            out[to..to + inner].copy_from_slice(&x[o * slab + from..][..inner]);
        }
    }
    Ok(())
}

/// For each element of an index tensor, the offset in the data with the coordinate of `axis`
/// replaced by the index.
fn for_elements(
    dims: &[usize],
    axis: usize,
    indices: &[i64],
    index_dims: &[usize],
    mut f: impl FnMut(usize, usize),
) -> Result<(), IndexError> {
    assert_eq!(dims.len(), index_dims.len());
    assert_eq!(indices.len(), index_dims.iter().product::<usize>());
    let fits = |i: usize| i == axis || index_dims[i] <= dims[i];
    assert!((0..dims.len()).all(fits), "indices reach beyond the data");
    for (position, &index) in indices.iter().enumerate() {
        let along = resolve(index, dims[axis], position)?;
        let (mut rest, mut stride, mut offset) = (position, 1, 0);
        for i in (0..dims.len()).rev() {
            let coordinate = rest % index_dims[i];
            rest /= index_dims[i];
            offset += stride * if i == axis { along } else { coordinate };
            stride *= dims[i];
        }
        f(position, offset);
    }
    Ok(())
}

/// ONNX `GatherElements`: `out[p] = x[p with p[axis] = indices[p]]`; `out` has the shape of the
/// indices, `index_dims`.
///
/// # Errors
/// If an index is outside the axis.
///
/// # Panics
/// If a length or shape does not fit.
pub fn gather_elements<T: Copy>(
    x: &[T],
    dims: &[usize],
    axis: usize,
    indices: &[i64],
    index_dims: &[usize],
    out: &mut [T],
) -> Result<(), IndexError> {
    assert_eq!(out.len(), indices.len());
    for_elements(dims, axis, indices, index_dims, |p, offset| out[p] = x[offset])
}

/// ONNX `ScatterElements`, in place: `data[p with p[axis] = indices[p]] = combine(old,
/// updates[p])`, in the order of the indices.
///
/// # Errors
/// If an index is outside the axis; `data` may then be partly updated.
///
/// # Panics
/// If a length or shape does not fit.
pub fn scatter_elements<T: Copy>(
    data: &mut [T],
    dims: &[usize],
    axis: usize,
    indices: &[i64],
    index_dims: &[usize],
    updates: &[T],
    combine: impl Fn(T, T) -> T,
) -> Result<(), IndexError> {
    assert_eq!(updates.len(), indices.len());
    for_elements(dims, axis, indices, index_dims, |p, offset| {
        data[offset] = combine(data[offset], updates[p]);
    })
}

/// Offset, in elements, of the slice of `dims` that `tuple` points to.
fn tuple_offset(tuple: &[i64], dims: &[usize], inner: usize, position: usize) -> Result<usize, IndexError> {
    let mut offset = 0;
    for (i, (&index, &len)) in tuple.iter().zip(dims).enumerate() {
        offset = offset * len + resolve(index, len, position + i)?;
    }
    Ok(offset * inner)
}

/// ONNX/TFLite `GatherNd`: `indices` is a list of tuples of `tuple` coordinates for the axes of
/// `dims` that follow the first `batch_dims`; each fetches the slice of the remaining axes.
/// With `batch_dims`, the tuples divide evenly among the batches, in order.
///
/// # Errors
/// If an index is outside its axis.
///
/// # Panics
/// If a length does not fit.
pub fn gather_nd<T: Copy>(
    x: &[T],
    dims: &[usize],
    batch_dims: usize,
    indices: &[i64],
    tuple: usize,
    out: &mut [T],
) -> Result<(), IndexError> {
    let axes = &dims[batch_dims..batch_dims + tuple];
    let inner: usize = dims[batch_dims + tuple..].iter().product();
    let batches: usize = dims[..batch_dims].iter().product();
    let per_batch = axes.iter().product::<usize>() * inner;
    assert_eq!(x.len(), batches * per_batch);
    if out.is_empty() || inner == 0 {
        return Ok(());
    }
    let tuples = out.len() / inner;
    assert!(out.len().is_multiple_of(inner) && indices.len() == tuples * tuple);
    assert!(batches > 0 && tuples.is_multiple_of(batches));
    for (i, out) in out.chunks_exact_mut(inner).enumerate() {
        let at = &indices[i * tuple..(i + 1) * tuple];
        let batch = i / (tuples / batches);
        let from = batch * per_batch + tuple_offset(at, axes, inner, i * tuple)?;
        out.copy_from_slice(&x[from..from + inner]);
    }
    Ok(())
}

/// ONNX/TFLite `ScatterNd`, in place: each tuple of `tuple` coordinates in `indices` names a slice
/// of `data` (shape `dims`) that becomes `combine(old, update)`, in the order of the tuples.
///
/// # Errors
/// If an index is outside its axis; `data` may then be partly updated.
///
/// # Panics
/// If a length does not fit.
pub fn scatter_nd<T: Copy>(
    data: &mut [T],
    dims: &[usize],
    indices: &[i64],
    tuple: usize,
    updates: &[T],
    combine: impl Fn(T, T) -> T,
) -> Result<(), IndexError> {
    let (axes, rest) = dims.split_at(tuple);
    let inner: usize = rest.iter().product();
    assert_eq!(data.len(), dims.iter().product::<usize>());
    if updates.is_empty() || inner == 0 {
        return Ok(());
    }
    assert!(updates.len().is_multiple_of(inner) && indices.len() == updates.len() / inner * tuple);
    for (i, update) in updates.chunks_exact(inner).enumerate() {
        let at = &indices[i * tuple..(i + 1) * tuple];
        let to = tuple_offset(at, axes, inner, i * tuple)?;
        for (y, u) in data[to..to + inner].iter_mut().zip(update) {
            *y = combine(*y, *u);
        }
    }
    Ok(())
}
