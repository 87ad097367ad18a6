//! `model.h`: what the firmware sees.

use std::fmt::Write;

use fewbits_graph::DType;

use super::{Names, comment};
use crate::borders::Port;
use crate::options::Options;
use crate::program::Program;
use crate::report::Cost;

/// `const int8_t *input, int8_t *output`
pub(super) fn parameters(program: &Program, names: &Names) -> String {
    let inputs = program.inputs.iter().zip(&names.inputs).map(|(p, n)| format!("const {} *{n}", c_type(p)));
    let outputs = program.outputs.iter().zip(&names.outputs).map(|(p, n)| format!("{} *{n}", c_type(p)));
    inputs.chain(outputs).collect::<Vec<_>>().join(", ")
}

/// As [`parameters`], all of them float.
pub(super) fn float_parameters(names: &Names) -> String {
    let inputs = names.inputs.iter().map(|n| format!("const float *{n}"));
    let outputs = names.outputs.iter().map(|n| format!("float *{n}"));
    inputs.chain(outputs).collect::<Vec<_>>().join(", ")
}

/// The type of a port's elements.
pub(super) fn c_type(port: &Port) -> &'static str {
    if port.dtype == DType::U8 { "uint8_t" } else { "int8_t" }
}

/// The macros of a port.
fn port(out: &mut String, names: &Names, name: &str, port: &Port) {
    let macro_name = format!("{}_{}", names.upper, name.to_ascii_uppercase());
    let dims: Vec<String> = port.dims.iter().map(ToString::to_string).collect();
    let shape = dims.join(" x ");
    let declared = if port.float { ", float in the model" } else { "" };
    // `write!` to a string does not fail.
    let _ = writeln!(
        out,
        "/* {}: {} {}{declared}; real = (q - zero point) * scale */",
        comment(&port.name),
        c_type(port),
        shape
    );
    let _ = writeln!(out, "#define {macro_name}_SIZE {}", port.len());
    let _ = writeln!(out, "#define {macro_name}_RANK {}", port.dims.len());
    for (i, dim) in port.dims.iter().enumerate() {
        let _ = writeln!(out, "#define {macro_name}_DIM{i} {dim}");
    }
    let _ = writeln!(out, "#define {macro_name}_SCALE {:.9e}f", port.scale);
    let _ = writeln!(out, "#define {macro_name}_ZERO_POINT ({})\n", port.zero_point);
}

/// The text of the header.
pub(crate) fn header(program: &Program, names: &Names, options: &Options, cost: &Cost) -> String {
    let mut out = String::new();
    let upper = &names.upper;
    let _ = write!(
        out,
        "/* Written by fewbits; do not edit. Target: {}. */\n#ifndef {upper}_H\n#define {upper}_H\n\n\
         #include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n",
        options.target
    );
    for (name, p) in names.inputs.iter().zip(&program.inputs).chain(names.outputs.iter().zip(&program.outputs)) {
        port(&mut out, names, name, p);
    }
    let _ = writeln!(out, "/* Memory that a run works in, and how its address is aligned. */");
    let _ = writeln!(out, "#define {upper}_ARENA_BYTES {}", arena_bytes(program));
    let _ = writeln!(out, "#define {upper}_ARENA_ALIGNMENT {}\n", options.target.alignment());
    let _ = writeln!(out, "/* Constants in flash, without code; multiply-accumulates of one run. */");
    let _ = writeln!(out, "#define {upper}_CONSTANT_BYTES {}", cost.constants);
    let _ = writeln!(out, "#define {upper}_MACS {}\n", cost.macs);
    let _ = writeln!(out, "/* What the functions return. */");
    let _ = writeln!(out, "#define {upper}_OK 0");
    let _ = writeln!(out, "#define {upper}_NULL_POINTER 1");
    let _ = writeln!(out, "#define {upper}_UNALIGNED_ARENA 2\n");
    functions(&mut out, program, names);
    let _ = write!(out, "#ifdef __cplusplus\n}}\n#endif\n\n#endif\n");
    out
}

/// Bytes that the arena is declared with: C has no arrays of nothing.
pub(super) fn arena_bytes(program: &Program) -> usize {
    program.arena.max(4)
}

fn functions(out: &mut String, program: &Program, names: &Names) {
    let (lower, upper) = (&names.lower, &names.upper);
    let parameters = parameters(program, names);
    let _ = write!(
        out,
        "/* Runs the model once. Inputs and outputs do not overlap each other or the arena. Re-entrant: all\n   \
         state is in the arena, {upper}_ARENA_BYTES bytes, whose contents do not matter before and after. */\n\
         int {lower}_run_in(void *arena, {parameters});\n\n\
         #ifndef {upper}_NO_STATIC_ARENA\n\
         /* The same in one static arena: one call at a time. Define {upper}_ARENA_ATTRIBUTE to place it, and\n   \
         {upper}_NO_STATIC_ARENA to leave it out. */\n\
         int {lower}_run({parameters});\n#endif\n\n\
         #if defined({upper}_FLOAT_IO) && !defined({upper}_NO_STATIC_ARENA)\n\
         /* The same with real numbers; one call at a time. Define {upper}_FLOAT_IO for both files. */\n\
         int {lower}_run_float({});\n#endif\n\n",
        float_parameters(names)
    );
}
