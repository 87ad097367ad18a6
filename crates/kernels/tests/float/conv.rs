use crate::{Numbers, assert_close, assert_thread_independent};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::conv::{PackedConvF32, conv2d_reference};
use fewbits_kernels::float::conv_transpose::PackedConvTransposeF32;
use fewbits_kernels::float::depthwise::depthwise_conv2d;
use fewbits_kernels::shape::ConvShape;

/// The definition, with an explicit bounds check for every tap.
fn textbook(s: &ConvShape, x: &[f32], w: &[f32], b: Option<&[f32]>, clamp: Clamp) -> Vec<f32> {
    let (depth, filters) = (s.in_c / s.groups, s.out_c / s.groups);
    let mut out = Vec::new();
    for n in 0..s.batch {
        for oy in 0..s.out_h {
            for ox in 0..s.out_w {
                for o in 0..s.out_c {
                    let mut sum = f64::from(b.map_or(0.0, |b| b[o]));
                    for ky in 0..s.kernel_h {
                        for kx in 0..s.kernel_w {
                            let iy = (oy * s.stride_h + ky * s.dilation_h) as i64 - s.pad_top as i64;
                            let ix = (ox * s.stride_w + kx * s.dilation_w) as i64 - s.pad_left as i64;
                            if iy < 0 || iy >= s.in_h as i64 || ix < 0 || ix >= s.in_w as i64 {
                                continue;
                            }
                            for c in 0..depth {
                                let at = ((n * s.in_h + iy as usize) * s.in_w + ix as usize) * s.in_c;
                                let tap = ((o * s.kernel_h + ky) * s.kernel_w + kx) * depth + c;
                                sum += f64::from(x[at + o / filters * depth + c]) * f64::from(w[tap]);
                            }
                        }
                    }
                    out.push((sum as f32).max(clamp.min).min(clamp.max));
                }
            }
        }
    }
    out
}

fn random_shape(r: &mut Numbers) -> ConvShape {
    let groups = [1, 1, 1, 2, 3][r.between(0, 4)];
    let mut s = ConvShape {
        batch: r.between(1, 2),
        in_h: r.between(1, 12),
        in_w: r.between(1, 12),
        in_c: groups * r.between(1, 9),
        out_h: 0,
        out_w: 0,
        out_c: groups * r.between(1, 20),
        kernel_h: r.between(1, 4),
        kernel_w: r.between(1, 4),
        stride_h: r.between(1, 3),
        stride_w: r.between(1, 3),
        dilation_h: r.between(1, 2),
        dilation_w: r.between(1, 2),
        pad_top: r.between(0, 3),
        pad_left: r.between(0, 3),
        groups,
    };
    s.out_h = r.between(1, 8);
    s.out_w = r.between(1, 8);
    s
}

fn run(s: &ConvShape, x: &[f32], w: &[f32], b: Option<&[f32]>, clamp: Clamp, threads: usize) -> Vec<f32> {
    let packed = PackedConvF32::new(s, w, b);
    let mut scratch = vec![f32::NAN; packed.scratch_len(s, threads)];
    let mut out = vec![f32::NAN; s.output_len()];
    packed.run(s, x, &mut out, &mut scratch, clamp);
    out
}

#[test]
fn conv2d_is_the_definition() {
    let mut r = Numbers::new(1);
    for _ in 0..200 {
        let s = random_shape(&mut r);
        let x = r.floats(s.input_len());
        let w = r.floats(s.out_c * s.kernel_h * s.kernel_w * (s.in_c / s.groups));
        let b = r.floats(s.out_c);
        let clamp = [Clamp::NONE, Clamp::RELU, Clamp { min: -0.5, max: 0.5 }][r.between(0, 2)];
        let bias = (r.between(0, 1) == 1).then_some(&b[..]);
        let want = textbook(&s, &x, &w, bias, clamp);
        assert_close(&run(&s, &x, &w, bias, clamp, 1), &want, 1e-5, &format!("{s:?}"));
        let mut plain = vec![f32::NAN; s.output_len()];
        conv2d_reference(&s, &x, &w, bias, &mut plain, clamp);
        assert_close(&plain, &want, 1e-5, &format!("reference {s:?}"));
    }
}

/// 1x1, stride 1: no patches are gathered.
fn pointwise(h: usize, w: usize, in_c: usize, out_c: usize) -> ConvShape {
    ConvShape {
        batch: 1,
        in_h: h,
        in_w: w,
        in_c,
        out_h: h,
        out_w: w,
        out_c,
        kernel_h: 1,
        kernel_w: 1,
        stride_h: 1,
        stride_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: 0,
        pad_left: 0,
        groups: 1,
    }
}

#[test]
fn pointwise_is_the_definition_and_needs_no_scratch() {
    let mut r = Numbers::new(2);
    for (h, w, i, o) in [(1, 1, 7, 200), (1, 1, 1280, 10), (7, 7, 33, 17), (5, 13, 24, 144), (3, 2, 1, 1)] {
        let s = pointwise(h, w, i, o);
        let (x, weights, b) = (r.floats(s.input_len()), r.floats(i * o), r.floats(o));
        assert_eq!(PackedConvF32::new(&s, &weights, None).scratch_len(&s, 8), 0);
        let want = textbook(&s, &x, &weights, Some(&b), Clamp::RELU6);
        assert_close(&run(&s, &x, &weights, Some(&b), Clamp::RELU6, 1), &want, 2e-5, &format!("{s:?}"));
    }
}

#[test]
fn nan_passes_the_clamp() {
    let s = pointwise(1, 1, 1, 20);
    let out = run(&s, &[f32::NAN], &[1.0; 20], None, Clamp::RELU6, 1);
    assert!(out.iter().all(|y| y.is_nan()), "{out:?}");
}

#[test]
fn convolution_bits_do_not_depend_on_threads() {
    let mut r = Numbers::new(3);
    let wide = ConvShape { kernel_h: 3, kernel_w: 3, pad_top: 1, pad_left: 1, ..pointwise(41, 43, 19, 35) };
    for s in [wide, pointwise(37, 41, 32, 75), pointwise(1, 1, 1500, 1003)] {
        let x = r.floats(s.input_len());
        let w = r.floats(s.out_c * s.kernel_h * s.kernel_w * s.in_c);
        assert_thread_independent("conv", || run(&s, &x, &w, None, Clamp::NONE, rayon::current_num_threads()));
    }
}

#[test]
fn depthwise_is_the_definition() {
    let mut r = Numbers::new(4);
    for i in 0..200 {
        let mut s = random_shape(&mut r);
        let multiplier = if i % 3 == 0 { r.between(1, 3) } else { 1 };
        s.in_c = r.between(1, 40);
        s.out_c = s.in_c * multiplier;
        s.groups = s.in_c;
        (s.kernel_h, s.kernel_w) = [(3, 3), (5, 5), (s.kernel_h, s.kernel_w)][r.between(0, 2)];
        s.out_w = r.between(1, 14);
        let x = r.floats(s.input_len());
        let ohwi = r.floats(s.out_c * s.kernel_h * s.kernel_w);
        let taps = s.kernel_h * s.kernel_w;
        let hwc: Vec<f32> = (0..taps * s.out_c).map(|i| ohwi[i % s.out_c * taps + i / s.out_c]).collect();
        let b = r.floats(s.out_c);
        let mut out = vec![f32::NAN; s.output_len()];
        depthwise_conv2d(&s, &x, &hwc, Some(&b), &mut out, Clamp::RELU6);
        assert_close(&out, &textbook(&s, &x, &ohwi, Some(&b), Clamp::RELU6), 1e-5, &format!("{s:?}"));
        depthwise_conv2d(&s, &x, &hwc, None, &mut out, Clamp::NONE);
        assert_close(&out, &textbook(&s, &x, &ohwi, None, Clamp::NONE), 1e-5, &format!("{s:?}"));
    }
}

#[test]
fn transposed_convolution_is_the_definition() {
    let mut r = Numbers::new(5);
    for _ in 0..200 {
        let s = random_shape(&mut r);
        let (depth, filters) = (s.in_c / s.groups, s.out_c / s.groups);
        let x = r.floats(s.input_len());
        let w = r.floats(s.out_c * s.kernel_h * s.kernel_w * depth);
        let b = r.floats(s.out_c);
        // Scatter: every input element adds the kernel, scaled, to the output.
        let mut want: Vec<f32> = (0..s.output_len()).map(|i| b[i % s.out_c]).collect();
        for (i, &value) in x.iter().enumerate() {
            let (c, pixel) = (i % s.in_c, i / s.in_c);
            let (ix, iy, n) = (pixel % s.in_w, pixel / s.in_w % s.in_h, pixel / s.in_w / s.in_h);
            for ky in 0..s.kernel_h {
                for kx in 0..s.kernel_w {
                    let oy = (iy * s.stride_h + ky * s.dilation_h) as i64 - s.pad_top as i64;
                    let ox = (ix * s.stride_w + kx * s.dilation_w) as i64 - s.pad_left as i64;
                    if oy < 0 || oy >= s.out_h as i64 || ox < 0 || ox >= s.out_w as i64 {
                        continue;
                    }
                    for f in 0..filters {
                        let o = c / depth * filters + f;
                        let tap = ((o * s.kernel_h + ky) * s.kernel_w + kx) * depth + c % depth;
                        let at = ((n * s.out_h + oy as usize) * s.out_w + ox as usize) * s.out_c + o;
                        want[at] += value * w[tap];
                    }
                }
            }
        }
        want.iter_mut().for_each(|y| *y = y.clamp(-1.0, 1.5));
        let packed = PackedConvTransposeF32::new(&s, &w, Some(&b));
        let mut scratch = vec![f32::NAN; packed.scratch_len(&s, 1)];
        let mut out = vec![f32::NAN; s.output_len()];
        packed.run(&s, &x, &mut out, &mut scratch, Clamp { min: -1.0, max: 1.5 });
        assert_close(&out, &want, 1e-5, &format!("{s:?}"));
    }
}

#[test]
fn transposed_and_depthwise_bits_do_not_depend_on_threads() {
    let mut r = Numbers::new(6);
    let s = ConvShape {
        stride_h: 2,
        stride_w: 2,
        kernel_h: 3,
        kernel_w: 3,
        out_h: 61,
        out_w: 63,
        ..pointwise(31, 32, 24, 20)
    };
    let (x, w) = (r.floats(s.input_len()), r.floats(20 * 9 * 24));
    let packed = PackedConvTransposeF32::new(&s, &w, None);
    assert_thread_independent("transposed", || {
        let mut scratch = vec![0.0; packed.scratch_len(&s, rayon::current_num_threads())];
        let mut out = vec![0.0; s.output_len()];
        packed.run(&s, &x, &mut out, &mut scratch, Clamp::NONE);
        out
    });
    let d = ConvShape { kernel_h: 3, kernel_w: 3, pad_top: 1, pad_left: 1, groups: 33, ..pointwise(57, 59, 33, 33) };
    let (x, w) = (r.floats(d.input_len()), r.floats(9 * 33));
    assert_thread_independent("depthwise", || {
        let mut out = vec![0.0; d.output_len()];
        depthwise_conv2d(&d, &x, &w, None, &mut out, Clamp::NONE);
        out
    });
}
