//! Fully-connected layers and matrix products.

use fewbits_graph::ops::{FullyConnected, MatMul};
use fewbits_graph::{Activation, DType, Granularity};
use fewbits_kernels::int8::FixedMultiplier;

use super::layer::{Weights, row_sum};
use crate::Arithmetic;
use crate::code::{Code, less, times};
use crate::kernel::{Arg, Data, Helper, Kernel, Layer, Lowering};
use crate::site::{Edge, Site, left_float};

pub(crate) fn fully_connected(op: &FullyConnected, site: &Site<'_>) -> Lowering {
    let &[n, k] = site.input(1)?.dims.as_slice() else { return Err("the weights need two dimensions".into()) };
    let weights = Weights::new(site, 0, n)?;
    let once = site.options.arithmetic == Arithmetic::LiteRt;
    // LiteRT multiplies the scales of such a layer in single precision, TFLM in double.
    let rounded_unit = weights.one_scale() && once;
    let filters = (k, weights.values.clone());
    rows(site, weights.layer(site, op.activation, 0..n, filters, row_sum(k), rounded_unit)?, once)
}

/// Rows of input 0 through the filters of `layer`, rounded once or twice.
fn rows(site: &Site<'_>, layer: Layer, once: bool) -> Lowering {
    let (k, n) = (layer.k, layer.n);
    let rows = site.output()?.elements() / n.max(1);
    let (function, helper) =
        if once { ("model_linear", Helper::Linear) } else { ("model_dense_one", Helper::DenseOne) };
    let mut code = Code::new();
    if rows == 1 {
        code.line(format_args!("{function}(x, layer, y);"));
    } else {
        code.count("row", rows);
        code.line(format_args!("{function}(x + {}, layer, y + {});", times("row", k), times("row", n)));
        code.close();
    }
    let args = vec![Arg::Input(0, "x"), Arg::Constant("layer", Data::Layers(vec![layer])), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).helpers(&[helper]).into())
}

/// Whether input 1 is a constant symmetric matrix, one for all rows.
fn is_constant_matrix(b: &Edge) -> bool {
    let symmetric = b.quant.as_ref().is_some_and(|q| q.is_symmetric());
    b.data.is_some() && b.dims.len() == 2 && symmetric && matches!(b.dtype, DType::I8 | DType::I4)
}

pub(crate) fn matmul(op: &MatMul, site: &Site<'_>) -> Lowering {
    let (a, b) = (site.input(0)?, site.input(1)?);
    if let Some(float) = [a, b].into_iter().find(|e| !matches!(e.dtype, DType::I8 | DType::I4)) {
        return Err(left_float(float.dtype));
    }
    if op.transpose_a {
        return Err("the first matrix is transposed".into());
    }
    if is_constant_matrix(b) {
        return by_constant(op, site);
    }
    if b.quant.as_ref().is_some_and(|q| q.granularity != Granularity::PerTensor) {
        return Err("the second matrix has more than one scale".into());
    }
    of_activations(op, site)
}

fn by_constant(op: &MatMul, site: &Site<'_>) -> Lowering {
    let dims = &site.input(1)?.dims;
    let (k, n) = if op.transpose_b { (dims[1], dims[0]) } else { (dims[0], dims[1]) };
    let weights = Weights::new(site, usize::from(!op.transpose_b), n)?;
    let filters = match op.transpose_b {
        true => weights.values.clone(),
        false => (0..n).flat_map(|c| weights.values.iter().skip(c).step_by(n).copied()).collect(),
    };
    // LiteRT's BATCH_MATMUL rounds twice whatever its operands are, fully-connected layers once.
    let rounded_unit = weights.one_scale();
    rows(site, weights.layer(site, Activation::None, 0..n, (k, filters), row_sum(k), rounded_unit)?, false)
}

/// Both matrices are computed: batches of equal count, or one second matrix for all.
fn of_activations(op: &MatMul, site: &Site<'_>) -> Lowering {
    let (a, b, out) = (site.input(0)?, site.input(1)?, site.output()?);
    if a.dims.len() < 2 || b.dims.len() < 2 {
        return Err("a product with a vector".into());
    }
    let (a_batch, b_batch) = (&a.dims[..a.dims.len() - 2], &b.dims[..b.dims.len() - 2]);
    let count = |dims: &[usize]| dims.iter().product::<usize>();
    if count(b_batch) != 1 && a_batch != b_batch {
        return Err(format!("batches {a_batch:?} and {b_batch:?} differ"));
    }
    let (m, k) = (a.dims[a.dims.len() - 2], a.dims[a.dims.len() - 1]);
    let n = *out.dims.last().ok_or("the output has no dimension")?;
    let (left, right, to) = (a.affine()?, b.affine()?, out.affine()?);
    // Single precision, as TFLite prepares matrices.
    let unit = f64::from(left.scale as f32 * right.scale as f32);
    let fixed = FixedMultiplier::new(unit / to.scale);
    let (row, column) = if op.transpose_b { (1, k) } else { (n, 1) };
    let mut code = Code::new();
    let batches = count(a_batch);
    let step = if count(b_batch) == 1 { 0 } else { k * n };
    code.count("batch", batches);
    code.count("row", m);
    code.count("column", n);
    code.line(format_args!("const int8_t *p = x0 + (batch * {m} + row) * {k};"));
    code.line(format_args!("const int8_t *q = x1 + {} + {};", times("batch", step), times("column", column)));
    code.line("int32_t total = 0;");
    code.count("i", k);
    let (p, q) =
        (less("p[i]", left.zero_point.into()), less(&format!("q[{}]", times("i", row)), right.zero_point.into()));
    code.line(format_args!("total += ({p}) * ({q});"));
    code.close();
    code.line(format_args!(
        "*y++ = model_narrow(model_scale_any(total, multiplier, shift) + {}, -128, 127);",
        to.zero_point
    ));
    code.close_all(3);
    let args = vec![
        Arg::Input(0, "x0"),
        Arg::Input(1, "x1"),
        Arg::Number("multiplier", fixed.multiplier),
        Arg::Number("shift", fixed.shift),
        Arg::Output(0, "y"),
    ];
    Ok(Kernel::new(args, code.finish()).helpers(&[Helper::ScaleAny, Helper::Narrow]).into())
}
