//! Plans by input shape, shape arithmetic, observation, threads.

use crate::support::{close, floats, random};
use fewbits_engine::{Engine, Error, Options};
use fewbits_graph::ops::{
    Binary, BinaryKind, Concat, Conv2d, FullyConnected, Gather, Identity, Reduce, ReduceKind, Reshape, ShapeOf, Unary,
    UnaryKind,
};
use fewbits_graph::{Activation, DType, Dim, Graph, Shape, Tensor, ValueId};

fn conv(stride: usize, activation: Activation) -> Conv2d {
    Conv2d { stride: [stride; 2], dilation: [1; 2], padding: [1; 4], groups: 1, activation }
}

/// A residual network in small: conv, residual block, strided block, global mean, classifier.
fn residual(batch: Dim) -> Graph {
    let mut g = Graph::default();
    let dims = vec![batch, 12.into(), 12.into(), 3.into()];
    let x = g.add_input("image", DType::F32, Shape(dims));
    let layer = |g: &mut Graph, name: &str, x: ValueId, op: Conv2d, shape: [usize; 4]| {
        let w = g.add_constant(format!("{name}.w"), random(name.len() as u64, &shape, 0.3));
        let b = g.add_constant(format!("{name}.b"), random(7, &shape[..1], 0.5));
        g.add_node(name, op, &[Some(x), Some(w), Some(b)], format!("{name}.y"))
    };
    let stem = layer(&mut g, "stem", x, conv(1, Activation::Relu), [8, 3, 3, 3]);
    let first = layer(&mut g, "first", stem, conv(1, Activation::Relu), [8, 3, 3, 8]);
    let second = layer(&mut g, "second", first, conv(1, Activation::None), [8, 3, 3, 8]);
    let add = Binary { kind: BinaryKind::Add, activation: Activation::Relu };
    let sum = g.add_node("add", add, &[Some(second), Some(stem)], "sum");
    let down = layer(&mut g, "down", sum, conv(2, Activation::None), [16, 3, 3, 8]);
    let swish = g.add_node("swish", Unary { kind: UnaryKind::Silu }, &[Some(down)], "swished");
    let mean = Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false };
    let pooled = g.add_node("mean", mean, &[Some(swish)], "pooled");
    let w = g.add_constant("fc.w", random(3, &[10, 16], 0.4));
    let y = g.add_node("fc", FullyConnected { activation: Activation::None }, &[Some(pooled), Some(w)], "logits");
    g.outputs.push(y);
    g.infer().unwrap();
    g
}

fn engine(graph: &Graph, threads: usize) -> Engine {
    Engine::compile(graph, &Options { threads, ..Options::default() }).unwrap()
}

#[test]
fn a_batch_is_its_images_one_by_one() {
    let graph = residual(Dim::symbol("N"));
    let mut engine = engine(&graph, 1);
    let images = random(1, &[3, 12, 12, 3], 1.0);
    let together = engine.run(std::slice::from_ref(&images)).unwrap().remove(0);
    assert_eq!(together.shape(), [3, 10]);
    let size = 12 * 12 * 3;
    for i in 0..3 {
        let one = Tensor::new(vec![1, 12, 12, 3], floats(&images)[i * size..(i + 1) * size].to_vec());
        let alone = engine.run(&[one]).unwrap().remove(0);
        close(&floats(&together)[i * 10..(i + 1) * 10], &floats(&alone), 1e-6);
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let graph = residual(Dim::Fixed(5));
    let image = random(2, &[5, 12, 12, 3], 1.0);
    let [one, two, three] = [1, 2, 3].map(|threads| engine(&graph, threads).run(std::slice::from_ref(&image)).unwrap());
    assert_eq!(one, two);
    assert_eq!(one, three);
}

#[test]
fn observing_shows_every_value_and_changes_nothing() {
    let graph = residual(Dim::symbol("N"));
    let image = random(4, &[2, 12, 12, 3], 1.0);
    let mut engine = engine(&graph, 2);
    let plain = engine.run(std::slice::from_ref(&image)).unwrap();
    let mut seen = Vec::new();
    let mut kept = Vec::new();
    let observed = engine
        .run_observed(std::slice::from_ref(&image), &mut |id, view| {
            seen.push(id);
            let elements: usize = view.shape.iter().product();
            assert_eq!(view.as_slice::<f32>().unwrap().len(), elements);
            kept.push((id, view.as_slice::<f32>().unwrap().to_vec()));
        })
        .unwrap();
    assert_eq!(plain, observed);
    let mut expected = graph.inputs.clone();
    expected.extend(graph.nodes.iter().flat_map(|n| n.outputs.clone()));
    assert_eq!(seen, expected);
    let value = |name: &str| &kept.iter().find(|(id, _)| graph.value(*id).name == name).unwrap().1;
    // The sum that later steps overwrite was seen as it was made.
    for ((y, a), b) in value("sum").iter().zip(value("second.y")).zip(value("stem.y")) {
        assert_eq!(*y, (a + b).max(0.0));
    }
}

#[test]
fn shape_arithmetic_folds_away() {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape(vec![Dim::symbol("N"), Dim::symbol("S"), 6.into()]));
    let shape = g.add_node("shape", ShapeOf { start: 0, end: 3, dtype: DType::I64 }, &[Some(x)], "dims");
    let zero = g.add_constant("zero", Tensor::from_ints(&[0]));
    let rest = g.add_constant("rest", Tensor::from_ints(&[-1, 3]));
    let n = g.add_node("gather", Gather { axis: 0 }, &[Some(shape), Some(zero)], "n");
    let concat = Concat { axis: 0, activation: Activation::None };
    let target = g.add_node("concat", concat, &[Some(n), Some(rest)], "target");
    let y = g.add_node("reshape", Reshape { allow_zero: false }, &[Some(x), Some(target)], "y");
    let z = g.add_node("copy", Identity, &[Some(y)], "z");
    g.outputs.extend([y, z, target]);
    g.infer().unwrap();
    let mut engine = engine(&g, 1);
    for (batch, length) in [(1, 4), (3, 5), (1, 4), (2, 1)] {
        let x = random(9, &[batch, length, 6], 1.0);
        let out = engine.run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(out[0].shape(), [batch, length * 2, 3]);
        assert_eq!(floats(&out[0]), floats(&x));
        assert_eq!(out[0], out[1]);
        assert_eq!(out[2].to_i64().unwrap(), [batch as i64, -1, 3]);
        // Only the reshaped input is stored.
        assert_eq!(engine.arena_bytes(), Some((batch * length * 6 * 4usize).next_multiple_of(64)));
        assert!(engine.run_profiled(std::slice::from_ref(&x)).unwrap().is_empty());
    }
}

#[test]
fn a_value_that_is_read_again_is_not_overwritten() {
    // relu may run in place, but x is read again afterwards, and y by two nodes.
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape::fixed(&[1, 40]));
    let relu = |kind| Unary { kind };
    let y = g.add_node("relu", relu(UnaryKind::Relu), &[Some(x)], "y");
    let z = g.add_node("neg", relu(UnaryKind::Neg), &[Some(y)], "z");
    let add = |kind| Binary { kind, activation: Activation::None };
    let s = g.add_node("add", add(BinaryKind::Add), &[Some(z), Some(x)], "s");
    let square = g.add_node("square", relu(UnaryKind::Square), &[Some(s)], "square");
    let t = g.add_node("mul", add(BinaryKind::Mul), &[Some(square), Some(square)], "t");
    g.outputs.extend([t, y]);
    g.infer().unwrap();
    let x = random(5, &[1, 40], 2.0);
    let out = engine(&g, 1).run(std::slice::from_ref(&x)).unwrap();
    for ((&x, t), y) in floats(&x).iter().zip(floats(&out[0])).zip(floats(&out[1])) {
        assert_eq!(y, x.max(0.0));
        assert_eq!(t, (x - x.max(0.0)).powi(4));
    }
}

#[test]
fn wrong_inputs_are_errors() {
    let graph = residual(Dim::symbol("N"));
    let mut engine = engine(&graph, 1);
    assert!(matches!(engine.run(&[]), Err(Error::InputCount { expected: 1, got: 0 })));
    let ints = Tensor::new(vec![1, 12, 12, 3], vec![0i32; 432]);
    assert!(matches!(engine.run(&[ints]), Err(Error::InputType { .. })));
    let tall = random(1, &[1, 13, 12, 3], 1.0);
    assert!(matches!(engine.run(&[tall]), Err(Error::Graph(_))));
}

#[test]
fn everything_unsupported_is_named_at_once() {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::I32, Shape::fixed(&[4]));
    let a = g.add_node("exp", Unary { kind: UnaryKind::Exp }, &[Some(x)], "a");
    let b = g.add_node("tanh", Unary { kind: UnaryKind::Tanh }, &[Some(x)], "b");
    let c = g.add_node("neg", Unary { kind: UnaryKind::Neg }, &[Some(x)], "c");
    g.outputs.extend([a, b, c]);
    g.infer().unwrap();
    let Err(Error::Unsupported(nodes)) = Engine::compile(&g, &Options::default()) else { panic!("compiled") };
    assert_eq!(nodes.iter().map(|n| n.node.as_str()).collect::<Vec<_>>(), ["exp", "tanh"]);
}
