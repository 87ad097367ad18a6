//! Division by the Euclidean norm along an axis.

use fewbits_graph::ops::L2Norm;

use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Unit {
    /// Length of the axis, and of what comes after it.
    len: usize,
    inner: usize,
    floor: f32,
}

pub(super) fn l2_norm(op: &L2Norm, site: &Site) -> Derivation {
    let [_, len, inner] = site.input(0)?.around(op.axis);
    Ok(Derived::new(Unit { len, inner, floor: op.epsilon }).reading(true, &[0]).reading_outputs(true))
}

impl Unit {
    /// Calls `f` with the positions of each vector.
    fn vectors(&self, total: usize, mut f: impl FnMut(std::iter::StepBy<std::ops::Range<usize>>)) {
        let slab = self.len * self.inner;
        for start in (0..total).step_by(slab.max(1)) {
            (start..start + self.inner).for_each(|first| f((first..start + slab).step_by(self.inner)));
        }
    }

    /// The divisor of a vector, and whether it is the floor.
    fn divisor(&self, x: &[f32], at: impl Iterator<Item = usize>) -> (f32, bool) {
        let norm = at.map(|i| f64::from(x[i]) * f64::from(x[i])).sum::<f64>().sqrt() as f32;
        if norm > self.floor { (norm, false) } else { (self.floor, true) }
    }
}

impl Derivative for Unit {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let x = run.input(0);
        let out = run.output();
        self.vectors(x.len(), |at| {
            let (divisor, _) = self.divisor(x, at.clone());
            at.for_each(|i| out[i] = x[i] / divisor);
        });
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let Some(target) = run.target(0) else { return };
        let (x, y) = (run.input(0), run.output());
        let (dx, accumulate) = target.parts();
        self.vectors(x.len(), |at| {
            let (divisor, floored) = self.divisor(x, at.clone());
            // The norm grows along the vector; the floor does not.
            let along: f64 = at.clone().map(|i| f64::from(y[i]) * f64::from(dy[i])).sum();
            let along = if floored { 0.0 } else { along as f32 };
            for i in at {
                let g = (dy[i] - y[i] * along) / divisor;
                dx[i] = if accumulate { dx[i] + g } else { g };
            }
        });
    }
}
