//! The backward pass of an epilogue (bias, then clamp) and other sums over rows.

use crate::float::Clamp;
use crate::float::dispatch::{avx2, multiversion};
use crate::float::parallel::{self, CHUNK};
use rayon::prelude::*;

/// Backward pass of `y = clamp(z + bias)` for rows of a fixed number of channels: built once for a
/// shape, so that its partial sums are allocated once.
#[derive(Clone, Debug)]
pub struct Epilogue {
    channels: usize,
    piece: usize,
    partial: Vec<f32>,
}

impl Epilogue {
    /// For tensors of `len` elements in rows of `channels`.
    pub fn new(len: usize, channels: usize) -> Self {
        let channels = channels.max(1);
        let piece = (CHUNK / channels).max(1) * channels;
        Self { channels, piece, partial: vec![0.0; len.div_ceil(piece) * channels] }
    }

    /// Turns `dy`, the gradient of `y`, into that of `z`: zero where the clamp holds `y` at a
    /// bound. With `bias`, its gradient `[channels]` is written there, or added if the flag is set.
    ///
    /// # Panics
    /// If the lengths differ from those of [`new`](Self::new).
    pub fn run(&mut self, dy: &mut [f32], y: &[f32], clamp: Clamp, bias: Option<(&mut [f32], bool)>) {
        assert_eq!(dy.len(), y.len());
        assert_eq!(self.partial.len(), dy.len().div_ceil(self.piece) * self.channels);
        if clamp.is_none() && bias.is_none() {
            return;
        }
        let (isa, channels, sums) = (avx2(), self.channels, bias.is_some());
        let each = |((dy, y), partial): ((&mut [f32], &[f32]), &mut [f32])| {
            partial.fill(0.0);
            match (clamp.is_none(), sums) {
                (true, _) => sum_rows(isa, dy, partial),
                (false, false) => mask(isa, dy, y, clamp),
                (false, true) => mask_and_sum(isa, dy, y, clamp, partial),
            }
        };
        if parallel::worthwhile(dy.len()) {
            let pieces = dy.par_chunks_mut(self.piece).zip(y.par_chunks(self.piece));
            pieces.zip(self.partial.par_chunks_mut(channels)).for_each(each);
        } else {
            let pieces = dy.chunks_mut(self.piece).zip(y.chunks(self.piece));
            pieces.zip(self.partial.chunks_mut(channels)).for_each(each);
        }
        if let Some((bias, accumulate)) = bias {
            reduce_partials(&self.partial, bias, accumulate);
        }
    }
}

/// `out = the sum of the rows of partial`, first to last; added to `out` if `accumulate`.
pub(super) fn reduce_partials(partial: &[f32], out: &mut [f32], accumulate: bool) {
    if !accumulate {
        out.fill(0.0);
    }
    sum_rows(avx2(), partial, out);
}

multiversion! {
    fn mask(dy: &mut [f32], y: &[f32], clamp: Clamp) = mask_body
}

#[inline(always)]
fn mask_body(dy: &mut [f32], y: &[f32], clamp: Clamp) {
    for (d, &y) in dy.iter_mut().zip(y) {
        *d = passed(*d, y, clamp);
    }
}

#[inline(always)]
fn passed(d: f32, y: f32, clamp: Clamp) -> f32 {
    if y > clamp.min && y < clamp.max { d } else { 0.0 }
}

multiversion! {
    fn mask_and_sum(dy: &mut [f32], y: &[f32], clamp: Clamp, sums: &mut [f32]) = mask_and_sum_body
}

#[inline(always)]
fn mask_and_sum_body(dy: &mut [f32], y: &[f32], clamp: Clamp, sums: &mut [f32]) {
    let channels = sums.len().max(1);
    for (dy, y) in dy.chunks_exact_mut(channels).zip(y.chunks_exact(channels)) {
        for ((d, &y), s) in dy.iter_mut().zip(y).zip(&mut *sums) {
            *d = passed(*d, y, clamp);
            *s += *d;
        }
    }
}

multiversion! {
    fn sum_rows(x: &[f32], sums: &mut [f32]) = sum_rows_body
}

#[inline(always)]
fn sum_rows_body(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len().max(1)) {
        for (s, x) in sums.iter_mut().zip(row) {
            *s += x;
        }
    }
}

/// `out += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len());
    let parallel = parallel::worthwhile(out.len());
    let isa = avx2();
    parallel::chunks_mut(out, CHUNK, parallel, |i, out| {
        sum_rows(isa, &x[i * CHUNK..i * CHUNK + out.len()], out);
    });
}
