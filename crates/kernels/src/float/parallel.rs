//! Splitting work over the current rayon pool.

use rayon::prelude::*;

/// Elements of one parallel task of a memory-bound kernel: large enough to hide the cost of a
/// task, small enough for the second-level cache.
pub(crate) const CHUNK: usize = 1 << 14;

/// Whether `work` (roughly, scalar operations) is worth the few microseconds of a parallel call.
pub(crate) fn worthwhile(work: usize) -> bool {
    work >= 1 << 17 && rayon::current_num_threads() > 1
}

/// Calls `f(chunk_index, chunk)` for every `chunk`-sized piece of `out`.
pub(crate) fn chunks_mut<T: Send>(
    out: &mut [T],
    chunk: usize,
    parallel: bool,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let chunk = chunk.max(1);
    if parallel && out.len() > chunk {
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, c)| f(i, c));
    } else {
        for (i, c) in out.chunks_mut(chunk).enumerate() {
            f(i, c);
        }
    }
}

/// As [`chunks_mut`], with a slice of `other_chunk` elements of `other` for each piece.
///
/// # Panics
/// If `other` has fewer slices than `out` pieces.
pub(crate) fn zipped_chunks_mut<T: Send, U: Send>(
    out: &mut [T],
    chunk: usize,
    other: &mut [U],
    other_chunk: usize,
    parallel: bool,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    let (chunk, other_chunk) = (chunk.max(1), other_chunk.max(1));
    assert!(out.len().div_ceil(chunk) <= other.len() / other_chunk, "a slice for each piece");
    if parallel && out.len() > chunk {
        let pieces = out.par_chunks_mut(chunk).zip(other.par_chunks_exact_mut(other_chunk));
        pieces.enumerate().for_each(|(i, (c, o))| f(i, c, o));
    } else {
        for (i, (c, o)) in out.chunks_mut(chunk).zip(other.chunks_exact_mut(other_chunk)).enumerate() {
            f(i, c, o);
        }
    }
}
