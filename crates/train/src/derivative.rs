//! The two passes of one node.

use fewbits_graph::Tensor;
use fewbits_kernels::float::grad::columns::add;

/// An operator at fixed shapes, with whatever it keeps between the passes of a step.
pub(crate) trait Derivative: Send {
    /// Computes every output. The error says what is wrong with the data it met.
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String>;

    /// Gives every target its share, from the gradients of the outputs, which it may destroy.
    fn backward(&mut self, run: &mut Backward<'_>);
}

/// An input as a pass sees it.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    Floats(&'a [f32]),
    Other(&'a Tensor),
    Absent,
}

impl<'a> Operand<'a> {
    fn floats(self) -> &'a [f32] {
        match self {
            Operand::Floats(x) => x,
            // Only where the derivative asks for what it did not declare.
            Operand::Other(_) | Operand::Absent => &[],
        }
    }
}

/// Temporary buffers that all nodes share.
#[derive(Default)]
pub(crate) struct Scratch {
    buffers: [Vec<f32>; 3],
}

impl Scratch {
    /// Buffers of at least these lengths, with whatever was in them.
    pub(crate) fn get<const N: usize>(&mut self, lengths: [usize; N]) -> [&mut [f32]; N] {
        const { assert!(N <= 3) };
        let mut buffers = self.buffers.iter_mut();
        lengths.map(|len| match buffers.next() {
            Some(buffer) => grown(buffer, len),
            None => unreachable!("at most three are asked for"),
        })
    }

    /// The first buffer, for kernels that grow it themselves, and another of the given length.
    pub(crate) fn growable(&mut self, len: usize) -> (&mut Vec<f32>, &mut [f32]) {
        let [first, second, _] = &mut self.buffers;
        (first, grown(second, len))
    }
}

fn grown(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// The forward pass of a node.
pub(crate) struct Forward<'a> {
    pub(crate) inputs: Vec<Operand<'a>>,
    pub(crate) outputs: Vec<&'a mut [f32]>,
    pub(crate) scratch: &'a mut Scratch,
}

impl<'a> Forward<'a> {
    pub(crate) fn input(&self, i: usize) -> &'a [f32] {
        self.inputs[i].floats()
    }

    /// Input `i`, if it is present.
    pub(crate) fn optional(&self, i: usize) -> Option<&'a [f32]> {
        match self.inputs.get(i) {
            Some(Operand::Floats(x)) => Some(x),
            _ => None,
        }
    }

    /// Input `i`, which is not of floats.
    pub(crate) fn tensor(&self, i: usize) -> Result<&'a Tensor, String> {
        match self.inputs.get(i) {
            Some(Operand::Other(t)) => Ok(t),
            _ => Err(format!("input {i} should not be of floats")),
        }
    }

    /// The first output.
    pub(crate) fn output(&mut self) -> &mut [f32] {
        self.outputs[0]
    }
}

/// Where the gradient of an input goes.
pub(crate) struct Target<'a> {
    pub(crate) data: &'a mut [f32],
    /// There is a share of it already, to be added to.
    pub(crate) accumulate: bool,
}

impl<'a> Target<'a> {
    /// The parts, as the kernels take them.
    pub(crate) fn parts(self) -> (&'a mut [f32], bool) {
        (self.data, self.accumulate)
    }

    /// Writes what `compute` overwrites a slice with; adds it, through `scratch`, where there is
    /// a share already.
    pub(crate) fn set(self, scratch: &mut [f32], compute: impl FnOnce(&mut [f32])) {
        if self.accumulate {
            let scratch = &mut scratch[..self.data.len()];
            compute(scratch);
            add(scratch, self.data);
        } else {
            compute(self.data);
        }
    }

    /// Writes or adds `x`.
    pub(crate) fn give(self, x: &[f32]) {
        if self.accumulate {
            add(x, self.data);
        } else {
            self.data.copy_from_slice(x);
        }
    }
}

/// The backward pass of a node.
pub(crate) struct Backward<'a> {
    pub(crate) inputs: Vec<Operand<'a>>,
    pub(crate) outputs: Vec<&'a [f32]>,
    /// Gradients of the outputs; may be destroyed.
    pub(crate) gradients: Vec<&'a mut [f32]>,
    /// Where the gradients of the inputs go, for those that are wanted.
    pub(crate) targets: Vec<Option<Target<'a>>>,
    pub(crate) scratch: &'a mut Scratch,
}

impl<'a> Backward<'a> {
    /// Input `i`, if it was declared to be read.
    pub(crate) fn input(&self, i: usize) -> &'a [f32] {
        self.inputs[i].floats()
    }

    /// Input `i`, if it is present.
    pub(crate) fn optional(&self, i: usize) -> Option<&'a [f32]> {
        match self.inputs.get(i) {
            Some(Operand::Floats(x)) => Some(x),
            _ => None,
        }
    }

    /// Input `i`, which is not of floats.
    pub(crate) fn tensor(&self, i: usize) -> Option<&'a Tensor> {
        match self.inputs.get(i) {
            Some(Operand::Other(t)) => Some(t),
            _ => None,
        }
    }

    /// The first output.
    pub(crate) fn output(&self) -> &'a [f32] {
        self.outputs[0]
    }

    /// The gradient of the first output.
    pub(crate) fn gradient(&mut self) -> &'a mut [f32] {
        std::mem::take(&mut self.gradients[0])
    }

    /// Where the gradient of input `i` goes, if it is wanted.
    pub(crate) fn target(&mut self, i: usize) -> Option<Target<'a>> {
        self.targets.get_mut(i).and_then(Option::take)
    }
}
