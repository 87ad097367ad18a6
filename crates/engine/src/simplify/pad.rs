//! Explicit zero padding as padding of the operator behind it.

use fewbits_graph::ops::{PadMode, PoolKind};
use fewbits_graph::{Graph, NodeId, Op, Result, ValueId};

use super::Context;
use super::edit::Edit;

/// Merges a `Pad` with zeros (the zero point, on integer edges) along height and width into the
/// convolution or average pooling behind it. Maximum pooling is left alone: its own padding never
/// wins, whereas zeros do over negative elements.
pub(super) fn fuse_pads(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        fuse(&mut edit, node);
    }
    edit.finish()
}

fn fuse(edit: &mut Edit<'_>, main: NodeId) -> Option<()> {
    let pad = edit.sole_producer(edit.input(main, 0)?)?;
    let (x, amounts) = zero_padding(edit, pad)?;
    if !edit.same_domain(x, edit.out(pad)) {
        return None;
    }
    let add = |own: &mut [usize; 4]| own.iter_mut().zip(amounts).for_each(|(o, a)| *o += a);
    match edit.op_mut_if(main, |op| match op {
        Op::Pool2d(p) => matches!(p.kind, PoolKind::Average { .. }) && p.padding == [0; 4],
        op => matches!(op, Op::Conv2d(_) | Op::DepthwiseConv2d(_)),
    })? {
        Op::Conv2d(op) => add(&mut op.padding),
        Op::DepthwiseConv2d(op) => add(&mut op.padding),
        Op::Pool2d(op) => {
            add(&mut op.padding);
            op.kind = PoolKind::Average { count_include_pad: true };
            op.counted_padding = [amounts[2], amounts[3]];
        }
        _ => return None,
    }
    edit.set_input(main, 0, Some(x));
    Some(())
}

/// What a padding node pads and by how much (`[top, left, bottom, right]`), if that is all it does.
fn zero_padding(edit: &Edit<'_>, pad: NodeId) -> Option<(ValueId, [usize; 4])> {
    let Op::Pad(op) = edit.op(pad) else { return None };
    let x = edit.input(pad, 0)?;
    let pads = edit.integers(edit.input(pad, 1)?)?;
    let &[n0, top, left, c0, n1, bottom, right, c1] = pads.as_slice() else { return None };
    let zero = edit.input(pad, 2).is_none_or(|fill| fills_zero(edit, x, fill));
    if op.mode != PadMode::Constant || !zero || [n0, c0, n1, c1] != [0; 4] {
        return None;
    }
    let size = |n: i64| usize::try_from(n).ok();
    Some((x, [size(top)?, size(left)?, size(bottom)?, size(right)?]))
}

/// Whether the fill value stands for the real number 0.
fn fills_zero(edit: &Edit<'_>, x: ValueId, fill: ValueId) -> bool {
    let Some(data) = edit.constant(fill).filter(|t| t.elements() == 1) else { return false };
    match edit.value(x).quant.as_ref().map(|q| q.as_per_tensor()) {
        None => data.to_f32() == [0.0],
        Some(Some((_, zero_point))) => data.to_i64() == Some(vec![i64::from(zero_point)]),
        Some(None) => false,
    }
}
