//! Convolutions. One-dimensional ones are lowered to two dimensions with height 1.

use fewbits_graph::ops::{Conv2d, ConvInteger, ConvTranspose2d, DepthwiseConv2d, Squeeze, Transpose, Unsqueeze};
use fewbits_graph::{Activation, Dim, Op, Shape, ValueId};

use super::constant::{Constant, Relay};
use super::node::NodeReader;
use crate::Result;
use crate::layout::{Layout, to_last};

/// Kernel, stride, dilation and padding of a sliding window, always two-dimensional.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Top, left, bottom, right.
    pub(super) padding: [usize; 4],
}

/// Number of spatial axes of input 0: 1 or 2.
pub(super) fn spatial_rank(node: &NodeReader<'_>) -> Result<usize> {
    match node.rank(0)? {
        rank @ (3 | 4) => Ok(rank - 2),
        rank => Err(node.error(format!("input of {rank} dimensions; only 1-D and 2-D windows are supported"))),
    }
}

/// `[height, width]` of a list with one entry a spatial axis.
fn pair(node: &NodeReader<'_>, what: &str, values: &[usize], spatial: usize) -> Result<[usize; 2]> {
    match (spatial, values) {
        (1, &[w]) => Ok([1, w]),
        (2, &[h, w]) => Ok([h, w]),
        _ => Err(node.error(format!("{what} {values:?} does not fit {spatial} spatial axes"))),
    }
}

/// The window that the node's attributes describe. `kernel` has one entry a spatial axis.
pub(super) fn window(node: &NodeReader<'_>, kernel: &[usize]) -> Result<Window> {
    let spatial = spatial_rank(node)?;
    let list = |name: &str| -> Result<[usize; 2]> {
        pair(node, name, &node.sizes(name)?.unwrap_or_else(|| vec![1; spatial]), spatial)
    };
    let kernel = pair(node, "kernel", kernel, spatial)?;
    let (stride, mut dilation) = (list("strides")?, list("dilations")?);
    if spatial == 1 {
        dilation[0] = 1;
    }
    if stride.contains(&0) || dilation.contains(&0) || kernel.contains(&0) {
        return Err(node.error("kernel, strides and dilations must be at least 1"));
    }
    let mut window = Window { kernel, stride, dilation, padding: [0; 4] };
    window.padding = match node.text("auto_pad", "NOTSET") {
        "NOTSET" | "" => match node.sizes("pads")?.unwrap_or_else(|| vec![0; 2 * spatial]).as_slice() {
            &[left, right] if spatial == 1 => [0, left, 0, right],
            &[top, left, bottom, right] if spatial == 2 => [top, left, bottom, right],
            pads => return Err(node.error(format!("pads {pads:?} do not fit {spatial} spatial axes"))),
        },
        "VALID" => [0; 4],
        "SAME_UPPER" => same_padding(node, &window, false)?,
        "SAME_LOWER" => same_padding(node, &window, true)?,
        other => return Err(node.error(format!("unknown auto_pad `{other}`"))),
    };
    Ok(window)
}

/// Height and width of input 0; height 1 for one spatial axis.
pub(super) fn spatial_dims(shape: &Shape) -> [Dim; 2] {
    match shape.0.as_slice() {
        [_, _, w] => [Dim::Fixed(1), w.clone()],
        [_, _, h, w, ..] => [h.clone(), w.clone()],
        _ => [Dim::Fixed(1), Dim::Fixed(1)],
    }
}

/// Padding that makes the output `ceil(size / stride)`.
fn same_padding(node: &NodeReader<'_>, window: &Window, more_before: bool) -> Result<[usize; 4]> {
    let dims = spatial_dims(&node.shape(0)?);
    let mut padding = [0; 4];
    for axis in 0..2 {
        let stride = window.stride[axis];
        let extent = (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]).saturating_add(1);
        let total = match dims[axis].fixed() {
            Some(n) => {
                (n.div_ceil(stride).saturating_sub(1)).saturating_mul(stride).saturating_add(extent).saturating_sub(n)
            }
            None if stride == 1 => extent - 1,
            None => {
                let what =
                    "auto_pad SAME with a stride needs fixed height and width; fix the input's size when exporting";
                return Err(node.error(what));
            }
        };
        let (less, more) = (total / 2, total - total / 2);
        (padding[axis], padding[axis + 2]) = if more_before { (more, less) } else { (less, more) };
    }
    Ok(padding)
}

/// Input 0 channels-last with two spatial axes.
pub(super) fn spatial_input(node: &mut NodeReader<'_>) -> Result<ValueId> {
    let x = node.last(0)?;
    match node.rank(0)? {
        3 => node.inner(Unsqueeze { axes: vec![1] }, &[Some(x)], "height"),
        _ => Ok(x),
    }
}

/// Adds the node's operator; the height of a one-dimensional one is taken away again.
pub(super) fn emit_spatial(node: &mut NodeReader<'_>, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<()> {
    if node.rank(0)? == 3 {
        let y = node.main_step(op, inputs, "2d")?;
        node.emit(Squeeze { axes: vec![1] }, &[Some(y)], Layout::ChannelsLast)?;
    } else {
        node.emit(op, inputs, Layout::ChannelsLast)?;
    }
    Ok(())
}

/// Fixed dimensions of the weights (input 1).
fn weight_dims(node: &NodeReader<'_>, at: usize) -> Result<Vec<usize>> {
    let (shape, rank) = (node.shape(at)?, spatial_rank(node)? + 2);
    let dims = shape.to_fixed().filter(|d| d.len() == rank && !d.contains(&0));
    dims.ok_or_else(|| node.error(format!("weights of shape {shape} do not fit the input")))
}

/// The weights (input `at`), of four dimensions and permuted. One-dimensional kernels get a height
/// of 1.
fn weights(node: &mut NodeReader<'_>, at: usize, relay: &Relay) -> Result<ValueId> {
    let name = node.input(at)?.to_owned();
    let one_dimensional = node.rank(at)? == 3;
    let Some(constant) = node.constant(at).cloned() else {
        let w = node.plain(at)?;
        let w = if one_dimensional { node.inner(Unsqueeze { axes: vec![2] }, &[Some(w)], "kernel")? } else { w };
        if relay.split.is_some() {
            return Err(node.error("grouped transposed convolution needs constant weights"));
        }
        return node.inner(Transpose { perm: relay.perm.clone() }, &[Some(w)], "weights");
    };
    if !one_dimensional {
        return node.importer.materialize_weights(&name, relay);
    }
    let dims = constant.tensor.shape();
    let tensor = constant.tensor.reshaped(vec![dims[0], dims[1], 1, dims[2]]);
    let tensor = tensor.ok_or_else(|| node.error("the weights cannot get a height"))?;
    let two_dimensional = format!("{name}_2d");
    node.importer.add_constant(&two_dimensional, Constant { tensor, ..constant });
    node.importer.materialize_weights(&two_dimensional, relay)
}

fn groups(node: &NodeReader<'_>) -> Result<usize> {
    let group = node.int_or("group", 1);
    usize::try_from(group).ok().filter(|&g| g > 0).ok_or_else(|| node.error(format!("group {group} is out of range")))
}

/// Conv. With as many groups as input channels and constant weights it is a depthwise one.
pub(super) fn conv(node: &mut NodeReader<'_>) -> Result<()> {
    let dims = weight_dims(node, 1)?;
    let groups = groups(node)?;
    let Window { stride, dilation, padding, .. } = window(node, &dims[2..])?;
    let x = spatial_input(node)?;
    let channels = node.shape(0)?.0[1].fixed();
    let depthwise = groups > 1
        && dims[1] == 1
        && channels == Some(groups)
        && dims[0].is_multiple_of(groups)
        && node.constant(1).is_some();
    let activation = Activation::None;
    let (op, w): (Op, _) = if depthwise {
        let multiplier = dims[0] / groups;
        let w = weights(node, 1, &Relay::permute(vec![1, 2, 3, 0]))?;
        (DepthwiseConv2d { stride, dilation, padding, multiplier, activation }.into(), w)
    } else {
        let w = weights(node, 1, &Relay::permute(to_last(4)))?;
        (Conv2d { stride, dilation, padding, groups, activation }.into(), w)
    };
    let bias = node.optional_weights(2)?;
    emit_spatial(node, op, &[Some(x), Some(w), bias])
}

/// ConvInteger: 8-bit inputs, zero points at run time.
pub(super) fn conv_integer(node: &mut NodeReader<'_>) -> Result<()> {
    let dims = weight_dims(node, 1)?;
    let groups = groups(node)?;
    let Window { stride, dilation, padding, .. } = window(node, &dims[2..])?;
    let x = spatial_input(node)?;
    let w = weights(node, 1, &Relay::permute(to_last(4)))?;
    let zero_points = [node.optional(2)?, node.optional(3)?];
    let conv = Conv2d { stride, dilation, padding, groups, activation: Activation::None };
    emit_spatial(node, ConvInteger { conv }, &[Some(x), Some(w), zero_points[0], zero_points[1]])
}

/// ConvTranspose. Its weights are `[C, O / groups, kh, kw]`.
pub(super) fn conv_transpose(node: &mut NodeReader<'_>) -> Result<()> {
    let dims = weight_dims(node, 1)?;
    let groups = groups(node)?;
    if !dims[0].is_multiple_of(groups) {
        return Err(node.error(format!("{groups} groups do not divide {} channels", dims[0])));
    }
    let spatial = dims.len() - 2;
    let output_padding = node.sizes("output_padding")?.unwrap_or_else(|| vec![0; spatial]);
    let mut output_padding = pair(node, "output_padding", &output_padding, spatial)?;
    if spatial == 1 {
        output_padding[0] = 0;
    }
    let mut geometry = transposed_window(node, &dims[2..])?;
    geometry.padding = transposed_padding(node, &geometry, output_padding)?;
    let Window { stride, dilation, padding, kernel } = geometry;
    let x = spatial_input(node)?;
    let relay = match groups {
        1 => Relay::permute(vec![1, 2, 3, 0]),
        g => Relay {
            split: Some(vec![g, dims[0] / g, dims[1], kernel[0], kernel[1]]),
            perm: vec![0, 2, 3, 4, 1],
            join: Some(vec![g * dims[1], kernel[0], kernel[1], dims[0] / g]),
            mixes: true,
        },
    };
    let w = weights(node, 1, &relay)?;
    let bias = node.optional_weights(2)?;
    let op = ConvTranspose2d { stride, dilation, padding, output_padding, groups, activation: Activation::None };
    emit_spatial(node, op, &[Some(x), Some(w), bias])
}

/// As [`window`], but `auto_pad` has another meaning here and is left to the caller.
fn transposed_window(node: &mut NodeReader<'_>, kernel: &[usize]) -> Result<Window> {
    let mut proto = node.proto.clone();
    proto.attribute.retain(|a| a.name != "auto_pad");
    let NodeReader { importer, name, opset, .. } = node;
    window(&NodeReader { importer, proto: &proto, name: name.clone(), opset: *opset, quant: None }, kernel)
}

/// Padding of a transposed convolution whose output size is given, or is to be `size × stride`.
fn transposed_padding(node: &NodeReader<'_>, window: &Window, output_padding: [usize; 2]) -> Result<[usize; 4]> {
    let mode = node.text("auto_pad", "NOTSET");
    let wanted = node.sizes("output_shape")?;
    let same = matches!(mode, "SAME_UPPER" | "SAME_LOWER");
    if wanted.is_none() && !same {
        return Ok(if mode == "VALID" { [0; 4] } else { window.padding });
    }
    let spatial = spatial_rank(node)?;
    let wanted = match &wanted {
        Some(sizes) => Some(pair(node, "output_shape", &sizes[sizes.len().saturating_sub(spatial)..], spatial)?),
        None => None,
    };
    let dims = spatial_dims(&node.shape(0)?);
    let mut padding = [0; 4];
    for axis in 0..2 {
        let size =
            dims[axis].fixed().ok_or_else(|| node.error("output_shape and auto_pad need fixed height and width"))?;
        let wanted = wanted.map_or_else(|| size.saturating_mul(window.stride[axis]), |w| w[axis]);
        let extent = (window.kernel[axis] - 1).saturating_mul(window.dilation[axis]).saturating_add(1);
        let full = size.saturating_sub(1).saturating_mul(window.stride[axis]).saturating_add(extent);
        let total = full.saturating_add(output_padding[axis]).checked_sub(wanted);
        let total = total.ok_or_else(|| node.error(format!("an output size of {wanted} is not reachable")))?;
        let (less, more) = (total / 2, total - total / 2);
        (padding[axis], padding[axis + 2]) = if mode == "SAME_UPPER" { (less, more) } else { (more, less) };
    }
    Ok(padding)
}
