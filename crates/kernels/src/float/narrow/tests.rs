//! Every path against the float kernel.

use super::*;
use crate::float::gemm::PackedMatrix;
use proptest::prelude::*;

/// A layer and what its weights stand for.
struct Layer {
    bits: NarrowBits,
    n: usize,
    k: usize,
    block: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    zero_points: Vec<i8>,
    bias: Vec<f32>,
}

impl Layer {
    fn new(bits: NarrowBits, n: usize, k: usize, block: usize, asymmetric: bool) -> Layer {
        let mut state = (n * 31 + k * 7 + block) as u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        let wide = bits == NarrowBits::Eight;
        let mut integer = || (next() as i8) >> if wide { 0 } else { 4 };
        let values = (0..n * k).map(|_| integer()).collect();
        let blocks = n * k.div_ceil(block);
        let zero_points = if asymmetric { (0..blocks).map(|_| integer()).collect() } else { Vec::new() };
        let scales = (0..blocks).map(|_| 0.01 + (next() % 100) as f32 / 700.0).collect();
        let bias = (0..n).map(|i| i as f32 / 3.0 - 1.0).collect();
        Layer { bits, n, k, block, values, scales, zero_points, bias }
    }

    fn packed(&self) -> PackedNarrow {
        let &Layer { n, k, block, .. } = self;
        let (values, scales, zero_points) = (&self.values, &self.scales, &self.zero_points);
        PackedNarrow::new(&NarrowWeights { values, n, k, block, scales, zero_points }, self.bits, Some(&self.bias))
    }

    fn floats(&self) -> Vec<f32> {
        let blocks = self.k.div_ceil(self.block);
        let real = |i: usize| {
            let at = i / self.k * blocks + i % self.k / self.block;
            let zero = self.zero_points.get(at).copied().unwrap_or(0);
            (i32::from(self.values[i]) - i32::from(zero)) as f32 * self.scales[at]
        };
        (0..self.n * self.k).map(real).collect()
    }
}

fn run(packed: &PackedNarrow, isa: Option<Avx2>, m: usize, x: &[f32], clamp: Clamp) -> Vec<f32> {
    let mut out = vec![f32::NAN; m * packed.n];
    let mut scratch = vec![f32::NAN; packed.scratch_len(m, rayon::current_num_threads())];
    packed.run_on(isa, m, x, &mut out, &mut scratch, clamp);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_path_is_the_product_of_floats(
        n in 1usize..70,
        k in 1usize..90,
        m in 1usize..9,
        block in prop::sample::select(vec![8usize, 16, 24, 32, 90]),
        eight in any::<bool>(),
        asymmetric in any::<bool>(),
    ) {
        let bits = if eight { NarrowBits::Eight } else { NarrowBits::Four };
        let layer = Layer::new(bits, n, k, block, asymmetric);
        let (packed, floats) = (layer.packed(), PackedMatrix::new(&layer.floats(), n, k, Some(&layer.bias)));
        let x: Vec<f32> = (0..m * k).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
        let clamp = Clamp { min: -6.0, max: 9.0 };
        let mut exact = vec![f32::NAN; m * n];
        floats.run(&x, k, m, &mut exact, n, clamp);
        // One row and many take different ways to the same bits.
        prop_assert_eq!(&run(&packed, dispatch::avx2(), m, &x, clamp), &exact);
        for (plain, exact) in run(&packed, None, m, &x, clamp).iter().zip(&exact) {
            prop_assert!((plain - exact).abs() <= 1e-4 * exact.abs().max(1.0), "{} {}", plain, exact);
        }
    }
}

#[test]
fn threads_do_not_change_bits() {
    let layer = Layer::new(NarrowBits::Four, 530, 1040, 32, false);
    let packed = layer.packed();
    for m in [1, 2, 5, 131] {
        let x: Vec<f32> = (0..m * layer.k).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&packed, dispatch::avx2(), m, &x, Clamp::NONE))
        };
        assert_eq!(with(1), with(4), "{m} rows");
    }
}

#[test]
fn nothing_in_gives_the_bias() {
    let empty = NarrowWeights { values: &[], n: 3, k: 0, block: 8, scales: &[], zero_points: &[] };
    let packed = PackedNarrow::new(&empty, NarrowBits::Four, Some(&[1.0, -2.0, 3.0]));
    for m in [1, 5] {
        assert_eq!(run(&packed, dispatch::avx2(), m, &[], Clamp::RELU), [1.0, 0.0, 3.0].repeat(m));
    }
}

#[test]
fn four_bits_take_half_a_byte() {
    let layer = Layer::new(NarrowBits::Four, 64, 128, 32, false);
    assert_eq!(layer.packed().bytes(), 64 * 128 / 2 + 4 * 64 * 128 / 32);
    assert!(!PackedNarrow::takes(128, 12) && PackedNarrow::takes(128, 24) && PackedNarrow::takes(10, 12));
}
