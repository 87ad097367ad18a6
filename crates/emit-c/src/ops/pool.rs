//! Maximum and average pooling.

use fewbits_engine::activation_limits;
use fewbits_graph::ops::{Pool2d, PoolKind};

use super::conv::{Together, Window};
use super::depthwise::open_pixels;
use crate::code::{Code, less, sum, times};
use crate::kernel::{Arg, Helper, Kernel, Lowering};
use crate::site::{Site, left_float};

pub(crate) fn pool2d(op: &Pool2d, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    if x.dtype.is_float() {
        return Err(left_float(x.dtype));
    }
    let average = match op.kind {
        PoolKind::Max => false,
        PoolKind::Average { count_include_pad: true } if op.padding != [0; 4] => {
            return Err("the average counts the padding".into());
        }
        PoolKind::Average { .. } => true,
    };
    if !site.one_scale(1) {
        return Err("its input and output have different scales".into());
    }
    let w = Window::new(site, op.kernel, op.stride, op.dilation, op.padding)?;
    let (low, high) = activation_limits(op.activation, site.output()?.affine()?);
    let mut code = Code::new();
    let depth = open_pixels(&mut code, &w);
    for (axis, names) in [(0, ("oy", "top", "ky0", "ky1")), (1, ("ox", "left", "kx0", "kx1"))] {
        bounds(&mut code, &w, axis, names);
    }
    code.count("c", w.channels);
    code.line(if average { "int32_t value = 0;" } else { "int32_t value = -128;" });
    code.open("for (int32_t ky = ky0; ky < ky1; ++ky)");
    code.open("for (int32_t kx = kx0; kx < kx1; ++kx)");
    let line = sum(&["top".to_owned(), times("ky", w.dilation[0])]);
    let line = if w.batch > 1 { format!("image * {} + {line}", w.input[0]) } else { line };
    let column = sum(&["left".to_owned(), times("kx", w.dilation[1])]);
    let at = format!("(({line}) * {} + {column}) * {} + c", w.input[1], w.channels);
    if average {
        code.line(format_args!("value += x[{at}];"));
    } else {
        code.line(format_args!("const int32_t q = x[{at}];"));
        code.line("value = (q > value) ? q : value;");
    }
    code.close_all(2);
    if average {
        code.line("const int32_t count = (ky1 - ky0) * (kx1 - kx0);");
        code.line("value = (value > 0) ? (value + count / 2) / count : (value - count / 2) / count;");
    }
    code.line(format_args!("*y++ = model_narrow(value, {low}, {high});"));
    code.close_all(depth + 1);
    let kernel = Kernel::new(vec![Arg::Input(0, "x"), Arg::Output(0, "y")], code.finish());
    Ok(kernel.helpers(&[Helper::Narrow]).overlap(0, w.distance(Together::Nothing)).into())
}

/// The taps of one axis that lie inside the input.
fn bounds(code: &mut Code, w: &Window, axis: usize, (out, origin, first, last): (&str, &str, &str, &str)) {
    let (kernel, dilation, size) = (w.kernel[axis], w.dilation[axis], w.input[axis]);
    let start = less(&times(out, w.stride[axis]), w.padding[axis] as i64);
    code.line(format_args!("const int32_t {origin} = {start};"));
    if !w.clipped(axis) {
        code.line(format_args!("const int32_t {first} = 0;"));
        code.line(format_args!("const int32_t {last} = {kernel};"));
        return;
    }
    let over = dilation - 1;
    let ceil = |value: String| match dilation {
        1 => value,
        d => format!("({value} + {over}) / {d}"),
    };
    code.line(format_args!("const int32_t {first} = ({origin} < 0) ? {} : 0;", ceil(format!("-{origin}"))));
    let reach = (kernel - 1) * dilation;
    let rest = ceil(format!("({size} - {origin})"));
    code.line(format_args!("const int32_t {last} = ({origin} + {reach} >= {size}) ? {rest} : {kernel};"));
}
