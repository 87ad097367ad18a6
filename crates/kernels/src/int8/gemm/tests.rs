//! The offset (VNNI) layout run by its scalar model through the whole driver, so that packing,
//! filling, padding and compensation are proven on CPUs without VNNI.

use proptest::prelude::*;

use super::Layout;
use crate::int8::{FloatOutput, PackedConv, PackedDense, Requant, Rounding, WeightOrder};
use crate::isa::Isa;
use crate::shape::ConvShape;

/// A deterministic stream of bytes with plenty of extremes.
fn bytes(seed: u64, len: usize) -> Vec<i8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            match state >> 61 {
                0 => i8::MIN,
                1 => i8::MAX,
                _ => (state >> 40) as i8,
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn offset_layout_equals_pair_layout_for_convolutions(
        (groups, in_c, out_c) in (1usize..3, 1usize..6, 1usize..40),
        (in_h, in_w) in (3usize..8, 3usize..8),
        (kernel, stride, pad) in (1usize..4, 1usize..3, 0usize..2),
        zero_points in prop::array::uniform2(any::<i8>()),
        seed in any::<u64>(),
    ) {
        let shape = ConvShape {
            batch: 2, in_h, in_w, in_c: in_c * groups,
            out_h: (in_h + 2 * pad - kernel) / stride + 1,
            out_w: (in_w + 2 * pad - kernel) / stride + 1,
            out_c: out_c * groups, kernel_h: kernel, kernel_w: kernel,
            stride_h: stride, stride_w: stride, dilation_h: 1, dilation_w: 1,
            pad_top: pad, pad_left: pad, groups,
        };
        let input = bytes(seed, shape.input_len());
        let weights = bytes(!seed, shape.out_c * kernel * kernel * in_c);
        let bias: Vec<i32> = (0..shape.out_c as i32).map(|c| c * 977 - 3000).collect();
        let scales = [0.5, 2.0];
        let output = FloatOutput::new(&scales, &[0.25]);
        let requant = Requant::per_tensor(Rounding::Float, 0.003, shape.out_c, 4);
        let mut results = Vec::new();
        for layout in [Layout::Pairs, Layout::Quads] {
            let conv = PackedConv::with_layout(Isa::Scalar, layout, &shape, &weights, Some(&bias));
            let mut scratch = vec![0; conv.scratch_len(2)];
            let mut sums = vec![0i32; shape.output_len()];
            let mut floats = vec![0f32; shape.output_len()];
            let mut ints = vec![0i8; shape.output_len()];
            conv.run_i32(&input, zero_points[0], &mut sums, &mut scratch);
            conv.run_f32(&input, &zero_points, &output, &mut floats, &mut scratch);
            conv.run(&input, zero_points[1], &requant, &mut ints, &mut scratch);
            results.push((sums, floats, ints));
        }
        prop_assert_eq!(&results[0], &results[1]);
    }

    #[test]
    fn offset_layout_equals_pair_layout_for_matrices(
        (rows, inputs, outputs) in (1usize..20, 1usize..70, 1usize..80),
        zero_point in any::<i8>(),
        seed in any::<u64>(),
    ) {
        let input = bytes(seed, rows * inputs);
        let weights = bytes(!seed, inputs * outputs);
        let results = [Layout::Pairs, Layout::Quads].map(|layout| {
            let dense = PackedDense::with_layout(
                Isa::Scalar, layout, inputs, outputs, WeightOrder::InOut, &weights, None,
            );
            let mut scratch = vec![0; dense.scratch_len(rows)];
            let mut out = vec![0i32; rows * outputs];
            dense.run_i32(&input, zero_point, &mut out, &mut scratch);
            out
        });
        prop_assert_eq!(&results[0], &results[1]);
    }
}
