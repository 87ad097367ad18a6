//! Small graphs, and running them before and after.

use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_engine::{Engine, Options};
use fewbits_graph::ops::{Binary, BinaryKind, Conv2d, FullyConnected, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Graph, Op, Shape, Tensor, ValueId};

/// Numbers that look random but are the same on every machine (a linear congruential generator).
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    Tensor::new(shape.to_vec(), numbers(shape.iter().product(), seed))
}

/// A graph under construction; every value is named after its node.
#[derive(Default)]
pub(crate) struct Build {
    pub(crate) graph: Graph,
}

impl Build {
    pub(crate) fn input(&mut self, shape: &[usize]) -> ValueId {
        self.graph.add_input("x", DType::F32, Shape::fixed(shape))
    }

    pub(crate) fn weights(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let seed = name.bytes().map(u64::from).sum();
        self.graph.add_constant(name, random(shape, seed))
    }

    pub(crate) fn scalar(&mut self, n: f32) -> ValueId {
        self.graph.add_constant("scalar", Tensor::scalar(n))
    }

    pub(crate) fn ints(&mut self, n: &[i64]) -> ValueId {
        self.graph.add_constant("ints", Tensor::from_ints(n))
    }

    pub(crate) fn node(&mut self, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().map(|&v| Some(v)).collect();
        self.graph.add_node(name, op, &inputs, format!("{name}_out"))
    }

    pub(crate) fn binary(&mut self, name: &str, kind: BinaryKind, a: ValueId, b: ValueId) -> ValueId {
        self.node(name, Binary { kind, activation: Activation::None }, &[a, b])
    }

    pub(crate) fn with(&mut self, name: &str, kind: BinaryKind, a: ValueId, b: f32) -> ValueId {
        let b = self.scalar(b);
        self.binary(name, kind, a, b)
    }

    pub(crate) fn unary(&mut self, name: &str, kind: UnaryKind, x: ValueId) -> ValueId {
        self.node(name, Unary { kind }, &[x])
    }

    /// A convolution with a 3 × 3 kernel, padding 1 and a bias.
    pub(crate) fn conv(&mut self, name: &str, x: ValueId, from: usize, to: usize) -> ValueId {
        let w = self.weights(&format!("{name}_w"), &[to, 3, 3, from]);
        let b = self.weights(&format!("{name}_b"), &[to]);
        self.node(name, conv(1), &[x, w, b])
    }

    pub(crate) fn dense(&mut self, name: &str, x: ValueId, from: usize, to: usize) -> ValueId {
        let w = self.weights(&format!("{name}_w"), &[to, from]);
        self.node(name, FullyConnected { activation: Activation::None }, &[x, w])
    }

    /// The finished graph, with shapes inferred.
    pub(crate) fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.graph.outputs = outputs.to_vec();
        self.graph.infer().expect("the test's graph is consistent");
        self.graph
    }
}

pub(crate) fn conv(pad: usize) -> Conv2d {
    Conv2d { stride: [1, 1], dilation: [1, 1], padding: [pad; 4], groups: 1, activation: Activation::None }
}

/// Operator names in execution order.
pub(crate) fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|n| n.op.name()).collect()
}

pub(crate) fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let options = Options { threads: 1, ..Options::default() };
    Engine::compile(graph, &options).expect("compiles").run(inputs).expect("runs")
}

/// Inputs of the graph's shapes, 3 where a size is open.
pub(crate) fn inputs(graph: &Graph) -> Vec<Tensor> {
    let one = |(i, v): (usize, &ValueId)| {
        let value = graph.value(*v);
        let shape: Vec<usize> = value.shape.0.iter().map(|d| d.fixed().unwrap_or(3)).collect();
        let data = numbers(shape.iter().product(), 77 + i as u64);
        match value.dtype {
            DType::U8 => Tensor::new(shape, data.iter().map(|n| ((n + 1.0) * 127.0) as u8).collect()),
            DType::I8 => Tensor::new(shape, data.iter().map(|n| (n * 127.0) as i8).collect()),
            DType::F16 => Tensor::new(shape, data.iter().map(|&n| half::f16::from_f32(n)).collect()),
            _ => Tensor::new(shape, data.iter().map(|n| n * 3.0).collect()),
        }
    };
    graph.inputs.iter().enumerate().map(one).collect()
}

/// Simplifies, and checks that the public interface stays and that outputs differ by at most
/// `tolerance` times the largest output.
pub(crate) fn simplified_within(graph: &Graph, tolerance: f32) -> Graph {
    let after = simplify(graph.clone(), &SimplifyOptions::default()).expect("simplifies");
    after.validate().expect("stays valid");
    for (old, new) in graph.inputs.iter().chain(&graph.outputs).zip(after.inputs.iter().chain(&after.outputs)) {
        let (old, new) = (graph.value(*old), after.value(*new));
        assert_eq!((&old.name, old.dtype, &old.shape), (&new.name, new.dtype, &new.shape));
        assert_eq!(old.quant, new.quant);
    }
    let inputs = inputs(graph);
    for (a, b) in run(graph, &inputs).iter().zip(&run(&after, &inputs)) {
        assert_eq!((a.dtype(), a.shape()), (b.dtype(), b.shape()));
        let (a, b) = (a.to_f32(), b.to_f32());
        let largest = a.iter().fold(1e-3f32, |m, n| m.max(n.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= tolerance * largest, "{a} became {b} (largest {largest})");
        }
    }
    after
}

/// As [`simplified_within`], up to the rounding of reordered arithmetic.
pub(crate) fn simplified(graph: &Graph) -> Graph {
    simplified_within(graph, 2e-5)
}
