//! Float to integer and back.

use fewbits_kernels::int8::{dequantize, dequantize_per_channel, quantize, quantize_per_channel, quantize_row_dynamic};
use fewbits_kernels::isa::Isa;
use proptest::prelude::*;

/// Floats of every kind: ordinary, exact halves, huge, infinite and not a number.
fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -300.0f32..300.0,
        4 => (-600i32..600).prop_map(|half| half as f32 / 2.0),
        1 => any::<f32>(),
        1 => Just(f32::INFINITY),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::NAN),
    ]
}

/// The definition, in f64; the division itself is the f32 one.
fn expected(x: f32, scale: f32, zero_point: i32, low: i32, high: i32) -> i32 {
    let ratio = f64::from(x / scale);
    if ratio.is_nan() {
        return low;
    }
    (ratio.round_ties_even() + f64::from(zero_point)).clamp(f64::from(low), f64::from(high)) as i32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn quantize_rounds_and_saturates(
        x in prop::collection::vec(any_float(), 0..80),
        scale in prop_oneof![Just(1.0f32), Just(0.5), 1e-3f32..3.0],
        (z8, zu8, z16) in any::<(i8, u8, i16)>(),
    ) {
        for isa in Isa::available() {
            let (mut a, mut b, mut c) = (vec![0i8; x.len()], vec![0u8; x.len()], vec![0i16; x.len()]);
            quantize(isa, &x, scale, z8, &mut a);
            quantize(isa, &x, scale, zu8, &mut b);
            quantize(isa, &x, scale, z16, &mut c);
            for (i, &x) in x.iter().enumerate() {
                prop_assert_eq!(i32::from(a[i]), expected(x, scale, z8.into(), -128, 127));
                prop_assert_eq!(i32::from(b[i]), expected(x, scale, zu8.into(), 0, 255));
                prop_assert_eq!(i32::from(c[i]), expected(x, scale, z16.into(), -32768, 32767));
            }
        }
    }

    #[test]
    fn dequantize_is_the_definition(q in prop::collection::vec(any::<i32>(), 0..80), scale in 1e-4f32..3.0, z in any::<i8>()) {
        let small: Vec<i8> = q.iter().map(|&q| q as i8).collect();
        for isa in Isa::available() {
            let mut out = vec![0f32; q.len()];
            dequantize(isa, &small, scale, z, &mut out);
            for (&out, &q) in out.iter().zip(&small) {
                prop_assert_eq!(out, (i32::from(q) - i32::from(z)) as f32 * scale);
            }
            dequantize(isa, &q, scale, 0, &mut out);
            for (&out, &q) in out.iter().zip(&q) {
                prop_assert_eq!(out, q as f32 * scale);
            }
        }
    }

    #[test]
    fn channels_have_their_own_scales(
        (outer, channels, inner) in (1usize..4, 1usize..6, 1usize..20),
        seed in any::<u64>(),
    ) {
        let q = crate::common::bytes(seed, outer * channels * inner);
        let scales: Vec<f32> = (0..channels).map(|c| 0.25 * (c + 1) as f32).collect();
        let zero_points: Vec<i8> = (0..channels).map(|c| c as i8 * 5 - 10).collect();
        for isa in Isa::available() {
            let mut real = vec![0f32; q.len()];
            dequantize_per_channel(isa, &q, &scales, &zero_points, inner, &mut real);
            for (i, &value) in real.iter().enumerate() {
                let c = i / inner % channels;
                prop_assert_eq!(value, (i32::from(q[i]) - i32::from(zero_points[c])) as f32 * scales[c]);
            }
            let mut back = vec![0i8; q.len()];
            quantize_per_channel(isa, &real, &scales, &zero_points, inner, &mut back);
            prop_assert_eq!(&back, &q);
        }
    }

    #[test]
    fn dynamic_rows_keep_zero_and_lose_half_a_step(x in prop::collection::vec(-9.0f32..13.0, 1..100)) {
        let mut first = None;
        for isa in Isa::available() {
            let mut q = vec![0i8; x.len()];
            let (scale, zero_point) = quantize_row_dynamic(isa, &x, &mut q);
            let span = x.iter().fold(0f32, |m, &v| m.max(v)) - x.iter().fold(0f32, |m, &v| m.min(v));
            prop_assert!((scale - span / 255.0).abs() <= span * 1e-6);
            for (&x, &q) in x.iter().zip(&q) {
                let back = (i32::from(q) - i32::from(zero_point)) as f32 * scale;
                // Half a step of rounding, and half of the zero point's own at the range's ends.
                prop_assert!((back - x).abs() <= scale * 1.001, "{} -> {}", x, back);
            }
            let result = (scale, zero_point, q);
            prop_assert_eq!(first.get_or_insert_with(|| result.clone()), &result);
        }
    }
}

#[test]
fn dynamic_rows_of_zeros_and_of_non_finite_values() {
    for isa in Isa::available() {
        let mut q = [9i8; 3];
        assert_eq!(quantize_row_dynamic(isa, &[0.0; 3], &mut q), (1.0, 0));
        assert_eq!(q, [0; 3]);
        assert_eq!(quantize_row_dynamic(isa, &[], &mut []), (1.0, 0));
        let row = [f32::INFINITY, -1.0, 1.55, f32::NEG_INFINITY, f32::NAN];
        let mut q = [0i8; 5];
        let (scale, zero_point) = quantize_row_dynamic(isa, &row, &mut q);
        assert!((scale - 0.01).abs() < 1e-7 && zero_point == -28, "{scale} {zero_point}");
        assert_eq!(q, [127, -128, 127, -128, -128]);
        let (scale, _) = quantize_row_dynamic(isa, &[f32::MAX, f32::MIN], &mut [0; 2]);
        assert!(scale.is_finite());
    }
}
