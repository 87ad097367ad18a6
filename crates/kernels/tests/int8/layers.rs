//! Int8 layers with constant weights: every instruction set of this CPU against textbook loops,
//! on odd shapes and extreme values, and split over threads.

use crate::common::{biases, bytes, multipliers, textbook_conv};
use fewbits_kernels::int8::{
    FloatOutput, MatMul, Operands, PackedConv, PackedDense, PackedDepthwise, PackedTransposeConv, Requant, Rounding,
    WeightOrder,
};
use fewbits_kernels::isa::Isa;
use fewbits_kernels::shape::ConvShape;
use proptest::prelude::*;

/// The three outputs every layer must produce from the same sums.
struct Expected {
    sums: Vec<i32>,
    channels: usize,
    rows_per_image: usize,
}

const INPUT_SCALES: [f32; 2] = [0.013, 1.7];

/// Multipliers under 1, as nearly all are, and over 1, which the kernels have to treat with care.
const BASES: [f64; 2] = [0.0021, 1.3];

impl Expected {
    fn requant(&self, rounding: Rounding, base: f64) -> Requant {
        let multipliers = multipliers(self.channels, base);
        Requant::new(rounding, &multipliers, -7).with_clamp(-119, 121)
    }

    fn ints(&self, rounding: Rounding, base: f64) -> Vec<i8> {
        let requant = self.requant(rounding, base);
        let by_channel = self.sums.iter().enumerate();
        by_channel.map(|(i, &sum)| requant.apply(sum, i % self.channels)).collect()
    }

    fn float_parts(&self) -> (Vec<f32>, Vec<f32>) {
        let scales = (0..self.channels).map(|c| 0.001 * (c + 1) as f32).collect();
        let bias = (0..self.channels).map(|c| c as f32 - 3.5).collect();
        (scales, bias)
    }

    fn floats(&self) -> Vec<f32> {
        let (scales, bias) = self.float_parts();
        let by_channel = self.sums.iter().enumerate();
        by_channel
            .map(|(i, &sum)| {
                let c = i % self.channels;
                let image = i / self.channels / self.rows_per_image;
                let value = sum as f32 * (INPUT_SCALES[image] * scales[c]) + bias[c];
                value.clamp(-50.0, 60.0)
            })
            .collect()
    }

    /// `run_i8`, `run_f32` and `run_i32` must give these outputs.
    fn check(
        &self,
        what: &str,
        run_i8: impl Fn(&Requant, &mut [i8]),
        run_f32: impl Fn(&FloatOutput<'_>, &mut [f32]),
        run_i32: impl Fn(&mut [i32]),
    ) {
        let mut sums = vec![i32::MIN; self.sums.len()];
        run_i32(&mut sums);
        assert_eq!(sums, self.sums, "{what}: sums");
        for (rounding, base) in [Rounding::Float, Rounding::Fixed].into_iter().flat_map(|r| BASES.map(|b| (r, b))) {
            let mut ints = vec![0i8; self.sums.len()];
            run_i8(&self.requant(rounding, base), &mut ints);
            assert_eq!(ints, self.ints(rounding, base), "{what}: int8 {rounding:?}, multipliers from {base}");
        }
        let (scales, bias) = self.float_parts();
        let output =
            FloatOutput { bias: Some(&bias), min: -50.0, max: 60.0, ..FloatOutput::new(&INPUT_SCALES, &scales) };
        let mut floats = vec![f32::NAN; self.sums.len()];
        run_f32(&output, &mut floats);
        assert_eq!(floats, self.floats(), "{what}: float");
    }
}

prop_compose! {
    /// A convolution of two images with any kernel, stride, dilation and padding that fits.
    fn any_shape()(
        (in_h, in_w) in (1usize..12, 1usize..24),
        (kernel_h, kernel_w) in (1usize..6, 1usize..6),
        (stride_h, stride_w) in (1usize..4, 1usize..3),
        (dilation_h, dilation_w) in (1usize..3, 1usize..3),
        (pad_top, pad_left) in (0usize..4, 0usize..4),
        (pad_bottom, pad_right) in (0usize..4, 0usize..4),
    ) -> ConvShape {
        let reach_h = (kernel_h - 1) * dilation_h + 1;
        let reach_w = (kernel_w - 1) * dilation_w + 1;
        let height = (in_h + pad_top + pad_bottom).max(reach_h);
        let width = (in_w + pad_left + pad_right).max(reach_w);
        ConvShape {
            batch: 2, in_h, in_w, in_c: 1,
            out_h: (height - reach_h) / stride_h + 1,
            out_w: (width - reach_w) / stride_w + 1,
            out_c: 1, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w,
            pad_top, pad_left, groups: 1,
        }
    }
}

fn check_conv(s: &ConvShape, zero_point: i8, seed: u64) {
    let input = bytes(seed, s.input_len());
    let weights = bytes(!seed, s.out_c * s.kernel_h * s.kernel_w * (s.in_c / s.groups));
    let bias = biases(s.out_c);
    let zero_points = [zero_point; 2];
    let expected = Expected {
        sums: textbook_conv(s, &input, &zero_points, &weights, &bias),
        channels: s.out_c,
        rows_per_image: s.out_h * s.out_w,
    };
    for isa in Isa::available() {
        let conv = PackedConv::new(isa, s, &weights, Some(&bias));
        let scratch = || vec![0xAA; conv.scratch_len(2)];
        expected.check(
            &format!("{isa} {s:?}"),
            |requant, out| conv.run(&input, zero_point, requant, out, &mut scratch()),
            |output, out| conv.run_f32(&input, &zero_points, output, out, &mut scratch()),
            |out| conv.run_i32(&input, zero_point, out, &mut scratch()),
        );
    }
}

/// Reorders `[taps, channels]` to `[channels, taps]`.
fn taps_last(weights: &[i8], taps: usize, channels: usize) -> Vec<i8> {
    let at = |i: usize| weights[i % taps * channels + i / taps];
    (0..taps * channels).map(at).collect()
}

fn check_depthwise(s: &ConvShape, zero_point: i8, seed: u64) {
    let taps = s.kernel_h * s.kernel_w;
    let input = bytes(seed, s.input_len());
    let weights = bytes(!seed, taps * s.out_c);
    let bias = biases(s.out_c);
    let zero_points = [zero_point; 2];
    let ohwi = taps_last(&weights, taps, s.out_c);
    let expected = Expected {
        sums: textbook_conv(s, &input, &zero_points, &ohwi, &bias),
        channels: s.out_c,
        rows_per_image: s.out_h * s.out_w,
    };
    for isa in Isa::available() {
        let conv = PackedDepthwise::new(isa, s, &weights, Some(&bias));
        let scratch = || vec![0xAA; conv.scratch_len(2)];
        expected.check(
            &format!("{isa} {s:?}"),
            |requant, out| conv.run(&input, zero_point, requant, out, &mut scratch()),
            |output, out| conv.run_f32(&input, &zero_points, output, out, &mut scratch()),
            |out| conv.run_i32(&input, zero_point, out, &mut scratch()),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn convolution(
        shape in any_shape(),
        (groups, in_group, out_group) in (1usize..4, 1usize..20, 1usize..20),
        zero_point in any::<i8>(),
        seed in any::<u64>(),
    ) {
        let shape = ConvShape { in_c: groups * in_group, out_c: groups * out_group, groups, ..shape };
        check_conv(&shape, zero_point, seed);
    }

    #[test]
    fn pointwise_convolution(
        (h, w, in_c, out_c) in (1usize..8, 1usize..8, 1usize..70, 1usize..70),
        zero_point in any::<i8>(),
        seed in any::<u64>(),
    ) {
        let shape = ConvShape {
            batch: 2, in_h: h, in_w: w, in_c, out_h: h, out_w: w, out_c, kernel_h: 1, kernel_w: 1,
            stride_h: 1, stride_w: 1, dilation_h: 1, dilation_w: 1, pad_top: 0, pad_left: 0,
            groups: 1,
        };
        check_conv(&shape, zero_point, seed);
    }

    #[test]
    fn depthwise_convolution(
        shape in any_shape(),
        channels in prop_oneof![1usize..20, 31usize..50],
        multiplier in prop_oneof![4 => Just(1usize), 1 => 2usize..4],
        zero_point in any::<i8>(),
        seed in any::<u64>(),
    ) {
        let shape = ConvShape {
            in_c: channels, out_c: channels * multiplier, groups: channels, ..shape
        };
        check_depthwise(&shape, zero_point, seed);
    }

    #[test]
    fn transposed_convolution(
        shape in any_shape(),
        (in_c, out_c) in (1usize..20, 1usize..20),
        (out_h, out_w) in (1usize..14, 1usize..14),
        zero_point in any::<i8>(),
        seed in any::<u64>(),
    ) {
        let s = ConvShape { in_c, out_c, out_h, out_w, ..shape };
        let input = bytes(seed, s.input_len());
        let weights = bytes(!seed, out_c * s.kernel_h * s.kernel_w * in_c);
        let bias = biases(out_c);
        let zero_points = [zero_point, zero_point];
        let expected = Expected {
            sums: textbook_scatter(&s, &input, zero_point, &weights, &bias),
            channels: out_c,
            rows_per_image: out_h * out_w,
        };
        for isa in Isa::available() {
            let conv = PackedTransposeConv::new(isa, &s, &weights, Some(&bias));
            let scratch = || vec![0xAA; conv.scratch_len(2)];
            expected.check(
                &format!("{isa} {s:?}"),
                |requant, out| conv.run(&input, zero_point, requant, out, &mut scratch()),
                |output, out| conv.run_f32(&input, &zero_points, output, out, &mut scratch()),
                |out| conv.run_i32(&input, zero_point, out, &mut scratch()),
            );
        }
    }

    #[test]
    fn fully_connected(
        (inputs, outputs) in (1usize..90, 1usize..90),
        row_zero_points in prop::array::uniform2(any::<i8>()),
        in_out in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let input = bytes(seed, 2 * inputs);
        let weights = bytes(!seed, inputs * outputs);
        let bias = biases(outputs);
        let order = if in_out { WeightOrder::InOut } else { WeightOrder::OutIn };
        let at = |k: usize, n: usize| match order {
            WeightOrder::InOut => k * outputs + n,
            WeightOrder::OutIn => n * inputs + k,
        };
        let sum = |row: usize, n: usize, zero_point: i8| {
            bias[n] + (0..inputs).map(|k| {
                (i32::from(input[row * inputs + k]) - i32::from(zero_point))
                    * i32::from(weights[at(k, n)])
            }).sum::<i32>()
        };
        let sums = |zero_points: [i8; 2]| Expected {
            sums: (0..2 * outputs)
                .map(|i| sum(i / outputs, i % outputs, zero_points[i / outputs]))
                .collect(),
            channels: outputs,
            rows_per_image: 1,
        };
        let zero_point = row_zero_points[0];
        let (same, own) = (sums([zero_point; 2]), sums(row_zero_points));
        for isa in Isa::available() {
            let dense = PackedDense::new(isa, inputs, outputs, order, &weights, Some(&bias));
            let mut scratch = vec![0xAA; dense.scratch_len(2)];
            let mut ints = vec![0i8; 2 * outputs];
            for rounding in [Rounding::Float, Rounding::Fixed] {
                dense.run(&input, zero_point, &same.requant(rounding, BASES[0]), &mut ints, &mut scratch);
                prop_assert_eq!(&ints, &same.ints(rounding, BASES[0]));
            }
            let mut out = vec![0i32; 2 * outputs];
            dense.run_i32(&input, zero_point, &mut out, &mut scratch);
            prop_assert_eq!(&out, &same.sums);
            let (scales, float_bias) = own.float_parts();
            let output = FloatOutput {
                bias: Some(&float_bias), min: -50.0, max: 60.0,
                ..FloatOutput::new(&INPUT_SCALES, &scales)
            };
            let mut floats = vec![0f32; 2 * outputs];
            dense.run_f32(&input, &row_zero_points, &output, &mut floats, &mut scratch);
            prop_assert_eq!(&floats, &own.floats());
        }
    }
}

/// Int32 sums of a transposed convolution, scattered tap by tap from the definition.
fn textbook_scatter(s: &ConvShape, input: &[i8], zero_point: i8, weights: &[i8], bias: &[i32]) -> Vec<i32> {
    let mut out: Vec<i32> = (0..s.output_len()).map(|i| bias[i % s.out_c]).collect();
    for (at, &value) in input.iter().enumerate() {
        let (pixel, ic) = (at / s.in_c, at % s.in_c);
        let (line, x) = (pixel / s.in_w, pixel % s.in_w);
        let (b, y) = (line / s.in_h, line % s.in_h);
        for ky in 0..s.kernel_h {
            for kx in 0..s.kernel_w {
                let oy = (y * s.stride_h + ky * s.dilation_h).wrapping_sub(s.pad_top);
                let ox = (x * s.stride_w + kx * s.dilation_w).wrapping_sub(s.pad_left);
                if oy >= s.out_h || ox >= s.out_w {
                    continue;
                }
                for oc in 0..s.out_c {
                    let w = weights[((oc * s.kernel_h + ky) * s.kernel_w + kx) * s.in_c + ic];
                    out[((b * s.out_h + oy) * s.out_w + ox) * s.out_c + oc] +=
                        (i32::from(value) - i32::from(zero_point)) * i32::from(w);
                }
            }
        }
    }
    out
}

/// Lines too long for one block of output pixels, tall kernels, strides beyond the kernel, images
/// wholly inside the padding: what random small shapes do not reach.
#[test]
fn unusual_shapes() {
    let line = ConvShape {
        batch: 2,
        in_h: 1,
        in_w: 500,
        in_c: 3,
        out_h: 1,
        out_w: 498,
        out_c: 17,
        kernel_h: 1,
        kernel_w: 5,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 0,
        pad_left: 1,
        groups: 1,
    };
    check_conv(&line, -3, 1);
    check_conv(&ConvShape { in_c: 6, out_c: 10, groups: 2, dilation_w: 2, out_w: 494, ..line }, 5, 2);
    let sparse = ConvShape { in_h: 20, out_h: 4, stride_h: 5, in_w: 30, out_w: 6, stride_w: 5, kernel_w: 2, ..line };
    check_conv(&sparse, 127, 3);
    check_conv(&ConvShape { kernel_h: 3, dilation_h: 4, out_h: 3, stride_h: 6, ..sparse }, -128, 4);
    check_conv(&ConvShape { pad_left: 40, pad_top: 7, out_h: 9, out_w: 12, ..sparse }, 9, 5);
    let channels = ConvShape { in_c: 20, out_c: 20, groups: 20, ..line };
    check_depthwise(&channels, -3, 6);
    let tall = ConvShape { in_h: 40, out_h: 22, kernel_h: 20, in_w: 30, out_w: 29, kernel_w: 3, ..channels };
    check_depthwise(&tall, 77, 7);
    check_depthwise(&ConvShape { kernel_h: 15, out_h: 28, ..tall }, 77, 8);
    check_depthwise(&ConvShape { pad_left: 35, pad_top: 25, kernel_h: 5, out_h: 60, out_w: 90, ..tall }, -128, 9);
}

/// Every input -128 with zero point 127 and every weight -128: the largest sums there are.
#[test]
fn all_extreme_sums_are_exact() {
    let (inputs, outputs) = (4608, 33);
    for isa in Isa::available() {
        for (value, zero_point, weight) in [(-128i8, 127i8, -128i8), (127, -128, -128), (127, -128, 127)] {
            let weights = vec![weight; inputs * outputs];
            let dense = PackedDense::new(isa, inputs, outputs, WeightOrder::OutIn, &weights, None);
            let mut out = vec![0i32; 7 * outputs];
            let mut scratch = vec![0; dense.scratch_len(7)];
            dense.run_i32(&vec![value; 7 * inputs], zero_point, &mut out, &mut scratch);
            let expected = 4608 * (i32::from(value) - i32::from(zero_point)) * i32::from(weight);
            assert!(out.iter().all(|&sum| sum == expected), "{isa}: {} != {expected}", out[0]);
        }
    }
}

/// The same bits for every number of threads, also when scratch only suffices for one task.
#[test]
fn threads_change_nothing() {
    let conv = ConvShape {
        batch: 2,
        in_h: 13,
        in_w: 11,
        in_c: 120,
        out_h: 13,
        out_w: 11,
        out_c: 40,
        kernel_h: 3,
        kernel_w: 3,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 1,
        pad_left: 1,
        groups: 2,
    };
    // Large enough, all of them, for the kernels to bother with threads.
    let depth = ConvShape { out_c: 120, groups: 120, ..conv };
    let up =
        ConvShape { batch: 2, in_c: 12, out_h: 27, out_w: 23, out_c: 9, stride_h: 2, stride_w: 2, groups: 1, ..conv };
    // One long line, which can only be split by pixels.
    let line =
        ConvShape { batch: 1, in_h: 1, in_w: 600, out_h: 1, out_w: 600, kernel_h: 1, pad_top: 0, in_c: 24, ..conv };
    let input = bytes(3, conv.input_len());
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for isa in Isa::available() {
        let weights = bytes(5, 40 * 9 * 60);
        let packed = PackedConv::new(isa, &conv, &weights, None);
        let long = PackedConv::new(isa, &line, &bytes(9, 40 * 3 * 12), None);
        let depthwise = PackedDepthwise::new(isa, &depth, &bytes(6, 9 * 120), None);
        let dense = PackedDense::new(isa, 2880, 100, WeightOrder::OutIn, &bytes(7, 288_000), None);
        let transposed = PackedTransposeConv::new(isa, &up, &bytes(8, 9 * 9 * 12), None);
        let matmul =
            MatMul { isa, batch: 1, m: 64, k: 64, n: 80, transpose_b: false, broadcast_a: false, broadcast_b: false };
        let run = |threads: usize, starve: bool| {
            pool(threads).install(|| {
                let scratch = |len: usize| vec![0u8; if starve { len / threads } else { len }];
                let mut sums = vec![0i32; conv.output_len()];
                let len = packed.scratch_len(2);
                packed.run_i32(&input, 3, &mut sums, &mut scratch(len));
                let mut pixels = vec![0i32; line.output_len()];
                let len = long.scratch_len(1);
                long.run_i32(&input[..line.input_len()], 3, &mut pixels, &mut scratch(len));
                let mut lines = vec![0i32; depth.output_len()];
                let len = depthwise.scratch_len(2);
                depthwise.run_i32(&input, 3, &mut lines, &mut scratch(len));
                let mut row = vec![0i32; 100];
                let len = dense.scratch_len(1);
                dense.run_i32(&input[..2880], 3, &mut row, &mut scratch(len));
                let mut wide = vec![0i32; up.output_len()];
                let len = transposed.scratch_len(2);
                transposed.run_i32(&input[..up.input_len()], 3, &mut wide, &mut scratch(len));
                let mut product = vec![0i32; 64 * 80];
                let (a, b) = (&input[..64 * 64], &input[5000..5000 + 64 * 80]);
                let operands = Operands { a, a_zero_point: 3, b, b_zero_point: -9 };
                matmul.run_i32(operands, &mut product, &mut vec![0; matmul.scratch_len()]);
                (sums, pixels, lines, row, wide, product)
            })
        };
        let one = run(1, false);
        for threads in [2, 3, 8] {
            assert_eq!(run(threads, false), one, "{isa} on {threads} threads");
            assert_eq!(run(threads, true), one, "{isa} on {threads} threads, little scratch");
        }
    }
}
