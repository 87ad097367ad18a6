//! Joining along an axis.

use fewbits_graph::ops::Concat;
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::linear::add_bias_clamp;

use super::clamp;
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Edge, Site};

struct Join {
    /// Elements that each input gives in a row of the output.
    runs: Vec<usize>,
    clamp: Clamp,
    epilogue: Epilogue,
}

pub(super) fn concat(op: &Concat, site: &Site) -> Derivation {
    let run = |edge: &Option<Edge>| {
        let [_, len, inner] = edge.as_ref().ok_or("an input is missing")?.around(op.axis);
        Ok::<usize, String>(len * inner)
    };
    let runs = site.inputs.iter().map(run).collect::<Result<_, _>>()?;
    let clamp = clamp(op.activation);
    let join = Join { runs, clamp, epilogue: Epilogue::new(site.output()?.elements(), 1) };
    Ok(Derived::new(join).reading_outputs(!clamp.is_none()))
}

impl Derivative for Join {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let total: usize = self.runs.iter().sum();
        let mut first = 0;
        for (i, &len) in self.runs.iter().enumerate().filter(|(_, len)| **len > 0) {
            for (x, out) in run.input(i).chunks_exact(len).zip(run.output().chunks_exact_mut(total)) {
                out[first..first + len].copy_from_slice(x);
            }
            first += len;
        }
        add_bias_clamp(run.output(), 1, None, self.clamp);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        self.epilogue.run(dy, run.output(), self.clamp, None);
        let total: usize = self.runs.iter().sum();
        let mut first = 0;
        for (i, &len) in self.runs.iter().enumerate().filter(|(_, len)| **len > 0) {
            if let Some(target) = run.target(i) {
                for (dx, dy) in target.data.chunks_exact_mut(len).zip(dy.chunks_exact(total)) {
                    let dy = &dy[first..first + len];
                    if target.accumulate {
                        dx.iter_mut().zip(dy).for_each(|(x, y)| *x += y);
                    } else {
                        dx.copy_from_slice(dy);
                    }
                }
            }
            first += len;
        }
    }
}
