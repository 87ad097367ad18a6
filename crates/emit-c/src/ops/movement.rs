//! Operators that move bytes: strided copies with constant bounds.

use fewbits_engine::{Rounding, activation_limits};
use fewbits_graph::ops::{Concat, DepthToSpace, Pad, PadMode, SpaceToDepth, Split, Transpose, slice_indices};
use fewbits_graph::{Activation, DType};
use fewbits_kernels::int8::Lut256;

use crate::code::{Code, sum, times};
use crate::kernel::{Arg, Data, Helper, Kernel, Lowered, Lowering};
use crate::site::Site;

/// One axis of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    extent: usize,
    from: i64,
    to: i64,
}

/// Row-major strides.
fn strides(dims: &[usize]) -> Vec<i64> {
    let mut step = 1;
    let mut out = Vec::with_capacity(dims.len());
    for &dim in dims.iter().rev() {
        out.push(step);
        step *= dim as i64;
    }
    out.reverse();
    out
}

/// A copy of bytes between two arrays, axis by axis.
struct Copy {
    axes: Vec<Axis>,
    from: i64,
    to: i64,
}

impl Copy {
    /// Axes of extent 1 dropped, neighbours that go on where the inner one ends merged.
    fn new(axes: Vec<Axis>, from: i64, to: i64) -> Self {
        let mut merged: Vec<Axis> = Vec::new();
        for axis in axes.into_iter().filter(|a| a.extent != 1) {
            let inner = axis.extent as i64;
            match merged.last_mut() {
                Some(last) if last.from == axis.from * inner && last.to == axis.to * inner => {
                    *last = Axis { extent: last.extent * axis.extent, ..axis };
                }
                _ => merged.push(axis),
            }
        }
        Copy { axes: merged, from, to }
    }

    /// Writes the loops; runs of consecutive bytes go to `model_copy`.
    fn write(&self, code: &mut Code, from: &str, to: &str) -> Vec<Helper> {
        let mut axes = self.axes.as_slice();
        let run = match axes.split_last() {
            Some((last, outer)) if last.from == 1 && last.to == 1 => {
                axes = outer;
                last.extent
            }
            _ => 1,
        };
        let mut source = vec![self.from.to_string()];
        let mut target = vec![self.to.to_string()];
        for (i, axis) in axes.iter().enumerate() {
            let name = format!("i{i}");
            code.count(&name, axis.extent);
            source.push(times(&name, axis.from));
            target.push(times(&name, axis.to));
        }
        let (source, target) = (sum(&source), sum(&target));
        let mut helpers = Vec::new();
        if run > 1 {
            let at =
                |base: &str, offset: &str| if offset == "0" { base.to_owned() } else { format!("{base} + {offset}") };
            code.line(format_args!("model_copy({}, {}, {run});", at(to, &target), at(from, &source)));
            helpers.push(Helper::Copy);
        } else {
            code.line(format_args!("{to}[{target}] = {from}[{source}];"));
        }
        code.close_all(axes.len());
        helpers
    }
}

/// A kernel that is one copy from input 0 to output 0.
fn copied(site: &Site<'_>, copy: &Copy) -> Lowering {
    site.bytes_only(1)?;
    if site.output()?.elements() == 0 {
        return Err("the output is empty".into());
    }
    let mut code = Code::new();
    let helpers = copy.write(&mut code, "x", "y");
    Ok(Kernel::new(vec![Arg::Input(0, "x"), Arg::Output(0, "y")], code.finish()).helpers(&helpers).into())
}

pub(crate) fn transpose(op: &Transpose, site: &Site<'_>) -> Lowering {
    let dims = &site.input(0)?.dims;
    let (from, to) = (strides(dims), strides(&site.output()?.dims));
    let axes = op.perm.iter().enumerate().map(|(i, &p)| Axis { extent: dims[p], from: from[p], to: to[i] });
    let copy = Copy::new(axes.collect(), 0, 0);
    let in_order = copy.axes.iter().all(|a| a.from == a.to);
    if in_order {
        site.bytes_only(1)?;
        return Ok(Lowered::Alias);
    }
    copied(site, &copy)
}

pub(crate) fn slice(site: &Site<'_>) -> Lowering {
    let dims = &site.input(0)?.dims;
    let rank = dims.len();
    let (starts, ends) = (site.integers(1)?, site.integers(2)?);
    let axes = match site.optional(3) {
        Some(_) => site.integers(3)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = if site.optional(4).is_some() { site.integers(4)? } else { vec![1; starts.len()] };
    let (mut first, mut step) = (vec![0i64; rank], vec![1i64; rank]);
    for (i, &axis) in axes.iter().enumerate() {
        let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).map_err(|_| "a bad axis")?;
        let size = *dims.get(axis).ok_or("a bad axis")?;
        let (at, _) = slice_indices(size, starts[i], ends[i], steps[i]);
        (first[axis], step[axis]) = (at as i64, steps[i]);
    }
    let (from, out) = (strides(dims), &site.output()?.dims);
    let to = strides(out);
    let start: i64 = first.iter().zip(&from).map(|(a, b)| a * b).sum();
    let axes = (0..rank).map(|i| Axis { extent: out[i], from: from[i] * step[i], to: to[i] });
    copied(site, &Copy::new(axes.collect(), start, 0))
}

pub(crate) fn split(op: &Split, site: &Site<'_>) -> Lowering {
    site.bytes_only(1)?;
    let dims = &site.input(0)?.dims;
    let from = strides(dims);
    let mut code = Code::new();
    let (mut args, mut helpers) = (vec![Arg::Input(0, "x")], Vec::new());
    let names = ["y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"];
    let mut start = 0;
    for (i, out) in site.outputs.iter().enumerate() {
        let name = *names.get(i).ok_or("more than 8 parts")?;
        let to = strides(&out.dims);
        let axes = (0..dims.len()).map(|a| Axis { extent: out.dims[a], from: from[a], to: to[a] });
        helpers.extend(Copy::new(axes.collect(), start * from[op.axis], 0).write(&mut code, "x", name));
        start += out.dims[op.axis] as i64;
        args.push(Arg::Output(i, name));
    }
    Ok(Kernel::new(args, code.finish()).helpers(&helpers).into())
}

pub(crate) fn concat(op: &Concat, site: &Site<'_>) -> Lowering {
    let out = site.output()?;
    let plain = op.activation == Activation::None;
    let to = strides(&out.dims);
    let mut code = Code::new();
    let (mut args, mut helpers) = (Vec::new(), Vec::new());
    let mut start = 0;
    for (i, edge) in site.inputs.iter().enumerate() {
        let edge = edge.as_ref().ok_or("an input is missing")?;
        if !matches!(edge.dtype, DType::I8 | DType::U8) {
            return Err(crate::site::left_float(edge.dtype));
        }
        let name = *["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"].get(i).ok_or("more than 8 inputs")?;
        args.push(Arg::Input(i, name));
        let from = strides(&edge.dims);
        let axes = (0..out.dims.len()).map(|a| Axis { extent: edge.dims[a], from: from[a], to: to[a] });
        let copy = Copy::new(axes.collect(), 0, start * to[op.axis]);
        start += edge.dims[op.axis] as i64;
        if edge.quant == out.quant && plain {
            helpers.extend(copy.write(&mut code, name, "y"));
            continue;
        }
        let (own, target) = (edge.affine()?, out.affine()?);
        let (low, high) = activation_limits(op.activation, target);
        let plain = Lut256::requantize(Rounding::Fixed, own, target);
        let convert = |q: i8| if own == target { q } else { plain.get(q) }.clamp(low, high);
        let table: Vec<i8> = (0..=255u8).map(|bits| convert(bits.cast_signed())).collect();
        let table_name = *["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"].get(i).ok_or("more than 8 inputs")?;
        args.push(Arg::Constant(table_name, Data::I8(table)));
        write_mapped(&mut code, &copy, name, table_name);
    }
    args.push(Arg::Output(0, "y"));
    Ok(Kernel::new(args, code.finish()).helpers(&helpers).into())
}

/// A copy through a table.
fn write_mapped(code: &mut Code, copy: &Copy, from: &str, table: &str) {
    let (mut source, mut target) = (vec![copy.from.to_string()], vec![copy.to.to_string()]);
    for (i, axis) in copy.axes.iter().enumerate() {
        let name = format!("i{i}");
        code.count(&name, axis.extent);
        source.push(times(&name, axis.from));
        target.push(times(&name, axis.to));
    }
    code.line(format_args!("y[{}] = {table}[(uint8_t){from}[{}]];", sum(&target), sum(&source)));
    code.close_all(copy.axes.len());
}

pub(crate) fn pad(op: &Pad, site: &Site<'_>) -> Lowering {
    site.bytes_only(1)?;
    let (x, out) = (site.input(0)?, site.output()?);
    if op.mode != PadMode::Constant {
        return Err(format!("padding of mode {:?}", op.mode));
    }
    let fill = match site.optional(2) {
        Some(_) => *site.integers(2)?.first().ok_or("the fill value is empty")?,
        None => i64::from(x.scale_and_zero()?.1),
    };
    let pads = site.integers(1)?;
    let rank = x.dims.len();
    if pads.len() != 2 * rank || pads.iter().any(|&p| p < 0) {
        return Err("padding that crops".into());
    }
    let (from, to) = (strides(&x.dims), strides(&out.dims));
    let start: i64 = pads[..rank].iter().zip(&to).map(|(a, b)| a * b).sum();
    let axes = (0..rank).map(|i| Axis { extent: x.dims[i], from: from[i], to: to[i] });
    let mut code = Code::new();
    code.line(format_args!("model_fill(y, {fill}, {});", out.elements()));
    let mut helpers = Copy::new(axes.collect(), 0, start).write(&mut code, "x", "y");
    helpers.push(Helper::Fill);
    Ok(Kernel::new(vec![Arg::Input(0, "x"), Arg::Output(0, "y")], code.finish()).helpers(&helpers).into())
}

pub(crate) fn space_to_depth(op: &SpaceToDepth, site: &Site<'_>) -> Lowering {
    let ([n, h, w, c], b) = (site.input(0)?.nhwc()?, op.block);
    let deep = blocks([n, h / b, w / b, c], b);
    let axes = deep.into_iter().map(|(extent, flat, block)| Axis { extent, from: flat, to: block });
    copied(site, &Copy::new(axes.collect(), 0, 0))
}

pub(crate) fn depth_to_space(op: &DepthToSpace, site: &Site<'_>) -> Lowering {
    let ([n, h, w, _], b) = (site.input(0)?.nhwc()?, op.block);
    let c = site.output()?.nhwc()?[3];
    let mut axes: Vec<Axis> = Vec::new();
    for (extent, flat, block) in blocks([n, h, w, c], b) {
        axes.push(Axis { extent, from: block, to: flat });
    }
    if op.channel_first {
        // Channels in the order (C, row, column) instead of (row, column, C).
        let b = b as i64;
        let inner = [(2, b), (4, 1), (5, b * b)];
        inner.iter().for_each(|&(axis, stride)| axes[axis].from = stride);
    }
    copied(site, &Copy::new(axes, 0, 0))
}

/// For `[n, h, w, c]` blocks of `b × b` pixels: extent, stride in the flat image and stride in the
/// deep one of the axes image, row, row in block, column, column in block, channel.
fn blocks([n, h, w, c]: [usize; 4], b: usize) -> [(usize, i64, i64); 6] {
    let flat = strides(&[n, h, b, w, b, c]);
    let deep = strides(&[n, h, w, b, b, c]);
    [
        (n, flat[0], deep[0]),
        (h, flat[1], deep[1]),
        (b, flat[2], deep[3]),
        (w, flat[3], deep[2]),
        (b, flat[4], deep[4]),
        (c, flat[5], deep[5]),
    ]
}

/// `Tile` and `Expand`: axes that repeat have a stride of 0.
pub(crate) fn repeat(site: &Site<'_>) -> Lowering {
    let (x, out) = (site.input(0)?, site.output()?);
    let extra = out.dims.len() - x.dims.len();
    let (from, to) = (strides(&x.dims), strides(&out.dims));
    let mut axes = Vec::new();
    for (i, &extent) in out.dims.iter().enumerate() {
        let size = if i < extra { 1 } else { x.dims[i - extra] };
        let step = if i < extra { 0 } else { from[i - extra] };
        axes.push(Axis { extent: extent / size.max(1), from: 0, to: to[i] * size as i64 });
        axes.push(Axis { extent: size, from: step, to: to[i] });
    }
    copied(site, &Copy::new(axes, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_consecutive_bytes_are_one_call() {
        let axes = vec![
            Axis { extent: 3, from: 20, to: 20 },
            Axis { extent: 4, from: 5, to: 5 },
            Axis { extent: 5, from: 1, to: 1 },
        ];
        let copy = Copy::new(axes, 7, 0);
        assert_eq!(copy.axes, [Axis { extent: 60, from: 1, to: 1 }]);
        let mut code = Code::new();
        assert_eq!(copy.write(&mut code, "x", "y"), [Helper::Copy]);
        assert_eq!(code.finish(), "    model_copy(y, x + 7, 60);\n");
    }
}
