//! Losses against their definitions and slopes.

use fewbits_train::Error;
use fewbits_train::loss::{Loss, cross_entropy, distillation, mean_squared_error};

use crate::support::random;

/// Compares the gradient with central differences and the value with `expected`.
fn check(expected: f64, output: &[f32], loss: impl Fn(&[f32]) -> Loss) {
    let Loss { value, gradient } = loss(output);
    assert!((value - expected).abs() < 1e-5 * expected.abs().max(0.1), "{value}, expected {expected}");
    for i in 0..output.len() {
        let moved = |by: f32| {
            let mut output = output.to_vec();
            output[i] += by;
            loss(&output).value
        };
        let slope = (moved(1.0 / 64.0) - moved(-1.0 / 64.0)) * 32.0;
        assert!((f64::from(gradient[i]) - slope).abs() < 1e-4, "element {i}: {}, slope {slope}", gradient[i]);
    }
}

/// `ln softmax` of a row, in f64.
fn log_softmax(row: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> = row.iter().map(|v| f64::from(*v) / temperature).collect();
    let sum: f64 = scaled.iter().map(|v| v.exp()).sum();
    scaled.iter().map(|v| v - sum.ln()).collect()
}

#[test]
fn squared_error() {
    let (y, t, w) = (random(1, &[6]).to_f32(), random(2, &[6]).to_f32(), random(3, &[6]).to_f32());
    let error = |i: usize| f64::from(y[i] - t[i]).powi(2);
    check((0..6).map(error).sum::<f64>() / 6.0, &y, |y| mean_squared_error(y, &t, None).unwrap());
    let weighted = (0..6).map(|i| f64::from(w[i]) * error(i)).sum::<f64>() / 6.0;
    check(weighted, &y, |y| mean_squared_error(y, &t, Some(&w)).unwrap());
    assert!(matches!(mean_squared_error(&y, &t[1..], None), Err(Error::Length { expected: 6, got: 5, .. })));
}

#[test]
fn cross_entropy_with_labels() {
    let z = random(1, &[3, 4]).to_f32();
    let labels = [2, 0, 3];
    let expected: f64 = (0..3).map(|r| -log_softmax(&z[4 * r..4 * r + 4], 1.0)[labels[r]]).sum::<f64>() / 3.0;
    check(expected, &z, |z| cross_entropy(z, 4, &labels).unwrap());
    assert_eq!(cross_entropy(&z, 4, &[2, 4, 3]), Err(Error::Label { row: 1, label: 4, classes: 4 }));
    assert!(cross_entropy(&z, 5, &labels).is_err());
}

#[test]
fn distillation_at_several_temperatures() {
    let (z, t) = (random(1, &[3, 4]).to_f32(), random(2, &[3, 4]).to_f32());
    for temperature in [1.0f32, 4.0] {
        let scale = f64::from(temperature);
        let row = |r: usize| {
            let (p, q) = (log_softmax(&t[4 * r..4 * r + 4], scale), log_softmax(&z[4 * r..4 * r + 4], scale));
            p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
        };
        let expected = (0..3).map(row).sum::<f64>() / 3.0 * scale * scale;
        check(expected, &z, |z| distillation(z, &t, 4, temperature).unwrap());
    }
    assert!(distillation(&z, &z, 4, 2.0).unwrap().value.abs() < 1e-9);
}
