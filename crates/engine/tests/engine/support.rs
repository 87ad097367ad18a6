//! What the tests share.

use fewbits_engine::{Engine, Options, Rounding};
use fewbits_graph::{DType, Graph, Op, Quantization, Shape, Tensor};

/// A reproducible stream of numbers (SplitMix64, Steele et al. 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`.
    pub(crate) fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Uniform floats in `[-scale, scale)`.
pub(crate) fn random(seed: u64, shape: &[usize], scale: f32) -> Tensor {
    let mut random = Random::new(seed);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| random.float() * scale).collect();
    Tensor::new(shape.to_vec(), data)
}

/// Uniform int8 in `[-127, 127]`.
pub(crate) fn random_i8(seed: u64, shape: &[usize]) -> Tensor {
    let mut random = Random::new(seed);
    let data: Vec<i8> = (0..shape.iter().product()).map(|_| ((random.bits() >> 56) as u8 as i8).max(-127)).collect();
    Tensor::new(shape.to_vec(), data)
}

pub(crate) fn floats(t: &Tensor) -> Vec<f32> {
    t.to_f32()
}

pub(crate) fn integers(t: &Tensor) -> Vec<i64> {
    t.to_i64().unwrap()
}

/// Checks that two results agree to `tolerance` of the larger magnitude.
pub(crate) fn close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * largest, "element {i}: {g}, expected {e}");
    }
}

/// An input of a one-node graph.
#[derive(Clone)]
pub(crate) struct Arg {
    pub(crate) data: Tensor,
    pub(crate) quant: Option<Quantization>,
    pub(crate) constant: bool,
}

/// Known when running.
pub(crate) fn arg(data: Tensor) -> Arg {
    Arg { data, quant: None, constant: false }
}

/// Known when compiling.
pub(crate) fn constant(data: Tensor) -> Arg {
    Arg { data, quant: None, constant: true }
}

impl Arg {
    pub(crate) fn scaled(mut self, scale: f32, zero_point: i32) -> Self {
        self.quant = Some(Quantization::per_tensor(scale, zero_point));
        self
    }

    pub(crate) fn per_channel(mut self, axis: usize, scales: &[f32]) -> Self {
        self.quant = Some(Quantization::per_channel(axis, scales.to_vec()));
        self
    }
}

/// The graph of one node, and its run-time inputs.
pub(crate) fn one_node(
    op: impl Into<Op>,
    args: &[Arg],
    outputs: &[(DType, Option<Quantization>)],
) -> (Graph, Vec<Tensor>) {
    let mut graph = Graph::default();
    let mut inputs = Vec::new();
    let mut ids = Vec::new();
    for (i, a) in args.iter().enumerate() {
        let id = if a.constant {
            graph.add_constant(format!("constant{i}"), a.data.clone())
        } else {
            inputs.push(a.data.clone());
            graph.add_input(format!("input{i}"), a.data.dtype(), Shape::fixed(a.data.shape()))
        };
        graph.value_mut(id).quant = a.quant.clone();
        ids.push(Some(id));
    }
    let first = graph.add_node("node", op, &ids, "output0");
    let rest = (1..outputs.len()).map(|i| graph.add_value(format!("output{i}"), DType::F32, Shape::default()));
    let all: Vec<_> = std::iter::once(first).chain(rest.collect::<Vec<_>>()).collect();
    for (&id, (dtype, quant)) in all.iter().zip(outputs) {
        let value = graph.value_mut(id);
        (value.dtype, value.quant) = (*dtype, quant.clone());
    }
    graph.nodes[0].outputs.clone_from(&all);
    graph.outputs = all;
    graph.infer().unwrap();
    graph.validate().unwrap();
    (graph, inputs)
}

/// Runs one node that has plain outputs of these types.
pub(crate) fn run(op: impl Into<Op>, args: &[Arg], outputs: &[DType]) -> Vec<Tensor> {
    let outputs: Vec<_> = outputs.iter().map(|d| (*d, None)).collect();
    let (graph, inputs) = one_node(op, args, &outputs);
    Engine::compile(&graph, &Options { threads: 1, ..Options::default() }).unwrap().run(&inputs).unwrap()
}

/// Runs one node with an `int8` output; also tells whether it computed on integers.
pub(crate) fn run_int8(op: impl Into<Op>, args: &[Arg], out: (f32, i32), rounding: Rounding) -> (Vec<i64>, bool) {
    let quant = Some(Quantization::per_tensor(out.0, out.1));
    let (graph, inputs) = one_node(op, args, &[(DType::I8, quant)]);
    let mut engine = Engine::compile(&graph, &Options { threads: 1, rounding }).unwrap();
    let result = integers(&engine.run(&inputs).unwrap()[0]);
    let profile = engine.run_profiled(&inputs).unwrap();
    (result, profile[0].integer)
}
