//! Expansions that the following operator's own broadcasting makes needless.

use fewbits_graph::{Dim, Graph, Op, Result, Shape};

use super::Context;
use super::edit::Edit;

/// Lets a binary operator read what an `Expand` reads, where the other operand alone already has
/// the shape of the result (`x ÷ expand(‖x‖, shape(x))`, as PyTorch exports normalisations).
pub(super) fn drop_needless_expands(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if !matches!(edit.op(node), Op::Binary(_) | Op::Compare(_) | Op::Logical(_)) {
            continue;
        }
        for (slot, other) in [(0, 1), (1, 0)] {
            let (Some(x), Some(other)) = (edit.input(node, slot), edit.input(node, other)) else { continue };
            let Some(expand) = edit.producer(x).filter(|&p| matches!(edit.op(p), Op::Expand(_))) else { continue };
            let Some(small) = edit.input(expand, 0) else { continue };
            let whole = edit.shape(edit.out(node));
            if edit.shape(other) == whole && broadcasts_into(edit.shape(small), whole) {
                edit.set_input(node, slot, Some(small));
            }
        }
    }
    edit.finish()
}

/// Whether every dimension of `small` is 1 or that of `whole`, for certain.
fn broadcasts_into(small: &Shape, whole: &Shape) -> bool {
    small.rank() <= whole.rank()
        && small.0.iter().rev().zip(whole.0.iter().rev()).all(|(s, w)| *s == Dim::Fixed(1) || s == w)
}
