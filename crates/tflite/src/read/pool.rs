//! Pooling.

use fewbits_graph::ops::{Pool2d, PoolKind};

use super::context::Import;
use super::conv::{Window, padding};
use crate::Result;
use crate::schema::options::Pool2DOptions;

fn pool(cx: &mut Import<'_>, kind: PoolKind) -> Result<()> {
    let o = cx.options::<Pool2DOptions>()?;
    let window = Window {
        kernel: [cx.size("filter_height", o.kernel_h)?, cx.size("filter_width", o.kernel_w)?],
        stride: [cx.size("stride_h", o.stride_h)?, cx.size("stride_w", o.stride_w)?],
        dilation: [1, 1],
    };
    let [_, h, w, _] = cx.dims4(0)?;
    let padding = padding(cx, o.padding, [h, w], &window)?;
    let op = Pool2d {
        kind,
        kernel: window.kernel,
        stride: window.stride,
        dilation: window.dilation,
        padding,
        counted_padding: [padding[2], padding[3]],
        activation: cx.activation(o.activation)?,
    };
    cx.emit_same(op, 1)
}

pub(super) fn average_pool_2d(cx: &mut Import<'_>) -> Result<()> {
    pool(cx, PoolKind::Average { count_include_pad: false })
}

pub(super) fn max_pool_2d(cx: &mut Import<'_>) -> Result<()> {
    pool(cx, PoolKind::Max)
}
