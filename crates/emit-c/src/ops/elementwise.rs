//! Element-wise operators of two operands.

use fewbits_engine::activation_limits;
use fewbits_graph::ops::{Binary, BinaryKind};
use fewbits_kernels::int8::{Affine, SumMultipliers, product_multiplier};

use crate::code::{Code, less, sum, times};
use crate::kernel::{Arg, Helper, Kernel, Lowering};
use crate::site::{Site, left_float};

pub(crate) fn binary(op: &Binary, site: &Site<'_>) -> Lowering {
    for edge in site.inputs.iter().flatten().chain(&site.outputs) {
        if edge.dtype.is_float() {
            return Err(left_float(edge.dtype));
        }
    }
    let (a, b, out) = (site.input(0)?.affine()?, site.input(1)?.affine()?, site.output()?.affine()?);
    let (low, high) = activation_limits(op.activation, out);
    let (mut args, lines, helpers) = match op.kind {
        BinaryKind::Add => summed(a, b, out, "+"),
        BinaryKind::Sub => summed(a, b, out, "-"),
        BinaryKind::Mul => product(a, b, out),
        BinaryKind::Min | BinaryKind::Max if site.one_scale(2) => choice(op.kind == BinaryKind::Min),
        BinaryKind::Min | BinaryKind::Max => return Err("its operands have different scales".into()),
        kind => return Err(format!("{kind:?} has no integer form")),
    };
    let mut code = Code::new();
    let nest = Nest::new(site)?;
    let (at_a, at_b) = nest.open(&mut code);
    for line in lines {
        code.line(line.replace("A[]", &format!("x0[{at_a}]")).replace("B[]", &format!("x1[{at_b}]")));
    }
    let narrows = (low, high) != (-128, 127) || !matches!(op.kind, BinaryKind::Min | BinaryKind::Max);
    match narrows {
        true => code.line(format_args!("*y++ = model_narrow(value, {low}, {high});")),
        false => code.line("*y++ = (int8_t)value;"),
    }
    nest.close(&mut code);
    let mut all = vec![Arg::Input(0, "x0"), Arg::Input(1, "x1")];
    all.append(&mut args);
    all.push(Arg::Output(0, "y"));
    let mut kernel = Kernel::new(all, code.finish()).helpers(&helpers);
    if narrows {
        kernel = kernel.helpers(&[Helper::Narrow]);
    }
    // Where nothing is broadcast, an element is read in the step that writes it.
    for input in 0..2 {
        if site.input(input)?.elements() == site.output()?.elements() {
            kernel = kernel.overlap(input, 0);
        }
    }
    Ok(kernel.into())
}

type Parts = (Vec<Arg>, Vec<String>, Vec<Helper>);

/// Both operands shifted left, brought to twice the larger scale, added, brought to the output's.
fn summed(a: Affine, b: Affine, out: Affine, sign: &str) -> Parts {
    let multipliers = SumMultipliers::new(a, b, out);
    let args = vec![
        Arg::Number("multiplier0", multipliers.a.multiplier),
        Arg::Number("shift0_shift", multipliers.a.shift),
        Arg::Number("multiplier1", multipliers.b.multiplier),
        Arg::Number("shift1_shift", multipliers.b.shift),
        Arg::Number("multiplier", multipliers.out.multiplier),
        Arg::Number("shift", multipliers.out.shift),
        Arg::Number("zero0", a.zero_point.into()),
        Arg::Number("zero1", b.zero_point.into()),
        Arg::Number("zero", out.zero_point.into()),
    ];
    let one = 1 << SumMultipliers::LEFT_SHIFT;
    let lines = vec![
        format!("const int32_t a = model_scale_any((A[] - zero0) * {one}, multiplier0, shift0_shift);"),
        format!("const int32_t b = model_scale_any((B[] - zero1) * {one}, multiplier1, shift1_shift);"),
        format!("const int32_t value = model_scale_any(a {sign} b, multiplier, shift) + zero;"),
    ];
    (args, lines, vec![Helper::ScaleAny])
}

/// One multiplier.
fn product(a: Affine, b: Affine, out: Affine) -> Parts {
    let fixed = product_multiplier(a, b, out);
    let args = vec![Arg::Number("multiplier", fixed.multiplier), Arg::Number("shift", fixed.shift)];
    let (x, y) = (less("A[]", a.zero_point.into()), less("B[]", b.zero_point.into()));
    let line = less(&format!("model_scale_any(({x}) * ({y}), multiplier, shift)"), -i64::from(out.zero_point));
    (args, vec![format!("const int32_t value = {line};")], vec![Helper::ScaleAny])
}

fn choice(smaller: bool) -> Parts {
    let sign = if smaller { "<" } else { ">" };
    (Vec::new(), vec![format!("const int32_t value = (A[] {sign} B[]) ? A[] : B[];")], Vec::new())
}

/// Loops over the output of a broadcast, neighbouring axes of one kind merged.
pub(crate) struct Nest {
    /// `(extent, stride in a, stride in b)`, outermost first.
    axes: Vec<(usize, usize, usize)>,
}

impl Nest {
    fn new(site: &Site<'_>) -> Result<Self, String> {
        let (a, b, out) = (&site.input(0)?.dims, &site.input(1)?.dims, &site.output()?.dims);
        let strides = |dims: &[usize]| {
            let mut step = 1;
            let mut strides = vec![0; out.len()];
            for (from_end, &dim) in dims.iter().rev().enumerate() {
                if dim != 1 {
                    strides[out.len() - 1 - from_end] = step;
                }
                step *= dim;
            }
            strides
        };
        let (sa, sb) = (strides(a), strides(b));
        let mut axes: Vec<(usize, usize, usize)> = Vec::new();
        for (axis, &extent) in out.iter().enumerate().filter(|(_, extent)| **extent != 1) {
            let merged = axes.last_mut().filter(|last| last.1 == sa[axis] * extent && last.2 == sb[axis] * extent);
            match merged {
                Some(last) => *last = (last.0 * extent, sa[axis], sb[axis]),
                None => axes.push((extent, sa[axis], sb[axis])),
            }
        }
        Ok(Nest { axes })
    }

    /// Opens the loops; the indices of both operands.
    fn open(&self, code: &mut Code) -> (String, String) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (i, (extent, in_a, in_b)) in self.axes.iter().enumerate() {
            let name = format!("i{i}");
            code.count(&name, *extent);
            a.push(times(&name, *in_a));
            b.push(times(&name, *in_b));
        }
        if self.axes.is_empty() {
            code.open("");
        }
        (sum(&a), sum(&b))
    }

    fn close(&self, code: &mut Code) {
        code.close_all(self.axes.len().max(1));
    }
}
