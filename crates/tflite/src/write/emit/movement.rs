//! Operators that move elements.

use fewbits_graph::ops::{
    Concat, Coordinates, DepthToSpace, Gather, GatherNd, NearestRounding, OneHot, Pad, PadMode, Resize, ResizeMode,
    SpaceToDepth, Split,
};
use fewbits_graph::{DType, Tensor, TensorBytes};

use super::parts::{Attributes, TensorIndex};
use super::site::Site;
use crate::Result;
use crate::schema::enums::{Builtin, MIRROR_REFLECT, MIRROR_SYMMETRIC};
use crate::schema::options::{
    ConcatenationOptions, DepthToSpaceOptions, GatherOptions, MirrorPadOptions, OneHotOptions, ResizeBilinearOptions,
    ResizeNearestNeighborOptions, SpaceToDepthOptions, SplitOptions, SplitVOptions,
};

pub(super) fn pad(at: &mut Site<'_, '_>, op: &Pad) -> Result<()> {
    let pads = at.ints(1)?;
    let rank = at.value(0)?.shape.rank();
    if pads.len() != 2 * rank {
        return Err(at.fail(format!("{} pads do not fit {rank} dimensions", pads.len())));
    }
    if pads.iter().any(|&p| p < 0) {
        return Err(at.fail("TFLite cannot crop by negative padding; use a slice"));
    }
    let pairs: Vec<i64> = (0..rank).flat_map(|axis| [pads[axis], pads[axis + rank]]).collect();
    let pairs = Some(at.i32s("paddings", vec![rank, 2], &pairs)?);
    let x = at.operand(0)?;
    let mode = match op.mode {
        PadMode::Constant if at.node.inputs.get(2).copied().flatten().is_none() => {
            return at.write(Builtin::PAD, Attributes::none(), &[x, pairs]);
        }
        PadMode::Constant => {
            let fill = fill_value(at)?;
            return at.write(Builtin::PADV2, Attributes::none(), &[x, pairs, fill]);
        }
        PadMode::Reflect => MIRROR_REFLECT,
        PadMode::Symmetric => MIRROR_SYMMETRIC,
        PadMode::Edge | PadMode::Wrap => {
            return Err(at.fail(format!("TFLite has no padding of mode {:?}; write .onnx instead", op.mode)));
        }
    };
    at.write(Builtin::MIRROR_PAD, Attributes::of(MirrorPadOptions { mode }), &[x, pairs])
}

/// The value that padding consists of. Beside integer data it is an integer of the same scale:
/// runtimes refuse two types.
fn fill_value(at: &mut Site<'_, '_>) -> Result<Option<TensorIndex>> {
    let (x, fill) = (at.value(0)?, at.value(2)?);
    let Some((quant, range)) = x.quant.as_ref().zip(x.dtype.integer_range()) else { return at.scalar_operand(2) };
    if fill.dtype == x.dtype {
        return at.scalar_operand(2);
    }
    let (scale, zero_point) = quant.as_per_tensor().ok_or_else(|| at.fail("its input has several scales"))?;
    let real = match fill.data.as_ref().filter(|_| fill.dtype == DType::F32).map(Tensor::to_f32).as_deref() {
        Some(&[real]) => real,
        _ => return Err(at.fail("its fill value must be one constant, of float or of the input's type")),
    };
    // Saturating, also for infinities: `as` is defined so.
    let steps = (real / scale).round_ties_even() as i32;
    let integer = steps.saturating_add(zero_point).clamp(range.0, range.1);
    let data = element(x.dtype, integer).ok_or_else(|| at.fail(format!("TFLite does not pad {}", x.dtype)))?;
    let quant = x.quant.clone();
    at.emit.constant(&format!("{}/scalar_2", at.node.name), data, quant).map(Some)
}

/// A tensor without axes of an integer that fits.
fn element(dtype: DType, value: i32) -> Option<Tensor> {
    Some(match dtype {
        DType::I8 => Tensor::scalar(i8::try_from(value).ok()?),
        DType::U8 => Tensor::scalar(u8::try_from(value).ok()?),
        DType::I16 => Tensor::scalar(i16::try_from(value).ok()?),
        _ => return None,
    })
}

pub(super) fn concatenation(at: &mut Site<'_, '_>, op: &Concat) -> Result<()> {
    let options = ConcatenationOptions { axis: at.attribute("axis", op.axis)?, activation: 0 };
    let operands = at.operands()?;
    at.write(Builtin::CONCATENATION, Attributes::of(options), &operands)
}

pub(super) fn split(at: &mut Site<'_, '_>, op: &Split) -> Result<()> {
    let num_splits = at.attribute("number of parts", op.sizes.len())?;
    let (x, axis) = (at.operand(0)?, at.integer("axis", op.axis)?);
    if op.sizes.windows(2).all(|w| w[0] == w[1]) {
        return at.write(Builtin::SPLIT, Attributes::of(SplitOptions { num_splits }), &[axis, x]);
    }
    let sizes = at.sizes("sizes", &op.sizes)?;
    at.write(Builtin::SPLIT_V, Attributes::of(SplitVOptions { num_splits }), &[x, sizes, axis])
}

pub(super) fn gather(at: &mut Site<'_, '_>, op: &Gather) -> Result<()> {
    let options = GatherOptions { axis: at.attribute("axis", op.axis)?, batch_dims: 0 };
    let size = at.value(0)?.shape.0.get(op.axis).and_then(fewbits_graph::Dim::fixed);
    let (x, indices) = (at.operand(0)?, non_negative_indices(at, size)?);
    at.write(Builtin::GATHER, Attributes::of(options), &[x, indices])
}

/// The indices; constant ones counted from the start, since TFLite knows no others.
fn non_negative_indices(at: &mut Site<'_, '_>, size: Option<usize>) -> Result<Option<TensorIndex>> {
    let value = at.value(1)?;
    match (&value.data, size.and_then(|n| i64::try_from(n).ok())) {
        (Some(data), Some(size)) => {
            let dims = data.shape().to_vec();
            let indices: Vec<i64> = at.ints(1)?.iter().map(|&i| if i < 0 { i + size } else { i }).collect();
            at.i32s("indices", dims, &indices).map(Some)
        }
        _ => at.index_operand(1),
    }
}

pub(super) fn gather_nd(at: &mut Site<'_, '_>, op: &GatherNd) -> Result<()> {
    if op.batch_dims != 0 {
        return Err(at.fail("TFLite has no batch axes here; write .onnx instead"));
    }
    let (x, indices) = (at.operand(0)?, at.index_operand(1)?);
    at.write(Builtin::GATHER_ND, Attributes::none(), &[x, indices])
}

pub(super) fn tile(at: &mut Site<'_, '_>) -> Result<()> {
    let (x, repeats) = (at.operand(0)?, at.index_operand(1)?);
    at.write(Builtin::TILE, Attributes::none(), &[x, repeats])
}

pub(super) fn space_to_depth(at: &mut Site<'_, '_>, op: &SpaceToDepth) -> Result<()> {
    let (x, block_size) = (at.operand(0)?, at.attribute("block", op.block)?);
    at.write(Builtin::SPACE_TO_DEPTH, Attributes::of(SpaceToDepthOptions { block_size }), &[x])
}

pub(super) fn depth_to_space(at: &mut Site<'_, '_>, op: &DepthToSpace) -> Result<()> {
    let (x, block_size) = (at.operand(0)?, at.attribute("block", op.block)?);
    at.write(Builtin::DEPTH_TO_SPACE, Attributes::of(DepthToSpaceOptions { block_size }), &[x])
}

pub(super) fn one_hot(at: &mut Site<'_, '_>, op: &OneHot) -> Result<()> {
    let options = OneHotOptions { axis: at.attribute("axis", op.axis)? };
    let depth = match at.ints(1)?.as_slice() {
        &[depth] => at.i32s("depth", Vec::new(), &[depth])?,
        _ => return Err(at.fail("its depth must be one constant")),
    };
    let values = at.value(2)?;
    let data = values.data.as_ref().filter(|t| t.elements() == 2 && !t.bytes().is_empty());
    let data = data.ok_or_else(|| at.fail("its values must be two constants"))?;
    let half = data.bytes().len() / 2;
    let mut element = |name: &str, bytes: &[u8]| {
        let tensor = Tensor::from_bytes(data.dtype(), Vec::new(), TensorBytes::from(bytes.to_vec()));
        let tensor = tensor.ok_or_else(|| at.fail("its values have no byte size"))?;
        at.emit.constant(&format!("{}/{name}", at.node.name), tensor, values.quant.clone())
    };
    let (off, on) = (element("off", &data.bytes()[..half])?, element("on", &data.bytes()[half..])?);
    let indices = at.operand(0)?;
    at.write(Builtin::ONE_HOT, Attributes::of(options), &[indices, Some(depth), Some(on), Some(off)])
}

pub(super) fn range(at: &mut Site<'_, '_>) -> Result<()> {
    let operands = [at.scalar_operand(0)?, at.scalar_operand(1)?, at.scalar_operand(2)?];
    at.write(Builtin::RANGE, Attributes::none(), &operands)
}

pub(super) fn fill(at: &mut Site<'_, '_>) -> Result<()> {
    let (dims, value) = (at.index_operand(0)?, at.scalar_operand(1)?);
    at.write(Builtin::FILL, Attributes::none(), &[dims, value])
}

pub(super) fn resize(at: &mut Site<'_, '_>, op: &Resize) -> Result<()> {
    let (Some(from), Some(to)) = (spatial(&at.value(0)?.shape), spatial(&at.result()?.shape)) else {
        return Err(at.fail("it needs fixed spatial sizes"));
    };
    // Sizes are far below the integers that f64 holds exactly.
    let given = |axis: usize, s: [f32; 2]| from[axis] as f64 * f64::from(s[axis]) == to[axis] as f64;
    if op.scales.is_some_and(|s| !(given(0, s) && given(1, s))) {
        return Err(at.fail("its scales are not the ratio of its sizes; give sizes instead of scales"));
    }
    let whole = (0..2).all(|a| from[a] > 0 && to[a] % from[a] == 0);
    let (builtin, align_corners, half_pixel_centers) = match (op.mode, op.coordinates) {
        (ResizeMode::Linear, Coordinates::Asymmetric) => (Builtin::RESIZE_BILINEAR, false, false),
        (ResizeMode::Linear, Coordinates::HalfPixel) => (Builtin::RESIZE_BILINEAR, false, true),
        (ResizeMode::Linear, Coordinates::PytorchHalfPixel) if !to.contains(&1) => {
            (Builtin::RESIZE_BILINEAR, false, true)
        }
        (ResizeMode::Linear, Coordinates::AlignCorners) => (Builtin::RESIZE_BILINEAR, true, false),
        (ResizeMode::Nearest(rounding), coordinates) => match nearest(rounding, coordinates, whole) {
            Some((align, half)) => (Builtin::RESIZE_NEAREST_NEIGHBOR, align, half),
            None => return Err(at.fail(convention(op))),
        },
        _ => return Err(at.fail(convention(op))),
    };
    let (x, sizes) = (at.operand(0)?, at.sizes("size", &to)?);
    let attributes = match builtin {
        Builtin::RESIZE_BILINEAR => Attributes::of(ResizeBilinearOptions { align_corners, half_pixel_centers })
            .since(if half_pixel_centers { 3 } else { 1 }),
        _ => Attributes::of(ResizeNearestNeighborOptions { align_corners, half_pixel_centers })
            .since(if align_corners || half_pixel_centers { 3 } else { 1 }),
    };
    at.write(builtin, attributes, &[x, sizes])
}

fn convention(op: &Resize) -> String {
    format!("TFLite does not resize with {:?} and {:?}; write .onnx instead", op.mode, op.coordinates)
}

/// `(align_corners, half_pixel_centers)` that take the same neighbours, if there are such. `whole`
/// says that the output is a multiple of the input.
fn nearest(rounding: NearestRounding, coordinates: Coordinates, whole: bool) -> Option<(bool, bool)> {
    match (coordinates, rounding) {
        (Coordinates::Asymmetric, NearestRounding::Floor) => Some((false, false)),
        (Coordinates::HalfPixelNearest, NearestRounding::Floor) => Some((false, true)),
        // Rounding c − ½ to the nearest, halves up, is rounding c down.
        (Coordinates::HalfPixel, NearestRounding::PreferCeil) => Some((false, true)),
        // Enlarging by whole numbers meets no halves.
        (Coordinates::HalfPixel, NearestRounding::PreferFloor) if whole => Some((false, true)),
        (Coordinates::AlignCorners, NearestRounding::PreferCeil) => Some((true, false)),
        _ => None,
    }
}

/// Height and width of an NHWC shape.
fn spatial(shape: &fewbits_graph::Shape) -> Option<[usize; 2]> {
    match shape.0.as_slice() {
        [_, h, w, _] => Some([h.fixed()?, w.fixed()?]),
        _ => None,
    }
}
