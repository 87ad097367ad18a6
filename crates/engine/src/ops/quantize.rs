//! Where the domain of an edge changes, and ONNX's integer operators.

use fewbits_graph::ops::{ConvInteger, FakeQuantize};
use fewbits_graph::{DType, Quantization};
use fewbits_kernels::float::fake_quantize::Grid;
use fewbits_kernels::int8::{FixedMultiplier, PackedConv};

use super::conv::geometry;
use super::linear::Product;
use super::numeric::{Whole, by_integer};
use crate::Rounding;
use crate::context::{RunContext, carve, carved};
use crate::convert::Converter;
use crate::site::{Lowered, Lowering, Operand, Site};
use crate::view::cast;

/// Float to integer, or between any two real forms by way of `f32`.
pub(super) fn quantize(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let write = Converter::new(out, site.env)?;
    if x.dtype == DType::F32 && x.quant.is_none() {
        return Ok(Lowered::new(move |ctx| {
            write.write(ctx.input(0), ctx.outputs.get_mut(0));
            Ok(())
        }));
    }
    let (read, count) = (Converter::new(x, site.env)?, x.elements());
    let kernel = Lowered::new(move |ctx| {
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let floats = carve::<f32>(&mut scratch, count);
        read.read(ctx.inputs.get(0), floats);
        write.write(floats, ctx.outputs.get_mut(0));
        Ok(())
    });
    Ok(kernel.scratch(carved(count * size_of::<f32>())))
}

/// Integer to float; also half to float.
pub(super) fn dequantize(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    if out.dtype != DType::F32 || out.quant.is_some() {
        return quantize(site);
    }
    let read = Converter::new(x, site.env)?;
    Ok(Lowered::new(move |ctx| {
        let bytes = *ctx.inputs.get(0);
        read.read(bytes, ctx.output(0));
        Ok(())
    }))
}

/// Quantization and back, in float.
pub(super) fn fake_quantize(op: &FakeQuantize, site: &Site<'_>) -> Lowering {
    for i in [1, 2] {
        if site.input(i)?.elements() != 1 {
            return Err(format!("input {i} must hold one number"));
        }
    }
    let (low, high) = (op.low as f32, op.high as f32);
    Ok(Lowered::new(move |ctx| {
        let (scale, zero_point) = (ctx.input::<f32>(1)[0], ctx.input::<f32>(2)[0]);
        let grid = Grid { scale, zero_point: zero_point.round_ties_even(), low, high };
        grid.apply(ctx.input(0), ctx.output(0));
        Ok(())
    }))
}

/// A change of scale, zero point or type between per-tensor quantized integers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rescale {
    from_zero: i32,
    to_zero: i32,
    ratio: f32,
    fixed: FixedMultiplier,
    rounding: Rounding,
}

impl Rescale {
    pub(super) fn new(from: &Operand, to: &Operand, rounding: Rounding) -> Result<Self, String> {
        let ((from_scale, from_zero), (to_scale, to_zero)) = (from.affine()?, to.affine()?);
        let ratio = f64::from(from_scale) / f64::from(to_scale);
        Ok(Rescale { from_zero, to_zero, ratio: ratio as f32, fixed: FixedMultiplier::new(ratio), rounding })
    }

    /// `q` in the new parameters, not yet saturated to the type.
    pub(super) fn apply(&self, q: i64) -> i64 {
        let difference = q - i64::from(self.from_zero);
        let scaled = match self.rounding {
            Rounding::Float => (difference as f32 * self.ratio).round_ties_even() as i64,
            Rounding::Fixed => {
                // Differences beyond i32 come from i32 edges alone; TFLite has none of those.
                let clamped = difference.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                i64::from(self.fixed.apply(clamped as i32))
            }
        };
        scaled + i64::from(self.to_zero)
    }
}

/// Integer to integer of other parameters or type.
pub(super) fn requantize(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let per_tensor = |q: &Option<Quantization>| q.as_ref().is_some_and(|q| q.as_per_tensor().is_some());
    let integers = |o: &Operand| matches!(o.dtype, DType::I8 | DType::U8 | DType::I16 | DType::I32);
    if !(per_tensor(&x.quant) && per_tensor(&out.quant) && integers(x) && integers(out)) {
        return quantize(site);
    }
    let rescale = Rescale::new(x, out, site.env.rounding)?;
    let (low, high) = out.dtype.integer_range().ok_or("the output is no integer")?;
    let (low, high) = (i64::from(low), i64::from(high));
    by_integer!(x.dtype, A => by_integer!(out.dtype, B => {
        // 8-bit inputs have few values.
        let table: Option<Vec<B>> = (size_of::<A>() == 1).then(|| {
            (0..256).map(|bits| B::narrow(rescale.apply(A::narrow(bits).wide()).clamp(low, high))).collect()
        });
        Ok(Lowered::on_integers(move |ctx| {
            let x = ctx.input::<A>(0);
            let pairs = ctx.output::<B>(0).iter_mut().zip(x);
            match &table {
                Some(table) => pairs.for_each(|(y, x)| *y = table[(x.wide() & 255) as usize]),
                None => pairs.for_each(|(y, x)| *y = B::narrow(rescale.apply(x.wide()).clamp(low, high))),
            }
            Ok(())
        }))
    }))
}

/// ONNX `DynamicQuantizeLinear` (opset 11).
pub(super) fn dynamic_quantize(site: &Site<'_>) -> Lowering {
    if site.outputs.len() != 3 {
        return Err("expected three outputs: values, scale and zero point".into());
    }
    Ok(Lowered::new(|ctx| {
        let x = ctx.input::<f32>(0);
        // The range contains 0; NaN is skipped.
        let (low, high) = x.iter().fold((0f32, 0f32), |(low, high), &v| (low.min(v), high.max(v)));
        let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
        let zero_point = (-low / scale).round_ties_even().clamp(0.0, 255.0);
        for (y, &x) in ctx.output::<u8>(0).iter_mut().zip(x) {
            *y = ((x / scale).round_ties_even() + zero_point) as u8;
        }
        ctx.output::<f32>(1)[0] = scale;
        ctx.output::<u8>(2)[0] = zero_point as u8;
        Ok(())
    }))
}

/// An 8-bit operand of either sign as `int8`: unsigned values move down by 128.
fn signed<'a>(bytes: &'a [u8], dtype: DType, scratch: &mut &'a mut [u8]) -> &'a [i8] {
    if dtype == DType::I8 {
        return cast(bytes);
    }
    let out = carve::<i8>(scratch, bytes.len());
    out.iter_mut().zip(bytes).for_each(|(y, &x)| *y = (x ^ 0x80).cast_signed());
    out
}

/// The zero point `i` of an operand as [`signed`] leaves it; 0 of its own type if absent.
fn signed_zero_point(ctx: &RunContext<'_>, input: usize, i: usize, dtype: DType) -> i32 {
    let zeros = ctx.inputs.get(input);
    let bits = zeros.get(i).or(zeros.first()).copied().unwrap_or(0);
    match dtype {
        DType::I8 => i32::from(bits.cast_signed()),
        _ => i32::from(bits) - 128,
    }
}

pub(super) fn matmul_integer(site: &Site<'_>) -> Lowering {
    let (a, b) = (site.input(0)?, site.input(1)?);
    let Product { batch, m, n, k } = Product::new(a, b, false, false)?;
    let (offsets_a, offsets_b) = batch.offsets();
    let columns = site.optional(3).map_or(1, Operand::elements);
    if site.optional(2).is_some_and(|z| z.elements() != 1) || (columns != 1 && columns != n) {
        return Err("zero points must be one for `a`, and one or one a column for `b`".into());
    }
    let (a_type, b_type) = (a.dtype, b.dtype);
    let product = fewbits_kernels::int8::MatMul {
        isa: site.env.isa,
        batch: 1,
        m,
        k,
        n,
        transpose_b: false,
        broadcast_a: false,
        broadcast_b: false,
    };
    let unsigned = |o: &Operand| if o.dtype == DType::I8 { 0 } else { carved(o.elements()) };
    let scratch = unsigned(a) + unsigned(b) + product.scratch_len();
    let inputs = site.inputs.len();
    let kernel = Lowered::on_integers(move |ctx| {
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let a = signed(ctx.inputs.get(0), a_type, &mut scratch);
        let b = signed(ctx.inputs.get(1), b_type, &mut scratch);
        let zero = |ctx: &RunContext<'_>, at: usize, i: usize, dtype: DType| match at < inputs {
            true => signed_zero_point(ctx, at, i, dtype),
            false => {
                if dtype == DType::I8 {
                    0
                } else {
                    -128
                }
            }
        };
        let a_zero = zero(ctx, 2, 0, a_type);
        for (i, (&at_a, &at_b)) in offsets_a.iter().zip(&offsets_b).enumerate() {
            let a = &a[at_a * m * k..][..m * k];
            let b = &b[at_b * k * n..][..k * n];
            let operands = fewbits_kernels::int8::Operands { a, a_zero_point: a_zero as i8, b, b_zero_point: 0 };
            product.run_i32(operands, &mut ctx.output::<i32>(0)[i * m * n..][..m * n], scratch);
            // Σ (a − za)(b − zb) = Σ (a − za) b − zb Σ (a − za)
            for (r, a) in a.chunks_exact(k.max(1)).enumerate() {
                let sum: i32 = a.iter().map(|&v| i32::from(v) - a_zero).sum();
                for c in 0..n {
                    let b_zero = zero(ctx, 3, c, b_type);
                    let y = &mut ctx.output::<i32>(0)[(i * m + r) * n + c];
                    *y = y.wrapping_sub(b_zero.wrapping_mul(sum));
                }
            }
        }
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}

pub(super) fn conv_integer(op: &ConvInteger, site: &Site<'_>) -> Lowering {
    let (x, w) = (site.input(0)?, site.input(1)?);
    let shape = geometry(site, &(&op.conv).into())?;
    let zeros = if site.optional(3).is_some() { site.integers(3)? } else { vec![0] };
    if zeros.len() != 1 && zeros.len() != shape.out_c {
        return Err("the weights' zero points must be one, or one for each output channel".into());
    }
    let filter = (w.elements() / shape.out_c.max(1)).max(1);
    let weights = site.integers(1)?;
    let weights: Result<Vec<i8>, _> =
        weights.iter().enumerate().map(|(i, q)| i8::try_from(q - zeros[(i / filter) % zeros.len()])).collect();
    let weights = weights.map_err(|_| "weights less their zero point exceed int8")?;
    let packed = PackedConv::new(site.env.isa, &shape, &weights, None);
    let (dtype, has_zero) = (x.dtype, site.optional(2).is_some());
    let unsigned = if dtype == DType::I8 { 0 } else { carved(x.elements()) };
    let scratch = unsigned + packed.scratch_len(shape.batch);
    let kernel = Lowered::on_integers(move |ctx| {
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let x = signed(ctx.inputs.get(0), dtype, &mut scratch);
        let zero = match (has_zero, dtype) {
            (true, _) => signed_zero_point(ctx, 2, 0, dtype),
            (false, DType::I8) => 0,
            (false, _) => -128,
        };
        packed.run_i32(x, zero as i8, ctx.output(0), scratch);
        Ok(())
    });
    Ok(kernel.scratch(scratch))
}
