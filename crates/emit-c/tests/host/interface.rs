//! What the firmware sees.

use fewbits_emit_c::{Options, Target, emit};
use fewbits_graph::ops::{Binary, BinaryKind, Dequantize, Quantize, Requantize, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Quantization, Shape};

use crate::common::{Net, compile, has_compiler, run};

/// A float model: quantized at once, relu, dequantized last.
fn float_model() -> Graph {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[1, 4]));
    let q = graph.add_node("q", Quantize, &[Some(x)], "x_q");
    let y = graph.add_node("act", Unary { kind: UnaryKind::Relu }, &[Some(q)], "y_q");
    for v in [q, y] {
        let value = graph.value_mut(v);
        (value.dtype, value.quant) = (DType::I8, Some(Quantization::per_tensor(0.5, -3)));
    }
    let out = graph.add_node("dq", Dequantize, &[Some(y)], "y");
    graph.outputs.push(out);
    graph.infer().unwrap();
    graph
}

#[test]
fn float_borders_become_macros_and_an_optional_wrapper() {
    let files = emit(&float_model(), &Options { name: "net".into(), ..Options::default() }).unwrap();
    assert!(files.header.contains("#define NET_INPUT_ZERO_POINT (-3)"), "{}", files.header);
    assert!(files.inputs[0].float && files.inputs[0].name == "x" && files.outputs[0].name == "y");
    if !has_compiler() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("net.h"), &files.header).unwrap();
    std::fs::write(folder.path().join("net.c"), &files.source).unwrap();
    let main = "#include \"net.h\"\n#include <stdio.h>\nint main(void)\n{\n    \
                const float x[4] = {-7.0f, 0.25f, 1.2f, 1e9f};\n    float y[4];\n    \
                if (net_run_float(x, y) != NET_OK) { return 1; }\n    \
                printf(\"%g %g %g %g\", (double)y[0], (double)y[1], (double)y[2], (double)y[3]);\n    return 0;\n}\n";
    std::fs::write(folder.path().join("main.c"), main).unwrap();
    compile(folder.path(), &["net.c", "main.c"], &["-DNET_FLOAT_IO"]);
    // Halves away from zero; the largest integer is (127 + 3) × 0.5.
    assert_eq!(String::from_utf8(run(folder.path(), &[])).unwrap(), "0 0.5 1 65");
}

#[test]
fn unsigned_ports_keep_their_type() {
    let mut graph = Graph::default();
    let x = graph.add_input("pixels", DType::U8, Shape::fixed(&[3]));
    graph.value_mut(x).quant = Some(Quantization::per_tensor(1.0, 128));
    let y = graph.add_node("to_int8", Requantize, &[Some(x)], "y");
    let value = graph.value_mut(y);
    (value.dtype, value.quant) = (DType::I8, Some(Quantization::per_tensor(1.0, 0)));
    graph.outputs.push(y);
    graph.infer().unwrap();
    let files = emit(&graph, &Options { name: "net".into(), ..Options::default() }).unwrap();
    assert!(files.header.contains("int net_run(const uint8_t *input, int8_t *output);"), "{}", files.header);
    assert!(files.source.contains("(int8_t)(x[i] - 128)"));
}

fn two_by_two() -> Graph {
    let mut net = Net::new(1);
    let (a, b) = (net.input(&[4], 0.1, 0), net.input(&[4], 0.1, 0));
    let add = net.node(Binary { kind: BinaryKind::Add, activation: Activation::None }, &[a, b], 0.2, 0);
    let least = net.node(Binary { kind: BinaryKind::Min, activation: Activation::None }, &[a, b], 0.1, 0);
    for (id, name) in [(a, "left side"), (b, "left-side"), (add, "s:0"), (least, "m:0")] {
        net.graph.value_mut(id).name = name.to_owned();
    }
    net.finish(&[add, least])
}

#[test]
fn several_ports_have_names_of_their_own() {
    let files = emit(&two_by_two(), &Options::default()).unwrap();
    let wanted = "int model_run(const int8_t *input_left_side, const int8_t *input_left_side_2, \
                  int8_t *output_s_0, int8_t *output_m_0);";
    assert!(files.header.contains(wanted), "{}", files.header);
    assert!(files.header.contains("#define MODEL_INPUT_LEFT_SIDE_2_SIZE 4"));
}

#[test]
fn two_models_link_into_one_program_and_refuse_null() {
    if !has_compiler() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let files = emit(&float_model(), &Options { name: name.into(), ..Options::default() }).unwrap();
        std::fs::write(folder.path().join(format!("{name}.h")), files.header).unwrap();
        std::fs::write(folder.path().join(format!("{name}.c")), files.source).unwrap();
    }
    let main = "#include \"one.h\"\n#include \"two.h\"\nint main(void)\n{\n    static int8_t arena[64];\n    \
                const int8_t x[4] = {-10, -3, 0, 5};\n    int8_t y[4], z[4];\n    \
                if (one_run(0, y) != ONE_NULL_POINTER) { return 1; }\n    \
                if (two_run_in(arena + 1, x, y) != TWO_UNALIGNED_ARENA) { return 2; }\n    \
                if (one_run(x, y) != ONE_OK || two_run(x, z) != TWO_OK) { return 3; }\n    \
                return (y[0] == -3 && z[3] == 5 && y[2] == z[2]) ? 0 : 4;\n}\n";
    std::fs::write(folder.path().join("main.c"), main).unwrap();
    compile(folder.path(), &["one.c", "two.c", "main.c"], &["-fsanitize=address,undefined"]);
    run(folder.path(), &[]);
}

#[test]
fn the_same_graph_gives_the_same_bytes() {
    for (_, target) in Target::NAMES {
        let options = Options { target, ..Options::default() };
        assert_eq!(emit(&two_by_two(), &options).unwrap(), emit(&two_by_two(), &options).unwrap());
    }
}
