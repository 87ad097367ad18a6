//! Int8 depthwise convolution: every output channel sees one input channel.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod paired;
mod scalar;

use std::ops::Range;

use rayon::prelude::*;

use super::conv::PackedConv;
use super::epilogue::{Epilogue, FloatOutput, output_kinds};
use super::gemm::{PARALLEL_MACS, ZeroPoints};
use super::requant::Requant;
use crate::isa::Isa;
use crate::shape::ConvShape;

/// Scratch is cut on multiples of this many bytes.
const ALIGN: usize = 64;
/// Sums kept on the stack between the taps and the epilogue.
const ACC: usize = 256;
/// Neighbouring output pixels whose sums are made together.
const PIXELS: usize = 8;

/// A depthwise convolution whose weights are packed for one instruction set.
///
/// Input `[batch, in_h, in_w, in_c]` int8; output `[batch, out_h, out_w, out_c]` with
/// `out_c = in_c * multiplier`; output channel `c` reads input channel `c / multiplier`. Padding
/// contributes the input's zero point. With multiplier 1 there are two AVX2 paths: a fast one for
/// at least 8 channels, no dilation and a horizontal stride of 1 or 2, and one for any other kernel
/// of up to 64 taps. Larger kernels and other multipliers run the scalar path, except that a single
/// input channel is an ordinary convolution and runs as one.
#[derive(Clone, Debug)]
pub struct PackedDepthwise(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Conv(PackedConv),
    Direct(Direct),
}

/// A depthwise convolution proper.
#[derive(Clone, Debug)]
struct Direct {
    isa: Isa,
    shape: ConvShape,
    /// `[kernel_h * kernel_w, out_c]`, as given.
    weights: Vec<i8>,
    bias: Vec<i32>,
    /// Sum of the taps of every channel.
    sums: Vec<i32>,
    #[cfg(target_arch = "x86_64")]
    paired: Option<paired::Paired>,
    #[cfg(target_arch = "x86_64")]
    blocks: Option<avx2::Blocks>,
}

output_kinds!(PackedDepthwise, channels: |l: &Self| l.shape().out_c, rows: |l: &Self| (l.shape().out_h * l.shape().out_w).max(1));

impl PackedDepthwise {
    /// Packs `weights` `[kernel_h, kernel_w, out_c]` (1HWC), symmetric int8.
    ///
    /// `bias`, if any, has `out_c` values in units of `input_scale * weight_scale[c]`; every
    /// output (int32 and float too) includes it. -128 is a legal weight.
    ///
    /// # Panics
    /// If a length does not match `shape`, or `shape` is not depthwise (`groups == in_c`).
    pub fn new(isa: Isa, shape: &ConvShape, weights: &[i8], bias: Option<&[i32]>) -> Self {
        let s = *shape;
        assert!(s.is_depthwise(), "not a depthwise shape: {s:?}");
        let taps = s.kernel_h * s.kernel_w;
        assert_eq!(weights.len(), taps * s.out_c, "weights");
        if let Some(bias) = bias {
            assert_eq!(bias.len(), s.out_c, "bias");
        }
        if s.in_c == 1 {
            let ohwi: Vec<i8> = (0..s.out_c * taps).map(|i| weights[i % taps * s.out_c + i / taps]).collect();
            return Self(Kind::Conv(PackedConv::new(isa, &s, &ohwi, bias)));
        }
        let sums = (0..s.out_c).map(|c| (0..taps).map(|t| i32::from(weights[t * s.out_c + c])).sum()).collect();
        Self(Kind::Direct(Direct {
            isa,
            shape: s,
            bias: bias.map_or_else(|| vec![0; s.out_c], <[i32]>::to_vec),
            sums,
            #[cfg(target_arch = "x86_64")]
            paired: isa.avx2().and_then(|_| paired::Paired::pack(&s, weights)),
            #[cfg(target_arch = "x86_64")]
            blocks: isa.avx2().and_then(|_| avx2::Blocks::pack(&s, weights)),
            weights: weights.to_vec(),
        }))
    }

    /// The geometry given at construction; its `batch` is not binding.
    pub fn shape(&self) -> &ConvShape {
        match &self.0 {
            Kind::Conv(conv) => conv.shape(),
            Kind::Direct(direct) => &direct.shape,
        }
    }

    /// Bytes of scratch that a run over `batch` images needs on the current thread pool.
    pub fn scratch_len(&self, batch: usize) -> usize {
        match &self.0 {
            Kind::Conv(conv) => conv.scratch_len(batch),
            Kind::Direct(direct) => direct.tasks(batch) * direct.task_scratch(),
        }
    }

    fn run_with<E: Epilogue>(
        &self,
        input: &[i8],
        zero_points: ZeroPoints<'_>,
        epilogue: &E,
        out: &mut [E::Out],
        scratch: &mut [u8],
    ) {
        match &self.0 {
            Kind::Conv(conv) => conv.run_with(input, zero_points, epilogue, out, scratch),
            Kind::Direct(direct) => direct.run(input, zero_points, epilogue, out, scratch),
        }
    }
}

/// What the rows of one task need beside the weights.
struct Job<'a> {
    shape: &'a ConvShape,
    input: &'a [i8],
    zero_point: i8,
    batch: usize,
}

impl Direct {
    /// Output lines are what is split over threads.
    fn tasks(&self, batch: usize) -> usize {
        rayon::current_num_threads().min(batch * self.shape.out_h).max(1)
    }

    /// Bytes of padding, as wide as the pixels that the AVX2 path takes at a time.
    fn padding_len(&self) -> usize {
        ((PIXELS - 1) * self.shape.stride_w + 1) * self.shape.in_c
    }

    /// The padding, the start of every sum and the line pairs of the fast path.
    fn task_scratch(&self) -> usize {
        let start = (self.shape.out_c * size_of::<i32>() + ALIGN).next_multiple_of(ALIGN);
        self.padding_len().next_multiple_of(ALIGN) + start + self.ring_bytes()
    }

    /// Bytes of the fast path's line pairs, with room to align them.
    fn ring_bytes(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        if let Some(paired) = &self.paired {
            return (paired.ring_len() * size_of::<i16>() + ALIGN).next_multiple_of(ALIGN);
        }
        0
    }

    fn run<E: Epilogue>(
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
        let lines = batch * s.out_h;
        let line_len = s.out_w * s.out_c;
        assert_eq!(input.len(), batch * image, "input");
        assert_eq!(out.len(), lines * line_len, "output");
        assert!(scratch.len() >= self.task_scratch(), "scratch");
        if let ZeroPoints::Batch(all) = zero_points {
            assert_eq!(all.len(), batch, "input zero points");
        }
        if out.is_empty() {
            return;
        }
        let tasks = self.tasks(batch).min(scratch.len() / self.task_scratch());
        let macs = out.len() * s.kernel_h * s.kernel_w;
        if tasks <= 1 || macs < PARALLEL_MACS {
            return self.lines(input, zero_points, epilogue, 0..lines, out, scratch);
        }
        let share = lines.div_ceil(tasks);
        out.par_chunks_mut(share * line_len).zip(scratch.par_chunks_mut(self.task_scratch())).enumerate().for_each(
            |(i, (out, scratch))| {
                let lines = i * share..lines.min((i + 1) * share);
                self.lines(input, zero_points, epilogue, lines, out, scratch);
            },
        );
    }

    /// Output lines `lines`, counted over the whole batch.
    fn lines<E: Epilogue>(
        &self,
        input: &[i8],
        zero_points: ZeroPoints<'_>,
        epilogue: &E,
        lines: Range<usize>,
        out: &mut [E::Out],
        scratch: &mut [u8],
    ) {
        let s = &self.shape;
        let (padding, rest) = scratch.split_at_mut(self.padding_len().next_multiple_of(ALIGN));
        let padding = &mut bytemuck::cast_slice_mut::<u8, i8>(padding)[..self.padding_len()];
        let (start, ring) = rest.split_at_mut(rest.len() - self.ring_bytes());
        let (_, start, _) = bytemuck::pod_align_to_mut::<u8, i32>(start);
        let start = &mut start[..s.out_c];
        let line_len = s.out_w * s.out_c;
        let mut done = lines.start;
        while done < lines.end {
            let batch = done / s.out_h;
            let own = done % s.out_h..(lines.end - batch * s.out_h).min(s.out_h);
            let zero_point = zero_points.get(batch);
            for ((start, bias), sum) in start.iter_mut().zip(&self.bias).zip(&self.sums) {
                *start = bias - i32::from(zero_point) * sum;
            }
            let job = Job { shape: s, input, zero_point, batch };
            let out = &mut out[(done - lines.start) * line_len..][..own.len() * line_len];
            done += own.len();
            self.image_lines(&job, epilogue, own, out, padding, start, ring);
        }
    }

    /// Output lines `lines` of one image.
    fn image_lines<E: Epilogue>(
        &self,
        job: &Job<'_>,
        epilogue: &E,
        lines: Range<usize>,
        out: &mut [E::Out],
        padding: &mut [i8],
        start: &[i32],
        ring: &mut [u8],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let (Some(token), Some(paired)) = (self.isa.avx2(), &self.paired) {
            let aligned = ring.as_ptr().align_offset(ALIGN);
            let ring = bytemuck::cast_slice_mut(&mut ring[aligned..][..paired.ring_len() * size_of::<i16>()]);
            return paired::lines(token, self.isa, paired, job, start, ring, lines, epilogue, out);
        }
        padding.fill(job.zero_point);
        for (oy, out) in lines.zip(out.chunks_exact_mut(self.shape.out_w * self.shape.out_c)) {
            #[cfg(target_arch = "x86_64")]
            if let (Some(token), Some(blocks)) = (self.isa.avx2(), &self.blocks) {
                avx2::line(token, self.isa, blocks, job, padding, start, oy, epilogue, out);
                continue;
            }
            scalar::line(self.isa, &self.weights, &self.bias, job, oy, epilogue, out);
        }
    }
}
