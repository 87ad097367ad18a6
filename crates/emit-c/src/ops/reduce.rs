//! Means, sums, maxima and minima over axes.

use fewbits_graph::ops::{Reduce, ReduceKind};
use fewbits_kernels::int8::FixedMultiplier;

use crate::code::{Code, sum, times};
use crate::kernel::{Arg, Helper, Kernel, Lowering};
use crate::site::{Site, left_float};

pub(crate) fn reduce(op: &Reduce, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    if x.dtype.is_float() {
        return Err(left_float(x.dtype));
    }
    let (kept, reduced) = axes(&x.dims, &op.axes);
    let count: usize = reduced.iter().map(|axis| axis.0).product();
    let (start, step, finish, args, helpers) = match op.kind {
        ReduceKind::Mean => {
            let (from, to) = (x.affine()?, out.affine()?);
            let (multiplier, shift) = mean_multiplier(from.scale / to.scale, count);
            let args = vec![Arg::Number("multiplier", multiplier), Arg::Number("shift", shift)];
            let offset = i64::from(from.zero_point) * i64::try_from(count).unwrap_or(i64::MAX);
            let end = format!("model_narrow(model_scale_any(value, multiplier, shift) + {}, -128, 127)", to.zero_point);
            ((-offset).to_string(), "value += q;".to_owned(), end, args, vec![Helper::ScaleAny, Helper::Narrow])
        }
        ReduceKind::Max | ReduceKind::Min if site.one_scale(1) => {
            let (start, sign) = if op.kind == ReduceKind::Max { ("-128", ">") } else { ("127", "<") };
            let step = format!("value = (q {sign} value) ? q : value;");
            (start.to_owned(), step, "(int8_t)value".to_owned(), Vec::new(), Vec::new())
        }
        ReduceKind::Max | ReduceKind::Min => return Err("its input and output have different scales".into()),
        kind => return Err(format!("the reduction {kind:?} has no integer C")),
    };
    let mut code = Code::new();
    let mut at = Vec::new();
    for (i, (extent, stride)) in kept.iter().enumerate() {
        let name = format!("i{i}");
        code.count(&name, *extent);
        at.push(times(&name, *stride));
    }
    if kept.is_empty() {
        code.open("");
    }
    code.line(format_args!("int32_t value = {start};"));
    for (j, (extent, stride)) in reduced.iter().enumerate() {
        let name = format!("j{j}");
        code.count(&name, *extent);
        at.push(times(&name, *stride));
    }
    if reduced.is_empty() {
        code.open("");
    }
    code.line(format_args!("const int32_t q = x[{}];", sum(&at)));
    code.line(step);
    code.close_all(reduced.len().max(1));
    code.line(format_args!("*y++ = {finish};"));
    code.close_all(kept.len().max(1));
    let mut all = vec![Arg::Input(0, "x")];
    all.extend(args);
    all.push(Arg::Output(0, "y"));
    Ok(Kernel::new(all, code.finish()).helpers(&helpers).into())
}

/// `(extent, stride)` of kept and of reduced axes, neighbours of one kind merged.
type Axes = Vec<(usize, usize)>;

fn axes(dims: &[usize], reduced: &[usize]) -> (Axes, Axes) {
    let mut all: Vec<(usize, usize, bool)> = Vec::new();
    let mut stride: usize = dims.iter().product();
    for (axis, &extent) in dims.iter().enumerate() {
        stride /= extent.max(1);
        let gone = reduced.contains(&axis);
        match all.last_mut() {
            Some(last) if last.2 == gone => *last = (last.0 * extent, stride, gone),
            _ => all.push((extent, stride, gone)),
        }
    }
    let of = |kind: bool| all.iter().filter(|a| a.2 == kind && a.0 != 1).map(|a| (a.0, a.1)).collect();
    (of(false), of(true))
}

/// TFLite's multiplier of an int8 mean: as many bits of `2^shift ÷ count` as fit go into it.
fn mean_multiplier(real: f64, count: usize) -> (i32, i32) {
    let base = FixedMultiplier::new(real);
    let count = count.max(1) as u64;
    let shift = (63 - count.leading_zeros().cast_signed()).min(32).min(31 + base.shift).max(0);
    // At most 2^31 × 2^shift ÷ count < 2^32 ÷ 2: it fits.
    let multiplier = (i64::from(base.multiplier) << shift) / count.cast_signed();
    (multiplier as i32, base.shift - shift)
}
