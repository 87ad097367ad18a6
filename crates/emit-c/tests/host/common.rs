//! Graphs, random numbers, and a C compiler.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use fewbits_emit_c::{Emitted, Options, emit};
use fewbits_engine::{Engine, Rounding};
use fewbits_graph::{DType, Graph, Op, Quantization, Shape, Tensor, ValueId};

/// Random numbers that are the same every time (the constants of Knuth's MMIX).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub(crate) fn int8(&mut self) -> i8 {
        self.next() as u8 as i8
    }

    pub(crate) fn int8s(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| self.int8()).collect()
    }

    /// A number of `low..high`.
    pub(crate) fn real(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.next() as f32 / (1u32 << 31) as f32
    }
}

/// A graph in the making: every edge is int8.
pub(crate) struct Net {
    pub(crate) graph: Graph,
    pub(crate) random: Random,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Net { graph: Graph::default(), random: Random(seed) }
    }

    pub(crate) fn input(&mut self, dims: &[usize], scale: f32, zero_point: i32) -> ValueId {
        let id = self.graph.add_input(format!("in{}", self.graph.inputs.len()), DType::I8, Shape::fixed(dims));
        self.graph.value_mut(id).quant = Some(Quantization::per_tensor(scale, zero_point));
        id
    }

    /// A node whose output has that scale and zero point.
    pub(crate) fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId], scale: f32, zero_point: i32) -> ValueId {
        let name = format!("node{}", self.graph.nodes.len());
        let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
        let out = self.graph.add_node(name, op, &inputs, format!("v{}", self.graph.values.len()));
        let value = self.graph.value_mut(out);
        (value.dtype, value.quant) = (DType::I8, Some(Quantization::per_tensor(scale, zero_point)));
        out
    }

    /// Random weights with a scale for each index of `axis`.
    pub(crate) fn weights(&mut self, dims: &[usize], axis: usize) -> ValueId {
        let data = self.random.int8s(dims.iter().product()).into_iter().map(|w| w.max(-127)).collect();
        let id = self.graph.add_constant("weights", Tensor::new(dims.to_vec(), data));
        let scales = (0..dims[axis]).map(|_| self.random.real(0.002, 0.02)).collect();
        self.graph.value_mut(id).quant = Some(Quantization::per_channel(axis, scales));
        id
    }

    pub(crate) fn bias(&mut self, channels: usize) -> ValueId {
        let data = (0..channels).map(|_| i32::from(self.random.int8()) * 40).collect::<Vec<i32>>();
        self.graph.add_constant("bias", Tensor::new(vec![channels], data))
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> ValueId {
        self.graph.add_constant("ints", Tensor::from_ints(values))
    }

    pub(crate) fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph.infer().expect("the graph is well formed");
        self.graph
    }
}

/// Whether there is a C compiler; says so if not, and fails where that must not be.
pub(crate) fn has_compiler() -> bool {
    let found = Command::new("cc").arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "CI needs a C compiler");
        // Nothing can be done about a closed stderr.
        let _ = writeln!(std::io::stderr(), "skipped: there is no cc");
    }
    found
}

const STRICT: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic"];

/// Compiles `files` in `folder` into `program`, or panics with what the compiler says.
pub(crate) fn compile(folder: &Path, files: &[&str], extra: &[&str]) {
    let mut command = Command::new("cc");
    command.current_dir(folder).args(STRICT).args(extra).args(files).args(["-o", "program"]);
    let output = command.output().expect("cc was found before");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `program` on bytes.
pub(crate) fn run(folder: &Path, input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(folder.join("program"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let bytes = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().expect("no panic").expect("the program reads all of it");
    output.stdout
}

/// A `main` that reads inputs one sample after another and writes the outputs.
fn harness(files: &Emitted) -> String {
    let ports = |kind: &str, count: usize, from: &Emitted| -> Vec<(String, usize)> {
        let all = if kind == "input" { &from.inputs } else { &from.outputs };
        let name = |i: usize| if count == 1 { kind.to_owned() } else { format!("{kind}{i}") };
        all.iter().enumerate().map(|(i, p)| (name(i), p.len())).collect()
    };
    let inputs = ports("input", files.inputs.len(), files);
    let outputs = ports("output", files.outputs.len(), files);
    let mut text = String::from("#include \"net.h\"\n#include <stdio.h>\n");
    for (name, len) in inputs.iter().chain(&outputs) {
        text.push_str(&format!("static int8_t {name}[{len}];\n"));
    }
    text.push_str("int main(void)\n{\n    for (;;) {\n");
    for (name, len) in &inputs {
        text.push_str(&format!("        if (fread({name}, 1, {len}, stdin) != {len}) {{ return 0; }}\n"));
    }
    let arguments: Vec<&str> = inputs.iter().chain(&outputs).map(|(n, _)| n.as_str()).collect();
    text.push_str(&format!("        if (net_run({}) != NET_OK) {{ return 2; }}\n", arguments.join(", ")));
    for (name, len) in &outputs {
        text.push_str(&format!("        if (fwrite({name}, 1, {len}, stdout) != {len}) {{ return 3; }}\n"));
    }
    text.push_str("    }\n}\n");
    text
}

/// Writes the files of a graph named `net` into a fresh folder and builds them with sanitizers.
pub(crate) fn build(graph: &Graph, options: &Options) -> (tempfile::TempDir, Emitted) {
    let files = emit(graph, &Options { name: "net".into(), ..options.clone() }).expect("there is C for it");
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("net.h"), &files.header).expect("it can be written");
    std::fs::write(folder.path().join("net.c"), &files.source).expect("it can be written");
    std::fs::write(folder.path().join("main.c"), harness(&files)).expect("it can be written");
    let sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1"];
    compile(folder.path(), &["net.c", "main.c"], &sanitizers);
    (folder, files)
}

/// Samples compared in each test.
const SAMPLES: usize = 8;

/// Outputs of C and engine on random samples: `(C, engine)` element by element.
pub(crate) fn both(graph: &Graph, options: &Options) -> Vec<(i8, i8)> {
    let (folder, files) = build(graph, options);
    let mut engine = Engine::compile(graph, &fewbits_engine::Options { threads: 1, rounding: Rounding::Fixed })
        .expect("the engine takes it");
    let mut random = Random(77);
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let inputs: Vec<Tensor> =
            files.inputs.iter().map(|p| Tensor::new(p.dims.clone(), random.int8s(p.len()))).collect();
        inputs.iter().for_each(|t| bytes.extend_from_slice(t.bytes()));
        for output in engine.run(&inputs).expect("the engine runs it") {
            expected.extend(output.bytes().iter().map(|b| b.cast_signed()));
        }
    }
    let ours = run(folder.path(), &bytes);
    assert_eq!(ours.len(), expected.len());
    ours.into_iter().map(u8::cast_signed).zip(expected).collect()
}

/// The largest difference between C and engine.
fn units(graph: &Graph) -> u32 {
    let pairs = both(graph, &Options::default());
    pairs.into_iter().map(|(a, b)| i32::from(a).abs_diff(i32::from(b))).max().unwrap_or(0)
}

/// Asserts that C and engine agree to the byte.
pub(crate) fn assert_same(what: &str, graph: &Graph) {
    if has_compiler() {
        assert_eq!(units(graph), 0, "{what}: C and engine differ by so many units");
    }
}
