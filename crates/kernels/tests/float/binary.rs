use crate::{Numbers, assert_close, assert_thread_independent};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::binary::{BinaryKind as K, Broadcast, CompareKind as C, binary, compare};

/// Coordinates in a shape that broadcasts: each position is divided out axis by axis.
fn at(index: usize, out: &[usize], dims: &[usize]) -> usize {
    let (mut rest, mut stride, mut offset) = (index, 1, 0);
    for i in (0..out.len()).rev() {
        let coordinate = rest % out[i];
        rest /= out[i];
        if let Some(j) = (i + dims.len()).checked_sub(out.len()) {
            if dims[j] != 1 {
                offset += coordinate * stride;
            }
            stride *= dims[j];
        }
    }
    offset
}

const SHAPES: [(&[usize], &[usize]); 12] = [
    (&[], &[]),
    (&[5], &[]),
    (&[], &[7]),
    (&[2, 3, 4], &[2, 3, 4]),
    (&[2, 3, 4], &[4]),
    (&[4], &[2, 3, 4]),
    (&[2, 3, 4], &[2, 1, 4]),
    (&[2, 1, 4], &[1, 3, 1]),
    (&[3, 1, 5, 1], &[2, 1, 6]),
    (&[70, 33, 17], &[70, 1, 17]),
    (&[1, 1], &[40, 1000]),
    (&[0, 3], &[1, 3]),
];

#[test]
fn broadcasting_is_numpys() {
    for (a, b) in SHAPES {
        let s = Broadcast::new(a, b).expect("broadcasts");
        let x: Vec<i64> = (0..a.iter().product::<usize>() as i64).collect();
        let y: Vec<i64> = (0..b.iter().product::<usize>() as i64).map(|i| i * 1_000_000).collect();
        let mut out = vec![-1; s.len()];
        s.apply(&x, &y, &mut out, |x, y| x + y);
        for (i, got) in out.iter().enumerate() {
            assert_eq!(*got, x[at(i, s.shape(), a)] + y[at(i, s.shape(), b)], "{a:?} {b:?} at {i}");
        }
    }
    assert!(Broadcast::new(&[2, 3], &[2]).is_none());
    assert_eq!(Broadcast::new(&[3, 1], &[4]).expect("broadcasts").shape(), [3, 4]);
}

fn pow2(a: f32, b: f32) -> f32 {
    a.powf(b)
}

#[test]
fn arithmetic_is_the_definition() {
    let mut r = Numbers::new(31);
    type Formula = fn(f32, f32) -> f32;
    let kinds: [(K, Formula); 11] = [
        (K::Add, |a, b| a + b),
        (K::Sub, |a, b| a - b),
        (K::Mul, |a, b| a * b),
        (K::Div, |a, b| a / b),
        (K::Pow, pow2),
        (K::Min, f32::min),
        (K::Max, f32::max),
        (K::SquaredDifference, |a, b| (a - b).powi(2)),
        (K::Mod, |a, b| a % b),
        (K::FloorMod, |a, b| a - b * (a / b).floor()),
        (K::FloorDiv, |a, b| (a / b).floor()),
    ];
    for (kind, f) in kinds {
        for (a, b) in SHAPES {
            let s = Broadcast::new(a, b).expect("broadcasts");
            let x: Vec<f32> = r.floats(a.iter().product()).iter().map(|x| x * 4.0).collect();
            let y: Vec<f32> = r.floats(b.iter().product()).iter().map(|y| y.signum() + y).collect();
            let mut out = vec![0.0; s.len()];
            binary(kind, &s, &x, &y, &mut out, Clamp { min: -3.0, max: 3.5 });
            let want: Vec<f32> = (0..s.len())
                .map(|i| f(x[at(i, s.shape(), a)], y[at(i, s.shape(), b)]))
                .map(|y| if y.is_nan() { y } else { y.clamp(-3.0, 3.5) })
                .collect();
            assert_close(&out, &want, 2e-5, &format!("{kind:?} {a:?} {b:?}"));
        }
    }
}

#[test]
fn remainders_have_the_right_sign() {
    let s = Broadcast::new(&[4], &[4]).expect("same");
    let (a, b) = ([5.0, -5.0, 5.0, -5.0], [3.0, 3.0, -3.0, -3.0]);
    let mut out = [0.0; 4];
    binary(K::Mod, &s, &a, &b, &mut out, Clamp::NONE);
    assert_eq!(out, [2.0, -2.0, 2.0, -2.0]);
    binary(K::FloorMod, &s, &a, &b, &mut out, Clamp::NONE);
    assert_eq!(out, [2.0, 1.0, -1.0, -2.0]);
    binary(K::FloorDiv, &s, &a, &b, &mut out, Clamp::NONE);
    assert_eq!(out, [1.0, -2.0, -2.0, 1.0]);
}

#[test]
fn minimum_keeps_nan_of_either_side() {
    let s = Broadcast::new(&[2], &[2]).expect("same");
    for kind in [K::Min, K::Max] {
        let mut out = [0.0; 2];
        binary(kind, &s, &[f32::NAN, 1.0], &[1.0, f32::NAN], &mut out, Clamp::NONE);
        assert!(out.iter().all(|y| y.is_nan()), "{kind:?} {out:?}");
    }
}

#[test]
fn comparisons() {
    let s = Broadcast::new(&[4], &[4]).expect("same");
    let (a, b) = ([1.0, 2.0, 3.0, f32::NAN], [2.0, 2.0, 2.0, 2.0]);
    for (kind, want) in [
        (C::Equal, [0, 1, 0, 0]),
        (C::NotEqual, [1, 0, 1, 1]),
        (C::Less, [1, 0, 0, 0]),
        (C::LessEqual, [1, 1, 0, 0]),
        (C::Greater, [0, 0, 1, 0]),
        (C::GreaterEqual, [0, 1, 1, 0]),
    ] {
        let mut out = [9; 4];
        compare(kind, &s, &a, &b, &mut out);
        assert_eq!(out, want, "{kind:?}");
    }
    let mut out = [9; 4];
    compare(C::Less, &s, &[1i64, -5, 7, 0], &[1, 0, 8, i64::MIN], &mut out);
    assert_eq!(out, [0, 1, 1, 0]);
}

#[test]
fn chunks_of_a_parallel_run_join_up() {
    let mut r = Numbers::new(32);
    let s = Broadcast::new(&[61, 47, 101], &[47, 1]).expect("broadcasts");
    let (a, b) = (r.floats(s.len()), r.floats(47));
    assert_thread_independent("add", || {
        let mut out = vec![0.0; s.len()];
        binary(K::Add, &s, &a, &b, &mut out, Clamp::NONE);
        for (i, y) in out.iter().enumerate() {
            assert_eq!(*y, a[i] + b[i / 101 % 47]);
        }
        out
    });
}
