//! What the int8 test files share: data full of extremes and textbook convolutions.

use fewbits_kernels::shape::ConvShape;

/// A deterministic stream of int8 values, a quarter of them extremes.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<i8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match state >> 61 {
                0 => i8::MIN,
                1 => i8::MAX,
                _ => (state >> 40) as i8,
            }
        })
        .collect()
}

/// Biases of either sign.
pub(crate) fn biases(len: usize) -> Vec<i32> {
    (0..len as i32).map(|c| c * 7919 % 5003 - 2500).collect()
}

/// Positive multipliers that differ by channel.
pub(crate) fn multipliers(len: usize, base: f64) -> Vec<f64> {
    (0..len).map(|c| base * (1.0 + (c % 7) as f64 / 5.0)).collect()
}

/// Int32 sums of a convolution, one multiply at a time from the definition.
///
/// Weights `[out_c, kernel_h, kernel_w, in_c / groups]`; one zero point for every image.
pub(crate) fn textbook_conv(s: &ConvShape, input: &[i8], zero_points: &[i8], weights: &[i8], bias: &[i32]) -> Vec<i32> {
    let (in_group, out_group) = (s.in_c / s.groups, s.out_c / s.groups);
    let mut out = Vec::with_capacity(s.output_len());
    for b in 0..s.batch {
        for oy in 0..s.out_h {
            for ox in 0..s.out_w {
                for oc in 0..s.out_c {
                    let mut sum = bias[oc];
                    for ky in 0..s.kernel_h {
                        for kx in 0..s.kernel_w {
                            let y = (oy * s.stride_h + ky * s.dilation_h) as i64 - s.pad_top as i64;
                            let x = (ox * s.stride_w + kx * s.dilation_w) as i64 - s.pad_left as i64;
                            if y < 0 || x < 0 || y >= s.in_h as i64 || x >= s.in_w as i64 {
                                continue;
                            }
                            for ic in 0..in_group {
                                let from = ((b * s.in_h + y as usize) * s.in_w + x as usize) * s.in_c
                                    + oc / out_group * in_group
                                    + ic;
                                let at = ((oc * s.kernel_h + ky) * s.kernel_w + kx) * in_group + ic;
                                sum += (i32::from(input[from]) - i32::from(zero_points[b])) * i32::from(weights[at]);
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

/// TFLite's double-rounding multiply, in exact integers: the multiplier is rounded to 31 bits, the
/// high product rounds halves up, the right shift rounds halves away from zero.
pub(crate) fn double_rounded(x: i128, real: f64) -> i128 {
    let mut shift = 0i32;
    let mut fraction = real;
    while fraction >= 1.0 {
        fraction /= 2.0;
        shift += 1;
    }
    while fraction < 0.5 {
        fraction *= 2.0;
        shift -= 1;
    }
    let mut multiplier = (fraction * 2f64.powi(31)).round() as i128;
    if multiplier == 1 << 31 {
        multiplier >>= 1;
        shift += 1;
    }
    let shifted = x << shift.max(0);
    let high = (shifted * multiplier + (1 << 30)).div_euclid(1 << 31);
    let divisor = 1i128 << (-shift).max(0);
    high.signum() * ((2 * high.abs() + divisor) / (2 * divisor))
}
