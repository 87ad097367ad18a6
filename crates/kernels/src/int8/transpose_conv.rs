//! Int8 transposed convolution.
//!
//! Output pixels whose coordinates leave the same remainder modulo the stride (a *phase*) are
//! reached by the same subset of taps, so each phase is an ordinary stride-1 product of its own
//! packed weights. No input is spread out with zeros and nothing is accumulated across phases.

use rayon::prelude::*;

use super::epilogue::{Epilogue, FloatOutput, output_kinds};
use super::gemm::{self, Layout, Packed, Rows, Run, Target, ZeroPoints};
use super::requant::Requant;
use crate::isa::Isa;
use crate::shape::ConvShape;

/// A transposed convolution whose weights are packed for one instruction set.
///
/// `out[y * stride_h - pad_top + ky * dilation_h][x * stride_w - pad_left + kx * dilation_w]`
/// collects `in[y][x] * weight[ky][kx]`. Input `[batch, in_h, in_w, in_c]`, output
/// `[batch, out_h, out_w, out_c]`; output pixels that no tap reaches hold the bias. The geometry is
/// a [`ConvShape`] whose pads are those cut off the output; `groups` must be 1.
#[derive(Clone, Debug)]
pub struct PackedTransposeConv {
    isa: Isa,
    layout: Layout,
    shape: ConvShape,
    /// Phases in order `[phase_h][phase_w]`.
    phases: Vec<Phase>,
}

/// The taps that reach one phase of output pixels.
#[derive(Clone, Debug)]
struct Phase {
    taps_h: Vec<usize>,
    taps_w: Vec<usize>,
    packed: Packed,
}

output_kinds!(PackedTransposeConv, channels: |l: &Self| l.shape.out_c, rows: |l: &Self| (l.shape.out_h * l.shape.out_w).max(1));

impl PackedTransposeConv {
    /// Packs `weights` `[out_c, kernel_h, kernel_w, in_c]` (OHWI), symmetric int8.
    ///
    /// `bias`, if any, has `out_c` values in units of `input_scale * weight_scale[c]`; every
    /// output (int32 and float too) includes it. -128 is a legal weight.
    ///
    /// # Panics
    /// If a length does not match `shape`, a stride is zero, or `groups` is not 1.
    pub fn new(isa: Isa, shape: &ConvShape, weights: &[i8], bias: Option<&[i32]>) -> Self {
        let s = *shape;
        assert_eq!(s.groups, 1, "groups of a transposed convolution");
        assert!(s.stride_h > 0 && s.stride_w > 0, "a stride of zero");
        let taps = s.kernel_h * s.kernel_w;
        assert_eq!(weights.len(), s.out_c * taps * s.in_c, "weights");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), s.out_c, "bias");
        }
        let layout = Layout::for_isa(isa);
        let mut phases = Vec::with_capacity(s.stride_h * s.stride_w);
        for phase_h in 0..s.stride_h {
            for phase_w in 0..s.stride_w {
                let taps_h = phase_taps(s.kernel_h, s.dilation_h, s.stride_h, phase_h);
                let taps_w = phase_taps(s.kernel_w, s.dilation_w, s.stride_w, phase_w);
                let k = taps_h.len() * taps_w.len() * s.in_c;
                let packed = Packed::new(layout, k, s.out_c, bias, |k, oc| {
                    let (tap, ic) = (k / s.in_c, k % s.in_c);
                    let (ky, kx) = (taps_h[tap / taps_w.len()], taps_w[tap % taps_w.len()]);
                    weights[((oc * s.kernel_h + ky) * s.kernel_w + kx) * s.in_c + ic]
                });
                phases.push(Phase { taps_h, taps_w, packed });
            }
        }
        Self { isa, layout, shape: s, phases }
    }

    /// The geometry given at construction; its `batch` is not binding.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Bytes of scratch that a run over `batch` images needs on the current thread pool.
    pub fn scratch_len(&self, batch: usize) -> usize {
        let lines = batch * self.shape.out_h;
        rayon::current_num_threads().min(lines).max(1) * self.task_scratch()
    }

    fn task_scratch(&self) -> usize {
        self.phases.iter().map(|phase| gemm::task_scratch(self.layout, phase.packed.view().k)).max().unwrap_or(1)
    }

    fn run_with<E: Epilogue>(
        &self,
        input: &[i8],
        zero_points: ZeroPoints<'_>,
        epilogue: &E,
        out: &mut [E::Out],
        scratch: &mut [u8],
    ) {
        let s = &self.shape;
        let image = s.in_h * s.in_w * s.in_c;
        let batch = input.len() / image.max(1);
        let line_len = s.out_w * s.out_c;
        assert_eq!(input.len(), batch * image, "input");
        assert_eq!(out.len(), batch * s.out_h * line_len, "output");
        let one_task = self.task_scratch();
        assert!(scratch.len() >= one_task, "scratch");
        if let ZeroPoints::Batch(all) = zero_points {
            assert_eq!(all.len(), batch, "input zero points");
        }
        if out.is_empty() {
            return;
        }
        let lines = batch * s.out_h;
        let tasks = (scratch.len() / one_task).min(rayon::current_num_threads()).min(lines);
        let share = lines.div_ceil(tasks);
        out.par_chunks_mut(share * line_len).zip(scratch.par_chunks_mut(one_task)).enumerate().for_each(
            |(i, (out, scratch))| {
                for (j, out) in out.chunks_exact_mut(line_len).enumerate() {
                    let line = i * share + j;
                    self.line(input, zero_points, epilogue, line, out, scratch);
                }
            },
        );
    }

    /// Output line `line`, counted over the whole batch.
    fn line<E: Epilogue>(
        &self,
        input: &[i8],
        zero_points: ZeroPoints<'_>,
        epilogue: &E,
        line: usize,
        out: &mut [E::Out],
        scratch: &mut [u8],
    ) {
        let s = &self.shape;
        let (batch, oy) = (line / s.out_h, line % s.out_h);
        let phase_h = (oy + s.pad_top) % s.stride_h;
        for first in 0..s.stride_w.min(s.out_w) {
            let phase_w = (first + s.pad_left) % s.stride_w;
            let phase = &self.phases[phase_h * s.stride_w + phase_w];
            let source = PhaseRows { input, shape: s, phase, batch, oy, first, zero_point: zero_points.get(batch) };
            let weights = phase.packed.view();
            // Neighbours in a phase are `stride_w` output pixels apart. The epilogue only asks
            // rows for their image, so they are counted from the image's first.
            let base = batch * s.out_h * s.out_w;
            let count = (s.out_w - first).div_ceil(s.stride_w);
            let target = Target { stride: s.stride_w * s.out_c, col0: 0 };
            gemm::multiply(
                self.isa,
                weights,
                &source,
                epilogue,
                base..base + count,
                0..self.layout.panel_count(s.out_c),
                target,
                0,
                &mut out[first * s.out_c..],
                scratch,
            );
        }
    }
}

/// Taps that reach output coordinates `o` with `(o + pad) % stride == phase`.
fn phase_taps(kernel: usize, dilation: usize, stride: usize, phase: usize) -> Vec<usize> {
    (0..kernel).filter(|tap| tap * dilation % stride == phase).collect()
}

/// One row for every output pixel of one phase of one output line.
struct PhaseRows<'a> {
    input: &'a [i8],
    shape: &'a ConvShape,
    phase: &'a Phase,
    batch: usize,
    oy: usize,
    /// First output column of the phase.
    first: usize,
    zero_point: i8,
}

impl Rows for PhaseRows<'_> {
    fn runs<'s>(&'s self, row: usize, mut emit: impl FnMut(Run<'s>)) {
        let s = self.shape;
        let ox = self.first + (row - self.batch * s.out_h * s.out_w) * s.stride_w;
        for ky in &self.phase.taps_h {
            let y = source(self.oy + s.pad_top, ky * s.dilation_h, s.stride_h, s.in_h);
            for kx in &self.phase.taps_w {
                let x = source(ox + s.pad_left, kx * s.dilation_w, s.stride_w, s.in_w);
                match (y, x) {
                    (Some(y), Some(x)) => {
                        let from = ((self.batch * s.in_h + y) * s.in_w + x) * s.in_c;
                        emit(Run::Data(&self.input[from..from + s.in_c]));
                    }
                    _ => emit(Run::Padding(s.in_c)),
                }
            }
        }
    }

    fn zero_point(&self, _row: usize) -> i32 {
        i32::from(self.zero_point)
    }
}

/// The input coordinate whose tap `reach` lands on padded output coordinate `at`, if any.
fn source(at: usize, reach: usize, stride: usize, len: usize) -> Option<usize> {
    let coordinate = at.checked_sub(reach)? / stride;
    (coordinate < len).then_some(coordinate)
}
