//! Losses: each returns its value and its gradient with respect to the model's output.
//!
//! Values are accumulated in f64; gradients are those of the returned value.

use fewbits_kernels::float::softmax::log_softmax;

use crate::{Error, Result};

/// A loss and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The loss, averaged as its function says.
    pub value: f64,
    /// Its gradient, one number an element of the output.
    pub gradient: Vec<f32>,
}

fn same_length(what: &'static str, index: usize, expected: usize, got: usize) -> Result<()> {
    if expected == got { Ok(()) } else { Err(Error::Length { what, index, expected, got }) }
}

/// Mean over all elements of `weight × (output − target)²`; `weights` is 1 if absent.
///
/// # Errors
/// [`Error::Length`] if the slices differ in length.
pub fn mean_squared_error(output: &[f32], target: &[f32], weights: Option<&[f32]>) -> Result<Loss> {
    same_length("target", 0, output.len(), target.len())?;
    if let Some(weights) = weights {
        same_length("weights", 0, output.len(), weights.len())?;
    }
    let scale = 1.0 / output.len().max(1) as f64;
    let mut value = 0.0;
    let mut gradient = Vec::with_capacity(output.len());
    for (i, (y, t)) in output.iter().zip(target).enumerate() {
        let weight = weights.map_or(1.0, |w| w[i]);
        let error = y - t;
        value += f64::from(weight) * f64::from(error) * f64::from(error);
        gradient.push(2.0 * weight * error * scale as f32);
    }
    Ok(Loss { value: value * scale, gradient })
}

/// Mean over the rows of `logits` `[rows, classes]` of `−ln softmax(row)[label]`.
///
/// # Errors
/// [`Error::Length`] if there is not one label a row; [`Error::Label`] for one that is no class.
pub fn cross_entropy(logits: &[f32], classes: usize, labels: &[usize]) -> Result<Loss> {
    same_length("labels", 0, rows(logits, classes)?, labels.len())?;
    let mut gradient = log_probabilities(logits, classes, 1.0);
    let scale = 1.0 / labels.len().max(1) as f64;
    let mut value = 0.0;
    for (row, (log, &label)) in gradient.chunks_exact_mut(classes.max(1)).zip(labels).enumerate() {
        if label >= classes {
            return Err(Error::Label { row, label, classes });
        }
        value -= f64::from(log[label]);
        for (class, g) in log.iter_mut().enumerate() {
            let hit = if class == label { 1.0 } else { 0.0 };
            *g = (g.exp() - hit) * scale as f32;
        }
    }
    Ok(Loss { value: value * scale, gradient })
}

/// Distillation (Hinton et al. 2015): mean over the rows of `T² KL(softmax(teacher / T) ‖
/// softmax(logits / T))`; the factor `T²` keeps gradients of one size over temperatures.
///
/// # Errors
/// [`Error::Length`] if the slices differ in length or are not whole rows.
pub fn distillation(logits: &[f32], teacher: &[f32], classes: usize, temperature: f32) -> Result<Loss> {
    same_length("teacher's logits", 0, logits.len(), teacher.len())?;
    let rows = rows(logits, classes)?;
    let mut gradient = log_probabilities(logits, classes, 1.0 / temperature);
    let teacher = log_probabilities(teacher, classes, 1.0 / temperature);
    let scale = f64::from(temperature) / rows.max(1) as f64;
    let mut value = 0.0;
    for (g, t) in gradient.iter_mut().zip(&teacher) {
        let (p, q) = (f64::from(*t).exp(), f64::from(*g).exp());
        value += p * f64::from(*t - *g);
        // d/dz of T² KL at z / T is T (q − p).
        *g = ((q - p) * scale) as f32;
    }
    Ok(Loss { value: value * scale * f64::from(temperature), gradient })
}

fn rows(logits: &[f32], classes: usize) -> Result<usize> {
    let rows = logits.len().checked_div(classes).unwrap_or(0);
    same_length("logits", 0, rows * classes, logits.len())?;
    Ok(rows)
}

fn log_probabilities(logits: &[f32], classes: usize, beta: f32) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    if !out.is_empty() {
        log_softmax(logits, classes, beta, &mut out);
    }
    out
}
