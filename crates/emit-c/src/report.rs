//! What a C file costs.

/// One function call of the C file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCost {
    /// Node name.
    pub node: String,
    /// Operator name.
    pub op: &'static str,
    /// Shape of its first output.
    pub output: Vec<usize>,
    /// Multiply-accumulates, padding taps included.
    pub macs: u64,
    /// Bytes of weights, biases, multipliers and tables.
    pub constants: usize,
    /// Bytes of code of its own, estimated; 0 where it shares a function with a layer before.
    pub code: usize,
    /// Bytes of the arena that are in use while it runs, scratch included.
    pub memory: usize,
}

/// What a C file costs. Bytes are those of a 32-bit machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The arena: all that `run` uses but the stack and the caller's input and output.
    pub arena: usize,
    /// All public inputs.
    pub inputs: usize,
    /// All public outputs.
    pub outputs: usize,
    /// Deepest stack, estimated.
    pub stack: usize,
    /// Weights, biases, multipliers and tables.
    pub constants: usize,
    /// Code, estimated for Thumb-2 at `-O2`.
    pub code: usize,
    /// Multiply-accumulates of one run.
    pub macs: u64,
    /// The calls, in the order in which they run.
    pub layers: Vec<LayerCost>,
}

impl Cost {
    /// Constants and code.
    pub fn flash(&self) -> usize {
        self.constants + self.code
    }

    /// The arena, and the stack.
    pub fn ram(&self) -> usize {
        self.arena + self.stack
    }
}
