//! Depthwise convolutions: for every output pixel, pointers to the pixels under the taps.

use fewbits_graph::Activation;
use fewbits_graph::ops::{Conv2d, DepthwiseConv2d};

use super::conv::{Together, Window, patches};
use super::layer::{Weights, column_sum, row_sum};
use crate::code::{Code, less, sum, times};
use crate::kernel::{Arg, Data, Helper, Kernel, Lowering};
use crate::site::Site;

pub(crate) fn depthwise(op: &DepthwiseConv2d, site: &Site<'_>) -> Lowering {
    let [_, kh, kw, _] = site.input(1)?.nhwc()?;
    let window = Window::new(site, [kh, kw], op.stride, op.dilation, op.padding)?;
    let weights = Weights::new(site, 3, window.out_channels)?;
    if window.channels == 1 {
        return of_one_channel(op.activation, site, &window, &weights);
    }
    if op.multiplier == 1 {
        return channelwise(op.activation, site, &window, &weights, weights.values.clone());
    }
    multiplied(op, site, &window, &weights)
}

/// A convolution of as many groups as channels: the same with other weights' order.
pub(crate) fn of_grouped(op: &Conv2d, site: &Site<'_>, window: Window) -> Lowering {
    let weights = Weights::new(site, 0, window.out_channels)?;
    let taps = window.kernel[0] * window.kernel[1];
    let laid = transposed(&weights.values, window.out_channels, taps);
    channelwise(op.activation, site, &window, &weights, laid)
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed(values: &[i8], rows: usize, columns: usize) -> Vec<i8> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

/// All output channels read the one input channel: an ordinary convolution.
fn of_one_channel(activation: Activation, site: &Site<'_>, window: &Window, weights: &Weights) -> Lowering {
    let (taps, n) = (window.kernel[0] * window.kernel[1], window.out_channels);
    let filters = transposed(&weights.values, taps, n);
    let layer = weights.layer(site, activation, 0..n, (taps, filters), row_sum(taps), false)?;
    Ok(patches(1, site, window, vec![layer], weights.input_zero).into())
}

fn channelwise(activation: Activation, site: &Site<'_>, window: &Window, weights: &Weights, laid: Vec<i8>) -> Lowering {
    let (taps, n) = (window.kernel[0] * window.kernel[1], window.out_channels);
    let layer = weights.layer(site, activation, 0..n, (taps, laid), column_sum(n), false)?;
    let clipped = window.clipped(0) || window.clipped(1);
    let mut code = Code::new();
    code.line(format_args!("const int8_t *taps[{taps}];"));
    if clipped {
        code.line(format_args!("model_fill(scratch, {}, {n});", weights.input_zero));
    }
    let depth = open_pixels(&mut code, window);
    point(&mut code, window);
    code.line("model_depthwise(taps, layer, y);");
    code.line(format_args!("y += {n};"));
    code.close_all(depth);
    let mut args = vec![Arg::Input(0, "x"), Arg::Constant("layer", Data::Layers(vec![layer])), Arg::Output(0, "y")];
    let mut helpers = vec![Helper::Depthwise];
    if clipped {
        args.push(Arg::Scratch);
        helpers.push(Helper::Fill);
    }
    let kernel = Kernel::new(args, code.finish()).helpers(&helpers).stack(4 * taps);
    let kernel = kernel.scratch(if clipped { n.next_multiple_of(4) } else { 0 });
    Ok(kernel.overlap(0, window.distance(Together::Nothing)).into())
}

/// Loops over all output pixels; how many were opened.
pub(crate) fn open_pixels(code: &mut Code, w: &Window) -> usize {
    if w.batch > 1 {
        code.count("image", w.batch);
    }
    code.count("oy", w.output[0]);
    code.count("ox", w.output[1]);
    2 + usize::from(w.batch > 1)
}

/// Fills `taps` for output pixel `oy`, `ox`: pixels of the input, or the border in scratch.
fn point(code: &mut Code, w: &Window) {
    let [h, wd] = w.input;
    let origin = |out: &str, axis: usize| less(&times(out, w.stride[axis]), w.padding[axis] as i64);
    let step = |tap: &str, axis: usize| times(tap, w.dilation[axis]);
    code.line("const int8_t **tap = taps;");
    code.count("ky", w.kernel[0]);
    code.line(format_args!("const int32_t iy = {};", sum(&[origin("oy", 0), step("ky", 0)])));
    let image = if w.batch > 1 { format!("image * {h} + iy") } else { "iy".to_owned() };
    let image = if image.contains(' ') { format!("({image})") } else { image };
    let left = origin("ox", 1);
    let left = if left.contains(' ') { format!("({left})") } else { left };
    let at = sum(&[times(&image, wd * w.channels), times(&left, w.channels)]);
    let clipped = w.clipped(0) || w.clipped(1);
    code.line(format_args!("int32_t at = {at};"));
    code.count("kx", w.kernel[1]);
    let mut inside = Vec::new();
    if w.clipped(0) {
        inside.push(format!("(iy >= 0) && (iy < {h})"));
    }
    if w.clipped(1) {
        code.line(format_args!("const int32_t ix = {};", sum(&[origin("ox", 1), step("kx", 1)])));
        inside.push(format!("(ix >= 0) && (ix < {wd})"));
    }
    match clipped {
        true => code.line(format_args!("*tap++ = ({}) ? x + at : scratch;", inside.join(" && "))),
        false => code.line("*tap++ = x + at;"),
    }
    code.line(format_args!("at += {};", w.dilation[1] * w.channels));
    code.close_all(2);
}

/// Several output channels of each input channel, one at a time.
fn multiplied(op: &DepthwiseConv2d, site: &Site<'_>, w: &Window, weights: &Weights) -> Lowering {
    let (taps, n) = (w.kernel[0] * w.kernel[1], w.out_channels);
    let laid = weights.values.clone();
    // The input's zero point is taken off in the loop, where taps may lie outside: nothing to fold.
    let layer = weights.layer(site, op.activation, 0..n, (taps, laid), |_, _| 0, false)?;
    let origin = |out: &str, axis: usize| less(&times(out, w.stride[axis]), w.padding[axis] as i64);
    let mut code = Code::new();
    let depth = open_pixels(&mut code, w);
    code.count("c", n);
    code.line("int32_t total = layer->channels[c].bias;");
    code.count("ky", w.kernel[0]);
    code.count("kx", w.kernel[1]);
    code.line(format_args!("const int32_t iy = {};", sum(&[origin("oy", 0), times("ky", w.dilation[0])])));
    code.line(format_args!("const int32_t ix = {};", sum(&[origin("ox", 1), times("kx", w.dilation[1])])));
    code.open(format_args!("if ((iy >= 0) && (iy < {}) && (ix >= 0) && (ix < {}))", w.input[0], w.input[1]));
    let image = if w.batch > 1 { format!("(image * {} + iy)", w.input[0]) } else { "iy".to_owned() };
    let at = sum(&[times(&image, w.input[1] * w.channels), times("ix", w.channels), format!("c / {}", op.multiplier)]);
    let value = less(&format!("x[{at}]"), i64::from(weights.input_zero));
    code.line(format_args!("total += ({value}) * layer->weights[(ky * {} + kx) * {n} + c];", w.kernel[1]));
    code.close_all(3);
    code.line("*y++ = model_finish(total, layer, c);");
    code.close_all(depth + 1);
    let args = vec![Arg::Input(0, "x"), Arg::Constant("layer", Data::Layers(vec![layer])), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).helpers(&[Helper::Finish]).overlap(0, w.distance(Together::Nothing)).into())
}
