//! One operator as C: a function, the constants it reads, and the memory it asks for.

use std::collections::BTreeSet;

/// A constant array in flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    /// `int8_t`.
    I8(Vec<i8>),
    /// `int32_t`.
    I32(Vec<i32>),
    /// `uint16_t`.
    U16(Vec<u16>),
    /// `uint32_t`.
    U32(Vec<u32>),
    /// Layers with weights; a group of a convolution each.
    Layers(Vec<Layer>),
}

/// A layer with weights, as `model_layer` in C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) weights: Vec<i8>,
    /// Bias with the zero point folded in, multiplier.
    pub(crate) channels: Vec<(i32, i32)>,
    pub(crate) shifts: Vec<i8>,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) zero: i8,
    pub(crate) low: i8,
    pub(crate) high: i8,
}

impl Layer {
    /// See [`Kernel::scales_down`].
    fn scales_down(&self) -> bool {
        // A product is at most 128 × 255, where the zero point is taken off in the kernel.
        let sums = i64::try_from(self.k).map_or(i64::MAX, |k| k.saturating_mul(128 * 255));
        let largest = self.channels.iter().map(|(bias, _)| i64::from(*bias).abs()).max().unwrap_or(0);
        self.shifts.iter().all(|&s| s < 0) && sums.saturating_add(largest) < 1 << 30
    }

    /// Bytes in flash, on a 32-bit machine.
    fn bytes(&self) -> usize {
        // Three pointers and five numbers describe a layer.
        self.weights.len() + self.channels.len() * 8 + self.shifts.len() + 32
    }
}

impl Data {
    /// Bytes in flash, on a 32-bit machine.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Data::I8(v) => v.len(),
            Data::I32(v) => v.len() * 4,
            Data::U16(v) => v.len() * 2,
            Data::U32(v) => v.len() * 4,
            Data::Layers(v) => v.iter().map(Layer::bytes).sum(),
        }
    }
}

/// A parameter of a kernel's function and what it is called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arg {
    /// `const int8_t *NAME` (or `uint8_t`): input `i` of the node.
    Input(usize, &'static str),
    /// `int8_t *NAME`: output `i` of the node.
    Output(usize, &'static str),
    /// `int8_t *scratch`, 4-byte aligned.
    Scratch,
    /// A constant array.
    Constant(&'static str, Data),
    /// A number that differs between layers whose code is else the same.
    Number(&'static str, i32),
}

/// Shared C functions that kernels call, in the order in which they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Helper {
    Copy,
    Fill,
    Fixed,
    ScaleAny,
    Scale,
    ScaleOnce,
    Narrow,
    LayerTypes,
    Finish,
    Dsp,
    Dot,
    Gather,
    GatherFill,
    DenseWide,
    DensePair,
    Patches,
    DenseOne,
    Linear,
    Depthwise,
    Softmax,
}

/// An operator as C.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// The function's parameters, in order.
    pub(crate) args: Vec<Arg>,
    /// The function's body, indented by one level.
    pub(crate) body: String,
    pub(crate) helpers: BTreeSet<Helper>,
    /// Bytes of scratch.
    pub(crate) scratch: usize,
    /// For inputs that output 0 may overlap: by how many bytes the output must begin before the
    /// input, so that nothing is overwritten before it was read for the last time. 0 is in place.
    pub(crate) overlap: Vec<(usize, usize)>,
    /// Bytes of stack for arrays.
    pub(crate) stack: usize,
}

impl Kernel {
    pub(crate) fn new(args: Vec<Arg>, body: impl Into<String>) -> Self {
        Kernel { args, body: body.into(), ..Kernel::default() }
    }

    pub(crate) fn helpers(mut self, helpers: &[Helper]) -> Self {
        self.helpers.extend(helpers);
        self
    }

    pub(crate) fn scratch(mut self, bytes: usize) -> Self {
        self.scratch = bytes;
        self
    }

    pub(crate) fn overlap(mut self, input: usize, distance: usize) -> Self {
        self.overlap.push((input, distance));
        self
    }

    pub(crate) fn stack(mut self, bytes: usize) -> Self {
        self.stack = bytes;
        self
    }

    /// Bytes of constants.
    pub(crate) fn constant_bytes(&self) -> usize {
        let bytes = |arg: &Arg| if let Arg::Constant(_, data) = arg { data.bytes() } else { 0 };
        self.args.iter().map(bytes).sum()
    }

    /// Whether its layers keep to what the short requantization needs: multipliers under one half,
    /// sums within 30 bits.
    pub(crate) fn scales_down(&self) -> bool {
        let keeps = |arg: &Arg| match arg {
            Arg::Constant(_, Data::Layers(layers)) => layers.iter().all(Layer::scales_down),
            _ => true,
        };
        self.args.iter().all(keeps)
    }
}

/// What becomes of a node.
#[derive(Clone, Debug)]
pub(crate) enum Lowered {
    /// A function to call.
    Kernel(Box<Kernel>),
    /// Nothing: output 0 is input 0 under another shape.
    Alias,
}

/// What lowering returns; the error says what is not supported.
pub(crate) type Lowering = Result<Lowered, String>;

impl From<Kernel> for Lowered {
    fn from(kernel: Kernel) -> Self {
        Lowered::Kernel(Box::new(kernel))
    }
}
