//! Int8 fully-connected layer and product with a constant matrix.

use super::epilogue::{Epilogue, FloatOutput, output_kinds};
use super::gemm::{self, DenseRows, Layout, Packed, ZeroPoints};
use super::requant::Requant;
use crate::isa::Isa;

/// How a constant weight matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightOrder {
    /// `[out, in]`: TFLite FULLY_CONNECTED, ONNX Gemm with `transB`.
    OutIn,
    /// `[in, out]`: ONNX MatMul.
    InOut,
}

/// A fully-connected layer whose weights are packed for one instruction set.
///
/// Input `[rows, in]` int8, output `[rows, out]`; any leading dimensions count as rows.
#[derive(Clone, Debug)]
pub struct PackedDense {
    isa: Isa,
    layout: Layout,
    packed: Packed,
}

output_kinds!(PackedDense, channels: Self::outputs, rows: |_: &Self| 1);

impl PackedDense {
    /// Packs symmetric int8 `weights` of `inputs` by `outputs` values in `order`.
    ///
    /// `bias`, if any, has `outputs` values in units of `input_scale * weight_scale[c]`; every
    /// output (int32 and float too) includes it. -128 is a legal weight.
    ///
    /// # Panics
    /// If a length does not match.
    pub fn new(
        isa: Isa,
        inputs: usize,
        outputs: usize,
        order: WeightOrder,
        weights: &[i8],
        bias: Option<&[i32]>,
    ) -> Self {
        let layout = Layout::for_isa(isa);
        Self::with_layout(isa, layout, inputs, outputs, order, weights, bias)
    }

    pub(crate) fn with_layout(
        isa: Isa,
        layout: Layout,
        inputs: usize,
        outputs: usize,
        order: WeightOrder,
        weights: &[i8],
        bias: Option<&[i32]>,
    ) -> Self {
        assert_eq!(weights.len(), inputs * outputs, "weights");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), outputs, "bias");
        }
        let packed = Packed::new(layout, inputs, outputs, bias, |k, n| match order {
            WeightOrder::OutIn => weights[n * inputs + k],
            WeightOrder::InOut => weights[k * outputs + n],
        });
        Self { isa, layout, packed }
    }

    /// Input features.
    pub fn inputs(&self) -> usize {
        self.packed.view().k
    }

    /// Output features.
    pub fn outputs(&self) -> usize {
        self.packed.view().n
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// Bytes of scratch that a run over `rows` rows needs on the current thread pool.
    ///
    /// Less is accepted, down to one task's worth: fewer threads are used then.
    pub fn scratch_len(&self, rows: usize) -> usize {
        let tasks = if rows == 1 {
            // One row is split by output features instead.
            rayon::current_num_threads()
        } else {
            gemm::task_count(rows, self.layout)
        };
        tasks * gemm::task_scratch(self.layout, self.inputs())
    }

    fn run_with<E: Epilogue>(
        &self,
        input: &[i8],
        zero_points: ZeroPoints<'_>,
        epilogue: &E,
        out: &mut [E::Out],
        scratch: &mut [u8],
    ) {
        let weights = self.packed.view();
        let rows = out.len() / weights.n.max(1);
        assert_eq!(out.len(), rows * weights.n, "output");
        assert_eq!(input.len(), rows * weights.k, "input");
        assert!(scratch.len() >= gemm::task_scratch(self.layout, weights.k), "scratch");
        if let ZeroPoints::Batch(all) = zero_points {
            assert_eq!(all.len(), rows, "input zero points");
        }
        let source = DenseRows { input, k: weights.k, zero_points };
        gemm::multiply_parallel(self.isa, weights, &source, epilogue, rows, out, scratch);
    }
}
