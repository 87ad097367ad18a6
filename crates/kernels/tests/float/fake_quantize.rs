use crate::{Numbers, assert_thread_independent};
use fewbits_kernels::float::fake_quantize::Grid;
use fewbits_kernels::float::grad::fake_quantize::fake_quantize_gradient;

const GRIDS: [Grid; 4] = [
    Grid { scale: 0.1, zero_point: -128.0, low: -128.0, high: 127.0 },
    Grid { scale: 0.037, zero_point: 3.0, low: -128.0, high: 127.0 },
    Grid { scale: 0.5, zero_point: 114.0, low: 112.0, high: 127.0 },
    Grid { scale: 0.25, zero_point: 0.0, low: -7.0, high: 7.0 },
];

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut numbers = Numbers::new(seed);
    (0..n).map(|_| (numbers.bits() as f32 / u32::MAX as f32 - 0.5) * 20.0).collect()
}

/// The definition, element by element: the value and its derivatives by x, scale and zero point.
fn definition(grid: Grid, x: f32) -> (f32, [f64; 3]) {
    let q = (x / grid.scale).round_ties_even() + grid.zero_point;
    let (s, steps) = (f64::from(grid.scale), |q: f32| f64::from(q - grid.zero_point));
    let outside = |end: f32| (end, [0.0, steps(end), -s]);
    let (held, slopes) = if q < grid.low {
        outside(grid.low)
    } else if q > grid.high {
        outside(grid.high)
    } else {
        (q, [1.0, steps(q) - f64::from(x / grid.scale), 0.0])
    };
    ((held - grid.zero_point) * grid.scale, slopes)
}

#[test]
fn values_and_gradients_are_those_of_the_definition() {
    for (i, grid) in GRIDS.into_iter().enumerate() {
        for n in [0, 1, 7, 8, 9, 1000, 20_011, 150_001] {
            let (x, dy) = (numbers(i as u64, n), numbers(77 + i as u64, n));
            let mut y = vec![0.0; n];
            grid.apply(&x, &mut y);
            let before = numbers(5, n);
            let (mut dx, mut more) = (vec![f32::NAN; n], before.clone());
            let sums = fake_quantize_gradient(grid, &x, &dy, &mut dx, false);
            assert_eq!(fake_quantize_gradient(grid, &x, &dy, &mut more, true), sums);
            let mut expected = [0.0f64; 2];
            for at in 0..n {
                let (value, slopes) = definition(grid, x[at]);
                assert_eq!((y[at], dx[at]), (value, dy[at] * slopes[0] as f32), "{grid:?} at {}", x[at]);
                assert_eq!(more[at], before[at] + dx[at]);
                expected[0] += f64::from(dy[at]) * slopes[1];
                expected[1] += f64::from(dy[at]) * slopes[2];
            }
            let size = 1e-6 * (1.0 + n as f64 * 1000.0);
            for (got, want) in [(sums.scale, expected[0]), (sums.zero_point, expected[1])] {
                assert!((got - want).abs() <= size.min(1e-5 * want.abs() + 0.05), "{grid:?} {n}: {got} {want}");
            }
        }
    }
}

#[test]
fn nan_stays() {
    let mut y = [0.0; 2];
    GRIDS[1].apply(&[f32::NAN, f32::INFINITY], &mut y);
    assert!(y[0].is_nan() && y[1] == (127.0 - 3.0) * 0.037);
}

#[test]
fn sums_do_not_depend_on_threads() {
    let (x, dy) = (numbers(1, 300_000), numbers(2, 300_000));
    assert_thread_independent("fake quantization", || {
        let mut dx = vec![0.0; x.len()];
        let sums = fake_quantize_gradient(GRIDS[1], &x, &dy, &mut dx, false);
        dx.extend([sums.scale as f32, sums.zero_point as f32]);
        dx
    });
}
