//! Choices: `Where` and the parametric ReLU.

use fewbits_graph::DType;
use fewbits_kernels::float::binary::Broadcast;
use fewbits_kernels::float::movement::{View, select as choose};
use fewbits_kernels::float::unary;

use super::binary::Fold;
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Select {
    /// Condition and the two sides, in the shape of the output.
    views: [View; 3],
    with: Broadcast,
    fold: [Fold; 2],
}

pub(super) fn select(site: &Site) -> Derivation {
    site.only(&[1, 2])?;
    let (condition, a, b, out) = (site.input(0)?, site.input(1)?, site.input(2)?, site.output()?);
    if condition.dtype != DType::Bool {
        return Err(format!("the condition is {}", condition.dtype));
    }
    let view = |dims: &[usize]| View::dense(dims).expand(&out.dims).ok_or("the shapes do not broadcast");
    let derivative = Select {
        views: [view(&condition.dims)?, view(&a.dims)?, view(&b.dims)?],
        with: Broadcast::new(&out.dims, &condition.dims).ok_or("the condition does not broadcast")?,
        fold: [Fold::new(&out.dims, &a.dims)?, Fold::new(&out.dims, &b.dims)?],
    };
    Ok(Derived::new(derivative))
}

impl Derivative for Select {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let [c, a, b] = &self.views;
        let condition = run.tensor(0)?;
        choose((condition.bytes(), c), (run.input(1), a), (run.input(2), b), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy: &[f32] = run.gradient();
        let condition = run.tensor(0).map_or(&[][..], fewbits_graph::Tensor::bytes);
        for side in [0, 1] {
            let Some(target) = run.target(side + 1) else { continue };
            let [full, scratch] = run.scratch.get([dy.len(), target.data.len()]);
            let first = side == 0;
            self.with.apply(dy, condition, full, |d, c: u8| if (c != 0) == first { d } else { 0.0 });
            self.fold[side].give(full, target, scratch);
        }
    }
}

struct PRelu {
    with: Broadcast,
    fold: Fold,
}

pub(super) fn prelu(site: &Site) -> Derivation {
    let (x, slope) = (site.input(0)?, site.input(1)?);
    let with = Broadcast::new(&x.dims, &slope.dims).ok_or("the slope does not broadcast")?;
    let derivative = PRelu { with, fold: Fold::new(&x.dims, &slope.dims)? };
    Ok(Derived::new(derivative).reading(true, &[0]).reading(site.wants(0), &[1]))
}

impl Derivative for PRelu {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        unary::prelu(&self.with, run.input(0), run.input(1), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy: &[f32] = run.gradient();
        let x = run.input(0);
        if let Some(target) = run.target(1) {
            let [full, scratch] = run.scratch.get([dy.len(), target.data.len()]);
            for ((o, d), x) in full.iter_mut().zip(dy).zip(x) {
                *o = if *x < 0.0 { d * x } else { 0.0 };
            }
            self.fold.give(full, target, scratch);
        }
        if let Some(target) = run.target(0) {
            let slope = run.input(1);
            let [full] = run.scratch.get([dy.len()]);
            self.with.apply(x, slope, full, |x: f32, s: f32| if x < 0.0 { s } else { 1.0 });
            full.iter_mut().zip(dy).for_each(|(f, d)| *f *= d);
            target.give(full);
        }
    }
}
