//! Operators that move elements, reductions and interpolation.

use fewbits_graph::ops::*;
use fewbits_graph::{Op, Tensor};

use crate::support::{Arg, Case, Fixed, Given, Input, Trained, distinct, random, within};

fn ints(values: &[i64]) -> Arg {
    Fixed(Tensor::from_ints(values))
}

#[test]
fn moving_elements() {
    let x = || Input(random(1, &[2, 3, 4]));
    let image = || Input(random(2, &[2, 4, 6, 4]));
    Case::of(Transpose { perm: vec![2, 0, 1] }, &[x()], 1).check();
    Case::of(Transpose { perm: vec![1, 0, 2] }, &[x()], 1).check();
    Case::of(Slice, &[x(), ints(&[1, 3]), ints(&[3, -9]), ints(&[1, 2]), ints(&[1, -2])], 1).check();
    Case::of(Split { axis: 2, sizes: vec![1, 3] }, &[x()], 2).check();
    Case::of(Split { axis: 1, sizes: vec![1, 1, 1] }, &[x()], 3).check();
    Case::of(Tile, &[x(), ints(&[1, 2, 2])], 1).check();
    Case::of(Expand, &[Input(random(1, &[3, 1])), ints(&[2, 3, 4])], 1).check();
    Case::of(SpaceToDepth { block: 2 }, &[image()], 1).check();
    Case::of(DepthToSpace { block: 2, channel_first: false }, &[image()], 1).check();
    Case::of(DepthToSpace { block: 2, channel_first: true }, &[image()], 1).check();
}

#[test]
fn padding_in_every_mode() {
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Symmetric, PadMode::Wrap] {
        let args = [Input(random(1, &[2, 4, 5, 3])), ints(&[0, 1, 2, 0, 0, 2, 1, 0])];
        Case::of(Pad { mode }, &args, 1).check();
    }
    let cropped = [Input(random(1, &[3, 4])), ints(&[1, -1, 0, 2]), Fixed(Tensor::scalar(0.75f32))];
    Case::of(Pad { mode: PadMode::Constant }, &cropped, 1).check();
}

#[test]
fn gathering() {
    let table = || Trained(random(1, &[5, 3]));
    let indices = Tensor::new(vec![2, 3], vec![4i64, 0, -1, 2, 4, 4]);
    // Indices that come at run time, and constant ones, along each axis.
    Case::of(Gather { axis: 0 }, &[table(), Given(indices.clone())], 1).check();
    Case::of(Gather { axis: 0 }, &[table(), Fixed(indices.clone())], 1).check();
    let x = || Input(random(1, &[2, 5, 3]));
    Case::of(Gather { axis: 1 }, &[x(), Given(indices.clone())], 1).check();
    Case::of(Gather { axis: 1 }, &[x(), Fixed(indices)], 1).check();
    let along = Tensor::new(vec![2, 2, 3], vec![0i64, 4, 1, 2, 2, 0, 3, 1, 1, 0, 0, 4]);
    Case::of(GatherElements { axis: 1 }, &[x(), Fixed(along)], 1).check();
    let places = Tensor::new(vec![3, 2], vec![0i64, 4, 1, 2, 1, 2]);
    Case::of(GatherNd { batch_dims: 0 }, &[x(), Fixed(places)], 1).check();
}

#[test]
fn reductions() {
    use ReduceKind as K;
    for axes in [vec![0], vec![1, 2], vec![2], vec![0, 1, 2], vec![0, 2]] {
        for keep_dims in [false, true] {
            for kind in [K::Sum, K::Mean, K::Prod, K::L1, K::L2, K::SumSquare, K::LogSum, K::LogSumExp] {
                let op = Reduce { kind, axes: axes.clone(), keep_dims };
                Case::of(op, &[Input(within(1, &[2, 3, 2], 0.5, 1.5))], 1).check();
            }
            for kind in [K::Max, K::Min] {
                let op = Reduce { kind, axes: axes.clone(), keep_dims };
                Case::of(op, &[Input(distinct(1, &[2, 3, 4]))], 1).check();
            }
        }
    }
    let global = Reduce { kind: K::Mean, axes: vec![1, 2], keep_dims: false };
    Case::of(global, &[Input(random(1, &[3, 4, 5, 8]))], 1).check();
}

#[test]
fn interpolation() {
    let modes = [
        ResizeMode::Nearest(NearestRounding::Floor),
        ResizeMode::Nearest(NearestRounding::PreferCeil),
        ResizeMode::Linear,
        ResizeMode::Cubic { coefficient: -0.75, exclude_outside: false },
        ResizeMode::Cubic { coefficient: -0.5, exclude_outside: true },
    ];
    for mode in modes {
        for coordinates in [
            Coordinates::HalfPixel,
            Coordinates::PytorchHalfPixel,
            Coordinates::Asymmetric,
            Coordinates::AlignCorners,
            Coordinates::HalfPixelNearest,
        ] {
            for (image, size) in [([2, 3, 4, 2], [6, 7]), ([1, 5, 6, 3], [2, 6])] {
                let op = Resize { mode, coordinates, scales: None };
                Case::of(op, &[Input(random(1, &image)), ints(&size)], 1).check();
            }
            let op = Resize { mode, coordinates, scales: Some([1.5, 0.7]) };
            Case::of(op, &[Input(random(1, &[1, 4, 5, 2]))], 1).check();
        }
    }
}

#[test]
fn reshapes_share_the_buffer_of_their_input() {
    // A chain of renaming operators between two that compute, with a reader at every link.
    let x = Input(random(1, &[2, 3, 4]));
    let mut case = Case::of(Unary { kind: UnaryKind::Tanh }, &[x], 1);
    let graph = &mut case.graph;
    let shape = graph.add_constant("shape", Tensor::from_ints(&[6, 4]));
    let start = graph.nodes[0].outputs[0];
    let renamed: [(Op, Option<_>); 4] = [
        (Reshape { allow_zero: false }.into(), Some(shape)),
        (Unsqueeze { axes: vec![1] }.into(), None),
        (Identity.into(), None),
        (Flatten { axis: 1 }.into(), None),
    ];
    let mut at = start;
    for (i, (op, shape)) in renamed.into_iter().enumerate() {
        let inputs: Vec<_> = [Some(at)].into_iter().chain(shape.map(Some)).collect();
        at = graph.add_node(format!("rename{i}"), op, &inputs, format!("renamed{i}"));
        let read = graph.add_node(format!("read{i}"), Unary { kind: UnaryKind::Exp }, &[Some(at)], format!("read{i}"));
        graph.outputs.push(read);
    }
    graph.outputs.push(at);
    graph.infer().unwrap();
    case.check();
}
