//! Reference tiles: one multiply at a time, straight from the definition of each layout.

use super::{MAX_TILE, Wide};

/// `i8_gemm_6x16_scalar`: `acc[row][col] = bias[col] + sum over k of left[row][k] * right[k][col]`.
pub(super) fn sum_tile_pairs(left: Wide<'_>, right: &[i16], bias: &[i32], rows: usize, acc: &mut [i32; MAX_TILE]) {
    let width = bias.len();
    for row in 0..rows {
        let sums = &mut acc[row * width..(row + 1) * width];
        sums.copy_from_slice(bias);
        let pairs = left.segments(row).flat_map(|segment| segment.chunks_exact(2));
        for (pair, right) in pairs.zip(right.chunks_exact(2 * width)) {
            for (sum, weights) in sums.iter_mut().zip(right.chunks_exact(2)) {
                *sum += i32::from(pair[0]) * i32::from(weights[0]) + i32::from(pair[1]) * i32::from(weights[1]);
            }
        }
    }
}

/// A model of the offset layout that any CPU runs: what the VNNI tile must compute.
///
/// `left` is the input plus 128, so every sum carries `128 + zero_point` times the column's sum
/// too much; `offsets[row]` is that factor.
pub(super) fn sum_tile_quads(
    left: &[u8],
    right: &[i8],
    bias: &[i32],
    col_sums: &[i32],
    offsets: &[i32; 8],
    rows: usize,
    padded: usize,
    acc: &mut [i32; MAX_TILE],
) {
    let width = bias.len();
    for row in 0..rows {
        let left = &left[row * padded..(row + 1) * padded];
        for col in 0..width {
            let mut sum = bias[col] - offsets[row] * col_sums[col];
            for (group, quad) in left.chunks_exact(4).enumerate() {
                let weights = &right[(group * width + col) * 4..][..4];
                for (&a, &w) in quad.iter().zip(weights) {
                    sum += i32::from(a) * i32::from(w);
                }
            }
            acc[row * width + col] = sum;
        }
    }
}
