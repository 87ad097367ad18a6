//! Transposed convolution: the gradient of a convolution, so that its own gradients are a
//! convolution and a convolution's weight gradient with the operands exchanged.

use fewbits_graph::ops::ConvTranspose2d;
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::conv::PackedConvF32;
use fewbits_kernels::float::conv_transpose::PackedConvTransposeF32;
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::grad::conv::{ConvWeightGradient, swap_roles};
use fewbits_kernels::shape::ConvShape;

use super::conv::reads;
use super::{Window, clamp, geometry};
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Site};

struct ConvTranspose {
    shape: ConvShape,
    /// The convolution of which this is the transpose.
    conv: ConvShape,
    clamp: Clamp,
    epilogue: Epilogue,
    weights: ConvWeightGradient,
}

pub(super) fn conv_transpose(op: &ConvTranspose2d, site: &Site) -> Derivation {
    let [_, kh, kw, _] = site.input(1)?.nhwc()?;
    let window = Window { stride: op.stride, dilation: op.dilation, padding: op.padding, groups: op.groups };
    let shape = geometry(site, [kh, kw], &window)?;
    let conv = ConvShape {
        in_h: shape.out_h,
        in_w: shape.out_w,
        in_c: shape.out_c,
        out_h: shape.in_h,
        out_w: shape.in_w,
        out_c: shape.in_c,
        ..shape
    };
    let clamp = clamp(op.activation);
    let derivative = ConvTranspose {
        shape,
        conv,
        clamp,
        epilogue: Epilogue::new(shape.output_len(), shape.out_c),
        weights: ConvWeightGradient::new(&conv),
    };
    Ok(reads(site, clamp, derivative))
}

impl Derivative for ConvTranspose {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let packed = PackedConvTransposeF32::new(&self.shape, run.input(1), run.optional(2));
        let x = run.input(0);
        let [scratch] = run.scratch.get([packed.scratch_len(&self.shape, rayon::current_num_threads())]);
        packed.run(&self.shape, x, run.outputs[0], scratch, self.clamp);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let bias = run.target(2).map(|t| t.parts());
        self.epilogue.run(dy, run.output(), self.clamp, bias);
        if let Some(target) = run.target(1) {
            let mut exchanged = vec![0.0; target.data.len()];
            self.weights.run(dy, run.input(0), &mut exchanged, false);
            target.give(&swap_roles(&exchanged, &self.conv, false));
        }
        if let Some(target) = run.target(0) {
            let packed = PackedConvF32::new(&self.conv, &swap_roles(run.input(1), &self.shape, false), None);
            let kernel = packed.scratch_len(&self.conv, rayon::current_num_threads());
            let share = if target.accumulate { target.data.len() } else { 0 };
            let [kernel, scratch] = run.scratch.get([kernel, share]);
            target.set(scratch, |dx| packed.run(&self.conv, dy, dx, kernel, Clamp::NONE));
        }
    }
}
