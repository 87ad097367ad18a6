//! `int8` operators without weights, in TFLite's arithmetic.

use fewbits_graph::ops::{
    Binary, BinaryKind, Concat, LogSoftmax, Pool2d, PoolKind, Reduce, ReduceKind, Softmax, Unary, UnaryKind,
};
use fewbits_graph::{Activation, Op};
use fewbits_kernels::int8::{self as kernels, Affine, Broadcast, Lut256, Mean, Prelu, fixed};

use super::movement::concat_runs;
use super::pool::geometry;
use super::reduce::Offsets;
use super::unary_real::real_function;
use crate::Rounding;
use crate::convert::through_float;
use crate::site::{Lowered, Lowering, Operand, Site};
use crate::view::cast_mut;

/// The interval of a fused activation on an `int8` edge of scale and zero point `out`, both ends
/// included (TFLite's `CalculateActivationRangeQuantized`: halves round away from zero).
pub fn activation_limits(activation: Activation, out: Affine) -> (i8, i8) {
    quantized_interval(activation.range(), out)
}

/// The values of `out` nearest to `low` and `high`; all of them where these are infinite.
fn quantized_interval((low, high): (f32, f32), out: Affine) -> (i8, i8) {
    let quantized = |real: f32, open: i8| match real.is_finite() {
        // Clamped first: the cast is exact.
        true => (f64::from(out.zero_point) + (f64::from(real) / out.scale).round()).clamp(-128.0, 127.0) as i8,
        false => open,
    };
    (quantized(low, i8::MIN), quantized(high, i8::MAX))
}

fn broadcast(site: &Site<'_>) -> Result<Broadcast, String> {
    let (a, b) = (site.input(0)?, site.input(1)?);
    Broadcast::new(&a.dims, &b.dims).ok_or_else(|| format!("shapes {:?} and {:?} do not broadcast", a.dims, b.dims))
}

/// Whether inputs 0 and `other` and the output share scale and zero point.
fn one_scale(site: &Site<'_>, inputs: usize) -> bool {
    let first = site.optional(0).map(|x| &x.quant);
    let rest = site.inputs.iter().take(inputs).flatten().chain(&site.outputs);
    rest.map(|o| &o.quant).all(|q| Some(q) == first)
}

pub(super) fn binary(op: &Binary, site: &Site<'_>) -> Lowering {
    let (a, b, out) = (site.input(0)?.affine_i8()?, site.input(1)?.affine_i8()?, site.output()?.affine_i8()?);
    let (broadcast, rounding, isa) = (broadcast(site)?, site.env.rounding, site.env.isa);
    let operator = match op.kind {
        BinaryKind::Add => kernels::Binary::add(rounding, a, b, out),
        BinaryKind::Sub => kernels::Binary::sub(rounding, a, b, out),
        BinaryKind::Mul => kernels::Binary::mul(rounding, a, b, out),
        BinaryKind::Min if one_scale(site, 2) => kernels::Binary::minimum(),
        BinaryKind::Max if one_scale(site, 2) => kernels::Binary::maximum(),
        _ => return through_float(&Op::Binary(op.clone()), site),
    };
    let (low, high) = activation_limits(op.activation, out);
    let operator = operator.with_clamp(low, high);
    Ok(Lowered::on_integers(move |ctx| {
        operator.run(isa, &broadcast, ctx.input(0), ctx.input(1), ctx.output(0));
        Ok(())
    }))
}

/// A function of each element, tabulated.
fn tabulated(table: Lut256, site: &Site<'_>) -> Lowering {
    let isa = site.env.isa;
    let kernel = Lowered::on_integers(move |ctx| {
        if ctx.in_place {
            table.apply_in_place(ctx.output(0));
        } else {
            table.apply(isa, ctx.input(0), ctx.output(0));
        }
        Ok(())
    });
    Ok(kernel.in_place(0))
}

pub(super) fn unary(op: &Unary, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?.affine_i8()?, site.output()?.affine_i8()?);
    let table = match (op.kind, site.env.rounding) {
        (UnaryKind::Relu, Rounding::Fixed) => clipped(x, out, (0.0, f32::INFINITY)),
        (UnaryKind::Clip { min, max }, Rounding::Fixed) => clipped(x, out, (min, max)),
        (UnaryKind::LeakyRelu { alpha }, Rounding::Fixed) => leaky_relu(x, out, f64::from(alpha)),
        (UnaryKind::Sigmoid, Rounding::Fixed) if (out.scale, out.zero_point) == (1.0 / 256.0, -128) => {
            fixed_function(x, |difference| fixed::logistic_i8(difference, x.scale))
        }
        (UnaryKind::Tanh, Rounding::Fixed) if (out.scale, out.zero_point) == (1.0 / 128.0, 0) => {
            fixed_function(x, |difference| fixed::tanh_i8(difference, x.scale))
        }
        (UnaryKind::HardSwish, Rounding::Fixed) => fixed_function(x, |difference| {
            fixed::hard_swish_i8(difference, x.scale as f32, out.scale as f32) + i32::from(out.zero_point)
        }),
        (kind, _) => {
            let function = real_function(kind).ok_or("no such function of real numbers")?;
            Lut256::from_real(x, out, function)
        }
    };
    tabulated(table, site)
}

/// TFLite's `RELU` and its relatives: requantize and clamp.
fn clipped(x: Affine, out: Affine, interval: (f32, f32)) -> Lut256 {
    let plain = Lut256::requantize(Rounding::Fixed, x, out);
    let (low, high) = quantized_interval(interval, out);
    Lut256::new(|q| plain.get(q).clamp(low, high.max(low)))
}

/// A function of `q − zero_point`.
fn fixed_function(x: Affine, function: impl Fn(i32) -> i32) -> Lut256 {
    Lut256::new(|q| function(i32::from(q) - i32::from(x.zero_point)).clamp(-128, 127) as i8)
}

/// TFLite's `LEAKY_RELU`: one multiplier a side.
fn leaky_relu(x: Affine, out: Affine, alpha: f64) -> Lut256 {
    let positive = kernels::FixedMultiplier::new(x.scale / out.scale);
    let negative = kernels::FixedMultiplier::new(x.scale * alpha.abs() / out.scale);
    let sign = if alpha < 0.0 { -1 } else { 1 };
    Lut256::new(|q| {
        let difference = i32::from(q) - i32::from(x.zero_point);
        let scaled = if difference >= 0 { positive.apply(difference) } else { negative.apply(sign * difference) };
        scaled.saturating_add(i32::from(out.zero_point)).clamp(-128, 127) as i8
    })
}

pub(super) fn prelu(site: &Site<'_>) -> Lowering {
    let (x, slope, out) = (site.input(0)?.affine_i8()?, site.input(1)?.affine_i8()?, site.output()?.affine_i8()?);
    let (broadcast, isa) = (broadcast(site)?, site.env.isa);
    let kernel = Prelu::new(site.env.rounding, x, slope, out);
    Ok(Lowered::on_integers(move |ctx| {
        kernel.run(isa, &broadcast, ctx.input(0), ctx.input(1), ctx.output(0));
        Ok(())
    }))
}

pub(super) fn softmax(op: &Softmax, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (_, row, inner) = x.around(op.axis);
    let fixed_output = site.output()?.affine() == Ok((1.0 / 256.0, -128));
    if inner != 1 || !fixed_output {
        return through_float(&Op::Softmax(op.clone()), site);
    }
    let (scale, beta) = (x.affine_i8()?.scale, f64::from(op.beta));
    // Longer rows would overflow the fixed-point sum.
    if site.env.rounding == Rounding::Fixed && (1..=fixed::LONGEST_SOFTMAX_ROW).contains(&row) {
        let exponentials = fixed::softmax_exponentials(scale, beta);
        return Ok(Lowered::on_integers(move |ctx| {
            let rows = ctx.input::<i8>(0).chunks_exact(row);
            for (x, out) in rows.zip(ctx.output::<i8>(0).chunks_exact_mut(row)) {
                fixed::softmax_row(&exponentials, x, out);
            }
            Ok(())
        }));
    }
    let kernel = kernels::Softmax::new(scale, beta);
    Ok(Lowered::on_integers(move |ctx| {
        kernel.run(row, ctx.input(0), ctx.output(0));
        Ok(())
    }))
}

pub(super) fn log_softmax(op: &LogSoftmax, site: &Site<'_>) -> Lowering {
    let x = site.input(0)?;
    let (_, row, inner) = x.around(op.axis);
    if inner != 1 || site.output()?.affine() != Ok((16.0 / 256.0, 127)) {
        return through_float(&Op::LogSoftmax(op.clone()), site);
    }
    let kernel = kernels::LogSoftmax::new(x.affine_i8()?.scale);
    Ok(Lowered::on_integers(move |ctx| {
        kernel.run(row, ctx.input(0), ctx.output(0));
        Ok(())
    }))
}

pub(super) fn pool2d(op: &Pool2d, site: &Site<'_>) -> Lowering {
    let counted = matches!(op.kind, PoolKind::Average { count_include_pad: true }) && op.padding != [0; 4];
    if counted || !one_scale(site, 1) {
        return through_float(&Op::Pool2d(op.clone()), site);
    }
    let (shape, isa) = (geometry(op, site)?, site.env.isa);
    let limits = activation_limits(op.activation, site.output()?.affine_i8()?);
    let run = match op.kind {
        PoolKind::Max => kernels::max_pool,
        PoolKind::Average { .. } => kernels::average_pool,
    };
    Ok(Lowered::on_integers(move |ctx| {
        run(isa, &shape, ctx.input(0), limits, ctx.output(0));
        Ok(())
    }))
}

pub(super) fn reduce(op: &Reduce, site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    match op.kind {
        ReduceKind::Mean => mean(op, x, out, site),
        ReduceKind::Max | ReduceKind::Min if one_scale(site, 1) => {
            let offsets = Offsets::new(&x.dims, &op.axes);
            let largest = op.kind == ReduceKind::Max;
            Ok(Lowered::on_integers(move |ctx| {
                let x = ctx.input::<i8>(0);
                for (y, &from) in ctx.output::<i8>(0).iter_mut().zip(&offsets.kept) {
                    let elements = offsets.inner.iter().map(|at| x[from + at]);
                    *y = if largest { elements.max() } else { elements.min() }.unwrap_or(0);
                }
                Ok(())
            }))
        }
        _ => through_float(&Op::Reduce(op.clone()), site),
    }
}

fn mean(op: &Reduce, x: &Operand, out: &Operand, site: &Site<'_>) -> Lowering {
    if x.dims.is_empty() {
        return through_float(&Op::Reduce(op.clone()), site);
    }
    let (rounding, isa) = (site.env.rounding, site.env.isa);
    let mean = Mean::new(rounding, &x.dims, &op.axes, x.affine_i8()?, out.affine_i8()?);
    let scratch = mean.out_len() * size_of::<i32>();
    let kernel = Lowered::on_integers(move |ctx| {
        let x = ctx.input(0);
        let (out, scratch) = ctx.output_and_scratch();
        mean.run(isa, x, out, cast_mut(scratch));
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

pub(super) fn concat(op: &Concat, site: &Site<'_>) -> Lowering {
    let runs = concat_runs(op.axis, site)?;
    let total: usize = runs.iter().sum();
    let out = site.output()?.affine_i8()?;
    let (low, high) = activation_limits(op.activation, out);
    let table = |o: &Option<Operand>| -> Result<Lut256, String> {
        let input = o.as_ref().ok_or("an input is missing")?.affine_i8()?;
        let plain = Lut256::requantize(site.env.rounding, input, out);
        Ok(Lut256::new(|q| if input == out { q } else { plain.get(q) }.clamp(low, high)))
    };
    let tables = site.inputs.iter().map(table).collect::<Result<Vec<_>, _>>()?;
    let isa = site.env.isa;
    Ok(Lowered::on_integers(move |ctx| {
        let mut first = 0;
        for (i, (&run, table)) in runs.iter().zip(&tables).enumerate().filter(|(_, (run, _))| **run > 0) {
            let x = ctx.input::<i8>(i);
            for (x, out) in x.chunks_exact(run).zip(ctx.output::<i8>(0).chunks_exact_mut(total)) {
                table.apply(isa, x, &mut out[first..first + run]);
            }
            first += run;
        }
        Ok(())
    }))
}
