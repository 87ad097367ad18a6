use crate::{Numbers, assert_close};
use fewbits_kernels::float::norm::*;
use fewbits_kernels::float::softmax::{log_softmax, softmax, softmax_axis};

#[test]
fn softmax_over_any_axis_is_the_definition() {
    let mut r = Numbers::new(61);
    for (outer, axis, inner) in [(1, 1, 1), (3, 10, 1), (2, 1001, 1), (4, 7, 5), (2, 3, 200)] {
        let x: Vec<f32> = r.floats(outer * axis * inner).iter().map(|x| x * 20.0).collect();
        let beta = 0.7f32;
        let mut want = vec![0.0; x.len()];
        let mut want_log = want.clone();
        for o in 0..outer {
            for j in 0..inner {
                let at = |i: usize| (o * axis + i) * inner + j;
                let sum: f64 = (0..axis).map(|i| (f64::from(beta) * f64::from(x[at(i)])).exp()).sum();
                for i in 0..axis {
                    let log = f64::from(beta) * f64::from(x[at(i)]) - sum.ln();
                    want[at(i)] = log.exp() as f32;
                    want_log[at(i)] = log as f32;
                }
            }
        }
        let what = format!("{outer} {axis} {inner}");
        let mut out = vec![0.0; x.len()];
        softmax_axis(&x, axis, inner, beta, false, &mut out);
        assert_close(&out, &want, 1e-6, &what);
        softmax_axis(&x, axis, inner, beta, true, &mut out);
        assert_close(&out, &want_log, 1e-6, &what);
        if inner == 1 {
            softmax(&x, axis, beta, &mut out);
            assert_close(&out, &want, 1e-6, &what);
            log_softmax(&x, axis, beta, &mut out);
            assert_close(&out, &want_log, 1e-6, &what);
        }
    }
    let mut out = [0.0; 3];
    softmax(&[1e30, f32::NEG_INFINITY, 1e30], 3, 1.0, &mut out);
    assert_eq!(out, [0.5, 0.0, 0.5]);
}

/// Mean and biased variance in f64.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

#[test]
fn layer_norm_is_the_definition() {
    let mut r = Numbers::new(62);
    for n in [1, 5, 64, 771] {
        let x: Vec<f32> = r.floats(3 * n).iter().map(|x| x + 100.0).collect();
        let (scale, bias) = (r.floats(n), r.floats(n));
        let mut want = Vec::new();
        for row in x.chunks(n) {
            let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
            let (mean, variance) = moments(&row);
            for i in 0..n {
                let y = (row[i] - mean) / (variance + 1e-5f32 as f64).sqrt();
                want.push((y * f64::from(scale[i]) + f64::from(bias[i])) as f32);
            }
        }
        let mut out = vec![0.0; 3 * n];
        layer_norm(&x, n, Some(&scale), Some(&bias), 1e-5, &mut out);
        assert_close(&out, &want, 5e-5, &format!("{n}"));
    }
}

#[test]
fn group_and_instance_norm_are_the_definition() {
    let mut r = Numbers::new(63);
    for (pixels, channels, groups) in [(12, 6, 3), (9, 130, 130), (5, 300, 2), (4, 128, 1), (7, 192, 64)] {
        let x = r.floats(2 * pixels * channels);
        let (scale, bias) = (r.floats(channels), r.floats(channels));
        let mut want = vec![0.0; x.len()];
        for n in 0..2 {
            for g in 0..groups {
                let each = channels / groups;
                let at: Vec<usize> = (0..pixels)
                    .flat_map(|p| (g * each..(g + 1) * each).map(move |c| (n * pixels + p) * channels + c))
                    .collect();
                let values: Vec<f64> = at.iter().map(|&i| f64::from(x[i])).collect();
                let (mean, variance) = moments(&values);
                for (&i, v) in at.iter().zip(values) {
                    let c = i % channels;
                    let y = (v - mean) / (variance + 1e-3f32 as f64).sqrt();
                    want[i] = (y * f64::from(scale[c]) + f64::from(bias[c])) as f32;
                }
            }
        }
        let mut out = vec![f32::NAN; x.len()];
        group_norm(&x, pixels, channels, groups, &scale, &bias, 1e-3, &mut out);
        assert_close(&out, &want, 1e-5, &format!("{pixels} {channels} {groups}"));
        if groups == channels {
            instance_norm(&x, pixels, channels, &scale, &bias, 1e-3, &mut out);
            assert_close(&out, &want, 1e-5, "instance");
        }
    }
}

#[test]
fn batch_norm_is_the_definition() {
    let mut r = Numbers::new(64);
    let (scale, bias, mean) = (r.floats(7), r.floats(7), r.floats(7));
    let variance: Vec<f32> = r.floats(7).iter().map(|v| v + 1.1).collect();
    let x = r.floats(7 * 9);
    let (factor, shift) = batch_norm_affine(&scale, &bias, &mean, &variance, 1e-3);
    let mut out = vec![0.0; x.len()];
    batch_norm(&x, &factor, &shift, &mut out);
    let want: Vec<f32> = x
        .iter()
        .enumerate()
        .map(|(i, x)| (i % 7, *x))
        .map(|(c, x)| scale[c] * (x - mean[c]) / (variance[c] + 1e-3).sqrt() + bias[c])
        .collect();
    assert_close(&out, &want, 1e-5, "batch norm");
}

#[test]
fn lp_norm() {
    let mut out = [9.0; 6];
    lp_normalize(&[3.0, 4.0, 0.0, 0.0, 0.0, 0.0], 3, LpNorm::L2, 1e-6, &mut out);
    assert_close(&out, &[0.6, 0.8, 0.0, 0.0, 0.0, 0.0], 1e-6, "l2");
    lp_normalize(&[3.0, -1.0, 0.0, 2.0, 2.0, 4.0], 3, LpNorm::L1, 1e-6, &mut out);
    assert_close(&out, &[0.75, -0.25, 0.0, 0.25, 0.25, 0.5], 1e-6, "l1");
}
