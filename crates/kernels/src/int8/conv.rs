//! Int8 2-D convolution, any kernel, stride, dilation and groups.
//!
//! Depthwise convolutions have a kernel of their own: [`super::PackedDepthwise`].

use super::epilogue::{Epilogue, FloatOutput, output_kinds};
use super::gemm::{self, ConvRows, Layout, Packed, Target, ZeroPoints};
use super::lines::{LineConv, Lines, split_unit};
use super::requant::Requant;
use crate::isa::Isa;
use crate::shape::ConvShape;

/// A convolution whose weights are packed for one instruction set.
///
/// Input `[batch, in_h, in_w, in_c]` int8; output `[batch, out_h, out_w, out_c]`. Padding
/// contributes the input's zero point, that is a real zero.
#[derive(Clone, Debug)]
pub struct PackedConv {
    isa: Isa,
    layout: Layout,
    shape: ConvShape,
    /// How patches are read, unless they are plain rows of the input or the layout wants them
    /// gathered.
    lines: Option<Lines>,
    groups: Vec<Packed>,
}

output_kinds!(PackedConv, channels: |l: &Self| l.shape.out_c, rows: |l: &Self| (l.shape.out_h * l.shape.out_w).max(1));

impl PackedConv {
    /// Packs `weights` `[out_c, kernel_h, kernel_w, in_c / groups]` (OHWI), symmetric int8.
    ///
    /// `bias`, if any, has `out_c` values in units of `input_scale * weight_scale[c]`; every
    /// output (int32 and float too) includes it. -128 is a legal weight.
    ///
    /// # Panics
    /// If a length does not match `shape`, or `groups` does not divide the channels.
    pub fn new(isa: Isa, shape: &ConvShape, weights: &[i8], bias: Option<&[i32]>) -> Self {
        Self::with_layout(isa, Layout::for_isa(isa), shape, weights, bias)
    }

    pub(crate) fn with_layout(
        isa: Isa,
        layout: Layout,
        shape: &ConvShape,
        weights: &[i8],
        bias: Option<&[i32]>,
    ) -> Self {
        let s = *shape;
        assert!(
            s.groups > 0 && s.in_c.is_multiple_of(s.groups) && s.out_c.is_multiple_of(s.groups),
            "{} groups do not divide {} and {} channels",
            s.groups,
            s.in_c,
            s.out_c
        );
        let k = s.kernel_h * s.kernel_w * (s.in_c / s.groups);
        let n = s.out_c / s.groups;
        assert_eq!(weights.len(), s.out_c * k, "weights");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), s.out_c, "bias");
        }
        let lines = (layout == Layout::Pairs && !s.is_pointwise()).then(|| Lines::new(&s));
        let groups = (0..s.groups)
            .map(|g| {
                let bias = bias.map(|bias| &bias[g * n..(g + 1) * n]);
                match &lines {
                    Some(lines) => lines.pack(&s, g * n, weights, bias),
                    None => Packed::new(layout, k, n, bias, |k_at, col| weights[(g * n + col) * k + k_at]),
                }
            })
            .collect();
        Self { isa, layout, shape: s, lines, groups }
    }

    /// The geometry given at construction; its `batch` is not binding.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.groups.iter().map(Packed::bytes).sum()
    }

    /// Bytes of scratch that a run over `batch` images needs on the current thread pool.
    ///
    /// Less is accepted, down to one task's worth: fewer threads are used then.
    pub fn scratch_len(&self, batch: usize) -> usize {
        let rows = batch * self.shape.out_h * self.shape.out_w;
        gemm::task_count(rows, self.layout) * self.task_scratch()
    }

    fn task_scratch(&self) -> usize {
        match &self.lines {
            Some(lines) => lines.task_scratch(),
            None => gemm::task_scratch(self.layout, self.groups[0].view().k),
        }
    }

    pub(super) fn run_with<E: Epilogue>(
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
        let rows = batch * s.out_h * s.out_w;
        assert_eq!(input.len(), batch * image, "input");
        assert_eq!(out.len(), rows * s.out_c, "output");
        assert!(scratch.len() >= self.task_scratch(), "scratch");
        if let ZeroPoints::Batch(all) = zero_points {
            assert_eq!(all.len(), batch, "input zero points");
        }
        if rows == 0 {
            return;
        }
        let (one_task, k) = (self.task_scratch(), self.groups[0].view().k);
        if let Some(lines) = &self.lines {
            let (isa, groups) = (self.isa, self.groups.as_slice());
            let conv = LineConv { isa, lines, shape: s, groups, input, zero_points, epilogue };
            let unit = split_unit(s, rows, gemm::task_count(rows, self.layout));
            return gemm::split_rows(unit, rows, s.out_c, k, out, one_task, scratch, |range, out, scratch| {
                conv.run(range, out, scratch);
            });
        }
        let source = |group| ConvRows { input, shape: s, group, zero_points };
        if let [only] = self.groups.as_slice() {
            let (weights, source) = (only.view(), source(0));
            return gemm::multiply_parallel(self.isa, weights, &source, epilogue, rows, out, scratch);
        }
        let n = s.out_c / s.groups;
        let unit = self.layout.rows();
        gemm::split_rows(unit, rows, s.out_c, k, out, one_task, scratch, |range, out, scratch| {
            for (g, packed) in self.groups.iter().enumerate() {
                let target = Target { stride: s.out_c, col0: g * n };
                let panels = 0..self.layout.panel_count(n);
                let weights = packed.view();
                gemm::multiply(self.isa, weights, &source(g), epilogue, range.clone(), panels, target, 0, out, scratch);
            }
        });
    }
}
