//! Pooling, mean, softmax and resize.

use fewbits_kernels::int8::{
    Affine, Coordinates, LogSoftmax, Mean, NearestRounding, ResizeShape, Rounding, Softmax, average_pool, max_pool,
    resize_bilinear, resize_nearest,
};
use fewbits_kernels::isa::Isa;
use fewbits_kernels::shape::ConvShape;
use proptest::prelude::*;

use crate::common::{bytes, double_rounded};

/// The values under one window, from the definition.
fn window(s: &ConvShape, input: &[i8], b: usize, oy: usize, ox: usize, c: usize) -> Vec<i32> {
    let mut values = Vec::new();
    for ky in 0..s.kernel_h {
        for kx in 0..s.kernel_w {
            let y = (oy * s.stride_h + ky).wrapping_sub(s.pad_top);
            let x = (ox * s.stride_w + kx).wrapping_sub(s.pad_left);
            if y < s.in_h && x < s.in_w {
                values.push(i32::from(input[((b * s.in_h + y) * s.in_w + x) * s.in_c + c]));
            }
        }
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pools(
        (in_h, in_w, channels) in (1usize..9, 1usize..9, prop_oneof![1usize..40, Just(150)]),
        (kernel, stride, pad) in (1usize..4, 1usize..3, 0usize..2),
        clamp in (-128i8..0, 0i8..=127),
        seed in any::<u64>(),
    ) {
        let s = ConvShape {
            batch: 2, in_h, in_w, in_c: channels,
            out_h: (in_h + 2 * pad).saturating_sub(kernel) / stride + 1,
            out_w: (in_w + 2 * pad).saturating_sub(kernel) / stride + 1,
            out_c: channels, kernel_h: kernel, kernel_w: kernel, stride_h: stride, stride_w: stride,
            dilation_h: 1, dilation_w: 1, pad_top: pad, pad_left: pad, groups: channels,
        };
        let input = bytes(seed, s.input_len());
        for isa in Isa::available() {
            let (mut means, mut maxima) = (vec![0i8; s.output_len()], vec![0i8; s.output_len()]);
            average_pool(isa, &s, &input, clamp, &mut means);
            max_pool(isa, &s, &input, clamp, &mut maxima);
            for i in 0..s.output_len() {
                let (pixel, c) = (i / channels, i % channels);
                let (line, ox) = (pixel / s.out_w, pixel % s.out_w);
                let values = window(&s, &input, line / s.out_h, line % s.out_h, ox, c);
                let mean = match values.len() as f64 {
                    0.0 => 0.0,
                    count => (f64::from(values.iter().sum::<i32>()) / count).round(),
                };
                prop_assert_eq!(f64::from(means[i]), mean.clamp(clamp.0.into(), clamp.1.into()));
                let max = values.into_iter().max().unwrap_or(-128);
                prop_assert_eq!(i32::from(maxima[i]), max.clamp(clamp.0.into(), clamp.1.into()));
            }
        }
    }

    #[test]
    fn means_over_any_axes(
        dims in prop::collection::vec(1usize..6, 1..5),
        mask in 0usize..16,
        (input_type, output_scale) in ((0.01f64..0.1, any::<i8>()), 0.01f64..0.1),
        seed in any::<u64>(),
    ) {
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| mask >> axis & 1 == 1).collect();
        let x_type = Affine { scale: input_type.0, zero_point: input_type.1 };
        let out_type = Affine { scale: output_scale, zero_point: 5 };
        let x = bytes(seed, dims.iter().product());
        let count: usize = axes.iter().map(|&axis| dims[axis]).product();
        let mut sums = vec![0i128; x.len() / count];
        for (i, &q) in x.iter().enumerate() {
            let (mut rest, mut at, mut stride) = (i, 0, 1);
            for axis in (0..dims.len()).rev() {
                if !axes.contains(&axis) {
                    at += rest % dims[axis] * stride;
                    stride *= dims[axis];
                }
                rest /= dims[axis];
            }
            sums[at] += i128::from(q) - i128::from(x_type.zero_point);
        }
        for isa in Isa::available() {
            let float = Mean::new(Rounding::Float, &dims, &axes, x_type, out_type);
            let fixed = Mean::new(Rounding::Fixed, &dims, &axes, x_type, out_type);
            prop_assert_eq!(float.out_len(), sums.len());
            let (mut out, mut scratch) = (vec![0i8; sums.len()], vec![7i32; sums.len()]);
            for (mean, slack) in [(float, 1e-3), (fixed, 0.26)] {
                mean.run(isa, &x, &mut out, &mut scratch);
                for (&got, &sum) in out.iter().zip(&sums) {
                    let exact = sum as f64 * x_type.scale / (count as f64 * out_type.scale) + 5.0;
                    let error = (f64::from(got) - exact.clamp(-128.0, 127.0)).abs();
                    prop_assert!(error <= 0.5 + slack, "{} for {}", got, exact);
                }
            }
        }
    }

    #[test]
    fn fixed_mean_of_a_power_of_two_is_one_exact_multiply(sum_of in prop::collection::vec(any::<i8>(), 16), real in 0.1f64..0.9) {
        // With 16 values, folding 1/16 into the multiplier loses nothing.
        let scale = |scale, zero_point| Affine { scale, zero_point };
        let mean = Mean::new(Rounding::Fixed, &[16], &[0], scale(real, 0), scale(1.0, 0));
        let mut out = [0i8];
        mean.run(Isa::Scalar, &sum_of, &mut out, &mut [0]);
        let sum: i128 = sum_of.iter().map(|&q| i128::from(q)).sum();
        prop_assert_eq!(i128::from(out[0]), double_rounded(sum, real / 16.0));
    }

    #[test]
    fn softmax_and_its_logarithm(rows in 1usize..4, len in 1usize..60, scale in 0.001f64..0.5, seed in any::<u64>()) {
        let x = bytes(seed, rows * len);
        let (mut probabilities, mut logs) = (vec![0i8; x.len()], vec![0i8; x.len()]);
        Softmax::new(scale, 1.0).run(len, &x, &mut probabilities);
        LogSoftmax::new(scale).run(len, &x, &mut logs);
        for (r, row) in x.chunks(len).enumerate() {
            let sum: f64 = row.iter().map(|&q| (f64::from(q) * scale).exp()).sum();
            for (i, &q) in row.iter().enumerate() {
                let p = (f64::from(q) * scale).exp() / sum;
                let exact = (p * 256.0 - 128.0).min(127.0);
                prop_assert!((f64::from(probabilities[r * len + i]) - exact).abs() < 0.501);
                let exact = (p.ln() * 16.0 + 127.0).max(-128.0);
                prop_assert!((f64::from(logs[r * len + i]) - exact).abs() < 0.501);
            }
        }
    }

    #[test]
    fn bilinear_blends(
        (in_h, in_w, out_h, out_w, channels) in (1usize..6, 1usize..6, 1usize..12, 1usize..12, 1usize..20),
        coordinates in prop_oneof![
            Just(Coordinates::Asymmetric), Just(Coordinates::HalfPixel), Just(Coordinates::AlignCorners)
        ],
        seed in any::<u64>(),
    ) {
        let shape = ResizeShape { batch: 2, in_h, in_w, out_h, out_w, channels };
        let x = bytes(seed, 2 * in_h * in_w * channels);
        let source = |at: usize, input: usize, output: usize| {
            let (at, i, o) = (at as f64, input as f64, output as f64);
            let x = match coordinates {
                Coordinates::Asymmetric => at * i / o,
                Coordinates::HalfPixel => (at + 0.5) * i / o - 0.5,
                Coordinates::AlignCorners if output > 1 => at * (i - 1.0) / (o - 1.0),
                Coordinates::AlignCorners => 0.0,
            };
            x.clamp(0.0, i - 1.0)
        };
        for isa in Isa::available() {
            // Ten-bit weights move a value by at most 255 * (error of both coordinates).
            for (rounding, slack) in [(Rounding::Float, 1e-2), (Rounding::Fixed, 255.0 * 0.026)] {
                let mut out = vec![0i8; 2 * out_h * out_w * channels];
                resize_bilinear(isa, &shape, coordinates, rounding, &x, &mut out);
                for (i, &got) in out.iter().enumerate() {
                    let (pixel, c) = (i / channels, i % channels);
                    let (line, ox) = (pixel / out_w, pixel % out_w);
                    let (b, oy) = (line / out_h, line % out_h);
                    let (y, x_at) = (source(oy, in_h, out_h), source(ox, in_w, out_w));
                    let corner = |dy: f64, dx: f64| {
                        let yy = (y.floor() + dy).min(in_h as f64 - 1.0) as usize;
                        let xx = (x_at.floor() + dx).min(in_w as f64 - 1.0) as usize;
                        f64::from(x[((b * in_h + yy) * in_w + xx) * channels + c])
                    };
                    let (fy, fx) = (y.fract(), x_at.fract());
                    let exact = (corner(0.0, 0.0) * (1.0 - fx) + corner(0.0, 1.0) * fx) * (1.0 - fy)
                        + (corner(1.0, 0.0) * (1.0 - fx) + corner(1.0, 1.0) * fx) * fy;
                    prop_assert!((f64::from(got) - exact).abs() <= 0.5 + slack, "{} {}", got, exact);
                }
            }
        }
    }
}

#[test]
fn nearest_follows_each_convention() {
    let shape = ResizeShape { batch: 1, in_h: 1, in_w: 4, out_h: 1, out_w: 6, channels: 1 };
    let input = [10, 20, 30, 40];
    let resize = |coordinates, rounding| {
        let mut out = [0i8; 6];
        resize_nearest(&shape, coordinates, rounding, &input, &mut out);
        out
    };
    use {Coordinates::*, NearestRounding::*};
    // x * 2/3 = 0, .67, 1.33, 2, 2.67, 3.33
    assert_eq!(resize(Asymmetric, Floor), [10, 10, 20, 30, 30, 40]);
    assert_eq!(resize(Asymmetric, Ceil), [10, 20, 30, 30, 40, 40]);
    // (x + .5) * 2/3 - .5 = -.17, .5, 1.17, 1.83, 2.5, 3.17: the halves tell the two apart.
    assert_eq!(resize(HalfPixel, PreferFloor), [10, 10, 20, 30, 30, 40]);
    assert_eq!(resize(HalfPixel, PreferCeil), [10, 20, 20, 30, 40, 40]);
    // x * 3/5 = 0, .6, 1.2, 1.8, 2.4, 3
    assert_eq!(resize(AlignCorners, PreferCeil), [10, 20, 20, 30, 30, 40]);
}
