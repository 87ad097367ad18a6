//! Between real numbers and the types that stand for them.

use fewbits_graph::{DType, Op, Quantization, Tensor};
use fewbits_kernels::int8::{dequantize, quantize};
use fewbits_kernels::isa::Isa;
use half::f16;

use crate::Rounding;
use crate::context::{RunContext, carve, carved};
use crate::lower::lower;
use crate::site::{Environment, Lowered, Lowering, Operand, Site};
use crate::view::{cast, cast_mut};

/// The scales of an edge whose elements lie in `dims`.
#[derive(Clone, Debug)]
struct Scales {
    quant: Quantization,
    dims: Vec<usize>,
}

impl Scales {
    /// Scale and zero point, if all elements share them.
    fn one(&self) -> Option<(f32, i32)> {
        match (self.quant.scales.as_slice(), self.quant.zero_points.as_slice()) {
            (&[scale], &[zero_point]) => Some((scale, zero_point)),
            _ => None,
        }
    }

    /// Calls `f(element, scale, zero point)` for all of `count` elements.
    fn each(&self, count: usize, mut f: impl FnMut(usize, f32, i32)) {
        if let Some((scale, zero_point)) = self.one() {
            return (0..count).for_each(|i| f(i, scale, zero_point));
        }
        let parameter = self.quant.parameter_of(&self.dims);
        for i in 0..count {
            let at = parameter(i);
            f(i, self.quant.scales[at], self.quant.zero_points[at]);
        }
    }
}

/// A conversion between an edge's type and `f32`.
#[derive(Clone, Debug)]
pub(crate) struct Converter {
    dtype: DType,
    scales: Option<Scales>,
    rounding: Rounding,
    isa: Isa,
}

impl Converter {
    /// For an edge that is a float or quantized.
    pub(crate) fn new(edge: &Operand, env: &Environment) -> Result<Self, String> {
        Self::with(edge, env.rounding, env.isa)
    }

    fn with(edge: &Operand, rounding: Rounding, isa: Isa) -> Result<Self, String> {
        if edge.quant.is_none() && !edge.dtype.is_float() {
            return Err(format!("{} elements without a scale are not real numbers", edge.dtype));
        }
        let scales = edge.quant.as_ref().map(|q| Scales { quant: q.clone(), dims: edge.dims.clone() });
        Ok(Converter { dtype: edge.dtype, scales, rounding, isa })
    }

    /// Elements to numbers.
    pub(crate) fn read(&self, bytes: &[u8], out: &mut [f32]) {
        let count = out.len();
        macro_rules! affine {
            ($t:ty) => {
                match (&self.scales, self.scales.as_ref().and_then(Scales::one)) {
                    (_, Some((scale, zero_point))) if size_of::<$t>() < 4 => {
                        // Zero points are in the range of their type: the graph was validated.
                        dequantize(self.isa, cast::<$t>(bytes), scale, zero_point as $t, out);
                    }
                    (Some(s), _) => {
                        let x = cast::<$t>(bytes);
                        // In f64 the difference of any two i32 is exact.
                        s.each(count, |i, scale, zero| {
                            out[i] = ((f64::from(x[i]) - f64::from(zero)) * f64::from(scale)) as f32;
                        });
                    }
                    (None, _) => out.iter_mut().zip(cast::<$t>(bytes)).for_each(|(y, &x)| *y = x as f32),
                }
            };
        }
        match self.dtype {
            DType::F32 => out.copy_from_slice(cast(bytes)),
            DType::F16 => fewbits_kernels::float::half::f16_to_f32(cast(bytes), out),
            DType::F64 => out.iter_mut().zip(cast::<f64>(bytes)).for_each(|(y, &x)| *y = x as f32),
            DType::I8 => affine!(i8),
            DType::U8 | DType::Bool => affine!(u8),
            DType::I16 => affine!(i16),
            DType::I32 => affine!(i32),
            DType::I64 => out.iter_mut().zip(cast::<i64>(bytes)).for_each(|(y, &x)| *y = x as f32),
            DType::I4 => {
                let x = |i: usize| (bytes[i / 2] << (4 * (1 - i % 2))).cast_signed() >> 4;
                if let Some(s) = &self.scales {
                    s.each(count, |i, scale, zero| out[i] = (i32::from(x(i)) - zero) as f32 * scale);
                }
            }
        }
    }

    /// Numbers to elements: `saturate(round(x ÷ scale) + zero_point)`, halves to even, or away from
    /// zero with [`Rounding::Fixed`] (TFLite's `QUANTIZE`).
    pub(crate) fn write(&self, x: &[f32], bytes: &mut [u8]) {
        let fixed = self.rounding == Rounding::Fixed;
        let count = x.len();
        macro_rules! affine {
            ($t:ty) => {
                if let Some(s) = &self.scales {
                    let out = cast_mut::<$t>(bytes);
                    s.each(count, |i, scale, zero| {
                        let q = x[i] / scale;
                        let q = if fixed { q.round() } else { q.round_ties_even() };
                        // Integer bounds below 2^53 are exact in f64; casts saturate; NaN is not specified.
                        out[i] = (f64::from(q) + f64::from(zero)) as $t;
                    });
                }
            };
        }
        macro_rules! one_scale {
            ($t:ty) => {
                match self.scales.as_ref().and_then(Scales::one) {
                    Some((scale, zero_point)) if !fixed => {
                        quantize(self.isa, x, scale, zero_point as $t, cast_mut::<$t>(bytes));
                    }
                    _ => affine!($t),
                }
            };
        }
        match self.dtype {
            DType::F32 => cast_mut(bytes).copy_from_slice(x),
            DType::F16 => {
                cast_mut::<f16>(bytes).iter_mut().zip(x).for_each(|(y, &x)| *y = f16::from_f32(x));
            }
            DType::F64 => cast_mut::<f64>(bytes).iter_mut().zip(x).for_each(|(y, &x)| *y = f64::from(x)),
            DType::I8 => one_scale!(i8),
            DType::U8 | DType::Bool => one_scale!(u8),
            DType::I16 => one_scale!(i16),
            DType::I32 => affine!(i32),
            DType::I64 => affine!(i64),
            // Activations are never 4-bit; routing refuses them.
            DType::I4 => {}
        }
    }
}

/// A constant as `f32`.
pub(crate) fn constant_to_f32(edge: &Operand, data: &Tensor) -> Result<Tensor, String> {
    let mut out = vec![0.0f32; edge.elements()];
    Converter::with(edge, Rounding::Float, Isa::Scalar)?.read(data.bytes(), &mut out);
    Ok(Tensor::new(edge.dims.clone(), out))
}

/// Whether the edge stands for real numbers in another form than `f32`.
fn is_converted(edge: &Operand) -> bool {
    (edge.dtype.is_float() && edge.dtype != DType::F32) || edge.quant.is_some()
}

/// The same edge as `f32`.
fn as_float(edge: &Operand) -> Result<Operand, String> {
    let data = edge.data.as_ref().map(|data| constant_to_f32(edge, data)).transpose()?;
    Ok(Operand { dtype: DType::F32, dims: edge.dims.clone(), quant: None, data })
}

/// Edges converted at run time, by position, with their numbers of elements.
type Conversions = Vec<Option<(Converter, usize)>>;

/// Lowers a node in `f32`: constants are converted now, other edges around each run.
pub(crate) fn through_float(op: &Op, site: &Site<'_>) -> Lowering {
    let conversion = |edge: &Operand| -> Result<Option<(Converter, usize)>, String> {
        if edge.data.is_some() || !is_converted(edge) {
            return Ok(None);
        }
        if edge.dtype == DType::I4 {
            return Err("int4 activations are not supported".into());
        }
        Ok(Some((Converter::new(edge, site.env)?, edge.elements())))
    };
    let float = |edge: &Operand| if is_converted(edge) { as_float(edge) } else { Ok(edge.clone()) };
    let inputs: Vec<Option<Operand>> =
        site.inputs.iter().map(|e| e.as_ref().map(float).transpose()).collect::<Result<_, _>>()?;
    let outputs = site.outputs.iter().map(float).collect::<Result<_, _>>()?;
    let replaced = inputs.iter().zip(&site.inputs).enumerate().filter_map(|(i, (new, old))| {
        let changed = old.as_ref().is_some_and(is_converted);
        new.as_ref().filter(|_| changed).and_then(|n| Some((i, n.data.clone()?)))
    });
    let replaced: Vec<(usize, Tensor)> = replaced.collect();
    let mut inner = lower(op, &Site { node: site.node, inputs, outputs, env: site.env })?;
    inner.replaced.extend(replaced);
    let of_input = |e: &Option<Operand>| e.as_ref().map_or(Ok(None), conversion);
    let reads: Conversions = site.inputs.iter().map(of_input).collect::<Result<_, _>>()?;
    let writes: Conversions = site.outputs.iter().map(conversion).collect::<Result<_, _>>()?;
    if reads.iter().chain(&writes).all(Option::is_none) {
        return Ok(inner);
    }
    Ok(converted(inner, reads, writes))
}

/// Wraps a float kernel into conversions.
fn converted(inner: Lowered, reads: Conversions, writes: Conversions) -> Lowered {
    let buffers = reads.iter().chain(&writes).flatten().map(|(_, n)| carved(n * size_of::<f32>()));
    let scratch = buffers.sum::<usize>() + inner.scratch;
    let kernel = inner.kernel;
    let mut outer = Lowered::new(move |ctx| {
        let mut scratch = std::mem::take(&mut ctx.scratch);
        let mut own = RunContext::default();
        for (i, read) in reads.iter().enumerate() {
            own.inputs.push(match read {
                Some((converter, count)) => {
                    let buffer = carve::<f32>(&mut scratch, *count);
                    converter.read(ctx.inputs.get(i), buffer);
                    bytemuck::cast_slice(buffer)
                }
                None => ctx.inputs.get(i),
            });
        }
        for (i, write) in writes.iter().enumerate() {
            own.outputs.push(match write {
                Some((_, count)) => bytemuck::cast_slice_mut(carve::<f32>(&mut scratch, *count)),
                None => std::mem::take(ctx.outputs.get_mut(i)),
            });
        }
        own.scratch = scratch;
        kernel(&mut own)?;
        for (i, write) in writes.iter().enumerate() {
            if let Some((converter, _)) = write {
                converter.write(cast(own.outputs.get(i)), ctx.outputs.get_mut(i));
            }
        }
        Ok(())
    });
    outer.scratch = scratch;
    outer.replaced = inner.replaced;
    outer
}
