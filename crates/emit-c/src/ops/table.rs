//! Functions of one 8-bit value: tables of 256, or less where less will do.

use fewbits_engine::evaluate_quantized_node;
use fewbits_graph::ops::{Unary, UnaryKind};
use fewbits_graph::{DType, Op, Tensor};
use fewbits_kernels::int8::{Affine, FixedMultiplier, fixed};

use crate::code::Code;
use crate::kernel::{Arg, Data, Kernel, Lowered, Lowering};
use crate::site::{Edge, Site, left_float};

/// `f(q)` for every `q`, indexed by its bits.
fn tabulate(f: impl Fn(i32) -> i32) -> Vec<i8> {
    // Results are clamped to int8: the last cast is exact.
    (0..=255u8).map(|bits| f(i32::from(bits.cast_signed())).clamp(-128, 127) as i8).collect()
}

/// The value in another quantization: TFLite's `QUANTIZE` between integers.
pub(crate) fn requantized(from: Affine, to: Affine) -> impl Fn(i32) -> i32 {
    let fixed = FixedMultiplier::new(from.scale / to.scale);
    let (from_zero, to_zero) = (i32::from(from.zero_point), i32::from(to.zero_point));
    move |q| fixed.apply(q - from_zero).saturating_add(to_zero)
}

/// `LEAKY_RELU`: one multiplier a side.
fn leaky_relu(x: Affine, out: Affine, alpha: f64) -> impl Fn(i32) -> i32 {
    let positive = FixedMultiplier::new(x.scale / out.scale);
    let negative = FixedMultiplier::new(x.scale * alpha.abs() / out.scale);
    let sign = if alpha < 0.0 { -1 } else { 1 };
    let (x_zero, out_zero) = (i32::from(x.zero_point), i32::from(out.zero_point));
    move |q| {
        let difference = q - x_zero;
        let scaled = if difference >= 0 { positive.apply(difference) } else { negative.apply(sign * difference) };
        scaled.saturating_add(out_zero)
    }
}

/// A real function, evaluated by the engine on all 256 values.
fn evaluated(op: &Unary, x: &Edge, out: &Edge) -> Result<Vec<i8>, String> {
    let all = Tensor::new(vec![256], (0..=255u8).map(u8::cast_signed).collect());
    let declared = [(DType::I8, out.quant.clone())];
    let results = evaluate_quantized_node(&Op::Unary(op.clone()), &[Some((&all, x.quant.as_ref()))], &declared);
    let results = results.map_err(|e| e.to_string())?;
    let table = results.first().and_then(|t| t.as_slice::<i8>().map(|s| s.into_owned()));
    table.ok_or_else(|| "the function has no int8 values".into())
}

pub(crate) fn unary(op: &Unary, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    if x.dtype.is_float() || out.dtype.is_float() {
        return Err(left_float(DType::F32));
    }
    let (from, to) = (x.affine()?, out.affine()?);
    let difference = |q: i32| q - i32::from(from.zero_point);
    let out_zero = i32::from(to.zero_point);
    let table = match op.kind {
        UnaryKind::Relu | UnaryKind::Clip { .. } => clipped(op.kind, from, to),
        UnaryKind::LeakyRelu { alpha } => tabulate(leaky_relu(from, to, f64::from(alpha))),
        UnaryKind::Sigmoid if to == (Affine { scale: 1.0 / 256.0, zero_point: -128 }) => {
            tabulate(|q| fixed::logistic_i8(difference(q), from.scale))
        }
        UnaryKind::Tanh if to == (Affine { scale: 1.0 / 128.0, zero_point: 0 }) => {
            tabulate(|q| fixed::tanh_i8(difference(q), from.scale))
        }
        UnaryKind::HardSwish => {
            let (from, to) = (from.scale as f32, to.scale as f32);
            tabulate(|q| fixed::hard_swish_i8(difference(q), from, to) + out_zero)
        }
        _ => evaluated(op, x, out)?,
    };
    Ok(by_table(site, table))
}

/// `RELU` and its relatives: requantize and clamp.
fn clipped(kind: UnaryKind, from: Affine, to: Affine) -> Vec<i8> {
    let (low, high) = match kind {
        UnaryKind::Clip { min, max } => (min, max),
        _ => (0.0, f32::INFINITY),
    };
    let bound = |real: f32, open: i32| match real.is_finite() {
        // Clamped first: the cast is exact.
        true => (f64::from(to.zero_point) + (f64::from(real) / to.scale).round()).clamp(-128.0, 127.0) as i32,
        false => open,
    };
    let (low, high) = (bound(low, -128), bound(high, 127));
    let plain = requantized(from, to);
    tabulate(|q| plain(q).clamp(low, high.max(low)))
}

/// Every element through a table.
fn by_table(site: &Site<'_>, table: Vec<i8>) -> Lowered {
    let count = site.outputs.first().map_or(0, Edge::elements);
    if (0..=255u8).zip(&table).all(|(bits, &value)| bits.cast_signed() == value) {
        return Lowered::Alias;
    }
    let mut code = Code::new();
    code.count("i", count);
    code.line("y[i] = table[(uint8_t)x[i]];");
    code.close();
    let args = vec![Arg::Input(0, "x"), Arg::Constant("table", Data::I8(table)), Arg::Output(0, "y")];
    Kernel::new(args, code.finish()).overlap(0, 0).into()
}

/// A change of scale, zero point or signedness between 8-bit integers.
pub(crate) fn requantize(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    for edge in [x, out] {
        if !matches!(edge.dtype, DType::I8 | DType::U8) {
            return Err(left_float(edge.dtype));
        }
    }
    let ((from_scale, from_zero), (to_scale, to_zero)) = (x.scale_and_zero()?, out.scale_and_zero()?);
    let offset = to_zero - from_zero;
    if from_scale == to_scale && offset.abs() == 128 && x.dtype != out.dtype {
        return Ok(shifted(out, offset));
    }
    let fixed = FixedMultiplier::new(f64::from(from_scale) / f64::from(to_scale));
    let (low, high) = out.dtype.integer_range().ok_or("the output is no integer")?;
    let value = |bits: u8| if x.dtype == DType::U8 { i32::from(bits) } else { i32::from(bits.cast_signed()) };
    let table = (0..=255u8).map(|bits| {
        let scaled = fixed.apply(value(bits) - from_zero).saturating_add(to_zero).clamp(low, high);
        // The low byte of a number that fits either 8-bit type.
        (scaled & 255) as u8 as i8
    });
    let table: Vec<i8> = table.collect();
    if x.dtype == out.dtype {
        return Ok(by_table(site, table));
    }
    let mut code = Code::new();
    code.count("i", out.elements());
    let kind = if out.dtype == DType::U8 { "uint8_t" } else { "int8_t" };
    code.line(format_args!("y[i] = ({kind})table[(uint8_t)x[i]];"));
    code.close();
    let args = vec![Arg::Input(0, "x"), Arg::Constant("table", Data::I8(table)), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).overlap(0, 0).into())
}

/// Between signed and unsigned numbers of one meaning.
fn shifted(out: &Edge, offset: i32) -> Lowered {
    let mut code = Code::new();
    code.count("i", out.elements());
    let kind = if out.dtype == DType::U8 { "uint8_t" } else { "int8_t" };
    let sign = if offset < 0 { '-' } else { '+' };
    code.line(format_args!("y[i] = ({kind})(x[i] {sign} 128);"));
    code.close();
    Kernel::new(vec![Arg::Input(0, "x"), Arg::Output(0, "y")], code.finish()).overlap(0, 0).into()
}
