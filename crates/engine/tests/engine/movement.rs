//! Operators that move elements.

use fewbits_engine::{Engine, Error};
use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Op, Tensor};

use crate::support::{Arg, arg, constant, floats, integers, one_node, run};

/// `0, 1, 2…` of a shape.
fn ramp(shape: &[usize]) -> Tensor {
    Tensor::new(shape.to_vec(), (0..shape.iter().product::<usize>() as i32).collect())
}

fn moved(op: impl Into<Op>, args: &[Arg]) -> Vec<i64> {
    integers(&run(op, args, &[DType::I32])[0])
}

fn ints(data: &[i64]) -> Arg {
    constant(Tensor::from_ints(data))
}

#[test]
fn transpose_expand_tile() {
    assert_eq!(moved(Transpose { perm: vec![1, 0] }, &[arg(ramp(&[2, 3]))]), [0, 3, 1, 4, 2, 5]);
    assert_eq!(moved(Expand, &[arg(ramp(&[2, 1])), ints(&[2, 1, 3])]), [[0, 0, 0, 1, 1, 1]; 2].concat());
    assert_eq!(moved(Tile, &[arg(ramp(&[1, 2])), ints(&[2, 2])]), [[0, 1]; 4].concat());
}

#[test]
fn without_elements_the_other_axes_cost_nothing() {
    let empty = || arg(Tensor::new(vec![1 << 40, 0, 2], Vec::<i32>::new()));
    let sum =
        |axes: &[usize]| moved(Reduce { kind: ReduceKind::Sum, axes: axes.to_vec(), keep_dims: false }, &[empty()]);
    assert_eq!(sum(&[0, 1]), [0, 0]);
    assert_eq!(sum(&[0]), Vec::<i64>::new());
}

#[test]
fn slices_in_the_sense_of_numpy() {
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        moved(Slice, &[arg(ramp(&[3, 4])), ints(starts), ints(ends), ints(axes), ints(steps)])
    };
    assert_eq!(slice(&[1], &[i64::MAX], &[0], &[1]), [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(slice(&[-1, 0], &[i64::MIN, 3], &[1, 0], &[-2, 2]), [3, 1, 11, 9]);
    assert_eq!(slice(&[0], &[3], &[0], &[100]), [0, 1, 2, 3]);
}

#[test]
fn concat_and_split_are_inverse() {
    let x = ramp(&[2, 5, 2]);
    let parts = run(Split { axis: 1, sizes: vec![1, 3, 1] }, &[arg(x.clone())], &[DType::I32; 3]);
    assert_eq!(integers(&parts[0]), [0, 1, 10, 11]);
    let back = Concat { axis: 1, activation: Activation::None };
    let joined = run(back, &parts.into_iter().map(arg).collect::<Vec<_>>(), &[DType::I32]);
    assert_eq!(joined[0], x);
    let halves = [-1f32, 2.0].map(|v| arg(Tensor::new(vec![1], vec![v])));
    let op = Concat { axis: 0, activation: Activation::Relu };
    assert_eq!(floats(&run(op, &halves, &[DType::F32])[0]), [0.0, 2.0]);
}

#[test]
fn concat_takes_more_inputs_than_fit_inline() {
    let parts: Vec<Arg> = (0..20).map(|i| arg(Tensor::new(vec![1], vec![i]))).collect();
    let op = Concat { axis: 0, activation: Activation::None };
    assert_eq!(moved(op, &parts), (0..20).collect::<Vec<_>>());
}

#[test]
fn pads_of_every_mode() {
    let row = |mode, pads: &[i64]| moved(Pad { mode }, &[arg(ramp(&[1, 4])), ints(pads)]);
    assert_eq!(row(PadMode::Constant, &[0, 1, 0, 2]), [0, 0, 1, 2, 3, 0, 0]);
    assert_eq!(row(PadMode::Edge, &[0, 1, 0, 2]), [0, 0, 1, 2, 3, 3, 3]);
    assert_eq!(row(PadMode::Reflect, &[0, 2, 0, 2]), [2, 1, 0, 1, 2, 3, 2, 1]);
    assert_eq!(row(PadMode::Symmetric, &[0, 2, 0, 2]), [1, 0, 0, 1, 2, 3, 3, 2]);
    assert_eq!(row(PadMode::Wrap, &[0, 1, 0, 1]), [3, 0, 1, 2, 3, 0]);
    assert_eq!(row(PadMode::Constant, &[0, -1, 0, -2]), [1]);
    let nhwc = moved(
        Pad { mode: PadMode::Constant },
        &[arg(ramp(&[1, 1, 2, 2])), ints(&[0, 1, 1, 0, 0, 0, 0, 0]), constant(Tensor::scalar(9i32))],
    );
    assert_eq!(nhwc, [9, 9, 9, 9, 9, 9, 9, 9, 0, 1, 2, 3]);
    // A quantized edge is padded with what stands for zero.
    let x = arg(Tensor::new(vec![2], vec![5i8, 6])).scaled(0.1, -7);
    let (graph, inputs) =
        one_node(Pad { mode: PadMode::Constant }, &[x.clone(), ints(&[1, 0])], &[(DType::I8, x.quant)]);
    let out = Engine::compile(&graph, &Default::default()).unwrap().run(&inputs).unwrap();
    assert_eq!(integers(&out[0]), [-7, 5, 6]);
}

#[test]
fn gathers() {
    let x = arg(ramp(&[2, 3, 2]));
    let at = |data: Vec<i32>, shape: &[usize]| arg(Tensor::new(shape.to_vec(), data));
    assert_eq!(moved(Gather { axis: 1 }, &[x.clone(), at(vec![2, -3], &[2])]), [4, 5, 0, 1, 10, 11, 6, 7]);
    let elements = [x.clone(), at(vec![1, 0], &[1, 1, 2])];
    assert_eq!(moved(GatherElements { axis: 1 }, &elements), [2, 1]);
    assert_eq!(moved(GatherNd { batch_dims: 1 }, &[x.clone(), at(vec![1, 2], &[2, 1])]), [2, 3, 10, 11]);
    let rows = at(vec![7, 8], &[1, 2]);
    let scattered = moved(ScatterNd, &[x, at(vec![1, 0], &[1, 2]), rows]);
    assert_eq!(scattered, [0, 1, 2, 3, 4, 5, 7, 8, 8, 9, 10, 11]);
}

#[test]
fn an_index_out_of_range_is_an_error() {
    let args = [arg(ramp(&[3])), arg(Tensor::new(vec![1], vec![3i64]))];
    let (graph, inputs) = one_node(Gather { axis: 0 }, &args, &[(DType::I32, None)]);
    let error = Engine::compile(&graph, &Default::default()).unwrap().run(&inputs).unwrap_err();
    assert!(matches!(&error, Error::BadData { node, op: "Gather", .. } if node == "node"), "{error}");
    // The same among constants is found while compiling.
    let args = args.map(|a| Arg { constant: true, ..a });
    let (graph, _) = one_node(Gather { axis: 0 }, &args, &[(DType::I32, None)]);
    assert!(matches!(Engine::compile(&graph, &Default::default()), Err(Error::BadData { .. })));
}

#[test]
fn quantized_tables_are_read_by_row() {
    let table = Tensor::new(vec![3, 2], vec![1i8, 2, 3, 4, 5, 6]);
    let indices = arg(Tensor::from_ints(&[2, 0, -2]));
    for table in [constant(table.clone()).per_channel(0, &[1.0, 10.0, 100.0]), constant(table).scaled(2.0, 1)] {
        let rows: Vec<f32> = match table.quant.as_ref().unwrap().as_per_tensor() {
            None => vec![500.0, 600.0, 1.0, 2.0, 30.0, 40.0],
            Some(_) => vec![8.0, 10.0, 0.0, 2.0, 4.0, 6.0],
        };
        assert_eq!(floats(&run(Gather { axis: 0 }, &[table, indices.clone()], &[DType::F32])[0]), rows);
    }
    let columns = constant(Tensor::new(vec![2, 2], vec![1i8, 2, 3, 4])).per_channel(1, &[1.0, 10.0]);
    let indices = arg(Tensor::from_ints(&[1]));
    assert_eq!(floats(&run(Gather { axis: 0 }, &[columns, indices], &[DType::F32])[0]), [3.0, 40.0]);
}

#[test]
fn blocks_of_space_and_depth() {
    let x = arg(ramp(&[1, 2, 4, 1]));
    assert_eq!(moved(SpaceToDepth { block: 2 }, &[x]), [0, 1, 4, 5, 2, 3, 6, 7]);
    let x = arg(ramp(&[1, 1, 1, 8]));
    let op = |channel_first| DepthToSpace { block: 2, channel_first };
    assert_eq!(moved(op(false), std::slice::from_ref(&x)), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(moved(op(true), &[x]), [0, 4, 1, 5, 2, 6, 3, 7]);
}

#[test]
fn choices_and_generators() {
    let condition = arg(Tensor::from_bools(vec![2, 1], &[true, false]));
    let (a, b) = (arg(ramp(&[1, 3])), constant(Tensor::scalar(9i32)));
    assert_eq!(moved(Where, &[condition, a, b]), [0, 1, 2, 9, 9, 9]);
    let one_hot = [arg(Tensor::from_ints(&[2, 0])), ints(&[3]), constant(Tensor::new(vec![2], vec![-1i32, 5]))];
    assert_eq!(moved(OneHot { axis: 0 }, &one_hot), [-1, 5, -1, -1, 5, -1]);
    let scalars = [2i32, 11, 3].map(|v| constant(Tensor::scalar(v)));
    assert_eq!(moved(Range, &scalars), [2, 5, 8]);
    assert_eq!(moved(Fill, &[ints(&[2, 2]), arg(Tensor::scalar(4i32))]), [4; 4]);
    let less = Compare { kind: CompareKind::Less };
    let out = run(less, &[arg(ramp(&[3])), constant(Tensor::scalar(1i32))], &[DType::Bool]);
    assert_eq!((out[0].dtype(), integers(&out[0])), (DType::Bool, vec![1, 0, 0]));
    let xor = Logical { kind: LogicalKind::Xor };
    let bits = [[true, true], [true, false]].map(|b| arg(Tensor::from_bools(vec![2], &b)));
    assert_eq!(integers(&run(xor, &bits, &[DType::Bool])[0]), [0, 1]);
    assert_eq!(integers(&run(Unary { kind: UnaryKind::Not }, &bits[1..], &[DType::Bool])[0]), [0, 1]);
}
