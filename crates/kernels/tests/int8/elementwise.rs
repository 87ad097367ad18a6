//! Two-operand operators, PReLU and tables.

use fewbits_kernels::int8::{Affine, Binary, Broadcast, Lut256, Prelu, Rounding};
use fewbits_kernels::isa::Isa;
use proptest::prelude::*;

use crate::common::{bytes, double_rounded};

/// An operator of two real numbers.
type RealOp = fn(f64, f64) -> f64;

fn affine() -> impl Strategy<Value = Affine> {
    (0.002f64..0.2, any::<i8>()).prop_map(|(scale, zero_point)| Affine { scale, zero_point })
}

fn real(q: i8, t: Affine) -> f64 {
    (f64::from(q) - f64::from(t.zero_point)) * t.scale
}

/// `value` lies within `slack` of the exact result before rounding, or is saturated like it.
fn assert_near(value: i8, exact: f64, out: Affine, slack: f64) {
    let ideal = (exact / out.scale + f64::from(out.zero_point)).clamp(-128.0, 127.0);
    let error = (f64::from(value) - ideal).abs();
    assert!(error <= 0.5 + slack, "{value} for {ideal}");
}

/// All the shapes of one pair broadcast, with the operand index of every output element.
fn shapes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    prop::collection::vec((1usize..6, 0u8..4), 1..5).prop_flat_map(|dims| {
        let a: Vec<usize> = dims.iter().map(|&(len, mode)| if mode == 1 { 1 } else { len }).collect();
        let b: Vec<usize> = dims.iter().map(|&(len, mode)| if mode == 2 { 1 } else { len }).collect();
        (Just(a), (0..b.len()).prop_map(move |skip| b[skip..].to_vec()))
            .prop_filter("broadcasts", |(a, b)| Broadcast::new(a, b).is_some())
    })
}

/// For every output element the flat index into each operand, from the definition.
fn indices(a: &[usize], b: &[usize]) -> Vec<(usize, usize)> {
    let rank = a.len().max(b.len());
    let pad = |s: &[usize]| [vec![1; rank - s.len()], s.to_vec()].concat();
    let (a, b) = (pad(a), pad(b));
    let out: Vec<usize> = a.iter().zip(&b).map(|(&a, &b)| if a == 1 { b } else { a }).collect();
    let flat = |shape: &[usize], at: &[usize]| {
        shape.iter().zip(at).fold(0, |i, (&len, &x)| i * len + if len == 1 { 0 } else { x })
    };
    (0..out.iter().product())
        .map(|mut i: usize| {
            let mut at = vec![0; rank];
            for axis in (0..rank).rev() {
                at[axis] = i % out[axis];
                i /= out[axis];
            }
            (flat(&a, &at), flat(&b, &at))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn two_operands_with_broadcasting(
        (a_shape, b_shape) in shapes(),
        (a_type, b_type, out_type) in (affine(), affine(), affine()),
        seed in any::<u64>(),
    ) {
        let broadcast = Broadcast::new(&a_shape, &b_shape).unwrap();
        let a = bytes(seed, a_shape.iter().product());
        let b = bytes(!seed, b_shape.iter().product());
        let indices = indices(&a_shape, &b_shape);
        prop_assert_eq!(indices.len(), broadcast.out_len());
        for rounding in [Rounding::Float, Rounding::Fixed] {
            let cases: [(Binary, RealOp); 3] = [
                (Binary::add(rounding, a_type, b_type, out_type), |a, b| a + b),
                (Binary::sub(rounding, a_type, b_type, out_type), |a, b| a - b),
                (Binary::mul(rounding, a_type, b_type, out_type), |a, b| a * b),
            ];
            for (op, definition) in cases {
                let mut scalar = vec![0i8; indices.len()];
                op.run(Isa::Scalar, &broadcast, &a, &b, &mut scalar);
                for (&got, &(i, j)) in scalar.iter().zip(&indices) {
                    let exact = definition(real(a[i], a_type), real(b[j], b_type));
                    // Fixed rounding rounds twice: up to half of a half more.
                    let slack = if rounding == Rounding::Fixed { 0.26 } else { 1e-3 };
                    assert_near(got, exact, out_type, slack);
                }
                for isa in Isa::available() {
                    let mut out = vec![0i8; indices.len()];
                    op.run(isa, &broadcast, &a, &b, &mut out);
                    prop_assert_eq!(&out, &scalar, "{}", isa);
                }
            }
        }
    }

    #[test]
    fn fixed_sums_are_tflite_s_to_the_bit(
        (a_type, b_type, out_type) in (affine(), affine(), affine()),
        (a, b) in any::<(i8, i8)>(),
        subtract in any::<bool>(),
    ) {
        let twice_max = 2.0 * a_type.scale.max(b_type.scale);
        let side = |q: i8, t: Affine| {
            let shifted = (i128::from(q) - i128::from(t.zero_point)) << 20;
            double_rounded(shifted, t.scale / twice_max)
        };
        let (left, right) = (side(a, a_type), side(b, b_type));
        let sum = if subtract { left - right } else { left + right };
        let scaled = double_rounded(sum, twice_max / (f64::from(1 << 20) * out_type.scale));
        let expected = (scaled + i128::from(out_type.zero_point)).clamp(-100, 101);
        let make = if subtract { Binary::sub } else { Binary::add };
        let op = make(Rounding::Fixed, a_type, b_type, out_type).with_clamp(-100, 101);
        for isa in Isa::available() {
            let mut out = [0i8; 40];
            op.run(isa, &Broadcast::same(40), &[a; 40], &[b; 40], &mut out);
            prop_assert!(out.iter().all(|&got| i128::from(got) == expected), "{}", isa);
        }
    }

    #[test]
    fn fixed_products_are_tflite_s_to_the_bit(
        (a_type, b_type, out_type) in (affine(), affine(), affine()),
        (a, b) in any::<(i8, i8)>(),
    ) {
        let product = (i128::from(a) - i128::from(a_type.zero_point))
            * (i128::from(b) - i128::from(b_type.zero_point));
        // TFLite multiplies and divides the scales in single precision.
        let [a_scale, b_scale, out_scale] = [a_type, b_type, out_type].map(|t| t.scale as f32);
        let scaled = double_rounded(product, f64::from(a_scale * b_scale / out_scale));
        let expected = (scaled + i128::from(out_type.zero_point)).clamp(-128, 127);
        let op = Binary::mul(Rounding::Fixed, a_type, b_type, out_type);
        for isa in Isa::available() {
            let mut out = [0i8; 40];
            op.run(isa, &Broadcast::same(40), &[a; 40], &[b; 40], &mut out);
            prop_assert!(out.iter().all(|&got| i128::from(got) == expected), "{}", isa);
        }
    }

    #[test]
    fn minimum_and_maximum(len in 1usize..100, scalar in any::<i8>(), seed in any::<u64>()) {
        let (a, b) = (bytes(seed, len), bytes(!seed, len));
        let mut out = vec![0i8; len];
        for isa in Isa::available() {
            Binary::minimum().run(isa, &Broadcast::same(len), &a, &b, &mut out);
            prop_assert!(out.iter().zip(a.iter().zip(&b)).all(|(&o, (&a, &b))| o == a.min(b)));
            let splat = Broadcast::new(&[1], &[len]).unwrap();
            Binary::maximum().run(isa, &splat, &[scalar], &b, &mut out);
            prop_assert!(out.iter().zip(&b).all(|(&o, &b)| o == scalar.max(b)));
        }
    }

    #[test]
    fn prelu_by_channel(
        (pixels, channels) in (1usize..10, 1usize..40),
        (x_type, alpha_type, out_type) in (affine(), affine(), affine()),
        seed in any::<u64>(),
    ) {
        let x = bytes(seed, pixels * channels);
        let alpha = bytes(!seed, channels);
        let broadcast = Broadcast::new(&[pixels, channels], &[channels]).unwrap();
        for rounding in [Rounding::Float, Rounding::Fixed] {
            let op = Prelu::new(rounding, x_type, alpha_type, out_type);
            for isa in Isa::available() {
                let mut out = vec![0i8; x.len()];
                op.run(isa, &broadcast, &x, &alpha, &mut out);
                for (i, (&got, &q)) in out.iter().zip(&x).enumerate() {
                    let value = real(q, x_type);
                    let slope = if value < 0.0 { real(alpha[i % channels], alpha_type) } else { 1.0 };
                    // Fixed rounding rounds twice: an extra half of a half at most.
                    let slack = if rounding == Rounding::Fixed { 0.26 } else { 1e-3 };
                    assert_near(got, value * slope, out_type, slack);
                }
            }
        }
    }

    #[test]
    fn tables_map_every_value(table in prop::collection::vec(any::<i8>(), 256), len in 0usize..200, seed in any::<u64>()) {
        let lut = Lut256::new(|q| table[usize::from(q as u8)]);
        let x = bytes(seed, len);
        for isa in Isa::available() {
            let mut out = vec![0i8; len];
            lut.apply(isa, &x, &mut out);
            prop_assert!(out.iter().zip(&x).all(|(&o, &q)| o == table[usize::from(q as u8)]));
        }
        let mut data = x.clone();
        lut.apply_in_place(&mut data);
        prop_assert!(data.iter().zip(&x).all(|(&o, &q)| o == lut.get(q)));
    }

    #[test]
    fn requantizing_tables(input in affine(), output in affine()) {
        let float = Lut256::requantize(Rounding::Float, input, output);
        let fixed = Lut256::requantize(Rounding::Fixed, input, output);
        for q in i8::MIN..=i8::MAX {
            assert_near(float.get(q), real(q, input), output, 1e-3);
            let value = i128::from(q) - i128::from(input.zero_point);
            let scaled = double_rounded(value, input.scale / output.scale);
            let expected = (scaled + i128::from(output.zero_point)).clamp(-128, 127);
            prop_assert_eq!(i128::from(fixed.get(q)), expected);
        }
    }
}

#[test]
fn logistic_table_hits_its_landmarks() {
    let input = Affine { scale: 0.1, zero_point: 3 };
    let output = Affine { scale: 1.0 / 256.0, zero_point: -128 };
    let lut = Lut256::from_real(input, output, |x| 1.0 / (1.0 + (-x).exp()));
    assert_eq!(lut.get(3), 0);
    assert_eq!(lut.get(127), 127);
    assert_eq!(lut.get(-128), -128);
}
