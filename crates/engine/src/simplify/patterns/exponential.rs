//! Softplus and the logistic function from exponentials.

use fewbits_graph::ops::{BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Graph, NodeId, Op, Result, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::algebra::whole_line;

/// `ln(1 + eˣ)` becomes `Softplus`; `1 ÷ (1 + e⁻ˣ)` becomes `Sigmoid`.
pub(in super::super) fn fuse_exponential(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if let Some((x, kind)) = softplus(&edit, node).or_else(|| sigmoid(&edit, node)) {
            edit.replace(node, Unary { kind }, &[Some(x)]);
        }
    }
    edit.finish()
}

/// `u` of `1 + eᵘ`.
fn one_plus_exp(edit: &Edit<'_>, v: ValueId) -> Option<ValueId> {
    let line = whole_line(edit, v);
    match edit.unary(line.base)? {
        (UnaryKind::Exp, u) if line.a == 1.0 && line.b == 1.0 => Some(u),
        _ => None,
    }
}

fn softplus(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, UnaryKind)> {
    match edit.unary(edit.out(root))? {
        (UnaryKind::Log, v) => Some((one_plus_exp(edit, v)?, UnaryKind::Softplus)),
        _ => None,
    }
}

fn sigmoid(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, UnaryKind)> {
    let out = edit.out(root);
    let divisor = match edit.op(root) {
        Op::Unary(op) if op.kind == UnaryKind::Reciprocal => edit.input(root, 0)?,
        Op::Binary(_) => {
            let (one, divisor) = edit.binary(out, BinaryKind::Div)?;
            (edit.scalar(one) == Some(1.0)).then_some(divisor)?
        }
        _ => return None,
    };
    match edit.unary(one_plus_exp(edit, divisor)?)? {
        (UnaryKind::Neg, x) if edit.shape(x) == edit.shape(out) => Some((x, UnaryKind::Sigmoid)),
        _ => None,
    }
}
