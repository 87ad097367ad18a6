//! Batched matmul of two run-time operands against textbook loops.

use crate::common::{bytes, multipliers};
use fewbits_kernels::int8::{FloatOutput, MatMul, Operands, Requant, Rounding};
use fewbits_kernels::isa::Isa;
use proptest::prelude::*;

fn textbook(mm: &MatMul, o: &Operands<'_>) -> Vec<i32> {
    let mut out = Vec::new();
    for batch in 0..mm.batch {
        let a = &o.a[if mm.broadcast_a { 0 } else { batch * mm.m * mm.k }..];
        let b = &o.b[if mm.broadcast_b { 0 } else { batch * mm.k * mm.n }..];
        for row in 0..mm.m {
            for col in 0..mm.n {
                let terms = (0..mm.k).map(|k| {
                    let at = if mm.transpose_b { col * mm.k + k } else { k * mm.n + col };
                    (i32::from(a[row * mm.k + k]) - i32::from(o.a_zero_point))
                        * (i32::from(b[at]) - i32::from(o.b_zero_point))
                });
                out.push(terms.sum());
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn batched_matmul(
        (batch, m, k, n) in (1usize..5, 1usize..15, 0usize..40, 1usize..40),
        (transpose_b, broadcast_a, broadcast_b) in any::<(bool, bool, bool)>(),
        (a_zero_point, b_zero_point) in any::<(i8, i8)>(),
        threads in 1usize..4,
        seed in any::<u64>(),
    ) {
        let a = bytes(seed, if broadcast_a { 1 } else { batch } * m * k);
        let b = bytes(!seed, if broadcast_b { 1 } else { batch } * k * n);
        let operands = Operands { a: &a, a_zero_point, b: &b, b_zero_point };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for isa in Isa::available() {
            let mm = MatMul { isa, batch, m, k, n, transpose_b, broadcast_a, broadcast_b };
            let expected = textbook(&mm, &operands);
            let scales: Vec<f32> = (0..batch * m).map(|row| 0.01 * (row + 1) as f32).collect();
            let (mut sums, mut floats) = (vec![0i32; batch * m * n], vec![0f32; batch * m * n]);
            pool.install(|| {
                let mut scratch = vec![0xAA; mm.scratch_len()];
                mm.run_i32(operands, &mut sums, &mut scratch);
                mm.run_f32(operands, &FloatOutput::new(&scales, &[0.5]), &mut floats, &mut scratch);
            });
            prop_assert_eq!(&sums, &expected);
            for (i, (&float, &sum)) in floats.iter().zip(&expected).enumerate() {
                prop_assert_eq!(float, sum as f32 * (scales[i / n] * 0.5));
            }
            for rounding in [Rounding::Float, Rounding::Fixed] {
                let requant = Requant::new(rounding, &multipliers(n, 0.002), 11);
                let mut out = vec![0i8; batch * m * n];
                pool.install(|| mm.run(operands, &requant, &mut out, &mut vec![0; mm.scratch_len()]));
                for (i, (&got, &sum)) in out.iter().zip(&expected).enumerate() {
                    prop_assert_eq!(got, requant.apply(sum, i % n));
                }
            }
        }
    }
}
