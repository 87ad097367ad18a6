//! Batched matmul of two int8 tensors, both known only at run time.

use rayon::prelude::*;

use super::epilogue::{Epilogue, FloatOutput, ToF32, ToI8, ToI32};
use super::gemm::{self, DenseRows, Layout, PackedView, Panels, ZeroPoints, pack_runtime, packed_len};
use super::requant::Requant;
use crate::isa::Isa;

/// Scratch is cut on multiples of this many bytes.
const ALIGN: usize = 64;

/// Batched matmul `[batch, m, k] x [batch, k, n] -> [batch, m, n]`.
///
/// Both operands have their own zero point. The right-hand one is packed into scratch on every
/// run, so a constant one belongs in [`super::PackedDense`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMul {
    /// Instruction set to run on.
    pub isa: Isa,
    /// Products.
    pub batch: usize,
    /// Rows of a left-hand matrix.
    pub m: usize,
    /// Depth.
    pub k: usize,
    /// Columns of a right-hand matrix.
    pub n: usize,
    /// The right-hand matrices are stored `[n, k]`.
    pub transpose_b: bool,
    /// There is one left-hand matrix for the whole batch.
    pub broadcast_a: bool,
    /// There is one right-hand matrix for the whole batch.
    pub broadcast_b: bool,
}

/// The two operands of a [`MatMul`].
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// `[batch, m, k]`, or `[m, k]` if broadcast.
    pub a: &'a [i8],
    /// Zero point of `a`.
    pub a_zero_point: i8,
    /// `[batch, k, n]`, or one matrix if broadcast; `n` before `k` if transposed.
    pub b: &'a [i8],
    /// Zero point of `b`.
    pub b_zero_point: i8,
}

impl MatMul {
    fn packed_bytes(&self) -> usize {
        let values = packed_len(Layout::Pairs, self.k, self.n) * size_of::<i16>();
        (values + ALIGN).next_multiple_of(ALIGN)
    }

    /// Zeros for the biases of all columns.
    fn zeros_bytes(&self) -> usize {
        let zeros = Layout::Pairs.padded_n(self.n) * size_of::<i32>();
        (zeros + ALIGN).next_multiple_of(ALIGN)
    }

    fn matrix_scratch(&self) -> usize {
        self.packed_bytes() + self.zeros_bytes()
    }

    /// Bytes of scratch for a run on the current thread pool.
    pub fn scratch_len(&self) -> usize {
        let one_task = gemm::task_scratch(Layout::Pairs, self.k);
        let threads = rayon::current_num_threads();
        threads * (self.matrix_scratch() + one_task)
    }

    /// Int8 output; `requant` has `n` channels.
    ///
    /// # Panics
    /// If a slice does not fit, or `scratch` is under [`MatMul::scratch_len`].
    pub fn run(&self, operands: Operands<'_>, requant: &Requant, out: &mut [i8], scratch: &mut [u8]) {
        assert_eq!(requant.channels(), self.n, "requantization");
        self.run_with(operands, &|_| ToI8(requant), out, scratch);
    }

    /// Float output; `output.input_scales` has one value for every left-hand row of the whole batch
    /// (`batch * m`), or one for all, and `weight_scales` one for every column, or one for all.
    ///
    /// # Panics
    /// As [`MatMul::run`].
    pub fn run_f32(&self, operands: Operands<'_>, output: &FloatOutput<'_>, out: &mut [f32], scratch: &mut [u8]) {
        output.check(self.batch * self.m, self.n);
        let outputs = |batch: usize| {
            let mut own = *output;
            if own.input_scales.len() > 1 {
                own.input_scales = &own.input_scales[batch * self.m..(batch + 1) * self.m];
            }
            OwnedF32(own)
        };
        self.run_with(operands, &outputs, out, scratch);
    }

    /// The int32 sums themselves.
    ///
    /// # Panics
    /// As [`MatMul::run`].
    pub fn run_i32(&self, operands: Operands<'_>, out: &mut [i32], scratch: &mut [u8]) {
        self.run_with(operands, &|_| ToI32, out, scratch);
    }

    fn run_with<E: Epilogue>(
        &self,
        operands: Operands<'_>,
        epilogue: &(impl Fn(usize) -> E + Sync),
        out: &mut [E::Out],
        scratch: &mut [u8],
    ) {
        let (a_count, b_count) =
            (if self.broadcast_a { 1 } else { self.batch }, if self.broadcast_b { 1 } else { self.batch });
        assert_eq!(operands.a.len(), a_count * self.m * self.k, "left operand");
        assert_eq!(operands.b.len(), b_count * self.k * self.n, "right operand");
        assert_eq!(out.len(), self.batch * self.m * self.n, "output");
        assert!(scratch.len() >= self.scratch_len(), "scratch");
        let matrix = self.m * self.n;
        if matrix == 0 {
            return;
        }
        let threads = rayon::current_num_threads();
        if threads > 1 && self.batch >= threads {
            let share = self.batch.div_ceil(threads);
            let piece = scratch.len() / threads;
            out.par_chunks_mut(share * matrix).zip(scratch.par_chunks_mut(piece)).enumerate().for_each(
                |(i, (out, scratch))| {
                    for (j, out) in out.chunks_exact_mut(matrix).enumerate() {
                        let batch = i * share + j;
                        self.one(&operands, batch, &epilogue(batch), out, scratch, false);
                    }
                },
            );
        } else {
            for (batch, out) in out.chunks_exact_mut(matrix).enumerate() {
                self.one(&operands, batch, &epilogue(batch), out, scratch, true);
            }
        }
    }

    /// One product of the batch.
    fn one<E: Epilogue>(
        &self,
        operands: &Operands<'_>,
        batch: usize,
        epilogue: &E,
        out: &mut [E::Out],
        scratch: &mut [u8],
        parallel: bool,
    ) {
        let layout = Layout::Pairs;
        let a_at = if self.broadcast_a { 0 } else { batch } * self.m * self.k;
        let b_at = if self.broadcast_b { 0 } else { batch } * self.k * self.n;
        let b = &operands.b[b_at..b_at + self.k * self.n];
        let (packed, rest) = scratch.split_at_mut(self.packed_bytes());
        let (zeros, rest) = rest.split_at_mut(self.zeros_bytes());
        let (_, packed, _) = bytemuck::pod_align_to_mut::<u8, i16>(packed);
        let packed = &mut packed[..packed_len(layout, self.k, self.n)];
        let zero_point = i16::from(operands.b_zero_point);
        pack_runtime(b, self.k, self.n, self.transpose_b, zero_point, packed);
        let (_, zeros, _) = bytemuck::pod_align_to_mut::<u8, i32>(zeros);
        let zeros = &mut zeros[..layout.padded_n(self.n)];
        zeros.fill(0);
        let weights = PackedView { k: self.k, n: self.n, data: Panels::Wide(packed), bias: zeros, col_sums: zeros };
        let source = DenseRows {
            input: &operands.a[a_at..a_at + self.m * self.k],
            k: self.k,
            zero_points: ZeroPoints::All(operands.a_zero_point),
        };
        // One task's worth of scratch keeps a nested product on its own thread.
        let end = if parallel { rest.len() } else { gemm::task_scratch(layout, self.k) };
        let rest = &mut rest[..end];
        gemm::multiply_parallel(self.isa, weights, &source, epilogue, self.m, out, rest);
    }
}

/// The float epilogue of one product of the batch.
struct OwnedF32<'a>(FloatOutput<'a>);

impl Epilogue for OwnedF32<'_> {
    type Out = f32;

    fn store(&self, isa: Isa, tile: &super::epilogue::Tile<'_>, out: &mut [f32], stride: usize) {
        let epilogue = ToF32 { output: &self.0, rows_per_scale: 1 };
        epilogue.store(isa, tile, out, stride);
    }
}
