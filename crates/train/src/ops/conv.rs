//! Convolution.

use fewbits_graph::ops::Conv2d;
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::conv::PackedConvF32;
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::grad::conv::{ConvWeightGradient, conv_input_gradient, swap_roles};
use fewbits_kernels::shape::ConvShape;

use super::depthwise::Depthwise;
use super::{Window, clamp, geometry};
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

struct Conv {
    shape: ConvShape,
    clamp: Clamp,
    epilogue: Epilogue,
    weights: ConvWeightGradient,
}

pub(super) fn conv2d(op: &Conv2d, site: &Site) -> Derivation {
    let [_, kh, kw, _] = site.input(1)?.nhwc()?;
    let window = Window { stride: op.stride, dilation: op.dilation, padding: op.padding, groups: op.groups };
    let shape = geometry(site, [kh, kw], &window)?;
    let clamp = clamp(op.activation);
    if shape.is_depthwise() && shape.groups > 1 {
        return Ok(reads(site, clamp, GroupedAsDepthwise { shape, inner: Depthwise::new(shape, clamp) }));
    }
    let derivative = Conv {
        shape,
        clamp,
        epilogue: Epilogue::new(shape.output_len(), shape.out_c),
        weights: ConvWeightGradient::new(&shape),
    };
    Ok(reads(site, clamp, derivative))
}

/// What the backward pass of a layer with weights reads.
pub(super) fn reads(site: &Site, clamp: Clamp, derivative: impl Derivative + 'static) -> Derived {
    let derived = Derived::new(derivative).reading_outputs(!clamp.is_none());
    derived.reading(site.wants(1), &[0]).reading(site.wants(0), &[1])
}

impl Derivative for Conv {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let packed = PackedConvF32::new(&self.shape, run.input(1), run.optional(2));
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
            self.weights.run(run.input(0), dy, target.data, target.accumulate);
        }
        if let Some(target) = run.target(0) {
            let weights = run.input(1);
            let len = if target.accumulate { target.data.len() } else { 0 };
            let (kernel, scratch) = run.scratch.growable(len);
            target.set(scratch, |dx| conv_input_gradient(&self.shape, weights, dy, dx, kernel));
        }
    }
}

/// A grouped convolution with one input channel a group, on the depthwise kernels: its weights
/// `[O, kh, kw, 1]` are laid out as `[1, kh, kw, O]` and back.
struct GroupedAsDepthwise {
    shape: ConvShape,
    inner: Depthwise,
}

impl GroupedAsDepthwise {
    /// The swap of roles of a convolution from one channel, which transposes `[O, taps]`.
    fn single(&self) -> ConvShape {
        ConvShape { in_c: 1, groups: 1, ..self.shape }
    }

    fn laid(&self, weights: &[f32]) -> Vec<f32> {
        swap_roles(weights, &self.single(), false)
    }
}

impl Derivative for GroupedAsDepthwise {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let weights = self.laid(run.input(1));
        self.inner.compute(run.input(0), &weights, run.optional(2), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let bias = run.target(2).map(|t| t.parts());
        self.inner.epilogue(dy, run.output(), bias);
        if let Some(target) = run.target(1) {
            let mut laid = vec![0.0; target.data.len()];
            self.inner.weights(run.input(0), dy, &mut laid, false);
            let back = ConvShape { in_c: self.shape.out_c, out_c: 1, ..self.single() };
            target.give(&swap_roles(&laid, &back, false));
        }
        if let Some(target) = run.target(0) {
            let weights = self.laid(run.input(1));
            self.inner.input(&weights, dy, target.data, target.accumulate);
        }
    }
}
