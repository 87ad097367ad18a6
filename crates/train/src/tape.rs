//! Forward and backward passes.

use fewbits_graph::{DType, Graph, Shape, Tensor, ValueId};
use fewbits_kernels::float::grad::columns::add;

use crate::derivative::{Backward, Forward, Operand, Scratch, Target};
use crate::plan::{Goal, Place, Plan, Source};
use crate::{Error, Params, Result};

/// What a tape is compiled for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Shape of each input of the graph, in its order.
    pub input_shapes: Vec<Vec<usize>>,
    /// Constants to train; [`Params`] for the tape hold the same, in this order.
    pub trainable: Vec<ValueId>,
    /// Inputs whose gradients are wanted as well.
    pub input_gradients: Vec<ValueId>,
}

/// A graph that can be differentiated, for one set of input shapes.
///
/// It runs in the current `rayon` pool.
pub struct Tape {
    plan: Plan,
    /// Name, type and shape of each input.
    inputs: Vec<(ValueId, String, DType, Vec<usize>)>,
    scratch: Scratch,
    ready: bool,
}

/// The gradients of one backward pass.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    plan: &'a Plan,
}

impl<'a> Gradients<'a> {
    /// Of parameter `index`, row-major in its shape.
    pub fn param(&self, index: usize) -> &'a [f32] {
        of(&self.plan.gradients, self.plan.params[index].1)
    }

    /// Of all parameters, in their order.
    pub fn params(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let plan = self.plan;
        plan.params.iter().map(|(_, place)| of(&plan.gradients, *place))
    }

    /// Of the `index`-th of the inputs that [`Options::input_gradients`] names.
    pub fn input(&self, index: usize) -> &'a [f32] {
        of(&self.plan.gradients, self.plan.inputs[index])
    }
}

fn of(buffers: &[Vec<f32>], place: Place) -> &[f32] {
    &buffers[place.buffer][..place.len]
}

impl Tape {
    /// Plans `graph` for differentiation.
    ///
    /// # Errors
    /// An inconsistent graph or shapes that do not fit it; [`Error::NotTrainable`],
    /// [`Error::NotAnInput`]; [`Error::Unsupported`] with every node that has no derivative;
    /// [`Error::OutputType`].
    pub fn compile(graph: &Graph, options: &Options) -> Result<Tape> {
        if options.input_shapes.len() != graph.inputs.len() {
            let (expected, got) = (graph.inputs.len(), options.input_shapes.len());
            return Err(Error::Count { what: "input shapes", expected, got });
        }
        Params::of(graph, &options.trainable)?;
        for (i, id) in options.input_gradients.iter().enumerate() {
            let value = graph.value(*id);
            let twice = options.input_gradients[..i].contains(id);
            if !graph.inputs.contains(id) || value.dtype != DType::F32 || twice {
                return Err(Error::NotAnInput { value: value.name.clone() });
            }
        }
        let mut graph = graph.with_input_shapes(&options.input_shapes)?;
        let ints = graph.infer_integers()?;
        graph.validate()?;
        let plan = Plan::new(&graph, &ints, &options.trainable, &options.input_gradients)?;
        let input = |(&v, shape): (&ValueId, &Vec<usize>)| {
            let value = graph.value(v);
            (v, value.name.clone(), value.dtype, shape.clone())
        };
        let inputs = graph.inputs.iter().zip(&options.input_shapes).map(input).collect();
        Ok(Tape { plan, inputs, scratch: Scratch::default(), ready: false })
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.plan.outputs.len()
    }

    /// Output `index` of the last forward pass, row-major.
    pub fn output(&self, index: usize) -> &[f32] {
        of(&self.plan.values, self.plan.outputs[index].place)
    }

    /// Shape of output `index`.
    pub fn output_shape(&self, index: usize) -> &[usize] {
        &self.plan.outputs[index].dims
    }

    /// Name of output `index`.
    pub fn output_name(&self, index: usize) -> &str {
        &self.plan.outputs[index].name
    }

    /// Bytes of all values and gradients that the tape holds.
    pub fn bytes(&self) -> usize {
        let buffers = self.plan.values.iter().chain(&self.plan.gradients);
        buffers.map(|b| std::mem::size_of_val(b.as_slice())).sum()
    }

    /// Computes the outputs from `inputs` (in the graph's order) with the parameters' present
    /// values, and keeps what the backward pass needs.
    ///
    /// # Errors
    /// Inputs or parameters that are not those the tape was compiled for; data that points outside
    /// of a tensor.
    pub fn forward(&mut self, inputs: &[Tensor], params: &Params) -> Result<()> {
        self.ready = false;
        self.check(inputs, params)?;
        for ((id, ..), tensor) in self.inputs.iter().zip(inputs) {
            load(&mut self.plan, *id, tensor);
        }
        for ((place, _), values) in self.plan.params.iter().zip(&params.values) {
            self.plan.values[place.buffer][..place.len].copy_from_slice(values);
        }
        if let Some(mut frozen) = self.plan.frozen.take() {
            let results = frozen.engine.run(inputs);
            for (id, tensor) in frozen.results.iter().zip(results.iter().flatten()) {
                load(&mut self.plan, *id, tensor);
            }
            self.plan.frozen = Some(frozen);
            results?;
        }
        for step in 0..self.plan.steps.len() {
            forward_step(&mut self.plan, step, &mut self.scratch)?;
        }
        self.ready = true;
        Ok(())
    }

    fn check(&self, inputs: &[Tensor], params: &Params) -> Result<()> {
        let count =
            |what, expected, got| if expected == got { Ok(()) } else { Err(Error::Count { what, expected, got }) };
        count("inputs", self.inputs.len(), inputs.len())?;
        count("parameters", self.plan.params.len(), params.len())?;
        for ((_, name, dtype, shape), tensor) in self.inputs.iter().zip(inputs) {
            if tensor.dtype() != *dtype || tensor.shape() != shape {
                let describe = |dtype: DType, shape: &[usize]| format!("{dtype} {}", Shape::fixed(shape));
                let (expected, got) = (describe(*dtype, shape), describe(tensor.dtype(), tensor.shape()));
                return Err(Error::Input { input: name.clone(), expected, got });
            }
        }
        for (index, ((place, _), values)) in self.plan.params.iter().zip(&params.values).enumerate() {
            if values.len() != place.len {
                return Err(Error::Length { what: "parameter", index, expected: place.len, got: values.len() });
            }
        }
        Ok(())
    }

    /// Computes the gradients of a loss from those of the outputs (one list an output, row-major),
    /// for the last forward pass.
    ///
    /// # Errors
    /// Output gradients of a wrong number or size; [`Error::NoForward`].
    pub fn backward(&mut self, output_gradients: &[&[f32]]) -> Result<Gradients<'_>> {
        let plan = &mut self.plan;
        if !std::mem::take(&mut self.ready) {
            return Err(Error::NoForward);
        }
        if output_gradients.len() != plan.outputs.len() {
            let (expected, got) = (plan.outputs.len(), output_gradients.len());
            return Err(Error::Count { what: "output gradients", expected, got });
        }
        for (index, (output, given)) in plan.outputs.iter().zip(output_gradients).enumerate() {
            if given.len() != output.place.len {
                let (expected, got) = (output.place.len, given.len());
                return Err(Error::Length { what: "output gradient", index, expected, got });
            }
            if let Some((place, accumulate)) = output.seed {
                let data = &mut plan.gradients[place.buffer][..place.len];
                Target { data, accumulate }.give(given);
            }
        }
        for step in (0..plan.steps.len()).rev() {
            backward_step(plan, step, &mut self.scratch);
        }
        Ok(Gradients { plan })
    }
}

/// Puts a run-time value where the steps read it.
fn load(plan: &mut Plan, id: ValueId, tensor: &Tensor) {
    match plan.loads.get(&id) {
        Some(place) => {
            if let Some(data) = tensor.as_slice::<f32>() {
                plan.values[place.buffer][..place.len].copy_from_slice(&data);
            }
        }
        None => plan.tensors[id.0] = Some(tensor.clone()),
    }
}

fn operands<'a>(sources: &[Source], values: &'a [Vec<f32>], tensors: &'a [Option<Tensor>]) -> Vec<Operand<'a>> {
    let operand = |source: &Source| match source {
        Source::Floats(place) => Operand::Floats(of(values, *place)),
        Source::Other(id) => tensors[id.0].as_ref().map_or(Operand::Absent, Operand::Other),
        Source::Absent => Operand::Absent,
    };
    sources.iter().map(operand).collect()
}

fn forward_step(plan: &mut Plan, index: usize, scratch: &mut Scratch) -> Result<()> {
    let step = &mut plan.steps[index];
    // Taken out, so that they can be written while the inputs are read.
    let mut outputs: Vec<Vec<f32>> = step.outputs.iter().map(|p| std::mem::take(&mut plan.values[p.buffer])).collect();
    let mut run = Forward {
        inputs: operands(&step.inputs, &plan.values, &plan.tensors),
        outputs: outputs.iter_mut().zip(&step.outputs).map(|(o, p)| &mut o[..p.len]).collect(),
        scratch,
    };
    let result = step.derivative.forward(&mut run);
    for (place, buffer) in step.outputs.iter().zip(outputs) {
        plan.values[place.buffer] = buffer;
    }
    result.map_err(|what| Error::BadData { node: step.node.clone(), op: step.op, what })
}

fn backward_step(plan: &mut Plan, index: usize, scratch: &mut Scratch) {
    let step = &mut plan.steps[index];
    let Some(back) = &step.back else { return };
    let mut take = |place: &Place| std::mem::take(&mut plan.gradients[place.buffer]);
    let mut gradients: Vec<Vec<f32>> = back.gradients.iter().map(|(p, _)| take(p)).collect();
    let mut held: Vec<Option<(Vec<f32>, Goal)>> = back.goals.iter().map(|g| g.map(|g| (take(&g.place), g))).collect();
    for (buffer, (place, zero)) in gradients.iter_mut().zip(&back.gradients) {
        if *zero {
            buffer[..place.len].fill(0.0);
        }
    }
    let mut run = Backward {
        inputs: operands(&step.inputs, &plan.values, &plan.tensors),
        outputs: step.outputs.iter().map(|p| of(&plan.values, *p)).collect(),
        gradients: gradients.iter_mut().zip(&back.gradients).map(|(b, (p, _))| &mut b[..p.len]).collect(),
        targets: held
            .iter_mut()
            .map(|h| h.as_mut().map(|(b, g)| Target { data: &mut b[..g.place.len], accumulate: g.accumulate }))
            .collect(),
        scratch,
    };
    step.derivative.backward(&mut run);
    for ((place, _), buffer) in back.gradients.iter().zip(gradients) {
        plan.gradients[place.buffer] = buffer;
    }
    let mut seconds = Vec::new();
    for (buffer, goal) in held.into_iter().flatten() {
        plan.gradients[goal.place.buffer] = buffer;
        seconds.extend(goal.then_add_to.map(|to| (goal.place, to)));
    }
    for (from, to) in seconds {
        let buffer = std::mem::take(&mut plan.gradients[from.buffer]);
        add(&buffer[..from.len], &mut plan.gradients[to.buffer][..to.len]);
        plan.gradients[from.buffer] = buffer;
    }
}
