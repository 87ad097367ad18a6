//! Soft-max and its logarithm.

use fewbits_kernels::float::grad::rows::softmax_gradient;
use fewbits_kernels::float::softmax::softmax_axis;

use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Normalised {
    /// Length of the axis, and of what comes after it.
    sizes: [usize; 2],
    beta: f32,
    log: bool,
}

pub(super) fn softmax(axis: usize, beta: f32, log: bool, site: &Site) -> Derivation {
    let [_, len, inner] = site.input(0)?.around(axis);
    Ok(Derived::new(Normalised { sizes: [len, inner], beta, log }).reading_outputs(true))
}

impl Derivative for Normalised {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let [len, inner] = self.sizes;
        softmax_axis(run.input(0), len, inner, self.beta, self.log, run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        if let Some(target) = run.target(0) {
            softmax_gradient(run.output(), dy, self.sizes, self.beta, self.log, target.data, target.accumulate);
        }
    }
}
