//! Interpolation: a linear map of the pixels of an image.

use fewbits_graph::ops::{Coordinates, NearestRounding, Resize, ResizeMode};
use fewbits_kernels::float::grad::blocks::BlockMap;
use fewbits_kernels::float::resize::{self as kernels, AxisSize, AxisTaps};

use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Interpolation {
    taps: [AxisTaps; 2],
    channels: usize,
    backward: BlockMap,
}

pub(super) fn resize(op: &Resize, site: &Site) -> Derivation {
    site.only(&[0])?;
    let [_, in_h, in_w, channels] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, _] = site.output()?.nhwc()?;
    if in_h == 0 || in_w == 0 {
        return Err("cannot resize an empty image".to_owned());
    }
    let sizes = [(0, in_h, out_h), (1, in_w, out_w)];
    let taps =
        sizes.map(|(axis, input, output)| taps(op, AxisSize { input, output, scale: op.scales.map(|s| s[axis]) }));
    let [rows, columns] = [weights(&taps[0], in_h), weights(&taps[1], in_w)];
    let pixels = rows.iter().flat_map(|row| {
        columns.iter().map(move |column| {
            let pairs = row.iter().flat_map(|&(y, wy)| column.iter().map(move |&(x, wx)| (y * in_w + x, wy * wx)));
            pairs.collect::<Vec<_>>()
        })
    });
    let forward = BlockMap::new(channels, in_h * in_w, pixels).ok_or("the image is too large")?;
    Ok(Derived::new(Interpolation { taps, channels, backward: forward.transposed() }))
}

fn taps(op: &Resize, size: AxisSize) -> AxisTaps {
    let coordinates = match op.coordinates {
        Coordinates::HalfPixel => kernels::Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel => kernels::Coordinates::PytorchHalfPixel,
        Coordinates::Asymmetric => kernels::Coordinates::Asymmetric,
        Coordinates::AlignCorners => kernels::Coordinates::AlignCorners,
        Coordinates::HalfPixelNearest => kernels::Coordinates::TfHalfPixelForNn,
    };
    let rounding = |r| match r {
        NearestRounding::PreferFloor => kernels::Rounding::PreferFloor,
        NearestRounding::PreferCeil => kernels::Rounding::PreferCeil,
        NearestRounding::Floor => kernels::Rounding::Floor,
        NearestRounding::Ceil => kernels::Rounding::Ceil,
    };
    match op.mode {
        ResizeMode::Nearest(r) => AxisTaps::nearest(size, coordinates, rounding(r)),
        ResizeMode::Linear => AxisTaps::linear(size, coordinates),
        ResizeMode::Cubic { coefficient, exclude_outside } => {
            AxisTaps::cubic(size, coordinates, coefficient, exclude_outside)
        }
    }
}

/// The inputs that each output of one axis mixes, and their weights: the taps applied to the
/// columns of the unit matrix.
fn weights(taps: &AxisTaps, input: usize) -> Vec<Vec<(usize, f32)>> {
    let one = AxisSize { input: 1, output: 1, scale: None };
    let across = AxisTaps::nearest(one, kernels::Coordinates::Asymmetric, kernels::Rounding::Floor);
    let mut unit = vec![0.0; input * input];
    unit.iter_mut().step_by(input + 1).for_each(|u| *u = 1.0);
    let mut out = vec![0.0; taps.output() * input];
    kernels::resize(taps, &across, input, &unit, &mut out);
    let row = |row: &[f32]| row.iter().copied().enumerate().filter(|(_, w)| *w != 0.0).collect();
    out.chunks_exact(input).map(row).collect()
}

impl Derivative for Interpolation {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let [vertical, horizontal] = &self.taps;
        kernels::resize(vertical, horizontal, self.channels, run.input(0), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        if let Some(target) = run.target(0) {
            self.backward.apply(dy, target.data, target.accumulate);
        }
    }
}
