//! Resizing.

use fewbits_graph::ops::{Coordinates, NearestRounding, Resize, ResizeMode};

use super::context::Import;
use crate::Result;
use crate::schema::options::{ResizeBilinearOptions, ResizeNearestNeighborOptions};

pub(super) fn resize_bilinear(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<ResizeBilinearOptions>()?;
    let coordinates = match (o.align_corners, o.half_pixel_centers) {
        (false, false) => Coordinates::Asymmetric,
        (false, true) => Coordinates::HalfPixel,
        (true, false) => Coordinates::AlignCorners,
        (true, true) => return Err(cx.fail("align_corners and half_pixel_centers exclude each other")),
    };
    cx.emit_same(Resize { mode: ResizeMode::Linear, coordinates, scales: None }, 2)
}

pub(super) fn resize_nearest_neighbor(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<ResizeNearestNeighborOptions>()?;
    let (coordinates, rounding) = match (o.align_corners, o.half_pixel_centers) {
        (false, false) => (Coordinates::Asymmetric, NearestRounding::Floor),
        (false, true) => (Coordinates::HalfPixelNearest, NearestRounding::Floor),
        // The runtime rounds halves away from zero, and coordinates are not negative.
        (true, false) => (Coordinates::AlignCorners, NearestRounding::PreferCeil),
        (true, true) => return Err(cx.fail("align_corners and half_pixel_centers exclude each other")),
    };
    cx.emit_same(Resize { mode: ResizeMode::Nearest(rounding), coordinates, scales: None }, 2)
}
