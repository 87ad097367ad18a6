//! Elements picked by positions that are known while C is written: gather and resize to nearest.

use fewbits_engine::evaluate_node;
use fewbits_graph::ops::{Gather, Resize, ResizeMode};
use fewbits_graph::{Op, Tensor};

use crate::code::{Code, sum, times};
use crate::kernel::{Arg, Data, Helper, Kernel, Lowering};
use crate::site::Site;

/// Positions as the smallest type that holds them.
fn positions(values: Vec<usize>) -> Result<(Data, &'static str), String> {
    if let Ok(small) = values.iter().map(|&v| u16::try_from(v)).collect::<Result<Vec<_>, _>>() {
        return Ok((Data::U16(small), "uint16_t"));
    }
    let wide = values.iter().map(|&v| u32::try_from(v)).collect::<Result<Vec<_>, _>>();
    Ok((Data::U32(wide.map_err(|_| "a position beyond 32 bits")?), "uint32_t"))
}

pub(crate) fn gather(op: &Gather, site: &Site<'_>) -> Lowering {
    site.bytes_only(1)?;
    let dims = &site.input(0)?.dims;
    let size = dims[op.axis];
    let outer: usize = dims[..op.axis].iter().product();
    let inner: usize = dims[op.axis + 1..].iter().product();
    let wrap = |i: i64| usize::try_from(if i < 0 { i + size as i64 } else { i }).ok().filter(|&i| i < size);
    let indices: Option<Vec<usize>> = site.integers(1)?.into_iter().map(wrap).collect();
    let (data, _) = positions(indices.ok_or("an index outside of the axis")?)?;
    let count = site.integers(1)?.len();
    let mut code = Code::new();
    code.count("i", outer);
    code.count("j", count);
    let at = format!("({} + (int32_t)indices[j]) * {inner}", times("i", size));
    code.line(format_args!("model_copy(y, x + {at}, {inner});"));
    code.line(format_args!("y += {inner};"));
    code.close_all(2);
    let args = vec![Arg::Input(0, "x"), Arg::Constant("indices", data), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).helpers(&[Helper::Copy]).into())
}

/// Nearest neighbours: the row and the column that each output position copies.
pub(crate) fn resize(op: &Resize, site: &Site<'_>) -> Lowering {
    site.bytes_only(1)?;
    if !matches!(op.mode, ResizeMode::Nearest(_)) {
        return super::bilinear::resize(op, site);
    }
    let [batch, h, w, c] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, _] = site.output()?.nhwc()?;
    let (rows, _) = positions(sources(op, 0, h, out_h)?)?;
    let (columns, _) = positions(sources(op, 1, w, out_w)?)?;
    let mut code = Code::new();
    if batch > 1 {
        code.count("image", batch);
    }
    code.count("oy", out_h);
    code.count("ox", out_w);
    let image = if batch > 1 { times("image", h) } else { "0".to_owned() };
    let row = sum(&[image, "(int32_t)rows[oy]".to_owned()]);
    code.line(format_args!("model_copy(y, x + (({row}) * {w} + (int32_t)columns[ox]) * {c}, {c});"));
    code.line(format_args!("y += {c};"));
    code.close_all(2 + usize::from(batch > 1));
    let args =
        vec![Arg::Input(0, "x"), Arg::Constant("rows", rows), Arg::Constant("columns", columns), Arg::Output(0, "y")];
    Ok(Kernel::new(args, code.finish()).helpers(&[Helper::Copy]).into())
}

/// The input position of each output position of one axis: what the engine makes of a ramp.
fn sources(op: &Resize, axis: usize, input: usize, output: usize) -> Result<Vec<usize>, String> {
    // Exact in f32 up to 2^24 positions.
    let ramp: Vec<f32> = (0..input).map(|i| i as f32).collect();
    let (shape, sizes) = if axis == 0 { ([1, input, 1, 1], [output, 1]) } else { ([1, 1, input, 1], [1, output]) };
    let scales = op.scales.map(|s| if axis == 0 { [s[0], 1.0] } else { [1.0, s[1]] });
    let sizes = Tensor::from_ints(&sizes.map(|s| s as i64));
    let one = Op::Resize(Resize { scales, ..op.clone() });
    let declared = [(fewbits_graph::DType::F32, None)];
    let out = evaluate_node(&one, &[Some(&Tensor::new(shape.to_vec(), ramp)), Some(&sizes)], &declared);
    let out = out.map_err(|e| e.to_string())?;
    let values = out.first().map(Tensor::to_f32).ok_or("the resize has no output")?;
    Ok(values.into_iter().map(|v| v as usize).collect())
}
