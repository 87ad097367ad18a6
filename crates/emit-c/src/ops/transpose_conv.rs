//! Transposed convolutions, gathered: each output pixel looks for the input pixels that reach it.

use fewbits_graph::ops::ConvTranspose2d;

use super::conv::Window;
use super::depthwise::open_pixels;
use super::layer::Weights;
use crate::code::{Code, less, times};
use crate::kernel::{Arg, Data, Helper, Kernel, Lowering};
use crate::site::Site;

pub(crate) fn transpose_conv(op: &ConvTranspose2d, site: &Site<'_>) -> Lowering {
    let [n, kh, kw, channels] = site.input(1)?.nhwc()?;
    if op.groups != 1 {
        return Err(format!("{} groups", op.groups));
    }
    let w = Window::new(site, [kh, kw], op.stride, op.dilation, op.padding)?;
    let weights = Weights::new(site, 0, n)?;
    // Which taps reach a pixel differs: the zero point is taken off in the loop.
    let shape = (kh * kw * channels, weights.values.clone());
    let layer = weights.layer(site, op.activation, 0..n, shape, |_, _| 0, false)?;
    let zero = i64::from(weights.input_zero);
    let mut code = Code::new();
    let depth = open_pixels(&mut code, &w);
    code.count("c", n);
    code.line("int32_t total = layer->channels[c].bias;");
    for (axis, names) in [(0, ("ky", "ty", "iy", "oy")), (1, ("kx", "tx", "ix", "ox"))] {
        let (tap, reach, at, out) = names;
        let (padding, stride) = (op.padding[axis] as i64, op.stride[axis]);
        code.count(tap, w.kernel[axis]);
        code.line(format_args!("const int32_t {reach} = {} - {};", less(out, -padding), times(tap, op.dilation[axis])));
        code.line(format_args!("const int32_t {at} = {reach} / {stride};"));
        code.open(format_args!("if (({reach} < 0) || ({at} >= {}) || ({at} * {stride} != {reach}))", w.input[axis]));
        code.line("continue;");
        code.close();
    }
    let image = if w.batch > 1 { format!("(image * {} + iy)", w.input[0]) } else { "iy".to_owned() };
    code.line(format_args!("const int8_t *from = x + ({image} * {} + ix) * {channels};", w.input[1]));
    code.line(format_args!("const int8_t *v = layer->weights + ((c * {kh} + ky) * {kw} + kx) * {channels};"));
    code.count("i", channels);
    code.line(format_args!("total += ({}) * v[i];", less("from[i]", zero)));
    code.close_all(3);
    code.line("*y++ = model_finish(total, layer, c);");
    code.close_all(depth + 1);
    let args = vec![Arg::Input(0, "x"), Arg::Constant("layer", Data::Layers(vec![layer])), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).helpers(&[Helper::Finish]).into())
}
