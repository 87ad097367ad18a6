//! Depthwise convolution.

use fewbits_graph::ops::DepthwiseConv2d;
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::depthwise::depthwise_conv2d;
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::grad::depthwise::{DepthwiseWeightGradient, depthwise_input_gradient};
use fewbits_kernels::shape::ConvShape;

use super::conv::reads;
use super::{Window, clamp, geometry};
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Site};

/// The passes over slices; grouped convolutions use them as well.
pub(super) struct Depthwise {
    shape: ConvShape,
    clamp: Clamp,
    epilogue: Epilogue,
    weights: DepthwiseWeightGradient,
}

pub(super) fn depthwise(op: &DepthwiseConv2d, site: &Site) -> Derivation {
    let [_, kh, kw, _] = site.input(1)?.nhwc()?;
    let groups = site.input(0)?.nhwc()?[3];
    let window = Window { stride: op.stride, dilation: op.dilation, padding: op.padding, groups };
    let shape = geometry(site, [kh, kw], &window)?;
    if !shape.is_depthwise() {
        return Err("the output channels are not a multiple of the input channels".to_owned());
    }
    let clamp = clamp(op.activation);
    Ok(reads(site, clamp, Depthwise::new(shape, clamp)))
}

impl Depthwise {
    pub(super) fn new(shape: ConvShape, clamp: Clamp) -> Self {
        Depthwise {
            shape,
            clamp,
            epilogue: Epilogue::new(shape.output_len(), shape.out_c),
            weights: DepthwiseWeightGradient::new(&shape),
        }
    }

    pub(super) fn compute(&self, x: &[f32], weights: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        depthwise_conv2d(&self.shape, x, weights, bias, out, self.clamp);
    }

    pub(super) fn epilogue(&mut self, dy: &mut [f32], y: &[f32], bias: Option<(&mut [f32], bool)>) {
        self.epilogue.run(dy, y, self.clamp, bias);
    }

    pub(super) fn weights(&mut self, x: &[f32], dy: &[f32], dw: &mut [f32], accumulate: bool) {
        self.weights.run(x, dy, dw, accumulate);
    }

    pub(super) fn input(&self, weights: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
        depthwise_input_gradient(&self.shape, weights, dy, dx, accumulate);
    }
}

impl Derivative for Depthwise {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        self.compute(run.input(0), run.input(1), run.optional(2), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let bias = run.target(2).map(|t| t.parts());
        self.epilogue(dy, run.output(), bias);
        if let Some(target) = run.target(1) {
            self.weights(run.input(0), dy, target.data, target.accumulate);
        }
        if let Some(target) = run.target(0) {
            self.input(run.input(1), dy, target.data, target.accumulate);
        }
    }
}
