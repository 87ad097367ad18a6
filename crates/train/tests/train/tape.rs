//! What a tape accepts and refuses.

use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Graph, Shape, Tensor, ValueId};
use fewbits_train::{Error, Options, Params, Tape};

use crate::support::{Case, Fixed, Input, Trained, random};

fn add() -> Binary {
    Binary { kind: BinaryKind::Add, activation: Activation::None }
}

/// `y = exp(x · a) + b`, with `x` an input.
fn affine() -> (Graph, [ValueId; 3]) {
    let mut graph = Graph::default();
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[2, 3]));
    let a = graph.add_constant("a", random(1, &[3]));
    let b = graph.add_constant("b", random(2, &[3]));
    let mul = Binary { kind: BinaryKind::Mul, activation: Activation::None };
    let m = graph.add_node("scale", mul, &[Some(x), Some(a)], "scaled");
    let e = graph.add_node("exp", Unary { kind: UnaryKind::Exp }, &[Some(m)], "exp");
    let y = graph.add_node("shift", add(), &[Some(e), Some(b)], "y");
    graph.outputs.push(y);
    graph.infer().unwrap();
    (graph, [x, a, b])
}

fn options(trainable: &[ValueId]) -> Options {
    Options { input_shapes: vec![vec![2, 3]], trainable: trainable.to_vec(), input_gradients: Vec::new() }
}

#[test]
fn what_does_not_depend_on_the_trained_runs_in_the_engine() {
    // Only the shift is trained: what precedes it may be anything, here a mask from the input.
    let (mut graph, [x, _, b]) = affine();
    let zero = graph.add_constant("zero", Tensor::scalar(0f32));
    let compare = Compare { kind: CompareKind::Greater };
    let positive = graph.add_node("positive", compare, &[Some(x), Some(zero)], "positive");
    let y = graph.outputs[0];
    let masked = graph.add_node("mask", Where, &[Some(positive), Some(y), Some(b)], "masked");
    graph.outputs = vec![masked, graph.nodes[1].outputs[0]];
    graph.infer().unwrap();
    let inputs = vec![random(7, &[2, 3])];
    let case = Case { graph, inputs, options: options(&[b]) };
    case.check();
}

#[test]
fn a_result_is_named_once_and_nothing_is_left_from_an_earlier_step() {
    let (graph, [x, a, b]) = affine();
    let mut case = Case { graph, inputs: vec![random(7, &[2, 3])], options: options(&[a, b]) };
    case.options.input_gradients = vec![x];
    case.check();
    let (mut tape, params) = (case.tape(), case.params());
    assert_eq!((params.len(), params.name(1), params.shape(0), params.id(0)), (2, "b", &[3][..], a));
    assert!(matches!(tape.backward(&[&[0.0; 6]]), Err(Error::NoForward)));
    tape.forward(&case.inputs, &params).unwrap();
    let first = tape.backward(&[&[1.0; 6]]).unwrap().param(0).to_vec();
    tape.forward(&case.inputs, &params).unwrap();
    assert_eq!(tape.backward(&[&[1.0; 6]]).unwrap().param(0), first);
    assert!(matches!(tape.backward(&[&[1.0; 6]]), Err(Error::NoForward)));
}

#[test]
fn parameters_are_stored_back() {
    let (mut graph, [_, a, b]) = affine();
    let mut params = Params::of(&graph, &[b, a]).unwrap();
    params.values[1][2] = 42.0;
    params.store(&mut graph).unwrap();
    assert_eq!(graph.value(a).data.as_ref().unwrap().to_f32()[2], 42.0);
    params.values[0].pop();
    assert!(matches!(params.store(&mut graph), Err(Error::Length { index: 0, expected: 3, got: 2, .. })));
    assert_eq!(Params::all_of(&graph, 0), [a, b]);
    assert!(Params::all_of(&graph, 3).is_empty());
}

#[test]
fn statistics_are_not_weights() {
    let vector = || Fixed(random(1, &[3]));
    let op = BatchNorm { epsilon: 1e-3, activation: Activation::None };
    let args = [Input(random(2, &[2, 3])), vector(), vector(), vector(), vector()];
    let mut case = Case::of(op, &args, 1);
    let [scale, bias, mean] = [1, 2, 3].map(|i| case.graph.nodes[0].inputs[i].unwrap());
    case.options.trainable = Params::all_of(&case.graph, 0);
    assert_eq!(case.options.trainable, [scale, bias]);
    Tape::compile(&case.graph, &case.options).unwrap();
    case.options.trainable.push(mean);
    let Err(Error::Unsupported(nodes)) = Tape::compile(&case.graph, &case.options) else { panic!("it compiled") };
    assert_eq!(nodes.len(), 2);
}

#[test]
fn nodes_without_a_derivative_are_all_named() {
    let mut case = Case::of(CumSum { axis: 1, exclusive: false, reverse: false }, &[Input(random(1, &[2, 3]))], 1);
    let x = case.graph.inputs[0];
    let sign = BinaryKind::FloorDiv;
    let odd = Binary { kind: sign, activation: Activation::None };
    let out = case.graph.add_node("floor", odd, &[Some(x), Some(x)], "floored");
    case.graph.outputs.push(out);
    let Err(Error::Unsupported(nodes)) = Tape::compile(&case.graph, &case.options) else { panic!("it compiled") };
    assert_eq!(nodes.iter().map(|n| n.node.as_str()).collect::<Vec<_>>(), ["node0", "node1", "floor"]);
    // Branches that lead nowhere do not matter.
    case.graph.outputs = vec![x];
    Tape::compile(&case.graph, &case.options).unwrap();
}

#[test]
fn wrong_requests_are_refused() {
    let (mut graph, [x, a, b]) = affine();
    let compile = |graph: &Graph, options: &Options| Tape::compile(graph, options).err();
    assert!(matches!(compile(&graph, &options(&[x])), Some(Error::NotTrainable { .. })));
    assert!(matches!(compile(&graph, &options(&[a, a])), Some(Error::NotTrainable { .. })));
    let wants = Options { input_gradients: vec![b], ..options(&[a]) };
    assert!(matches!(compile(&graph, &wants), Some(Error::NotAnInput { .. })));
    let none = Options { input_shapes: Vec::new(), ..options(&[a]) };
    assert!(matches!(compile(&graph, &none), Some(Error::Count { expected: 1, got: 0, .. })));
    let other = Options { input_shapes: vec![vec![2, 4]], ..options(&[a]) };
    assert!(matches!(compile(&graph, &other), Some(Error::Graph(_))));

    let mut tape = Tape::compile(&graph, &options(&[a, b])).unwrap();
    let mut params = Params::of(&graph, &[a, b]).unwrap();
    let input = || random(7, &[2, 3]);
    assert!(matches!(tape.forward(&[], &params), Err(Error::Count { .. })));
    assert!(matches!(tape.forward(&[random(7, &[3, 2])], &params), Err(Error::Input { .. })));
    let half = Params::of(&graph, &[a]).unwrap();
    assert!(matches!(tape.forward(&[input()], &half), Err(Error::Count { .. })));
    tape.forward(&[input()], &params).unwrap();
    assert!(matches!(tape.backward(&[&[0.0; 5]]), Err(Error::Length { expected: 6, got: 5, .. })));
    params.values[1].push(0.0);
    assert!(matches!(tape.forward(&[input()], &params), Err(Error::Length { index: 1, .. })));

    let cast = graph.add_node("cast", Cast { to: DType::I64 }, &[Some(x)], "whole");
    graph.outputs = vec![cast];
    graph.infer().unwrap();
    assert!(matches!(compile(&graph, &options(&[a])), Some(Error::OutputType { dtype: DType::I64, .. })));
}

#[test]
fn an_index_outside_of_the_table_is_an_error() {
    let table = Trained(random(1, &[4, 2]));
    let case = Case::of(Gather { axis: 0 }, &[table, crate::support::Given(Tensor::from_ints(&[3, 4]))], 1);
    let error = case.tape().forward(&case.inputs, &case.params()).unwrap_err();
    assert!(matches!(&error, Error::BadData { node, .. } if node == "node0"), "{error}");
}

#[test]
fn a_parameter_that_nothing_reads_has_a_gradient_of_zero() {
    let (mut graph, [_, a, b]) = affine();
    graph.outputs = vec![graph.nodes[1].outputs[0]];
    let case = Case { graph, inputs: vec![random(7, &[2, 3])], options: options(&[a, b]) };
    let mut tape = case.tape();
    tape.forward(&case.inputs, &case.params()).unwrap();
    let gradients = tape.backward(&[&[1.0; 6]]).unwrap();
    assert_eq!(gradients.param(1), [0.0; 3]);
    assert!(gradients.param(0).iter().all(|g| *g != 0.0));
}
