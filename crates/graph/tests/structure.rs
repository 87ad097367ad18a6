//! Order, liveness, consistency.

use fewbits_graph::ops::{Binary, BinaryKind, Identity, Split, Unary, UnaryKind};
use fewbits_graph::{Activation, DType, Error, Graph, NodeId, Quantization, Shape, Tensor, ValueId};

fn unary(g: &mut Graph, name: &str, x: ValueId) -> ValueId {
    g.add_node(name, Unary { kind: UnaryKind::Exp }, &[Some(x)], format!("{name}_out"))
}

fn add() -> Binary {
    Binary { kind: BinaryKind::Add, activation: Activation::None }
}

/// `x → a → b`, `x → c`, `b + c → sum`.
fn diamond() -> Graph {
    let mut g = Graph::default();
    let x = g.add_input("x", DType::F32, Shape::fixed(&[2]));
    let a = unary(&mut g, "a", x);
    let b = unary(&mut g, "b", a);
    let c = unary(&mut g, "c", x);
    let sum = g.add_node("sum", add(), &[Some(b), Some(c)], "sum_out");
    g.outputs.push(sum);
    g.infer().unwrap();
    g
}

fn order(g: &Graph) -> Vec<&str> {
    g.nodes.iter().map(|n| n.name.as_str()).collect()
}

#[test]
fn sorting_keeps_a_good_order_and_repairs_a_bad_one() {
    let mut g = diamond();
    g.sort().unwrap();
    assert_eq!(order(&g), ["a", "b", "c", "sum"]);
    g.nodes.reverse();
    assert!(matches!(g.validate(), Err(Error::Undefined { node, .. }) if node == "sum"));
    g.sort().unwrap();
    assert_eq!(order(&g), ["a", "b", "c", "sum"]);
    g.validate().unwrap();
}

#[test]
fn sorting_does_not_recurse() {
    let mut g = Graph::default();
    let mut x = g.add_input("x", DType::F32, Shape::fixed(&[1]));
    for i in 0..3000 {
        x = unary(&mut g, &format!("n{i}"), x);
    }
    g.outputs.push(x);
    g.nodes.reverse();
    g.sort().unwrap();
    assert_eq!(g.nodes[2999].name, "n2999");
}

#[test]
fn cycles_and_second_producers_are_found() {
    let mut g = diamond();
    let sum = g.outputs[0];
    g.nodes[0].inputs[0] = Some(sum);
    assert!(matches!(g.sort(), Err(Error::Cycle { .. })));

    let mut g = diamond();
    let own = g.nodes[0].outputs[0];
    g.nodes[0].inputs[0] = Some(own);
    assert_eq!(g.sort(), Err(Error::Cycle { node: "a".into() }));

    let mut g = diamond();
    g.nodes[2].outputs[0] = own;
    let twice = Error::TwoProducers { value: "a_out".into(), node: "c".into() };
    assert_eq!(g.sort(), Err(twice.clone()));
    assert_eq!(g.validate(), Err(twice));
}

#[test]
fn pruning_drops_the_unread_and_keeps_the_public() {
    let mut g = diamond();
    let x = g.inputs[0];
    unary(&mut g, "dead", x);
    let unused = g.add_input("unused", DType::F32, Shape::fixed(&[1]));
    g.add_constant("orphan", Tensor::scalar(1.0f32));
    assert_eq!(g.value(unused).name, "unused");
    g.prune();
    assert_eq!(order(&g), ["a", "b", "c", "sum"]);
    let names: Vec<&str> = g.values.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["x", "a_out", "b_out", "c_out", "sum_out", "unused"]);
    assert_eq!(g.value(g.inputs[1]).name, "unused");
    assert_eq!(g.value(g.outputs[0]).name, "sum_out");
    g.validate().unwrap();
}

#[test]
fn producers_and_consumers() {
    let mut g = diamond();
    let x = g.inputs[0];
    let twice = g.add_node("twice", add(), &[Some(x), Some(x)], "twice_out");
    let (producers, consumers) = (g.producers(), g.consumers());
    assert_eq!(producers[x.0], None);
    assert_eq!(producers[twice.0], Some(NodeId(4)));
    assert_eq!(consumers[x.0], [NodeId(0), NodeId(2), NodeId(4)]);
    let a = g.nodes[0].outputs[0];
    g.replace_uses(x, a);
    assert_eq!(g.consumers()[x.0], []);
    g.replace_uses(g.outputs[0], x);
    assert_eq!(g.outputs, [x]);
}

#[test]
fn names_are_made_unique() {
    let mut g = Graph::default();
    let names: Vec<String> = (0..3)
        .map(|_| {
            let v = g.add_value("v", DType::F32, Shape::default());
            g.value(v).name.clone()
        })
        .collect();
    assert_eq!(names, ["v", "v_1", "v_2"]);
    assert_eq!(g.find_value("v_1"), Some(ValueId(1)));
    assert_eq!(g.names()["v_2"], ValueId(2));
}

#[test]
fn validation_names_what_is_broken() {
    let mut g = diamond();
    g.values[1].quant = Some(Quantization::per_tensor(1.0, 0));
    assert!(matches!(g.validate(), Err(Error::BadQuantization { value, .. }) if value == "a_out"));

    let mut g = diamond();
    g.values[1].shape = Shape::fixed(&[usize::MAX, 2]);
    assert!(matches!(g.validate(), Err(Error::SizeOverflow { value, .. }) if value == "a_out"));

    let mut g = diamond();
    let c = g.add_constant("c0", Tensor::new(vec![2], vec![1.0f32, 2.0]));
    g.value_mut(c).shape = Shape::fixed(&[1, 2]);
    assert!(matches!(g.validate(), Err(Error::BadConstant { value, .. }) if value == "c0"));

    let mut g = diamond();
    let nowhere = g.add_value("nowhere", DType::F32, Shape::default());
    g.outputs.push(nowhere);
    assert_eq!(g.validate(), Err(Error::MissingOutput { value: "nowhere".into() }));
}

#[test]
fn fixing_input_shapes_checks_the_declared_ones() {
    let mut g = Graph::default();
    let shape = Shape(vec![fewbits_graph::Dim::symbol("N"), 4.into()]);
    let x = g.add_input("x", DType::F32, shape);
    let y = g.add_node("split", Split { axis: 1, sizes: vec![1, 3] }, &[Some(x)], "left");
    let right = g.add_value("right", DType::F32, Shape::default());
    g.nodes[0].outputs.push(right);
    let z = g.add_node("same", Identity, &[Some(right)], "same_out");
    g.outputs = vec![y, z];
    let fixed = g.with_input_shapes(&[vec![5, 4]]).unwrap();
    assert_eq!(fixed.value(z).shape, Shape::fixed(&[5, 3]));
    assert_eq!(fixed.value(y).shape, Shape::fixed(&[5, 1]));
    assert!(matches!(g.with_input_shapes(&[vec![5, 3]]), Err(Error::BadShape { .. })));
    assert!(matches!(g.with_input_shapes(&[vec![5]]), Err(Error::BadShape { .. })));
}
