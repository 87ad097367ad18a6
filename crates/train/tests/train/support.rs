//! One-node graphs and their finite differences.

use fewbits_engine::Engine;
use fewbits_graph::{DType, Graph, Op, Shape, Tensor, ValueId};
use fewbits_train::{Options, Params, Tape};

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

/// Uniform floats in `[-1, 1)`.
pub(crate) fn random(seed: u64, shape: &[usize]) -> Tensor {
    within(seed, shape, -1.0, 1.0)
}

/// Uniform floats in `[low, high)`.
pub(crate) fn within(seed: u64, shape: &[usize], low: f32, high: f32) -> Tensor {
    let mut random = Random::new(seed);
    let count = shape.iter().product();
    let data: Vec<f32> = (0..count).map(|_| low + (random.float() + 1.0) / 2.0 * (high - low)).collect();
    Tensor::new(shape.to_vec(), data)
}

/// Odd multiples of 0.05 in random order: no two are nearer to each other than 0.1, none nearer to
/// a multiple of 0.1 than 0.05, so that a difference never crosses a kink.
pub(crate) fn distinct(seed: u64, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let mut random = Random::new(seed);
    let mut data: Vec<f32> = (0..count).map(|i| 0.1 * (i as f32 - (count / 2) as f32) + 0.05).collect();
    for i in (1..count).rev() {
        data.swap(i, (random.bits() % (i as u64 + 1)) as usize);
    }
    Tensor::new(shape.to_vec(), data)
}

/// An input of a one-node graph.
#[derive(Clone)]
pub(crate) enum Arg {
    /// A float input whose gradient is checked.
    Input(Tensor),
    /// A constant whose gradient is checked.
    Trained(Tensor),
    /// A constant.
    Fixed(Tensor),
    /// An input that has no gradient.
    Given(Tensor),
    Absent,
}

pub(crate) use Arg::{Absent, Fixed, Given, Input, Trained};

/// Distance of a difference's inner points.
const STEP: f32 = 1.0 / 64.0;
/// The same where a kink may be near, and how near: results move by at most 5 times an input.
const SHORT_STEP: f32 = 1.0 / 256.0;
const MARGIN: f32 = 10.0 * SHORT_STEP;
/// Elements of a tensor that are checked.
const SAMPLES: usize = 24;

/// A graph, its inputs, and what is differentiated.
pub(crate) struct Case {
    pub(crate) graph: Graph,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) options: Options,
}

impl Case {
    /// Two nodes of `op` on the same inputs, so that every gradient has two shares; all outputs
    /// are outputs of the graph.
    pub(crate) fn of(op: impl Into<Op>, args: &[Arg], outputs: usize) -> Case {
        let mut case = Case { graph: Graph::default(), inputs: Vec::new(), options: Options::default() };
        let ids: Vec<Option<ValueId>> = args.iter().enumerate().map(|(i, arg)| case.add(i, arg)).collect();
        let op = op.into();
        for copy in 0..2 {
            case.graph.add_node(format!("node{copy}"), op.clone(), &ids, format!("out{copy}"));
            for extra in 1..outputs {
                let id = case.graph.add_value(format!("out{copy}_{extra}"), DType::F32, Shape::default());
                case.graph.nodes[copy].outputs.push(id);
            }
            for out in case.graph.nodes[copy].outputs.clone() {
                case.graph.value_mut(out).dtype = DType::F32;
                case.graph.outputs.push(out);
            }
        }
        case
    }

    fn add(&mut self, i: usize, arg: &Arg) -> Option<ValueId> {
        let (tensor, constant) = match arg {
            Absent => return None,
            Trained(t) | Fixed(t) => (t, true),
            Input(t) | Given(t) => (t, false),
        };
        let name = format!("arg{i}");
        if constant {
            let id = self.graph.add_constant(name, tensor.clone());
            if matches!(arg, Trained(_)) {
                self.options.trainable.push(id);
            }
            return Some(id);
        }
        let id = self.graph.add_input(name, tensor.dtype(), Shape::fixed(tensor.shape()));
        self.options.input_shapes.push(tensor.shape().to_vec());
        if matches!(arg, Input(_)) {
            self.options.input_gradients.push(id);
        }
        self.inputs.push(tensor.clone());
        Some(id)
    }

    pub(crate) fn tape(&self) -> Tape {
        Tape::compile(&self.graph, &self.options).unwrap()
    }

    pub(crate) fn params(&self) -> Params {
        Params::of(&self.graph, &self.options.trainable).unwrap()
    }

    /// The outputs of the forward pass are the engine's, and the gradients are the slopes.
    pub(crate) fn check(&self) {
        self.check_forward();
        self.check_gradients(STEP, 1e-3);
    }

    pub(crate) fn check_forward(&self) {
        let mut tape = self.tape();
        tape.forward(&self.inputs, &self.params()).unwrap();
        let mut engine = Engine::compile(&self.graph, &Default::default()).unwrap();
        for (i, expected) in engine.run(&self.inputs).unwrap().iter().enumerate() {
            assert_eq!(tape.output_shape(i), expected.shape());
            close(&format!("output {i}"), tape.output(i), &expected.to_f32(), 1e-5);
        }
    }

    /// Compares the slope along the gradient itself, over all parameters at once, with its length:
    /// for networks with kinks, where single slopes are not to be had.
    pub(crate) fn check_slope(&self, tolerance: f64) {
        let (mut tape, params) = (self.tape(), self.params());
        tape.forward(&self.inputs, &params).unwrap();
        let mut random = Random::new(99);
        let direction: Vec<f32> = tape.output(0).iter().map(|_| random.float()).collect();
        let unused: Vec<Vec<f32>> = (1..tape.outputs()).map(|i| vec![0.0; tape.output(i).len()]).collect();
        let views: Vec<&[f32]> = [&direction].into_iter().chain(&unused).map(Vec::as_slice).collect();
        let gradients: Vec<Vec<f32>> = tape.backward(&views).unwrap().params().map(<[f32]>::to_vec).collect();
        let square = |v: &f32| f64::from(*v) * f64::from(*v);
        let length = gradients.iter().flatten().map(square).sum::<f64>().sqrt();
        let mut loss = |along: f64| {
            let mut moved = params.clone();
            for (values, gradient) in moved.values.iter_mut().zip(&gradients) {
                values.iter_mut().zip(gradient).for_each(|(v, g)| *v += (along / length * f64::from(*g)) as f32);
            }
            tape.forward(&self.inputs, &moved).unwrap();
            tape.output(0).iter().zip(&direction).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum::<f64>()
        };
        // The longest step that is still straight, against rounding and the kinks on the way.
        let slope = |step: f64, loss: &mut dyn FnMut(f64) -> f64| (loss(step) - loss(-step)) / (2.0 * step);
        let steps = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4].map(|step| slope(step, &mut loss));
        let error = steps.iter().map(|s| (s - length).abs() / length).fold(f64::INFINITY, f64::min);
        assert!(length > 0.0 && error < tolerance, "slopes {steps:?}, length of the gradient {length}");
    }

    /// Compares gradients with differences over four points, whose error is of the fourth order.
    fn check_gradients(&self, step: f32, tolerance: f32) {
        let (mut tape, mut params, mut inputs) = (self.tape(), self.params(), self.inputs.clone());
        tape.forward(&inputs, &params).unwrap();
        let mut random = Random::new(99);
        let directions: Vec<Vec<f32>> =
            (0..tape.outputs()).map(|i| tape.output(i).iter().map(|_| random.float()).collect()).collect();
        let views: Vec<&[f32]> = directions.iter().map(Vec::as_slice).collect();
        // Once before, with other gradients: nothing may be left over from step to step.
        let doubled: Vec<Vec<f32>> = directions.iter().map(|d| d.iter().map(|v| 2.0 * v + 1.0).collect()).collect();
        tape.backward(&doubled.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        tape.forward(&inputs, &params).unwrap();
        let gradients = tape.backward(&views).unwrap();
        let of_params: Vec<Vec<f32>> = gradients.params().map(<[f32]>::to_vec).collect();
        let of_inputs: Vec<Vec<f32>> =
            (0..self.options.input_gradients.len()).map(|i| gradients.input(i).to_vec()).collect();
        assert!(of_params.len() + of_inputs.len() > 0, "nothing is differentiated");
        let mut loss = |inputs: &[Tensor], params: &Params| {
            tape.forward(inputs, params).unwrap();
            let output = |i: usize| tape.output(i).iter().zip(&directions[i]);
            (0..views.len()).flat_map(output).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum::<f64>()
        };
        for (index, gradient) in of_params.iter().enumerate() {
            let name = params.name(index).to_owned();
            slopes(&name, gradient, step, tolerance, |at, move_by| {
                let before = params.values[index][at];
                params.values[index][at] = before + move_by;
                let value = loss(&inputs, &params);
                params.values[index][at] = before;
                value
            });
        }
        for (index, gradient) in of_inputs.iter().enumerate() {
            let id = self.options.input_gradients[index];
            let place = self.graph.inputs.iter().position(|v| *v == id).unwrap();
            let before = inputs[place].to_f32();
            slopes(&format!("input {index}"), gradient, step, tolerance, |at, move_by| {
                let mut moved = before.clone();
                moved[at] += move_by;
                inputs[place] = Tensor::new(inputs[place].shape().to_vec(), moved);
                loss(&inputs, &params)
            });
            inputs[place] = Tensor::new(inputs[place].shape().to_vec(), before);
        }
    }
}

/// Compares sampled elements of `gradient` with the slopes of `loss(element, move)`.
fn slopes(name: &str, gradient: &[f32], step: f32, tolerance: f32, mut loss: impl FnMut(usize, f32) -> f64) {
    let largest = gradient.iter().fold(0.05f32, |m, g| m.max(g.abs()));
    let stride = (gradient.len() / SAMPLES).max(1);
    for at in (0..gradient.len()).step_by(stride) {
        let mut around = |k: f32| loss(at, k * step) - loss(at, -k * step);
        let slope = (8.0 * around(1.0) - around(2.0)) / (12.0 * f64::from(step));
        let error = (f64::from(gradient[at]) - slope).abs();
        assert!(
            error <= f64::from(tolerance * largest),
            "{name}, element {at}: gradient {}, slope {slope}, largest {largest}",
            gradient[at]
        );
    }
}

/// Checks that two results agree to `tolerance` of the larger magnitude.
pub(crate) fn close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * largest, "{what}, element {i}: {g}, expected {e}");
    }
}

/// Checks `make(seed)` for a seed whose fused activation has no kink within reach of a difference.
///
/// `make` gives the operator and its arguments.
pub(crate) fn check_clear_of_kinks(make: impl Fn(u64) -> (Op, Vec<Arg>)) {
    for seed in 0..400 {
        let (op, args) = make(seed);
        let range = op.activation().unwrap().range();
        let mut plain = op.clone();
        *plain.activation_mut().unwrap() = fewbits_graph::Activation::None;
        let case = Case::of(plain, &args, 1);
        let mut engine = Engine::compile(&case.graph, &Default::default()).unwrap();
        let out = engine.run(&case.inputs).unwrap()[0].to_f32();
        let near = |y: &f32| (y - range.0).abs() < MARGIN || (y - range.1).abs() < MARGIN;
        let cut = |y: &f32| *y < range.0 || *y > range.1;
        if !out.iter().any(near) && out.iter().any(cut) && !out.iter().all(cut) {
            let case = Case::of(op, &args, 1);
            case.check_forward();
            return case.check_gradients(SHORT_STEP, 4e-3);
        }
    }
    panic!("no seed keeps away from the kinks");
}
