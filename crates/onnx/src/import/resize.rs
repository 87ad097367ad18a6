//! Resize and Upsample of height and width.

use fewbits_graph::ops::{Coordinates, NearestRounding, Resize, ResizeMode, Slice};
use fewbits_graph::{Tensor, ValueId};

use super::node::NodeReader;
use super::reshape::sizes;
use crate::Result;
use crate::layout::Layout;

/// Resize of opset 10 (input, scales) and since 11 (input, roi, scales, sizes).
pub(super) fn resize(node: &mut NodeReader<'_>) -> Result<()> {
    require_image(node)?;
    if node.flag("antialias", false) {
        return Err(node.error("antialias is not supported"));
    }
    let old = node.opset < 11;
    let mut mode = mode(node, old)?;
    let (scales_at, sizes_at) = if old { (1, usize::MAX) } else { (2, 3) };
    let has_scales = node.has(scales_at) && node.shape(scales_at)?.elements() != Some(0);
    let coordinates = coordinates(node, old, has_scales)?;
    if has_scales {
        let scales = node.tensor(scales_at).map(Tensor::to_f32);
        let scales = scales.ok_or_else(|| node.error("the scales must be constant"))?;
        let scales = spatial_scales(node, &scales)?;
        // Opset 10 does not say how to round; ONNX Runtime rounds up where it shrinks.
        if old && matches!(mode, ResizeMode::Nearest(_)) && scales.iter().any(|&s| s < 1.0) {
            mode = match scales.iter().all(|&s| s <= 1.0) {
                true => ResizeMode::Nearest(NearestRounding::Ceil),
                false => {
                    return Err(node
                        .error("nearest of opset 10 that shrinks one axis and stretches the other is not supported"));
                }
            };
        }
        return emit(node, mode, coordinates, Some(scales), None);
    }
    if !node.has(sizes_at) {
        return Err(node.error("neither scales nor sizes are given"));
    }
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch" {
        let kept = kept_aspect(node, sizes_at)?;
        let wanted = sizes(node, "sizes", &kept);
        return emit(node, mode, coordinates, None, Some(wanted));
    }
    let wanted = target_sizes(node, sizes_at)?;
    emit(node, mode, coordinates, None, Some(wanted))
}

/// Upsample of opset 7 (attribute) and 9 (input).
pub(super) fn upsample(node: &mut NodeReader<'_>) -> Result<()> {
    require_image(node)?;
    let scales = match node.attribute("scales") {
        Some(a) => Some(a.floats.clone()),
        None => node.tensor(1).map(Tensor::to_f32),
    };
    let scales = scales.ok_or_else(|| node.error("the scales must be constant"))?;
    let scales = spatial_scales(node, &scales)?;
    let mode = mode(node, true)?;
    emit(node, mode, Coordinates::Asymmetric, Some(scales), None)
}

fn require_image(node: &NodeReader<'_>) -> Result<()> {
    match node.rank(0)? {
        4 => Ok(()),
        rank => Err(node.error(format!("an input of {rank} dimensions; only [N, C, H, W] can be resized"))),
    }
}

fn emit(
    node: &mut NodeReader<'_>,
    mode: ResizeMode,
    coordinates: Coordinates,
    scales: Option<[f32; 2]>,
    sizes: Option<ValueId>,
) -> Result<()> {
    let x = node.last(0)?;
    node.emit(Resize { mode, coordinates, scales }, &[Some(x), sizes], Layout::ChannelsLast)?;
    Ok(())
}

fn mode(node: &NodeReader<'_>, old: bool) -> Result<ResizeMode> {
    Ok(match node.text("mode", "nearest") {
        "nearest" if old => ResizeMode::Nearest(NearestRounding::Floor),
        "nearest" => ResizeMode::Nearest(match node.text("nearest_mode", "round_prefer_floor") {
            "round_prefer_floor" => NearestRounding::PreferFloor,
            "round_prefer_ceil" => NearestRounding::PreferCeil,
            "floor" => NearestRounding::Floor,
            "ceil" => NearestRounding::Ceil,
            other => return Err(node.error(format!("unknown nearest_mode `{other}`"))),
        }),
        "linear" | "bilinear" => ResizeMode::Linear,
        "cubic" => ResizeMode::Cubic {
            coefficient: node.float_or("cubic_coeff_a", -0.75),
            exclude_outside: node.flag("exclude_outside", false),
        },
        other => return Err(node.error(format!("unknown mode `{other}`"))),
    })
}

fn coordinates(node: &NodeReader<'_>, old: bool, has_scales: bool) -> Result<Coordinates> {
    if old {
        return Ok(Coordinates::Asymmetric);
    }
    Ok(match node.text("coordinate_transformation_mode", "half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        "tf_half_pixel_for_nn" => Coordinates::HalfPixelNearest,
        // With sizes, the scale is exactly out / in, and the symmetric form is the plain one.
        "half_pixel_symmetric" if !has_scales => Coordinates::HalfPixel,
        other => return Err(node.error(format!("coordinate_transformation_mode `{other}` is not supported"))),
    })
}

/// Which entries of scales and sizes are height and width; the other axes must not be resized.
fn spatial_entries(node: &NodeReader<'_>, count: usize) -> Result<[usize; 2]> {
    let axes = match node.ints("axes") {
        Some(axes) => node.axes(&axes, 4)?,
        None => (0..4).collect(),
    };
    let at = |axis: usize| axes.iter().position(|&a| a == axis);
    match (at(2), at(3)) {
        (Some(h), Some(w)) if axes.len() == count => Ok([h, w]),
        _ => Err(node.error(format!("{count} scales or sizes for the axes {axes:?}; height and width are needed"))),
    }
}

fn spatial_scales(node: &NodeReader<'_>, scales: &[f32]) -> Result<[f32; 2]> {
    let [h, w] = spatial_entries(node, scales.len())?;
    if scales.iter().enumerate().any(|(i, &s)| i != h && i != w && s != 1.0) {
        return Err(node.error("only height and width can be resized"));
    }
    match scales.iter().all(|s| s.is_finite() && *s > 0.0 && *s < 1e6) {
        true => Ok([scales[h], scales[w]]),
        false => Err(node.error(format!("scales {scales:?} are out of range"))),
    }
}

/// `[H', W']` as a value.
fn target_sizes(node: &mut NodeReader<'_>, at: usize) -> Result<ValueId> {
    let count = node.shape(at)?.elements().ok_or_else(|| node.error("the number of sizes must be fixed"))?;
    let [h, w] = spatial_entries(node, count)?;
    if let Some(known) = node.known_ints(at) {
        let known: Option<Vec<usize>> = known.iter().map(|&s| usize::try_from(s).ok()).collect();
        let known = known.ok_or_else(|| node.error("a size is negative"))?;
        return Ok(sizes(node, "sizes", &[known[h], known[w]]));
    }
    if w != h + 1 {
        return Err(node.error("sizes that are computed must name height and width in order"));
    }
    let all = node.plain(at)?;
    let (start, end) = (sizes(node, "from", &[h]), sizes(node, "to", &[w + 1]));
    let (axis, step) = (sizes(node, "axis", &[0]), sizes(node, "step", &[1]));
    node.inner(Slice, &[Some(all), Some(start), Some(end), Some(axis), Some(step)], "sizes")
}

/// Height and width scaled by one ratio: the smaller one that the wanted sizes ask for
/// (`not_larger`) or the larger. The ratio stays a fraction, so that the axis that decides gets
/// exactly the size that it asks for.
fn kept_aspect(node: &mut NodeReader<'_>, at: usize) -> Result<[usize; 2]> {
    let policy = node.text("keep_aspect_ratio_policy", "stretch");
    let wanted = node.constant_ints(at)?;
    let places = spatial_entries(node, wanted.len())?;
    let shape = node.shape(0)?;
    let (Some(h), Some(w)) = (shape.0[2].fixed(), shape.0[3].fixed()) else {
        return Err(node.error(format!("keep_aspect_ratio_policy `{policy}` needs fixed height and width")));
    };
    let target = |i: usize| u32::try_from(wanted[places[i]]).ok().filter(|&n| n > 0);
    let (Some(to_h), Some(to_w), true) = (target(0), target(1), h > 0 && w > 0) else {
        return Err(node.error(format!("sizes {wanted:?} are out of range")));
    };
    // Products of a 32-bit size and a length cannot overflow here.
    let (h, w, to_h, to_w) = (h as u128, w as u128, u128::from(to_h), u128::from(to_w));
    let height_is_less = to_h * w <= to_w * h;
    let by_height = match policy {
        "not_larger" => height_is_less,
        "not_smaller" => !height_is_less,
        other => return Err(node.error(format!("unknown keep_aspect_ratio_policy `{other}`"))),
    };
    let (to, from) = if by_height { (to_h, h) } else { (to_w, w) };
    // Runtimes map coordinates by the ratio, we by the sizes: the same only where nothing is rounded.
    if h * to % from != 0 || w * to % from != 0 {
        let what = format!("keep_aspect_ratio_policy `{policy}` with the ratio {to}/{from} rounds a size");
        return Err(node.error(format!("{what}; export the model with explicit sizes")));
    }
    let scaled = |n: u128| usize::try_from(n * to / from);
    match (scaled(h), scaled(w)) {
        (Ok(h), Ok(w)) => Ok([h, w]),
        _ => Err(node.error(format!("sizes {wanted:?} are out of range"))),
    }
}
