//! Small graphs that between them hold every operator family, for our writers.

use fewbits_graph::ops::*;
use fewbits_graph::{Activation, DType, Dim, Graph, Op, Quantization, Shape, Tensor, ValueId};

/// A graph under construction.
struct Case(Graph);

impl Case {
    fn new() -> Self {
        Case(Graph { name: "seed".to_owned(), ..Graph::default() })
    }

    fn input(&mut self, shape: &[usize]) -> ValueId {
        self.0.add_input("x", DType::F32, Shape::fixed(shape))
    }

    fn typed(&mut self, dtype: DType, shape: &[usize]) -> ValueId {
        self.0.add_input("x", dtype, Shape::fixed(shape))
    }

    fn floats(&mut self, shape: &[usize]) -> ValueId {
        let data = (0..shape.iter().product::<usize>()).map(|i| i as f32 * 0.125 - 1.0).collect();
        self.0.add_constant("w", Tensor::new(shape.to_vec(), data))
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.0.add_constant("k", Tensor::from_ints(values))
    }

    /// An int8 constant.
    fn bytes(&mut self, shape: &[usize], quant: Quantization) -> ValueId {
        let data: Vec<i8> = (0..shape.iter().product::<usize>()).map(|i| i.to_le_bytes()[0].cast_signed()).collect();
        let id = self.0.add_constant("w", Tensor::new(shape.to_vec(), data));
        self.0.value_mut(id).quant = Some(quant);
        id
    }

    fn quantized_input(&mut self, shape: &[usize], scale: f32, zero_point: i32) -> ValueId {
        let id = self.typed(DType::I8, shape);
        self.0.value_mut(id).quant = Some(Quantization::per_tensor(scale, zero_point));
        id
    }

    /// Appends a node; its last output is the graph's.
    fn then(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let out = self.0.add_node(format!("n{}", self.0.nodes.len()), op, &inputs, "y");
        self.0.outputs = vec![out];
        self.0.infer().expect("the seed is consistent");
        out
    }

    /// As [`Case::then`], with an integer output.
    fn integer(&mut self, op: impl Into<Op>, inputs: &[ValueId], dtype: DType, scale: f32, zero_point: i32) -> ValueId {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let out = self.0.add_node(format!("n{}", self.0.nodes.len()), op, &inputs, "y");
        self.0.outputs = vec![out];
        let value = self.0.value_mut(out);
        (value.dtype, value.quant) = (dtype, Some(Quantization::per_tensor(scale, zero_point)));
        self.0.infer().expect("the seed is consistent");
        out
    }

    /// Gives the last node more outputs.
    fn more_outputs(&mut self, count: usize) {
        for i in 1..count {
            let out = self.0.add_value(format!("y{i}"), DType::F32, Shape::default());
            self.0.outputs.push(out);
        }
        self.0.nodes.last_mut().expect("there is a node").outputs.clone_from(&self.0.outputs);
        self.0.infer().expect("the seed is consistent");
    }
}

/// The graphs, by name.
pub(crate) fn graphs() -> Vec<(String, Graph)> {
    let mut all = Vec::new();
    let mut add = |name: &str, build: &dyn Fn(&mut Case)| {
        let mut case = Case::new();
        build(&mut case);
        all.push((name.to_owned(), case.0));
    };
    convolutions(&mut add);
    products(&mut add);
    elementwise(&mut add);
    along_axes(&mut add);
    movements(&mut add);
    shapes(&mut add);
    integers(&mut add);
    add("network", &network);
    all
}

type Add<'a> = &'a mut dyn FnMut(&str, &dyn Fn(&mut Case));

const NONE: Activation = Activation::None;

fn conv(padding: [usize; 4], groups: usize) -> Conv2d {
    Conv2d { stride: [1, 2], dilation: [1, 1], padding, groups, activation: Activation::Relu6 }
}

fn convolutions(add: Add<'_>) {
    add("conv", &|c| {
        let (x, w, b) = (c.input(&[1, 8, 8, 4]), c.floats(&[6, 3, 3, 4]), c.floats(&[6]));
        c.then(conv([1; 4], 1), &[x, w, b]);
    });
    add("conv-groups", &|c| {
        let (x, w, b) = (c.input(&[1, 8, 8, 4]), c.floats(&[6, 3, 3, 2]), c.floats(&[6]));
        c.then(conv([0, 0, 1, 1], 2), &[x, w, b]);
    });
    add("depthwise", &|c| {
        let (x, w, b) = (c.input(&[1, 8, 8, 4]), c.floats(&[1, 3, 3, 8]), c.floats(&[8]));
        let op = DepthwiseConv2d { stride: [2, 2], dilation: [1, 1], padding: [1; 4], multiplier: 2, activation: NONE };
        c.then(op, &[x, w, b]);
    });
    add("transposed", &|c| {
        let (x, w, b) = (c.input(&[1, 5, 4, 4]), c.floats(&[6, 3, 3, 4]), c.floats(&[6]));
        let op = ConvTranspose2d {
            stride: [2, 2],
            dilation: [1, 1],
            padding: [0, 0, 1, 1],
            output_padding: [0, 0],
            groups: 1,
            activation: NONE,
        };
        c.then(op, &[x, w, b]);
    });
    for (name, kind) in [("max-pool", PoolKind::Max), ("mean-pool", PoolKind::Average { count_include_pad: true })] {
        add(name, &|c| {
            let x = c.input(&[1, 8, 8, 4]);
            let op = Pool2d {
                kind,
                kernel: [3, 3],
                stride: [2, 2],
                dilation: [1, 1],
                padding: [0, 0, 1, 1],
                counted_padding: [1, 1],
                activation: NONE,
            };
            c.then(op, &[x]);
        });
    }
}

fn products(add: Add<'_>) {
    add("linear", &|c| {
        let (x, w, b) = (c.input(&[2, 5]), c.floats(&[3, 5]), c.floats(&[3]));
        c.0.value_mut(x).shape = Shape(vec![Dim::symbol("batch"), Dim::Fixed(5)]);
        c.then(FullyConnected { activation: Activation::Relu }, &[x, w, b]);
    });
    add("matmul", &|c| {
        let (x, y) = (c.input(&[2, 3, 4]), c.floats(&[2, 5, 4]));
        c.then(MatMul { transpose_a: false, transpose_b: true }, &[x, y]);
    });
    add("half", &|c| {
        let x = c.input(&[2, 2]);
        let half = Tensor::from_bytes(DType::F16, vec![2, 2], vec![0, 60, 0, 188, 0, 56, 0, 0].into());
        let w = c.0.add_constant("w", half.expect("four halves"));
        c.then(FullyConnected { activation: NONE }, &[x, w]);
    });
}

fn elementwise(add: Add<'_>) {
    use UnaryKind::*;
    let kinds = [
        Relu,
        Clip { min: -1.0, max: 1.0 },
        LeakyRelu { alpha: 0.1 },
        Elu { alpha: 1.0 },
        Selu { alpha: 1.6, gamma: 1.05 },
        HardSwish,
        HardSigmoid { alpha: 0.2, beta: 0.5 },
        Sigmoid,
        Gelu { tanh: true },
        Softplus,
        Exp,
        Rsqrt,
        Abs,
        Round,
        Cos,
    ];
    for (i, kind) in kinds.into_iter().enumerate() {
        add(&format!("unary-{i}"), &|c| {
            let x = c.input(&[2, 3, 4]);
            c.then(Unary { kind }, &[x]);
        });
    }
    use BinaryKind::*;
    for (i, kind) in [Add, Sub, Mul, Div, Pow, Min, SquaredDifference, FloorMod].into_iter().enumerate() {
        add(&format!("binary-{i}"), &|c| {
            let (x, y) = (c.input(&[2, 3, 4]), c.floats(&[4]));
            c.then(Binary { kind, activation: Activation::Relu }, &[x, y]);
        });
    }
    add("select", &|c| {
        let (x, y) = (c.input(&[2, 3]), c.floats(&[3]));
        let less = c.then(Compare { kind: CompareKind::Less }, &[x, y]);
        let not = c.then(Unary { kind: Not }, &[less]);
        let both = c.then(Logical { kind: LogicalKind::And }, &[less, not]);
        c.then(Where, &[both, x, y]);
    });
    add("cast-prelu", &|c| {
        let (x, slope) = (c.input(&[1, 2, 2, 4]), c.floats(&[4]));
        let y = c.then(PRelu, &[x, slope]);
        c.then(Cast { to: DType::I32 }, &[y]);
    });
}

fn along_axes(add: Add<'_>) {
    use ReduceKind::*;
    for (i, kind) in [Sum, Mean, Max, Prod, L1, L2, LogSumExp].into_iter().enumerate() {
        add(&format!("reduce-{i}"), &|c| {
            let x = c.input(&[2, 3, 4]);
            c.then(Reduce { kind, axes: vec![0, 2], keep_dims: i % 2 == 0 }, &[x]);
        });
    }
    let ops: [(&str, Op); 6] = [
        ("softmax", Softmax { axis: 2, beta: 1.0 }.into()),
        ("log-softmax", LogSoftmax { axis: 2 }.into()),
        ("l2-norm", L2Norm { axis: 2, epsilon: 1e-6 }.into()),
        ("cumsum", CumSum { axis: 1, exclusive: true, reverse: false }.into()),
        (
            "arg-max",
            ArgReduce { largest: true, axis: 1, keep_dims: false, select_last: false, dtype: DType::I64 }.into(),
        ),
        ("shape", ShapeOf { start: 0, end: 3, dtype: DType::I64 }.into()),
    ];
    for (name, op) in ops {
        add(name, &|c| {
            let x = c.input(&[2, 3, 4]);
            c.then(op.clone(), &[x]);
        });
    }
    add("top-k", &|c| {
        let x = c.input(&[2, 4]);
        c.then(TopK { k: 2, axis: 1, largest: true, dtype: DType::I64 }, &[x]);
        c.more_outputs(2);
    });
    add("layer-norm", &|c| {
        let (x, s, b) = (c.input(&[2, 4]), c.floats(&[4]), c.floats(&[4]));
        c.then(LayerNorm { axis: 1, epsilon: 1e-5 }, &[x, s, b]);
    });
    add("batch-norm", &|c| {
        let x = c.input(&[1, 2, 2, 4]);
        let parts = [0; 4].map(|_| c.floats(&[4]));
        c.then(BatchNorm { epsilon: 1e-3, activation: NONE }, &[x, parts[0], parts[1], parts[2], parts[3]]);
    });
}

fn movements(add: Add<'_>) {
    let with = |shape: &'static [usize], ints: &'static [&'static [i64]], op: Op, outputs: usize| {
        move |c: &mut Case| {
            let mut inputs = vec![c.input(shape)];
            inputs.extend(ints.iter().map(|v| c.ints(v)));
            c.then(op.clone(), &inputs);
            c.more_outputs(outputs);
        }
    };
    for (i, mode) in [PadMode::Constant, PadMode::Reflect, PadMode::Symmetric, PadMode::Edge].into_iter().enumerate() {
        add(&format!("pad-{i}"), &with(&[2, 3], &[&[0, 1, 1, 2]], Pad { mode }.into(), 1));
    }
    add("split", &with(&[2, 6], &[], Split { axis: 1, sizes: vec![1, 5] }.into(), 2));
    add("slice", &with(&[2, 3, 5], &[&[0, 1], &[2, 4], &[1, 2], &[1, 2]], Slice.into(), 1));
    add("gather", &with(&[4, 3], &[&[2, -1]], Gather { axis: 0 }.into(), 1));
    add("gather-nd", &with(&[4, 3], &[&[2, 0]], GatherNd { batch_dims: 0 }.into(), 1));
    add("tile", &with(&[4, 3], &[&[2, 1]], Tile.into(), 1));
    add("space-to-depth", &with(&[1, 4, 6, 2], &[], SpaceToDepth { block: 2 }.into(), 1));
    add("depth-to-space", &with(&[1, 4, 6, 8], &[], DepthToSpace { block: 2, channel_first: false }.into(), 1));
    add("transpose", &with(&[2, 3, 4], &[], Transpose { perm: vec![2, 0, 1] }.into(), 1));
    add("concat", &|c| {
        let (x, y) = (c.input(&[2, 3]), c.floats(&[2, 2]));
        c.then(Concat { axis: 1, activation: NONE }, &[x, y, x]);
    });
    add("resize", &|c| {
        let (x, sizes) = (c.input(&[1, 3, 4, 2]), c.ints(&[6, 8]));
        let nearest = ResizeMode::Nearest(NearestRounding::Floor);
        let y = c.then(Resize { mode: nearest, coordinates: Coordinates::Asymmetric, scales: None }, &[x, sizes]);
        let sizes = c.ints(&[3, 5]);
        c.then(Resize { mode: ResizeMode::Linear, coordinates: Coordinates::HalfPixel, scales: None }, &[y, sizes]);
    });
}

fn shapes(add: Add<'_>) {
    let with = |shape: &'static [usize], ints: &'static [&'static [i64]], op: Op| {
        move |c: &mut Case| {
            let mut inputs = vec![c.input(shape)];
            inputs.extend(ints.iter().map(|v| c.ints(v)));
            c.then(op.clone(), &inputs);
        }
    };
    add("reshape", &with(&[2, 6], &[&[3, -1]], Reshape { allow_zero: false }.into()));
    add("flatten", &with(&[2, 3, 4], &[], Flatten { axis: 1 }.into()));
    add("squeeze", &with(&[2, 1, 3], &[], Squeeze { axes: vec![1] }.into()));
    add("unsqueeze", &with(&[2, 3], &[], Unsqueeze { axes: vec![1] }.into()));
    add("expand", &with(&[3, 1], &[&[2, 3, 4]], Expand.into()));
    add("identity", &with(&[2, 3], &[], Identity.into()));
    // Everything here is known before the model runs: food for constant folding.
    add("folding", &|c| {
        let x = c.input(&[2, 3]);
        let shape = c.then(ShapeOf { start: 0, end: 2, dtype: DType::I64 }, &[x]);
        let one = c.0.add_constant("one", Tensor::scalar(1.5f32));
        let filled = c.then(Fill, &[shape, one]);
        let twice = c.ints(&[1, 2]);
        let tiled = c.then(Tile, &[filled, twice]);
        let [start, limit, step] = [0i64, 6, 1].map(|n| c.0.add_constant("r", Tensor::scalar(n)));
        let range = c.then(Range, &[start, limit, step]);
        let range = c.then(Cast { to: DType::F32 }, &[range]);
        let sum = c.then(Binary { kind: BinaryKind::Add, activation: NONE }, &[tiled, range]);
        let both = c.then(Concat { axis: 1, activation: NONE }, &[sum, x]);
        c.then(Unary { kind: UnaryKind::Exp }, &[both]);
    });
}

fn integers(add: Add<'_>) {
    add("int8-conv", &|c| {
        let x = c.quantized_input(&[1, 8, 8, 2], 0.5, -3);
        let w = c.bytes(&[3, 3, 3, 2], Quantization::per_channel(0, vec![0.5, 0.25, 2.0]));
        let b = c.0.add_constant("b", Tensor::new(vec![3], vec![5i32, -5, 7]));
        c.0.value_mut(b).quant = Some(Quantization::per_channel(0, vec![0.25, 0.125, 1.0]));
        c.integer(conv([1; 4], 1), &[x, w, b], DType::I8, 0.25, 7);
    });
    add("quantize", &|c| {
        let x = c.input(&[2, 3]);
        let q = c.integer(Quantize, &[x], DType::I8, 0.5, -3);
        let r = c.integer(Requantize, &[q], DType::I8, 0.25, 4);
        let sum = Binary { kind: BinaryKind::Add, activation: NONE };
        let y = c.integer(sum, &[q, r], DType::I8, 1.0, 0);
        c.then(Dequantize, &[y]);
    });
    add("dynamic-range", &|c| {
        let (x, b) = (c.input(&[2, 5]), c.floats(&[3]));
        let w = c.bytes(&[3, 5], Quantization::per_tensor(0.5, 0));
        c.then(FullyConnected { activation: NONE }, &[x, w, b]);
    });
}

/// Convolution, depthwise convolution, sum, global mean, linear layer, softmax.
fn network(c: &mut Case) {
    let (x, w, b) = (c.input(&[1, 8, 8, 3]), c.floats(&[4, 3, 3, 3]), c.floats(&[4]));
    let op = Conv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], groups: 1, activation: NONE };
    let first = c.then(op, &[x, w, b]);
    let relu = c.then(Unary { kind: UnaryKind::Relu }, &[first]);
    let (w, b) = (c.floats(&[1, 3, 3, 4]), c.floats(&[4]));
    let op = DepthwiseConv2d { stride: [1, 1], dilation: [1, 1], padding: [1; 4], multiplier: 1, activation: NONE };
    let deep = c.then(op, &[relu, w, b]);
    let sum = c.then(Binary { kind: BinaryKind::Add, activation: Activation::Relu }, &[deep, relu]);
    let mean = c.then(Reduce { kind: ReduceKind::Mean, axes: vec![1, 2], keep_dims: false }, &[sum]);
    let (w, b) = (c.floats(&[5, 4]), c.floats(&[5]));
    let logits = c.then(FullyConnected { activation: NONE }, &[mean, w, b]);
    c.then(Softmax { axis: 1, beta: 1.0 }, &[logits]);
}
