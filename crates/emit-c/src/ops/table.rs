//! Functions of one 8-bit value: tables of 256, or less where less will do.

use fewbits_engine::{Rounding, evaluate_quantized_node};
use fewbits_graph::{DType, Tensor};

use crate::code::Code;
use crate::kernel::{Arg, Data, Kernel, Lowered, Lowering};
use crate::site::{Edge, Site, left_float};

/// What the node makes of every 8-bit value, indexed by its bits: the engine's result in TFLite's
/// arithmetic.
fn tabulated(site: &Site<'_>) -> Result<Vec<i8>, String> {
    let (x, out) = (site.input(0)?, site.output()?);
    let bits = 0..=255u8;
    let all = match x.dtype {
        DType::U8 => Tensor::new(vec![256], bits.collect()),
        _ => Tensor::new(vec![256], bits.map(u8::cast_signed).collect()),
    };
    let (inputs, declared) = ([Some((&all, x.quant.as_ref()))], [(out.dtype, out.quant.clone())]);
    let results = evaluate_quantized_node(&site.node.op, &inputs, &declared, Rounding::Fixed);
    let results = results.map_err(|e| e.to_string())?;
    let table = results.first().ok_or("the function has no values")?;
    Ok(table.bytes().iter().map(|bits| bits.cast_signed()).collect())
}

pub(crate) fn unary(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    if x.dtype.is_float() || out.dtype.is_float() {
        return Err(left_float(DType::F32));
    }
    // Both must be int8 activations.
    x.affine().and(out.affine())?;
    Ok(by_table(site, tabulated(site)?))
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
    let table = tabulated(site)?;
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
