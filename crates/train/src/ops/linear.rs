//! Fully-connected layers.

use fewbits_graph::ops::FullyConnected;
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::gemm::{MatrixRef, gemm};
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::linear;

use super::clamp;
use super::conv::reads;
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Site};

/// `[rows, inputs]` times the transpose of `[outputs, inputs]`.
struct Linear {
    rows: usize,
    outputs: usize,
    inputs: usize,
    clamp: Clamp,
    epilogue: Epilogue,
}

pub(super) fn fully_connected(op: &FullyConnected, site: &Site) -> Derivation {
    let &[outputs, inputs] = site.input(1)?.dims.as_slice() else {
        return Err("expected weights of two dimensions".to_owned());
    };
    let rows = site.input(0)?.elements().checked_div(inputs).unwrap_or(0);
    let clamp = clamp(op.activation);
    let epilogue = Epilogue::new(rows * outputs, outputs);
    Ok(reads(site, clamp, Linear { rows, outputs, inputs, clamp, epilogue }))
}

impl Derivative for Linear {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let &mut Linear { rows: m, outputs: n, inputs: k, clamp, .. } = self;
        linear::fully_connected(m, n, k, run.input(0), run.input(1), run.optional(2), run.output(), clamp);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let &mut Linear { rows: m, outputs: n, inputs: k, .. } = self;
        let dy = run.gradient();
        let bias = run.target(2).map(|t| t.parts());
        self.epilogue.run(dy, run.output(), self.clamp, bias);
        if let Some(target) = run.target(1) {
            let (a, b) = (MatrixRef::transposed(dy, n), MatrixRef::row_major(run.input(0), k));
            gemm(n, k, m, a, b, target.data, k, target.accumulate);
        }
        if let Some(target) = run.target(0) {
            let (a, b) = (MatrixRef::row_major(dy, n), MatrixRef::row_major(run.input(1), k));
            gemm(m, k, n, a, b, target.data, k, target.accumulate);
        }
    }
}
