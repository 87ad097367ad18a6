//! Pooling.

use fewbits_graph::ops::{Pool2d, PoolKind};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::grad::blocks::BlockMap;
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::pool::{self as kernels};
use fewbits_kernels::shape::ConvShape;
use rayon::prelude::*;

use super::{Window, clamp, geometry};
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

/// The forward pass, and what both kinds share.
struct Pool {
    kind: kernels::PoolKind,
    shape: ConvShape,
    trailing: [usize; 2],
    clamp: Clamp,
    epilogue: Epilogue,
    /// For averages: the gradient's map.
    spread: Option<BlockMap>,
}

pub(super) fn pool2d(op: &Pool2d, site: &Site) -> Derivation {
    let groups = site.input(0)?.nhwc()?[3];
    let window = Window { stride: op.stride, dilation: op.dilation, padding: op.padding, groups };
    let shape = geometry(site, op.kernel, &window)?;
    let (clamp, trailing) = (clamp(op.activation), op.counted_padding);
    let (kind, spread) = match op.kind {
        PoolKind::Max => (kernels::PoolKind::Max, None),
        PoolKind::Average { count_include_pad } => {
            let kind = kernels::PoolKind::Average { count_include_pad };
            (kind, Some(average(kind, &shape, trailing).ok_or("the image is too large")?.transposed()))
        }
    };
    let largest = spread.is_none();
    let epilogue = Epilogue::new(shape.output_len(), 1);
    let derived = Derived::new(Pool { kind, shape, trailing, clamp, epilogue, spread });
    Ok(derived.reading(largest, &[0]).reading_outputs(largest || !clamp.is_none()))
}

/// Pixels of the input that each output pixel of an image reads, in the order of the taps.
fn taps(s: &ConvShape) -> impl Iterator<Item = Vec<usize>> + use<'_> {
    (0..s.out_h).flat_map(move |oy| {
        (0..s.out_w).map(move |ox| {
            let (rows, cols) = (s.taps_h(oy), s.taps_w(ox));
            // Taps of these ranges are inside the input.
            let at = |origin: isize, tap: usize| origin.wrapping_add_unsigned(tap).cast_unsigned();
            let pixels = rows.taps.clone().flat_map(|ky| {
                let row = at(rows.origin, ky * s.dilation_h) * s.in_w;
                let cols = &cols;
                cols.taps.clone().map(move |kx| row + at(cols.origin, kx * s.dilation_w))
            });
            pixels.collect()
        })
    })
}

/// Average pooling of one image as a map; the divisors are the forward kernel's.
fn average(kind: kernels::PoolKind, shape: &ConvShape, trailing: [usize; 2]) -> Option<BlockMap> {
    let one = ConvShape { batch: 1, in_c: 1, out_c: 1, groups: 1, ..*shape };
    let ones = vec![1.0; one.input_len()];
    let mut shares = vec![0.0; one.output_len()];
    kernels::pool2d(kind, &one, trailing, &ones, &mut shares, Clamp::NONE);
    let rows = taps(&one).zip(shares).map(|(pixels, share)| {
        let weight = share / pixels.len().max(1) as f32;
        pixels.into_iter().map(move |p| (p, weight)).collect::<Vec<_>>()
    });
    BlockMap::new(shape.in_c, shape.in_h * shape.in_w, rows.collect::<Vec<_>>())
}

impl Derivative for Pool {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        kernels::pool2d(self.kind, &self.shape, self.trailing, run.input(0), run.output(), self.clamp);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        self.epilogue.run(dy, run.output(), self.clamp, None);
        let Some(target) = run.target(0) else { return };
        if let Some(spread) = &self.spread {
            return spread.apply(dy, target.data, target.accumulate);
        }
        let (x, y) = (run.input(0), run.output());
        let (dx, accumulate) = target.parts();
        let (input, output) = (self.shape.input_len(), self.shape.output_len());
        let images = self.shape.batch.max(1);
        let (input, output) = ((input / images).max(1), (output / images).max(1));
        // Images are independent; within one, windows may overlap.
        dx.par_chunks_mut(input).zip(x.par_chunks(input)).enumerate().for_each(|(i, (dx, x))| {
            if !accumulate {
                dx.fill(0.0);
            }
            let span = i * output..(i + 1) * output;
            largest(&self.shape, x, &y[span.clone()], &dy[span], dx);
        });
    }
}

/// Gives each output's gradient to the first of its taps that has the largest value.
fn largest(s: &ConvShape, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let channels = s.in_c.max(1);
    let outputs = y.chunks_exact(channels).zip(dy.chunks_exact(channels));
    for (pixels, (y, dy)) in taps(s).zip(outputs) {
        for c in 0..channels {
            let chosen = pixels.iter().map(|p| p * channels + c).find(|&i| x[i] == y[c]);
            if let Some(i) = chosen {
                dx[i] += dy[c];
            }
        }
    }
}
