//! `model.c`: constants, kernels, and the calls in their order.

use std::collections::BTreeSet;
use std::fmt::Write;

use fewbits_graph::DType;

use super::header::{arena_bytes, c_type, float_parameters, parameters};
use super::{Names, comment, data};
use crate::helpers;
use crate::kernel::{Arg, Data, Helper};
use crate::options::Options;
use crate::program::{Place, Program, Step};

/// A kernel's function, kept once for all layers whose text is the same.
struct Function {
    name: String,
    parameters: String,
    body: String,
}

/// The source file while it is put together.
pub(crate) struct Source {
    pub(crate) text: String,
    /// Estimated bytes of code of shared functions and the entry points.
    pub(crate) shared_code: usize,
    /// Estimated bytes of code that each step adds.
    pub(crate) step_code: Vec<usize>,
}

impl Source {
    pub(crate) fn new(program: &Program, names: &Names, options: &Options) -> Self {
        let mut wanted: BTreeSet<Helper> = BTreeSet::new();
        program.steps.iter().for_each(|s| wanted.extend(&s.kernel.helpers));
        let weights = |step: &Step| step.kernel.args.iter().any(|a| matches!(a, Arg::Constant(_, Data::Layers(_))));
        if program.steps.iter().any(weights) {
            wanted.insert(Helper::LayerTypes);
        }
        let general = !program.steps.iter().all(|s| s.kernel.scales_down());
        let used = helpers::closure(&wanted, general);
        let mut functions: Vec<Function> = Vec::new();
        let (mut constants, mut calls) = (String::new(), String::new());
        let mut step_code = Vec::with_capacity(program.steps.len());
        for (i, step) in program.steps.iter().enumerate() {
            let label = format!("{}_{}_{i}", names.lower, step.op.to_ascii_lowercase());
            let (name, code) = function(&mut functions, step, &label);
            step_code.push(code);
            constants_of(&mut constants, names, step, &label);
            call(&mut calls, names, step, &name, &label);
        }
        for (value, bytes) in &program.constants {
            data::bytes(&mut constants, &format!("{}_constant_{value}", names.lower), bytes);
            constants.push('\n');
        }
        let mut text = preamble(names, options, &used);
        text.push_str(&names.renamed(&helpers::text(&used, options.target, general)));
        text.push_str(&constants);
        for f in &functions {
            let body = names.renamed(&f.body);
            // `write!` to a string does not fail.
            let _ = write!(text, "static void {}({})\n{{\n{body}}}\n\n", f.name, names.renamed(&f.parameters));
        }
        entry_points(&mut text, program, names, &calls);
        let shared_code = helpers::code_bytes(&used) + 60 + program.steps.len() * 20;
        Source { text, shared_code, step_code }
    }
}

/// The function of a step, new or shared; its name and the bytes of code it adds.
fn function(functions: &mut Vec<Function>, step: &Step, label: &str) -> (String, usize) {
    let parameters: Vec<String> = step.kernel.args.iter().map(|arg| parameter(arg, step)).collect();
    let parameters = parameters.join(", ");
    let body = &step.kernel.body;
    if let Some(known) = functions.iter().find(|f| f.parameters == parameters && f.body == *body) {
        return (known.name.clone(), 0);
    }
    functions.push(Function { name: label.to_owned(), parameters, body: body.clone() });
    // Some three instructions of mostly two bytes a line, and saved registers.
    (label.to_owned(), 24 + 9 * body.lines().count())
}

fn parameter(arg: &Arg, step: &Step) -> String {
    match arg {
        Arg::Input(i, name) => match step.kernel_input_type(*i) {
            DType::U8 => format!("const uint8_t *{name}"),
            _ => format!("const int8_t *{name}"),
        },
        Arg::Output(i, name) => match step.output_types.get(*i) {
            Some(DType::U8) => format!("uint8_t *{name}"),
            _ => format!("int8_t *{name}"),
        },
        Arg::Scratch => "int8_t *scratch".to_owned(),
        Arg::Constant(name, data) => {
            let kind = match data {
                Data::I8(_) => "int8_t",
                Data::I32(_) => "int32_t",
                Data::U16(_) => "uint16_t",
                Data::U32(_) => "uint32_t",
                Data::Layers(_) => "model_layer",
            };
            format!("const {kind} *{name}")
        }
        Arg::Number(name, _) => format!("int32_t {name}"),
    }
}

fn constants_of(out: &mut String, names: &Names, step: &Step, label: &str) {
    for arg in &step.kernel.args {
        if let Arg::Constant(name, data) = arg {
            data::constant(out, names, &format!("{label}_{name}"), data);
            out.push('\n');
        }
    }
}

/// Where a place is, as an expression of type `int8_t *` or of the port's type.
fn pointer(names: &Names, place: Place) -> String {
    match place {
        Place::Input(i) => names.inputs[i].clone(),
        Place::Output(i) => names.outputs[i].clone(),
        Place::Constant(v) => format!("{}_constant_{v}", names.lower),
        Place::Arena(0) => "bytes".to_owned(),
        Place::Arena(offset) => format!("bytes + {offset}"),
    }
}

/// As [`pointer`], cast where bytes of the arena stand for unsigned numbers.
fn typed(names: &Names, place: Place, dtype: DType, constant: bool) -> String {
    let at = pointer(names, place);
    match (dtype, place, constant) {
        (DType::U8, Place::Arena(_), true) => format!("(const uint8_t *)({at})"),
        (DType::U8, Place::Arena(_), false) => format!("(uint8_t *)({at})"),
        _ => at,
    }
}

fn call(out: &mut String, names: &Names, step: &Step, function: &str, label: &str) {
    let argument = |arg: &Arg| match arg {
        Arg::Input(i, _) => match step.inputs[*i] {
            Some(place) => typed(names, place, step.kernel_input_type(*i), true),
            None => "NULL".to_owned(),
        },
        Arg::Output(i, _) => typed(names, step.outputs[*i], step.output_types[*i], false),
        Arg::Scratch => pointer(names, Place::Arena(step.scratch)),
        Arg::Constant(name, _) => format!("{label}_{name}"),
        Arg::Number(_, value) => value.to_string(),
    };
    let arguments: Vec<String> = step.kernel.args.iter().map(argument).collect();
    let _ = writeln!(out, "    /* {} ({}) */", comment(&step.node), step.op);
    let _ = writeln!(out, "    {function}({});", arguments.join(", "));
}

/// Everything before the helpers.
fn preamble(names: &Names, options: &Options, used: &BTreeSet<Helper>) -> String {
    let mut out = format!("/* Written by fewbits; do not edit. Target: {}. */\n", options.target);
    let _ = write!(out, "#include \"{}.h\"\n\n#include <stddef.h>\n#include <string.h>\n\n", names.lower);
    let (dsp, mve) = helpers::has_paths(used, options.target);
    let mut text = String::new();
    if dsp || mve {
        text.push_str("/* Define MODEL_PORTABLE for portable C alone. */\n");
    }
    let mut word = "#if";
    if mve {
        text.push_str(
            "#if !defined(MODEL_PORTABLE) && defined(__ARM_FEATURE_MVE)\n#include <arm_mve.h>\n#define MODEL_MVE 1\n",
        );
        word = "#elif";
    }
    if dsp {
        let _ = write!(
            text,
            "{word} !defined(MODEL_PORTABLE) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && \\\n    \
             !defined(__ARM_BIG_ENDIAN)\n#include <arm_acle.h>\n#define MODEL_DSP 1\n"
        );
    }
    if dsp || mve {
        text.push_str("#endif\n\n");
    }
    text.push_str(
        "/* Right shifts of negative numbers keep the sign on every compiler for these machines; the arithmetic\n   \
         below relies on it. */\n\
         typedef char model_shifts_keep_the_sign[((-3) >> 1) == -2 ? 1 : -1];\n\n",
    );
    out.push_str(&names.renamed(&text));
    out
}

fn entry_points(out: &mut String, program: &Program, names: &Names, calls: &str) {
    let (lower, upper) = (&names.lower, &names.upper);
    let pointers = names.inputs.iter().chain(&names.outputs);
    let checks: Vec<String> = pointers.clone().map(|n| format!("({n} == NULL)")).collect();
    let _ = write!(
        out,
        "int {lower}_run_in(void *arena, {})\n{{\n    int8_t *const bytes = (int8_t *)arena;\n    \
         if ((arena == NULL) || {}) {{\n        return {upper}_NULL_POINTER;\n    }}\n    \
         if (((uintptr_t)arena % {upper}_ARENA_ALIGNMENT) != 0u) {{\n        return {upper}_UNALIGNED_ARENA;\n    }}\n",
        parameters(program, names),
        checks.join(" || ")
    );
    if !calls.contains("bytes") {
        out.push_str("    (void)bytes;\n");
    }
    out.push_str(calls);
    for (i, place) in &program.copies {
        let size = program.outputs[*i].len();
        let _ = writeln!(out, "    memcpy({}, {}, {size});", names.outputs[*i], pointer(names, *place));
    }
    let _ = write!(out, "    return {upper}_OK;\n}}\n\n#ifndef {upper}_NO_STATIC_ARENA\n");
    let arguments: Vec<&str> = pointers.map(String::as_str).collect();
    let _ = write!(
        out,
        "#ifndef {upper}_ARENA_ATTRIBUTE\n#if defined(__GNUC__)\n\
         #define {upper}_ARENA_ATTRIBUTE __attribute__((aligned(16)))\n#else\n\
         #define {upper}_ARENA_ATTRIBUTE\n#endif\n#endif\n\
         static int32_t {lower}_arena[{}] {upper}_ARENA_ATTRIBUTE;\n\n\
         int {lower}_run({})\n{{\n    return {lower}_run_in({lower}_arena, {});\n}}\n#endif\n",
        arena_bytes(program).div_ceil(4),
        parameters(program, names),
        arguments.join(", ")
    );
    float_entry(out, program, names);
}

/// The wrapper that takes and gives real numbers.
fn float_entry(out: &mut String, program: &Program, names: &Names) {
    let (lower, upper) = (&names.lower, &names.upper);
    let _ = write!(
        out,
        "\n#if defined({upper}_FLOAT_IO) && !defined({upper}_NO_STATIC_ARENA)\n\
         /* The integer nearest to value / scale, halves away from zero, plus zero, within low and high. */\n\
         static int32_t {lower}_quantize(float value, float scale, int32_t zero, int32_t low, int32_t high)\n{{\n    \
         const float steps = value / scale;\n    int32_t whole;\n    float rest;\n    \
         if (!(steps > (float)(low - zero))) {{\n        return low;\n    }}\n    \
         if (steps >= (float)(high - zero)) {{\n        return high;\n    }}\n    \
         whole = (int32_t)steps;\n    rest = steps - (float)whole;\n    \
         if (rest >= 0.5f) {{\n        ++whole;\n    }} else if (rest <= -0.5f) {{\n        --whole;\n    }}\n    \
         return whole + zero;\n}}\n\n\
         int {lower}_run_float({})\n{{\n",
        float_parameters(names)
    );
    let ports = || {
        let inputs = names.inputs.iter().zip(&program.inputs).map(|p| (p, true));
        inputs.chain(names.outputs.iter().zip(&program.outputs).map(|p| (p, false)))
    };
    for ((name, port), _) in ports() {
        let _ = writeln!(out, "    static {} {name}_q[{}];", c_type(port), port.len().max(1));
    }
    let checks: Vec<String> = ports().map(|((n, _), _)| format!("({n} == NULL)")).collect();
    let _ = writeln!(
        out,
        "    int status;\n    if ({}) {{\n        return {upper}_NULL_POINTER;\n    }}",
        checks.join(" || ")
    );
    for ((name, port), _) in ports().filter(|(_, input)| *input) {
        let prefix = format!("{upper}_{}", name.to_ascii_uppercase());
        let (low, high) = port.dtype.integer_range().unwrap_or((-128, 127));
        let _ = write!(
            out,
            "    for (int32_t i = 0; i < {prefix}_SIZE; ++i) {{\n        {name}_q[i] = ({})\
             {lower}_quantize({name}[i], {prefix}_SCALE, {prefix}_ZERO_POINT, {low}, {high});\n    }}\n",
            c_type(port)
        );
    }
    let arguments: Vec<String> = ports().map(|((n, _), _)| format!("{n}_q")).collect();
    let _ = writeln!(out, "    status = {lower}_run({});", arguments.join(", "));
    for ((name, _), _) in ports().filter(|(_, input)| !*input) {
        let prefix = format!("{upper}_{}", name.to_ascii_uppercase());
        let _ = write!(
            out,
            "    for (int32_t i = 0; i < {prefix}_SIZE; ++i) {{\n        \
             {name}[i] = (float)({name}_q[i] - {prefix}_ZERO_POINT) * {prefix}_SCALE;\n    }}\n"
        );
    }
    out.push_str("    return status;\n}\n#endif\n");
}
