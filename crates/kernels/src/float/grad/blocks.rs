//! Sparse linear maps between tensors that are cut into blocks of contiguous elements: moving
//! elements, average pooling, interpolation, sums over axes, and the transposes of all these,
//! which are their gradients.

use crate::float::dispatch::{avx2, multiversion};
use crate::float::parallel::{self, CHUNK};

/// A sparse matrix whose entries multiply blocks of `block` contiguous elements, in compressed
/// rows. Applied to a tensor, it is repeated for as many images as the tensor holds.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockMap {
    block: usize,
    columns: usize,
    /// Row `r` has the entries `starts[r]..starts[r + 1]`.
    starts: Vec<u32>,
    entries: Vec<(u32, f32)>,
}

impl BlockMap {
    /// A map from `columns` blocks to as many as `rows` has items, each of which lists the source
    /// blocks of an output block with their weights.
    ///
    /// `None` if there are more than 2³² entries or blocks, or a source is out of range.
    pub fn new<R: IntoIterator<Item = (usize, f32)>>(
        block: usize,
        columns: usize,
        rows: impl IntoIterator<Item = R>,
    ) -> Option<Self> {
        u32::try_from(columns).ok()?;
        let (mut starts, mut entries) = (vec![0], Vec::new());
        for row in rows {
            for (column, weight) in row {
                if column >= columns {
                    return None;
                }
                entries.push((u32::try_from(column).ok()?, weight));
            }
            starts.push(u32::try_from(entries.len()).ok()?);
        }
        Some(Self { block, columns, starts, entries })
    }

    /// The map that gives element `i` of its output the element `sources[i]` of an input of
    /// `input` elements, or zero; in the largest blocks that allow it. `None` as [`new`](Self::new).
    pub fn moving(input: usize, sources: &[Option<usize>]) -> Option<Self> {
        let block = common_block(input, sources);
        if sources.iter().flatten().any(|&s| s >= input) {
            return None;
        }
        let rows = sources.iter().step_by(block).map(|s| s.map(|s| (s / block, 1.0)));
        Self::new(block, input / block, rows)
    }

    /// The map with every weight multiplied by `factor`.
    pub fn scaled(mut self, factor: f32) -> Self {
        self.entries.iter_mut().for_each(|(_, weight)| *weight *= factor);
        self
    }

    /// The transpose: the gradient of this map.
    pub fn transposed(&self) -> Self {
        let mut starts = vec![0u32; self.columns + 1];
        for &(column, _) in &self.entries {
            starts[column as usize + 1] += 1;
        }
        for i in 0..self.columns {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for row in 0..self.rows() {
            for &(column, weight) in self.row(row) {
                let at = &mut next[column as usize];
                // Rows were counted in u32 when the entries were.
                entries[*at as usize] = (row as u32, weight);
                *at += 1;
            }
        }
        Self { block: self.block, columns: self.rows(), starts, entries }
    }

    /// Output blocks of one image.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, row: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[row] as usize..self.starts[row + 1] as usize]
    }

    /// `out = map(x)` (or `out += map(x)` if `accumulate`) for each image.
    ///
    /// # Panics
    /// If the lengths are not those of a whole number of images.
    pub fn apply(&self, x: &[f32], out: &mut [f32], accumulate: bool) {
        let image = self.rows() * self.block;
        if out.is_empty() || image == 0 {
            return;
        }
        assert!(out.len().is_multiple_of(image), "output is not whole images");
        assert_eq!(x.len(), out.len() / image * self.columns * self.block, "input does not fit the output");
        let work = out.len() / self.rows().max(1) * self.entries.len().max(self.rows());
        let rows = (CHUNK / self.block).max(1);
        let isa = avx2();
        parallel::chunks_mut(out, rows * self.block, parallel::worthwhile(work), |i, out| {
            run(isa, self, x, i * rows, out, accumulate);
        });
    }
}

multiversion! {
    fn run(map: &BlockMap, x: &[f32], first: usize, out: &mut [f32], accumulate: bool) = run_body
}

#[inline(always)]
fn run_body(map: &BlockMap, x: &[f32], first: usize, out: &mut [f32], accumulate: bool) {
    let block = map.block;
    for (i, out) in out.chunks_exact_mut(block).enumerate() {
        let (image, row) = ((first + i) / map.rows(), (first + i) % map.rows());
        let source = |column: u32| &x[(image * map.columns + column as usize) * block..][..block];
        match map.row(row) {
            [(column, 1.0)] if !accumulate => out.copy_from_slice(source(*column)),
            entries => {
                if !accumulate {
                    out.fill(0.0);
                }
                for &(column, weight) in entries {
                    for (y, x) in out.iter_mut().zip(source(column)) {
                        *y += weight * x;
                    }
                }
            }
        }
    }
}

/// The largest block length of which both tensors and every run of neighbours are multiples.
fn common_block(input: usize, sources: &[Option<usize>]) -> usize {
    let mut block = gcd(input, sources.len());
    let mut start = 0;
    for i in 1..=sources.len() {
        let joined = i < sources.len()
            && match (sources[i - 1], sources[i]) {
                (Some(a), Some(b)) => a + 1 == b,
                (None, None) => true,
                _ => false,
            };
        if !joined {
            block = gcd(block, i - start);
            block = gcd(block, sources[start].unwrap_or(0));
            start = i;
        }
        if block == 1 {
            break;
        }
    }
    block.max(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_uses_whole_runs_as_blocks() {
        // [4, 2] transposed in pairs, with a pair of fill between.
        let sources: Vec<Option<usize>> =
            [Some(4), Some(5), None, None, Some(0), Some(1), Some(4), Some(5)].into_iter().collect();
        let map = BlockMap::moving(6, &sources).unwrap();
        assert_eq!((map.block, map.rows()), (2, 4));
        let mut out = [9.0; 8];
        map.apply(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &mut out, false);
        assert_eq!(out, [4.0, 5.0, 0.0, 0.0, 0.0, 1.0, 4.0, 5.0]);
        let mut back = [1.0; 6];
        map.transposed().apply(&out, &mut back, true);
        assert_eq!(back, [1.0, 2.0, 1.0, 1.0, 9.0, 11.0]);
        assert!(BlockMap::moving(6, &[Some(6)]).is_none());
    }

    #[test]
    fn images_repeat_the_map() {
        let map = BlockMap::new(1, 2, [[(0, 0.5), (1, 0.25)]]).unwrap();
        let mut out = [0.0; 2];
        map.apply(&[2.0, 4.0, 6.0, 8.0], &mut out, false);
        assert_eq!(out, [2.0, 5.0]);
    }
}
