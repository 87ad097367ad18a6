use crate::{Numbers, assert_close, assert_thread_independent};
use fewbits_kernels::float::reduce::{ReduceKind as K, Reduction};

const KINDS: [K; 10] = [K::Sum, K::Mean, K::Max, K::Min, K::Prod, K::L1, K::L2, K::SumSquare, K::LogSum, K::LogSumExp];

fn textbook(kind: K, values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|v| v * v).sum();
    match kind {
        K::Sum => sum,
        K::Mean => sum / values.len() as f64,
        K::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        K::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        K::Prod => values.iter().product(),
        K::L1 => values.iter().map(|v| v.abs()).sum(),
        K::L2 => squares.sqrt(),
        K::SumSquare => squares,
        K::LogSum => sum.ln(),
        K::LogSumExp => values.iter().map(|v| v.exp()).sum::<f64>().ln(),
    }
}

#[test]
fn every_set_of_axes_is_the_definition() {
    let mut r = Numbers::new(51);
    for dims in [&[2, 3, 4, 5][..], &[3, 1, 70, 2], &[1, 7, 7, 130], &[6], &[], &[2, 2, 3, 2, 3]] {
        let len: usize = dims.iter().product();
        let x: Vec<f32> = r.floats(len).iter().map(|x| x + 1.5).collect();
        for set in 0..1usize << dims.len() {
            let axes: Vec<usize> = (0..dims.len()).filter(|i| set >> i & 1 == 1).collect();
            let plan = Reduction::new(dims, &axes).expect("axes in range");
            let mut groups = vec![Vec::new(); plan.out_len()];
            for (i, x) in x.iter().enumerate() {
                let (mut rest, mut stride, mut at) = (i, 1, 0);
                for (axis, d) in dims.iter().enumerate().rev() {
                    if !axes.contains(&axis) {
                        at += rest % d * stride;
                        stride *= d;
                    }
                    rest /= d;
                }
                groups[at].push(f64::from(*x));
            }
            for kind in KINDS {
                let want: Vec<f32> = groups.iter().map(|g| textbook(kind, g) as f32).collect();
                let mut out = vec![f32::NAN; plan.out_len()];
                plan.run(kind, &x, &mut out);
                assert_close(&out, &want, 1e-6, &format!("{kind:?} {dims:?} {axes:?}"));
            }
        }
    }
    assert!(Reduction::new(&[2], &[1]).is_none());
}

#[test]
fn nothing_nan_and_large_values() {
    let empty = Reduction::new(&[0, 3], &[0]).expect("in range");
    let mut out = [9.0; 3];
    empty.run(K::Sum, &[], &mut out);
    assert_eq!(out, [0.0; 3]);
    empty.run(K::Max, &[], &mut out);
    assert_eq!(out, [f32::NEG_INFINITY; 3]);
    let row = Reduction::new(&[20], &[0]).expect("in range");
    let mut x = [1.0; 20];
    x[3] = f32::NAN;
    let mut one = [0.0];
    for kind in [K::Max, K::Min, K::Sum] {
        row.run(kind, &x, &mut one);
        assert!(one[0].is_nan(), "{kind:?}");
    }
    row.run(K::LogSumExp, &[500.0; 20], &mut one);
    assert_close(&one, &[500.0 + 20f32.ln()], 1e-6, "log-sum-exp does not overflow");
    let many = Reduction::new(&[10_000_000], &[0]).expect("in range");
    many.run(K::Mean, &vec![0.1; 10_000_000], &mut one);
    assert_close(&one, &[0.1], 1e-7, "a long mean does not drift");
}

#[test]
fn bits_do_not_depend_on_threads() {
    let x = Numbers::new(52).floats(4 * 61 * 67 * 40);
    for axes in [&[1, 2][..], &[3], &[0, 2]] {
        let plan = Reduction::new(&[4, 61, 67, 40], axes).expect("in range");
        assert_thread_independent("reduction", || {
            let mut out = vec![0.0; plan.out_len()];
            plan.run(K::LogSumExp, &x, &mut out);
            out
        });
    }
}
