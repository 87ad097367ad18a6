//! Optimisers and learning rates.

use crate::trainee::Parameter;

/// How gradients become steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// Stochastic gradient descent with momentum; weight decay is added to the gradient.
    Sgd {
        /// Share of the last step that is kept.
        momentum: f32,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter, "Decoupled Weight Decay Regularization",
    /// ICLR 2019).
    AdamW {
        /// Decay of the means of gradients and of their squares.
        betas: [f32; 2],
    },
}

/// The denominator of Adam's steps is at least this.
const EPSILON: f32 = 1e-8;

/// An optimiser with its memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    /// The method.
    pub method: Method,
    /// Weight decay.
    pub weight_decay: f32,
    /// Steps taken.
    pub steps: u64,
    /// For each parameter the momentum, or the mean of its gradients.
    pub first: Vec<Vec<f32>>,
    /// For each parameter the mean of its squared gradients; empty for SGD.
    pub second: Vec<Vec<f32>>,
}

impl Optimizer {
    /// An optimiser that has taken no step.
    pub fn new(method: Method, weight_decay: f32, parameters: &[Parameter]) -> Optimizer {
        let zeros = || parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
        let second = if matches!(method, Method::AdamW { .. }) { zeros() } else { Vec::new() };
        Optimizer { method, weight_decay, steps: 0, first: zeros(), second }
    }

    /// Takes a step of learning rate `rate` against `gradients`.
    pub fn step(&mut self, parameters: &mut [Parameter], gradients: &[Vec<f32>], rate: f32) {
        self.steps += 1;
        for (i, (p, g)) in parameters.iter_mut().zip(gradients).enumerate() {
            let decay = if p.decays { self.weight_decay } else { 0.0 };
            match self.method {
                Method::Sgd { momentum } => {
                    let step = rate * p.rate;
                    for ((x, g), v) in p.values.iter_mut().zip(g).zip(&mut self.first[i]) {
                        *v = momentum * *v + g + decay * *x;
                        *x -= step * *v;
                    }
                }
                Method::AdamW { betas: [a, b] } => {
                    // Powers of a count of steps: i32 lasts for centuries of training.
                    let corrected = |beta: f32| 1.0 - f64::from(beta).powi(self.steps as i32);
                    let (first, second) = (corrected(a), corrected(b));
                    let step = (f64::from(rate * p.unit) / first) as f32;
                    let root = second.sqrt() as f32;
                    let shrink = 1.0 - rate * decay;
                    let memory = self.first[i].iter_mut().zip(&mut self.second[i]);
                    for ((x, g), (m, v)) in p.values.iter_mut().zip(g).zip(memory) {
                        *m = a * *m + (1.0 - a) * g;
                        *v = b * *v + (1.0 - b) * g * g;
                        *x = *x * shrink - step * *m / (v.sqrt() / root + EPSILON);
                    }
                }
            }
        }
    }
}

/// Scales all gradients down together if their norm is beyond `limit`; returns the norm. Gradients of
/// scales do not count: they are of another unit.
pub fn clip(parameters: &[Parameter], gradients: &mut [Vec<f32>], limit: f32) -> f64 {
    let counted = parameters.iter().map(|p| p.rate == 1.0);
    let squares = |g: &Vec<f32>| g.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let norm = counted.zip(gradients.iter()).filter(|(c, _)| *c).map(|(_, g)| squares(g)).sum::<f64>().sqrt();
    if norm > f64::from(limit) {
        let factor = (f64::from(limit) / norm) as f32;
        gradients.iter_mut().flatten().for_each(|g| *g *= factor);
    }
    norm
}

/// How the learning rate goes on from its largest value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decay {
    /// It stays.
    Constant,
    /// Half a cosine down to 0 (Loshchilov & Hutter, "SGDR", 2017).
    Cosine,
    /// A tenth at half, and a hundredth at three quarters of the steps.
    Steps,
}

/// A learning rate over the steps of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The largest learning rate.
    pub rate: f32,
    /// Steps over which it grows to that from 0.
    pub warm_up: u64,
    /// All steps.
    pub steps: u64,
    /// What follows.
    pub decay: Decay,
}

impl Schedule {
    /// The learning rate of step `step`, from 0.
    pub fn at(&self, step: u64) -> f32 {
        if step < self.warm_up {
            return self.rate * (step + 1) as f32 / (self.warm_up + 1) as f32;
        }
        let rest = self.steps.saturating_sub(self.warm_up).max(1);
        let done = ((step - self.warm_up) as f64 / rest as f64).min(1.0);
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Decay::Steps if done < 0.5 => 1.0,
            Decay::Steps if done < 0.75 => 0.1,
            Decay::Steps => 0.01,
        };
        self.rate * factor as f32
    }
}

/// A moving average of parameters (EMA), which is evaluated instead of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Average {
    /// Share of the average that a step keeps.
    pub decay: f32,
    /// For each parameter its average.
    pub values: Vec<Vec<f32>>,
}

impl Average {
    /// Starts from the present parameters.
    pub fn new(decay: f32, parameters: &[Parameter]) -> Average {
        Average { decay, values: parameters.iter().map(|p| p.values.clone()).collect() }
    }

    /// Takes the parameters after step `step` (from 1) in; the first steps count more, as there is
    /// little to average yet.
    pub fn follow(&mut self, parameters: &[Parameter], step: u64) {
        let decay = self.decay.min((1 + step) as f32 / (10 + step) as f32);
        for (average, p) in self.values.iter_mut().zip(parameters) {
            average.iter_mut().zip(&p.values).for_each(|(a, x)| *a = decay * *a + (1.0 - decay) * x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<Parameter> {
        let mut graph = fewbits_graph::Graph::default();
        let shape = fewbits_graph::Shape::fixed(&[1, 2]);
        let x = graph.add_input("x", fewbits_graph::DType::F32, shape);
        let w = graph.add_constant("w", fewbits_graph::Tensor::new(vec![1, 2], vec![1.0f32, -2.0]));
        let add = fewbits_graph::ops::Binary {
            kind: fewbits_graph::ops::BinaryKind::Add,
            activation: fewbits_graph::Activation::None,
        };
        let y = graph.add_node("add", add, &[Some(x), Some(w)], "y");
        graph.outputs.push(y);
        crate::Trainee::float(graph).unwrap().parameters
    }

    #[test]
    fn sgd_follows_the_gradient_and_adam_its_sign() {
        let close = |got: &[f32], want: [f32; 2]| got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
        let mut sgd = parameters();
        let mut optimizer = Optimizer::new(Method::Sgd { momentum: 0.5 }, 0.1, &sgd);
        optimizer.step(&mut sgd, &[vec![3.0, 0.0]], 0.1);
        // Steps of 0.1 × (gradient + 0.1 × weight).
        assert!(close(&sgd[0].values, [1.0 - 0.31, -2.0 + 0.02]), "{:?}", sgd[0].values);
        optimizer.step(&mut sgd, &[vec![0.0, 0.0]], 0.1);
        let second = [0.69 - 0.1 * (0.5 * 3.1 + 0.069), -1.98 - 0.1 * (0.5 * -0.2 - 0.198)];
        assert!(close(&sgd[0].values, second), "{:?}", sgd[0].values);
        let mut adam = parameters();
        adam[0].unit = 2.0;
        let mut optimizer = Optimizer::new(Method::AdamW { betas: [0.9, 0.999] }, 0.0, &adam);
        optimizer.step(&mut adam, &[vec![1e-3, -50.0]], 0.1);
        assert!((adam[0].values[0] - 0.8).abs() < 1e-4 && (adam[0].values[1] + 1.8).abs() < 1e-4);
        assert_eq!(optimizer.steps, 1);
    }

    #[test]
    fn gradients_are_clipped_together_and_averages_follow() {
        let parameters = parameters();
        let mut gradients = vec![vec![3.0, 4.0]];
        assert_eq!(clip(&parameters, &mut gradients, 10.0), 5.0);
        assert_eq!(gradients, [[3.0, 4.0]]);
        clip(&parameters, &mut gradients, 1.0);
        assert!((gradients[0][0] - 0.6).abs() < 1e-6 && (gradients[0][1] - 0.8).abs() < 1e-6);
        let mut average = Average::new(0.99, &parameters);
        let mut moved = parameters.clone();
        moved[0].values = vec![0.0, 0.0];
        average.follow(&moved, 1);
        // 2/11 of what was before, as there was only one step.
        assert!((average.values[0][0] - 2.0 / 11.0).abs() < 1e-6);
    }

    #[test]
    fn learning_rates_rise_and_fall() {
        let schedule = Schedule { rate: 1.0, warm_up: 3, steps: 103, decay: Decay::Cosine };
        let at = |step| schedule.at(step);
        assert_eq!([at(0), at(1), at(2), at(3)], [0.25, 0.5, 0.75, 1.0]);
        assert!((at(53) - 0.5).abs() < 1e-6 && at(102) < 1e-3 && at(1000) == 0.0);
        let steps = Schedule { decay: Decay::Steps, warm_up: 0, steps: 100, ..schedule };
        assert_eq!([steps.at(49), steps.at(50), steps.at(75)], [1.0, 0.1, 0.01]);
        assert_eq!(Schedule { decay: Decay::Constant, ..schedule }.at(99), 1.0);
    }
}
