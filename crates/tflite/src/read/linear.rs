//! Fully-connected layers and matrix products.

use fewbits_graph::ops::{FullyConnected, MatMul, Reshape};

use super::context::Import;
use crate::Result;
use crate::schema::options::{BatchMatMulOptions, FullyConnectedOptions};

pub(super) fn fully_connected(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<FullyConnectedOptions>()?;
    if o.weights_format != 0 {
        return Err(cx.fail("its weights are shuffled for one processor; export with the default weights format"));
    }
    let activation = cx.activation(o.activation)?;
    let inner = match cx.value(1)?.shape.0.as_slice() {
        [_, inner] => inner.fixed(),
        _ => None,
    };
    let inner = inner.ok_or_else(|| cx.fail("the weights must have two fixed dimensions"))?;
    let x = cx.value(0)?;
    let fits = x.shape.0.last().is_some_and(|d| d.fixed().is_none_or(|n| n == inner));
    let x = if fits && (o.keep_num_dims || x.shape.rank() == 2) {
        cx.input(0)?
    } else {
        // Everything before the last `inner` elements is the batch.
        let like = cx.input(0)?;
        let inner = i64::try_from(inner).map_err(|_| cx.fail("the weights are too large"))?;
        let shape = cx.int_constant("flat_shape", &[-1, inner]);
        cx.emit_helper("flat", Reshape { allow_zero: false }, &[Some(like), Some(shape)], like)
    };
    let mut inputs = vec![Some(x), Some(cx.input(1)?)];
    inputs.extend(cx.optional(2).map(Some));
    cx.emit(FullyConnected { activation }, &inputs)
}

pub(super) fn batch_matmul(cx: &mut Import<'_>) -> Result<()> {
    let o = cx.options::<BatchMatMulOptions>()?;
    cx.emit_same(MatMul { transpose_a: o.adj_x, transpose_b: o.adj_y }, 2)
}
