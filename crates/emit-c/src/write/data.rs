//! Constant arrays as C.

use std::fmt::Write;

use super::Names;
use crate::kernel::{Data, Layer};

/// Longest line of numbers.
const WIDTH: usize = 112;

/// `static const TYPE NAME[] = {…};`
fn array<T: ToString>(out: &mut String, kind: &str, name: &str, values: impl Iterator<Item = T>) {
    let values: Vec<String> = values.map(|v| v.to_string()).collect();
    // `write!` to a string does not fail.
    let _ = writeln!(out, "static const {kind} {name}[{}] = {{", values.len());
    let mut line = String::new();
    for value in values {
        if line.len() + value.len() + 6 > WIDTH {
            let _ = writeln!(out, "   {line}");
            line.clear();
        }
        line.push(' ');
        line.push_str(&value);
        line.push(',');
    }
    let _ = writeln!(out, "   {line}\n}};");
}

/// The most negative `int32_t` has no literal of its own in C.
fn number(value: i32) -> String {
    if value == i32::MIN { "(-2147483647 - 1)".to_owned() } else { value.to_string() }
}

/// Bytes as an array of `int8_t`.
pub(super) fn bytes(out: &mut String, name: &str, values: &[i8]) {
    array(out, "int8_t", name, values.iter());
}

/// A constant under `name`.
pub(super) fn constant(out: &mut String, names: &Names, name: &str, data: &Data) {
    match data {
        Data::I8(values) => bytes(out, name, values),
        Data::I32(values) => array(out, "int32_t", name, values.iter().map(|&v| number(v))),
        Data::U16(values) => array(out, "uint16_t", name, values.iter()),
        Data::U32(values) => array(out, "uint32_t", name, values.iter().map(|v| format!("{v}u"))),
        Data::Layers(layers) => self::layers(out, names, name, layers),
    }
}

fn layers(out: &mut String, names: &Names, name: &str, layers: &[Layer]) {
    let own = |i: usize, part: &str| match layers.len() {
        1 => format!("{name}_{part}"),
        _ => format!("{name}_{part}{i}"),
    };
    for (i, layer) in layers.iter().enumerate() {
        bytes(out, &own(i, "weights"), &layer.weights);
        let pairs = layer.channels.iter().map(|(bias, multiplier)| format!("{{{}, {multiplier}}}", number(*bias)));
        array(out, &format!("{}_channel", names.lower), &own(i, "channels"), pairs);
        array(out, "int8_t", &own(i, "shifts"), layer.shifts.iter());
    }
    let _ = writeln!(out, "static const {}_layer {name}[{}] = {{", names.lower, layers.len());
    for (i, l) in layers.iter().enumerate() {
        let (weights, channels, shifts) = (own(i, "weights"), own(i, "channels"), own(i, "shifts"));
        let numbers = format!("{}, {}, {}, {}, {}", l.k, l.n, l.zero, l.low, l.high);
        let _ = writeln!(out, "    {{{weights}, {channels}, {shifts}, {numbers}}},");
    }
    out.push_str("};\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_short_and_extremes_are_literals() {
        let mut out = String::new();
        bytes(&mut out, "w", &[-128; 100]);
        assert!(out.starts_with("static const int8_t w[100] = {\n    -128, ") && out.ends_with("};\n"));
        assert!(out.lines().all(|l| l.len() <= WIDTH), "{out}");
        assert_eq!(number(i32::MIN), "(-2147483647 - 1)");
    }
}
