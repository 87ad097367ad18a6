//! Pooling.

use fewbits_graph::ops::{Pool2d, PoolKind};
use fewbits_kernels::float::pool::{self as kernels};
use fewbits_kernels::shape::ConvShape;

use super::clamp;
use super::conv::{Window, sliding};
use crate::site::{Lowered, Lowering, Site};

pub(super) fn geometry(op: &Pool2d, site: &Site<'_>) -> Result<ConvShape, String> {
    let groups = site.input(0)?.nhwc()?[3];
    let window = Window { stride: &op.stride, dilation: &op.dilation, padding: &op.padding, groups };
    sliding(site, op.kernel, &window)
}

pub(super) fn pool2d(op: &Pool2d, site: &Site<'_>) -> Lowering {
    let shape = geometry(op, site)?;
    let (clamp, trailing) = (clamp(op.activation), op.counted_padding);
    let kind = match op.kind {
        PoolKind::Max => kernels::PoolKind::Max,
        PoolKind::Average { count_include_pad } => kernels::PoolKind::Average { count_include_pad },
    };
    Ok(Lowered::new(move |ctx| {
        kernels::pool2d(kind, &shape, trailing, ctx.input(0), ctx.output(0), clamp);
        Ok(())
    }))
}
