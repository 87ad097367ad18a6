//! Multiply-accumulates of a node.

use fewbits_graph::{Graph, Node, Op, Shape, ValueId};

/// Multiply-accumulates of `node`, padding taps included, for convolutions, fully-connected layers
/// and matrix products; `None` for other operators and while a shape is symbolic.
pub fn macs(graph: &Graph, node: &Node) -> Option<u64> {
    let shape = |v: Option<&ValueId>| v.map(|v| &graph.value(*v).shape);
    let input = |i: usize| shape(node.inputs.get(i)?.as_ref());
    let out = elements(shape(node.outputs.first())?)?;
    match &node.op {
        Op::Conv2d(_) | Op::ConvInteger(_) => {
            let w = input(1)?;
            out.checked_mul(elements(w)?.checked_div(size(w, 0)?)?)
        }
        Op::DepthwiseConv2d(_) => out.checked_mul(size(input(1)?, 1)?.checked_mul(size(input(1)?, 2)?)?),
        // Every input element meets every tap of each output channel of its group.
        Op::ConvTranspose2d(op) => {
            let (x, w) = (input(0)?, input(1)?);
            let groups = u64::try_from(op.groups).ok()?;
            let taps = size(w, 0)?.checked_mul(size(w, 1)?)?.checked_mul(size(w, 2)?)?;
            elements(x)?.checked_mul(taps)?.checked_div(groups)
        }
        Op::FullyConnected(_) => out.checked_mul(size(input(1)?, 1)?),
        Op::MatMul(op) => {
            let a = input(0)?;
            let inner = a.rank().checked_sub(if op.transpose_a && a.rank() > 1 { 2 } else { 1 })?;
            out.checked_mul(size(a, inner)?)
        }
        Op::MatMulInteger(_) => {
            let a = input(0)?;
            out.checked_mul(size(a, a.rank().checked_sub(1)?)?)
        }
        _ => None,
    }
}

fn elements(shape: &Shape) -> Option<u64> {
    u64::try_from(shape.elements()?).ok()
}

fn size(shape: &Shape, axis: usize) -> Option<u64> {
    u64::try_from(shape.0.get(axis)?.fixed()?).ok()
}
