//! Reshapes with constant targets, and chains of reshapes as one.

use fewbits_graph::ops::Reshape;
use fewbits_graph::{Dim, Graph, NodeId, Op, Result, Shape, Tensor, ValueId};

use super::Context;
use super::edit::Edit;

/// The `shape` input of a [`Reshape`] (with `allow_zero` off) that makes `to` of `from`: sizes where
/// they are fixed, 0 where a symbolic dimension stands at the same place of `from`, and at most one
/// −1. `None` if that cannot say it.
pub(super) fn reshape_target(from: &Shape, to: &Shape) -> Option<Vec<i64>> {
    let mut open = false;
    let size = |(i, d): (usize, &Dim)| match d {
        // A size of 0 would copy.
        Dim::Fixed(0) => None,
        Dim::Fixed(n) => i64::try_from(*n).ok(),
        Dim::Symbol(_) if from.0.get(i) == Some(d) => Some(0),
        Dim::Symbol(_) if !open => {
            open = true;
            Some(-1)
        }
        Dim::Symbol(_) => None,
    };
    to.0.iter().enumerate().map(size).collect()
}

/// Whether a node only renames dimensions: its elements stay in their order.
fn is_reshape(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_))
}

/// Gives reshapes whose target was computed (`Shape` → `Gather` → `Concat`) a constant one, and lets
/// a reshape that follows another read the other's input.
pub(super) fn merge_reshapes(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if is_reshape(edit.op(node)) {
            let source = source_of_chain(&edit, node);
            let computed = matches!(edit.op(node), Op::Reshape(_))
                && edit.input(node, 1).is_some_and(|s| edit.constant(s).is_none());
            if computed || source != edit.input(node, 0) {
                retarget(&mut edit, node, source);
            }
        }
    }
    edit.finish()
}

/// What the chain of reshapes that ends at `node` reads. Reshapes that others read too stay, but
/// reading past them costs nothing.
fn source_of_chain(edit: &Edit<'_>, node: NodeId) -> Option<ValueId> {
    let mut x = edit.input(node, 0)?;
    while let Some(before) = edit.producer(x).filter(|&p| is_reshape(edit.op(p))) {
        let further = edit.input(before, 0)?;
        if !edit.same_domain(further, x) {
            break;
        }
        x = further;
    }
    Some(x)
}

fn retarget(edit: &mut Edit<'_>, node: NodeId, source: Option<ValueId>) {
    let Some(source) = source else { return };
    let Some(target) = reshape_target(edit.shape(source), edit.shape(edit.out(node))) else { return };
    let shape = edit.add_constant(&format!("{}_shape", edit.node(node).name), Tensor::from_ints(&target));
    edit.replace(node, Reshape { allow_zero: false }, &[Some(source), Some(shape)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Shape {
        let dim = |t: &str| t.parse().map_or_else(|_| Dim::symbol(t), Dim::Fixed);
        Shape(text.split_whitespace().map(dim).collect())
    }

    #[test]
    fn targets_say_sizes_copies_and_one_remainder() {
        let target = |from: &str, to: &str| reshape_target(&shape(from), &shape(to));
        assert_eq!(target("2 3 4", "2 12"), Some(vec![2, 12]));
        assert_eq!(target("N S 12", "N S 3 4"), Some(vec![0, 0, 3, 4]));
        assert_eq!(target("N S 12", "(N*S) 12"), Some(vec![-1, 12]));
        assert_eq!(target("N S 12", "S N 12"), None);
        assert_eq!(target("4 0", "0 4"), None);
    }
}
