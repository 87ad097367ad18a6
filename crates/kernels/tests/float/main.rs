//! Float kernels against textbook loops written here.

mod binary;
mod conv;
mod fake_quantize;
mod half;
mod matmul;
mod movement;
mod normalise;
mod pool;
mod reduce;
mod resize;
mod unary;

/// Deterministic pseudo-random numbers (a linear congruential generator, Knuth's constants).
pub struct Numbers(u64);

impl Numbers {
    /// A sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.bits() as usize % (high - low + 1)
    }

    /// `n` floats in [-1, 1).
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.bits() as f32 / 2_147_483_648.0 - 1.0).collect()
    }
}

/// Panics unless every pair differs by at most `tolerance`, absolutely or relatively.
#[track_caller]
pub fn assert_close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let close = (g - w).abs() <= tolerance * w.abs().max(1.0) || g == w || g.is_nan() && w.is_nan();
        assert!(close, "{what}: element {i}: got {g}, want {w}");
    }
}

/// Runs `f` in pools of 1, 2, 3 and 5 threads and checks that it gives the same bits in all.
pub fn assert_thread_independent(what: &str, f: impl Fn() -> Vec<f32> + Sync) {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(&f).into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = on(1);
    for threads in [2, 3, 5] {
        assert!(on(threads) == one, "{what}: {threads} threads give other bits than one");
    }
}
