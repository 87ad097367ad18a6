//! Interpolation.

use fewbits_graph::Op;
use fewbits_graph::ops::{Coordinates, NearestRounding, Resize, ResizeMode};
use fewbits_kernels::float::resize::{self as kernels, AxisSize, AxisTaps};
use fewbits_kernels::int8;

use super::numeric::by_width;
use crate::convert::through_float;
use crate::site::{Lowered, Lowering, Site};

fn coordinates(c: Coordinates) -> kernels::Coordinates {
    match c {
        Coordinates::HalfPixel => kernels::Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel => kernels::Coordinates::PytorchHalfPixel,
        Coordinates::Asymmetric => kernels::Coordinates::Asymmetric,
        Coordinates::AlignCorners => kernels::Coordinates::AlignCorners,
        Coordinates::HalfPixelNearest => kernels::Coordinates::TfHalfPixelForNn,
    }
}

fn rounding(r: NearestRounding) -> kernels::Rounding {
    match r {
        NearestRounding::PreferFloor => kernels::Rounding::PreferFloor,
        NearestRounding::PreferCeil => kernels::Rounding::PreferCeil,
        NearestRounding::Floor => kernels::Rounding::Floor,
        NearestRounding::Ceil => kernels::Rounding::Ceil,
    }
}

pub(super) fn resize(op: &Resize, site: &Site<'_>) -> Lowering {
    let [_, in_h, in_w, channels] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, _] = site.output()?.nhwc()?;
    if in_h == 0 || in_w == 0 {
        return Err("cannot resize an empty image".into());
    }
    let size = |axis: usize, input, output| AxisSize { input, output, scale: op.scales.map(|s| s[axis]) };
    let sizes = [size(0, in_h, out_h), size(1, in_w, out_w)];
    let coordinates = coordinates(op.coordinates);
    let [vertical, horizontal] = sizes.map(|s| match op.mode {
        ResizeMode::Nearest(r) => AxisTaps::nearest(s, coordinates, rounding(r)),
        ResizeMode::Linear => AxisTaps::linear(s, coordinates),
        ResizeMode::Cubic { coefficient, exclude_outside } => {
            AxisTaps::cubic(s, coordinates, coefficient, exclude_outside)
        }
    });
    if matches!(op.mode, ResizeMode::Nearest(_)) {
        return nearest(&[sources(&vertical, in_h), sources(&horizontal, in_w)], [in_h, in_w], channels, site);
    }
    Ok(Lowered::new(move |ctx| {
        kernels::resize(&vertical, &horizontal, channels, ctx.input(0), ctx.output(0));
        Ok(())
    }))
}

/// Bilinear, on `int8` edges of one scale whose size follows from the shapes alone.
pub(super) fn bilinear_int8(op: &Resize, site: &Site<'_>) -> Lowering {
    let [batch, in_h, in_w, channels] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, _] = site.output()?.nhwc()?;
    let coordinates = match op.coordinates {
        Coordinates::HalfPixel => int8::Coordinates::HalfPixel,
        Coordinates::PytorchHalfPixel if out_h > 1 && out_w > 1 => int8::Coordinates::HalfPixel,
        Coordinates::Asymmetric => int8::Coordinates::Asymmetric,
        Coordinates::AlignCorners => int8::Coordinates::AlignCorners,
        _ => return through_float(&Op::Resize(op.clone()), site),
    };
    if in_h == 0 || in_w == 0 {
        return Err("cannot resize an empty image".into());
    }
    let shape = int8::ResizeShape { batch, in_h, in_w, out_h, out_w, channels };
    let (isa, rounding) = (site.env.isa, site.env.rounding);
    Ok(Lowered::on_integers(move |ctx| {
        int8::resize_bilinear(isa, &shape, coordinates, rounding, ctx.input(0), ctx.output(0));
        Ok(())
    }))
}

/// The input position of each output position of one axis: the taps applied to a ramp.
fn sources(taps: &AxisTaps, input: usize) -> Vec<usize> {
    let one = AxisSize { input: 1, output: 1, scale: None };
    let across = AxisTaps::nearest(one, kernels::Coordinates::Asymmetric, kernels::Rounding::Floor);
    let ramp: Vec<f32> = (0..input).map(|i| i as f32).collect();
    let mut out = vec![0.0; taps.output()];
    kernels::resize(taps, &across, 1, &ramp, &mut out);
    out.into_iter().map(|at| at as usize).collect()
}

/// Moves pixels of any type.
fn nearest(sources: &[Vec<usize>; 2], [in_h, in_w]: [usize; 2], channels: usize, site: &Site<'_>) -> Lowering {
    let [rows, columns] = sources.clone();
    if in_h.max(in_w) > 1 << f32::MANTISSA_DIGITS {
        return Err("an image side beyond 2^24 pixels".into());
    }
    by_width!(site.input(0)?.dtype, T => Ok(Lowered::new(move |ctx| {
        let x = ctx.input::<T>(0);
        let row_len = (columns.len() * channels).max(1);
        for (i, out) in ctx.output::<T>(0).chunks_exact_mut(row_len).enumerate() {
            let row = &x[(i / rows.len() * in_h + rows[i % rows.len()]) * in_w * channels..][..in_w * channels];
            for (&c, out) in columns.iter().zip(out.chunks_exact_mut(channels.max(1))) {
                out.copy_from_slice(&row[c * channels..(c + 1) * channels]);
            }
        }
        Ok(())
    })))
}
