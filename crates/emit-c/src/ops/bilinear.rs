//! Bilinear resizing in TFLite's integers: weights of ten bits, halves away from zero.

use fewbits_graph::ops::{Coordinates, Resize, ResizeMode};

use crate::code::Code;
use crate::kernel::{Arg, Data, Kernel, Lowering};
use crate::site::Site;

/// One, in ten bits.
const ONE: i64 = 1 << 10;

/// For each output position of an axis: lower and upper input position and the fraction between.
fn between(coordinates: Coordinates, input: usize, output: usize) -> Vec<[i32; 3]> {
    let (input, output) = (input as i64, output as i64);
    let aligned = coordinates == Coordinates::AlignCorners && output > 1;
    let scale = match aligned {
        true => (ONE * (input - 1) + (output - 1) / 2) / (output - 1),
        false => (ONE * input + output / 2) / output,
    };
    let half = coordinates == Coordinates::HalfPixel;
    let place = |x: i64| {
        let at = if half { x * scale + scale / 2 - ONE / 2 } else { x * scale };
        let low = (at / ONE).clamp(0, input - 1);
        let high = ((at + ONE - 1) / ONE).clamp(0, input - 1);
        // Positions of tensors that fit a microcontroller, and a fraction of ten bits.
        [low, high, at - ONE * low].map(|v| v as i32)
    };
    (0..output).map(place).collect()
}

pub(crate) fn resize(op: &Resize, site: &Site<'_>) -> Lowering {
    let known = matches!(op.coordinates, Coordinates::HalfPixel | Coordinates::Asymmetric | Coordinates::AlignCorners);
    if op.mode != ResizeMode::Linear || !known {
        return Err(format!("resizing of mode {:?} with {:?} coordinates", op.mode, op.coordinates));
    }
    let [batch, h, w, c] = site.input(0)?.nhwc()?;
    let [_, out_h, out_w, _] = site.output()?.nhwc()?;
    let flat = |axis: Vec<[i32; 3]>| Data::I32(axis.into_iter().flatten().collect());
    let (rows, columns) = (between(op.coordinates, h, out_h), between(op.coordinates, w, out_w));
    let mut code = Code::new();
    code.count("image", batch);
    code.count("oy", out_h);
    code.count("ox", out_w);
    code.line("const int32_t *r = rows + 3 * oy;");
    code.line("const int32_t *q = columns + 3 * ox;");
    for (name, row, column) in [("p00", 0, 0), ("p01", 0, 1), ("p10", 1, 0), ("p11", 1, 1)] {
        let at = format!("((image * {h} + r[{row}]) * {w} + q[{column}]) * {c}");
        code.line(format_args!("const int8_t *{name} = x + {at};"));
    }
    code.count("i", c);
    let top = format!("({ONE} - r[2]) * (({ONE} - q[2]) * p00[i] + q[2] * p01[i])");
    code.line(format_args!("const int32_t top = {top};"));
    code.line(format_args!("const int32_t total = top + r[2] * (({ONE} - q[2]) * p10[i] + q[2] * p11[i]);"));
    let half = ONE * ONE / 2;
    code.line(format_args!("const int32_t rounded = (total > 0) ? total + {half} : total - {half};"));
    code.line(format_args!("*y++ = (int8_t)(rounded / {});", ONE * ONE));
    code.close_all(4);
    let args = vec![
        Arg::Input(0, "x"),
        Arg::Constant("rows", flat(rows)),
        Arg::Constant("columns", flat(columns)),
        Arg::Output(0, "y"),
    ];
    Ok(Kernel::new(args, code.finish()).into())
}
