//! Soft-max over the last axis: a table of exponentials, one division a row.

use fewbits_graph::ops::Softmax;
use fewbits_kernels::int8::Affine;
use fewbits_kernels::int8::fixed::{LONGEST_SOFTMAX_ROW, softmax_exponentials};

use crate::code::Code;
use crate::kernel::{Arg, Data, Helper, Kernel, Lowering};
use crate::site::{Site, left_float};

pub(crate) fn softmax(op: &Softmax, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    if x.dtype.is_float() {
        return Err(left_float(x.dtype));
    }
    if x.dims[op.axis + 1..].iter().product::<usize>() != 1 {
        return Err("soft-max over an axis that is not the last".into());
    }
    let n = x.dims[op.axis];
    if n > LONGEST_SOFTMAX_ROW {
        return Err(format!("soft-max over {n} values, more than {LONGEST_SOFTMAX_ROW}"));
    }
    if out.affine()? != (Affine { scale: 1.0 / 256.0, zero_point: -128 }) {
        return Err("the output of a soft-max needs the scale 1/256 and the zero point -128".into());
    }
    let exps = softmax_exponentials(x.affine()?.scale, f64::from(op.beta));
    let (rows, count) = (x.elements() / n.max(1), exps.len());
    let mut code = Code::new();
    code.line(format_args!("model_softmax(x, {rows}, {n}, exps, {count}, y);"));
    let args = vec![Arg::Input(0, "x"), Arg::Constant("exps", Data::I32(exps)), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).helpers(&[Helper::Softmax]).overlap(0, 0).into())
}
