use fewbits_kernels::float::half::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use half::{bf16, f16};

#[test]
fn half_rounds_to_nearest_even_and_counts_overflow() {
    let x =
        [1.0, 1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 65504.0, 65519.9, 65520.0, -1e9, f32::INFINITY, 6e-8, 1e-9, -0.0];
    let mut y = [f16::ZERO; 11];
    assert_eq!(f32_to_f16(&x, &mut y), 2);
    let bits = y.map(f16::to_bits);
    assert_eq!(bits, [0x3c00, 0x3c00, 0x3c02, 0x7bff, 0x7bff, 0x7c00, 0xfc00, 0x7c00, 1, 0, 0x8000]);
    let mut back = [0.0; 11];
    f16_to_f32(&y, &mut back);
    assert_eq!(back[..5], [1.0, 1.0, 1.0 + 2.0 / 1024.0, 65504.0, 65504.0]);
}

#[test]
fn every_half_survives_the_round_trip() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let mut wide = vec![0.0; all.len()];
    f16_to_f32(&all, &mut wide);
    let mut back = vec![f16::ZERO; all.len()];
    assert_eq!(f32_to_f16(&wide, &mut back), 0);
    for (a, b) in all.iter().zip(&back) {
        assert!(a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
    }
}

#[test]
fn bfloat_rounds_to_nearest_even_and_counts_overflow() {
    let x = [1.0, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX, f32::NEG_INFINITY];
    let mut y = [bf16::ZERO; 5];
    assert_eq!(f32_to_bf16(&x, &mut y), 1);
    assert_eq!(y.map(bf16::to_bits), [0x3f80, 0x3f80, 0x3f82, 0x7f80, 0xff80]);
    let mut back = [0.0; 5];
    bf16_to_f32(&y, &mut back);
    assert_eq!(back[2], 1.0 + 4.0 / 256.0);
}
