//! Gathering along an axis: embeddings, and picking by constant indices.

use fewbits_graph::Op;
use fewbits_graph::ops::Gather;
use fewbits_kernels::float::movement;

use super::movement::movement as moved;
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

/// By indices that change from step to step.
struct Lookup {
    axis: usize,
    inner: usize,
}

pub(super) fn gather(op: &Gather, site: &Site) -> Derivation {
    site.only(&[0])?;
    if site.input(1)?.data.is_some() {
        return moved(&Op::Gather(op.clone()), site);
    }
    let [_, axis, inner] = site.input(0)?.around(op.axis);
    Ok(Derived::new(Lookup { axis, inner }))
}

impl Derivative for Lookup {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let indices = run.tensor(1)?.to_i64().ok_or("the indices must be integers")?;
        let x = run.input(0);
        movement::gather(x, self.axis, self.inner, &indices, run.output()).map_err(|e| e.to_string())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let Some(target) = run.target(0) else { return };
        if !target.accumulate {
            target.data.fill(0.0);
        }
        let indices = run.tensor(1).and_then(fewbits_graph::Tensor::to_i64).unwrap_or_default();
        let (axis, inner) = (self.axis, self.inner);
        let (slab, row) = (axis * inner, indices.len() * inner);
        if slab == 0 || row == 0 {
            return;
        }
        // One thread: rows of the table may be named many times.
        for (dx, dy) in target.data.chunks_exact_mut(slab).zip(dy.chunks_exact(row)) {
            for (&index, dy) in indices.iter().zip(dy.chunks_exact(inner)) {
                // The forward pass refused indices outside of the axis.
                let index = if index < 0 { index + axis as i64 } else { index };
                let at = usize::try_from(index).unwrap_or(0) * inner;
                dx[at..at + inner].iter_mut().zip(dy).for_each(|(x, y)| *x += y);
            }
        }
    }
}
