use crate::{Numbers, assert_close, assert_thread_independent};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::binary::Broadcast;
use fewbits_kernels::float::gemm::{MatrixRef, PackedMatrix, gemm};
use fewbits_kernels::float::linear::{BatchMatmul, dot, fully_connected};

fn product(m: usize, n: usize, k: usize, x: impl Fn(usize, usize) -> f32, y: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let cell = |i: usize| (0..k).map(|t| f64::from(x(i / n, t)) * f64::from(y(t, i % n))).sum::<f64>() as f32;
    (0..m * n).map(cell).collect()
}

const SHAPES: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (1, 1000, 129),
    (2, 17, 31),
    (3, 64, 200),
    (4, 100, 33),
    (5, 33, 0),
    (7, 5, 300),
    (37, 49, 65),
    (130, 70, 90),
    (6, 16, 2000),
];

#[test]
fn fully_connected_and_packed_are_the_definition() {
    let mut r = Numbers::new(11);
    let clamp = Clamp { min: -2.0, max: 3.0 };
    for (m, n, k) in SHAPES {
        let (x, w, b) = (r.floats(m * k), r.floats(n * k), r.floats(n));
        let mut want = product(m, n, k, |i, t| x[i * k + t], |t, j| w[j * k + t]);
        want.iter_mut().enumerate().for_each(|(i, y)| *y = clamp.apply(*y + b[i % n]));
        let mut out = vec![f32::NAN; m * n];
        fully_connected(m, n, k, &x, &w, Some(&b), &mut out, clamp);
        assert_close(&out, &want, 2e-5, &format!("{m} {n} {k}"));
        out.fill(f32::NAN);
        PackedMatrix::new(&w, n, k, Some(&b)).run(&x, k, m, &mut out, n, clamp);
        assert_close(&out, &want, 2e-5, &format!("packed {m} {n} {k}"));
    }
}

#[test]
fn gemm_strides_and_accumulation() {
    let mut r = Numbers::new(12);
    for (m, n, k) in SHAPES {
        let (a, b) = (r.floats(k * m), r.floats(n * k));
        let want = product(m, n, k, |i, t| a[t * m + i], |t, j| b[j * k + t]);
        let mut out = vec![1.0; m * (n + 3)];
        gemm(m, n, k, MatrixRef::transposed(&a, m), MatrixRef::transposed(&b, k), &mut out, n + 3, true);
        for (i, row) in out.chunks(n + 3).enumerate() {
            let want: Vec<f32> = want[i * n..(i + 1) * n].iter().map(|y| y + 1.0).collect();
            assert_close(&row[..n], &want, 2e-5, &format!("{m} {n} {k}"));
            assert_eq!(row[n..], [1.0; 3]);
        }
    }
}

#[test]
fn library_gemm_bits_do_not_depend_on_threads() {
    let mut r = Numbers::new(13);
    for (m, n, k) in [
        (100, 100, 100),
        (1000, 17, 300),
        (13, 3000, 128),
        (512, 512, 700),
        (257, 1031, 64),
        (3, 5000, 400),
        (2000, 3, 333),
        (64, 64, 4096),
    ] {
        let (a, b) = (r.floats(m * k), r.floats(n * k));
        for b in [MatrixRef::row_major(&b, n), MatrixRef::transposed(&b, k)] {
            assert_thread_independent(&format!("gemm {m} {n} {k}"), || {
                let mut out = vec![0.0; m * n];
                gemm(m, n, k, MatrixRef::row_major(&a, k), b, &mut out, n, false);
                out
            });
        }
    }
}

#[test]
fn batched_products_broadcast_and_transpose() {
    let mut r = Numbers::new(14);
    let (m, n, k) = (5, 7, 11);
    let batches = Broadcast::new(&[2, 1], &[3]).expect("broadcasts");
    let (i, j) = batches.offsets();
    assert_eq!((&i[..], &j[..]), (&[0, 0, 0, 1, 1, 1][..], &[0, 1, 2, 0, 1, 2][..]));
    for m in [1, m] {
        let (a, b) = (r.floats(2 * m * k), r.floats(3 * k * n));
        let offsets_a: Vec<usize> = i.iter().map(|i| i * m * k).collect();
        let offsets_b: Vec<usize> = j.iter().map(|j| j * k * n).collect();
        for flags in 0..4 {
            let job = BatchMatmul { m, n, k, transpose_a: flags & 1 == 1, transpose_b: flags & 2 == 2 };
            let mut out = vec![f32::NAN; 6 * m * n];
            job.run(&a, &offsets_a, &b, &offsets_b, &mut out, Clamp::RELU);
            let mut want = Vec::new();
            for (&p, &q) in offsets_a.iter().zip(&offsets_b) {
                want.extend(product(
                    m,
                    n,
                    k,
                    |i, t| a[p + if job.transpose_a { t * m + i } else { i * k + t }],
                    |t, j| b[q + if job.transpose_b { j * k + t } else { t * n + j }],
                ));
            }
            want.iter_mut().for_each(|y| *y = y.max(0.0));
            assert_close(&out, &want, 1e-5, &format!("{job:?}"));
        }
    }
}

#[test]
fn dot_of_all_lengths() {
    let mut r = Numbers::new(15);
    for n in 0..150 {
        let (a, b) = (r.floats(n), r.floats(n));
        let want: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert_close(&[dot(&a, &b)], &[want as f32], 1e-5, "dot");
    }
}
