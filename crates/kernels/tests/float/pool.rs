use crate::{Numbers, assert_close};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::pool::{PoolKind, pool2d};
use fewbits_kernels::shape::ConvShape;

#[test]
fn pools_are_the_definition() {
    let mut r = Numbers::new(21);
    for round in 0..300 {
        let c = r.between(1, 19);
        let (kernel_h, kernel_w) = (r.between(1, 4), r.between(1, 4));
        let (pad_top, pad_left) = (r.between(0, kernel_h - 1), r.between(0, kernel_w - 1));
        let mut s = ConvShape {
            batch: r.between(1, 2),
            in_h: r.between(4, 12),
            in_w: r.between(4, 12),
            in_c: c,
            out_h: 0,
            out_w: 0,
            out_c: c,
            kernel_h,
            kernel_w,
            stride_h: r.between(1, 3),
            stride_w: r.between(1, 3),
            dilation_h: r.between(1, 2),
            dilation_w: r.between(1, 2),
            pad_top,
            pad_left,
            groups: c,
        };
        let trailing = [r.between(0, kernel_h - 1), r.between(0, kernel_w - 1)];
        // Rounding up (ceil_mode) may let the last window reach beyond the trailing padding.
        let size = |len: usize, pad: usize, kernel: usize, dilation: usize, stride: usize| {
            (len + pad).saturating_sub(dilation * (kernel - 1) + 1).div_ceil(stride) + 1
        };
        s.out_h = size(s.in_h, pad_top + trailing[0], kernel_h, s.dilation_h, s.stride_h);
        s.out_w = size(s.in_w, pad_left + trailing[1], kernel_w, s.dilation_w, s.stride_w);
        let kind = [
            PoolKind::Max,
            PoolKind::Average { count_include_pad: true },
            PoolKind::Average { count_include_pad: false },
        ][round % 3];
        let x = r.floats(s.input_len());
        let mut out = vec![f32::NAN; s.output_len()];
        pool2d(kind, &s, trailing, &x, &mut out, Clamp { min: -0.9, max: 0.9 });
        let want = textbook(kind, &s, trailing, &x);
        assert_close(&out, &want, 1e-6, &format!("{kind:?} {s:?}"));
    }
}

fn textbook(kind: PoolKind, s: &ConvShape, trailing: [usize; 2], x: &[f32]) -> Vec<f32> {
    let mut out = Vec::new();
    for i in 0..s.output_len() {
        let (c, pixel) = (i % s.in_c, i / s.in_c);
        let (ox, oy, n) = (pixel % s.out_w, pixel / s.out_w % s.out_h, pixel / s.out_w / s.out_h);
        let (mut max, mut sum, mut inside, mut padded) = (f32::NEG_INFINITY, 0.0, 0, 0);
        for ky in 0..s.kernel_h {
            for kx in 0..s.kernel_w {
                let iy = (oy * s.stride_h + ky * s.dilation_h) as i64 - s.pad_top as i64;
                let ix = (ox * s.stride_w + kx * s.dilation_w) as i64 - s.pad_left as i64;
                if iy < (s.in_h + trailing[0]) as i64 && ix < (s.in_w + trailing[1]) as i64 {
                    padded += 1;
                }
                if iy >= 0 && iy < s.in_h as i64 && ix >= 0 && ix < s.in_w as i64 {
                    let v = x[((n * s.in_h + iy as usize) * s.in_w + ix as usize) * s.in_c + c];
                    max = max.max(v);
                    sum += v;
                    inside += 1;
                }
            }
        }
        let y = match kind {
            PoolKind::Max => max,
            PoolKind::Average { count_include_pad: true } => sum / padded.max(1) as f32,
            PoolKind::Average { count_include_pad: false } => sum / inside.max(1) as f32,
        };
        out.push(y.clamp(-0.9, 0.9));
    }
    out
}
