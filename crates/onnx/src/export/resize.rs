//! Resizing of height and width.

use fewbits_graph::ops::{Coordinates, NearestRounding, Resize, ResizeMode};
use fewbits_graph::{Node, Tensor};

use super::attribute::{float, int, signed, text};
use super::emitter::{Emitter, Form};
use super::{input, optional};
use crate::Result;

/// Resize.
pub(super) fn resize(w: &mut Emitter<'_>, node: &Node, op: &Resize) -> Result<()> {
    let mut attributes = Vec::new();
    let mut coordinates = match op.coordinates {
        Coordinates::HalfPixel | Coordinates::HalfPixelNearest => "half_pixel",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::Asymmetric => "asymmetric",
        Coordinates::AlignCorners => "align_corners",
    };
    match op.mode {
        ResizeMode::Nearest(rounding) => {
            let rounding = match (op.coordinates, rounding) {
                // ⌊(x + 0.5) ÷ s⌋ is (x + 0.5) ÷ s − 0.5 with halves rounded up.
                (Coordinates::HalfPixelNearest, NearestRounding::Floor | NearestRounding::PreferFloor) => {
                    coordinates = "half_pixel";
                    "round_prefer_ceil"
                }
                (_, NearestRounding::PreferFloor) => "round_prefer_floor",
                (_, NearestRounding::PreferCeil) => "round_prefer_ceil",
                (_, NearestRounding::Floor) => "floor",
                (_, NearestRounding::Ceil) => "ceil",
            };
            attributes.extend([text("mode", "nearest"), text("nearest_mode", rounding)]);
        }
        ResizeMode::Linear => attributes.push(text("mode", "linear")),
        ResizeMode::Cubic { coefficient, exclude_outside } => attributes.extend([
            text("mode", "cubic"),
            float("cubic_coeff_a", coefficient),
            int("exclude_outside", exclude_outside.into()),
        ]),
    }
    attributes.push(text("coordinate_transformation_mode", coordinates));
    let id = input(node, 0)?;
    let x = w.float(id, Form::First)?;
    let (scales, sizes) = match op.scales {
        Some([h, wd]) => (w.literal(&Tensor::new(vec![4], vec![1.0, 1.0, h, wd]))?, String::new()),
        None => (String::new(), sizes(w, node, id, &x)?),
    };
    let out = w.result(node, 0, Form::First)?;
    w.node(node, "Resize", vec![x, String::new(), scales, sizes], vec![out], attributes);
    Ok(())
}

/// `[N, C, H', W']`. Batch and channels that are not fixed are taken from the input as it runs.
fn sizes(w: &mut Emitter<'_>, node: &Node, x: fewbits_graph::ValueId, tensor: &str) -> Result<String> {
    let wanted = optional(node, 1).ok_or_else(|| super::error(node, "neither scales nor sizes are given"))?;
    let known = w.graph.value(wanted).data.as_ref().and_then(Tensor::to_i64);
    let dims = &w.graph.value(x).shape.0;
    if let (Some(known), Some(n), Some(c)) = (known, dims[0].fixed(), dims[3].fixed()) {
        return w.int_vector(&[vec![signed(n), signed(c)], known].concat());
    }
    let outer = w.step("Shape", vec![tensor.to_owned()], vec![int("start", 0), int("end", 2)]);
    let wanted = w.int64(wanted)?;
    Ok(w.step("Concat", vec![outer, wanted], vec![int("axis", 0)]))
}
