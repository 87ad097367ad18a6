//! Fake quantization with learned scale and zero point.

use fewbits_graph::ops::FakeQuantize;
use fewbits_kernels::float::fake_quantize::Grid;
use fewbits_kernels::float::grad::fake_quantize::fake_quantize_gradient;

use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Edge {
    low: f32,
    high: f32,
    /// Elements of a gradient that nobody wants.
    unwanted: usize,
}

impl Edge {
    fn grid(&self, scale: &[f32], zero_point: &[f32]) -> Grid {
        Grid { scale: scale[0], zero_point: zero_point[0].round_ties_even(), low: self.low, high: self.high }
    }
}

pub(super) fn fake_quantize(op: &FakeQuantize, site: &Site) -> Derivation {
    site.only(&[0, 1, 2])?;
    if (1..3).any(|i| site.input(i).map_or(true, |e| e.elements() != 1)) {
        return Err("scale and zero point must each hold one number".to_owned());
    }
    let unwanted = if site.wants(0) { 0 } else { site.input(0)?.elements() };
    let edge = Edge { low: op.low as f32, high: op.high as f32, unwanted };
    Ok(Derived::new(edge).reading(true, &[0, 1, 2]))
}

impl Derivative for Edge {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        self.grid(run.input(1), run.input(2)).apply(run.input(0), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let grid = self.grid(run.input(1), run.input(2));
        let (x, dy, target) = (run.input(0), run.gradient(), run.target(0));
        let (dx, accumulate) = match target {
            Some(target) => target.parts(),
            None => {
                let [scratch] = run.scratch.get([self.unwanted]);
                (scratch, false)
            }
        };
        let sums = fake_quantize_gradient(grid, x, dy, dx, accumulate);
        for (i, sum) in [(1, sums.scale), (2, sums.zero_point)] {
            if let Some(target) = run.target(i) {
                target.give(&[sum as f32]);
            }
        }
    }
}
