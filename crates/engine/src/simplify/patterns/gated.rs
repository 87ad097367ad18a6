//! Functions of the form `x × gate(x)`: GELU, SiLU, HardSwish, Mish.
//!
//! GELU: Hendrycks & Gimpel 2016; SiLU (swish): Ramachandran et al. 2017; HardSwish: Howard et al.
//! 2019; Mish: Misra 2019.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use fewbits_graph::ops::{BinaryKind, Unary, UnaryKind};
use fewbits_graph::{Activation, Graph, NodeId, Op, Result, ValueId};

use super::super::Context;
use super::super::edit::Edit;
use super::algebra::{clamped, factors, is_close, is_polynomial, polynomial, whole_line};

/// `√(2/π)`.
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// Replaces the last multiplication (or division by a constant) of a gated function by the function.
/// What fed it goes when nothing else reads it.
pub(in super::super) fn fuse_gated(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if let Some((x, kind)) = gated(&edit, node) {
            edit.replace(node, Unary { kind }, &[Some(x)]);
        }
    }
    edit.finish()
}

fn gated(edit: &Edit<'_>, root: NodeId) -> Option<(ValueId, UnaryKind)> {
    let out = edit.out(root);
    match edit.op(root) {
        Op::Binary(op) if matches!(op.kind, BinaryKind::Mul | BinaryKind::Div) => {
            if op.activation != Activation::None || !edit.is_f32(out) {
                return None;
            }
        }
        _ => return None,
    }
    let (constant, found) = factors(edit, root)?;
    let &[p, q] = found.as_slice() else { return None };
    if edit.shape(p) != edit.shape(out) || edit.shape(q) != edit.shape(out) {
        return None;
    }
    [(p, q), (q, p)].into_iter().find_map(|(x, gate)| Some((x, function(edit, x, gate, constant)?)))
}

/// The function `constant × gate × x`.
fn function(edit: &Edit<'_>, x: ValueId, gate: ValueId, constant: f64) -> Option<UnaryKind> {
    let line = whole_line(edit, gate);
    let (a, b) = (constant * line.a, constant * line.b);
    if let Some(kind) = hard_swish(edit, x, line.base, a, b) {
        return Some(kind);
    }
    let (inner, argument) = edit.unary(line.base)?;
    let half_and_half = is_close(a, 0.5) && is_close(b, 0.5);
    let alone = is_close(a, 1.0) && b == 0.0;
    let argument_is = |wanted| is_polynomial(polynomial(edit, argument, x), wanted);
    match inner {
        UnaryKind::Erf if half_and_half && argument_is([0.0, FRAC_1_SQRT_2, 0.0, 0.0]) => {
            Some(UnaryKind::Gelu { tanh: false })
        }
        UnaryKind::Tanh if half_and_half && argument_is([0.0, SQRT_2_OVER_PI, 0.0, 0.044715 * SQRT_2_OVER_PI]) => {
            Some(UnaryKind::Gelu { tanh: true })
        }
        // sigmoid(x) = (1 + tanh(x/2)) / 2.
        UnaryKind::Tanh if half_and_half && argument_is([0.0, 0.5, 0.0, 0.0]) => Some(UnaryKind::Silu),
        UnaryKind::Tanh if alone && edit.unary(argument) == Some((UnaryKind::Softplus, x)) => Some(UnaryKind::Mish),
        UnaryKind::Sigmoid if alone && argument == x => Some(UnaryKind::Silu),
        _ => None,
    }
}

/// `a × gate + b` as `min(max(x + 3, 0), 6) ÷ 6`.
fn hard_swish(edit: &Edit<'_>, x: ValueId, gate: ValueId, a: f64, b: f64) -> Option<UnaryKind> {
    let sixth = 1.0 / 6.0;
    let found = match (clamped(edit, gate), edit.unary(gate)) {
        (Some(c), _) => {
            let [offset, slope, 0.0, 0.0] = c.polynomial(edit, x)? else { return None };
            c.min == 0.0 && is_close(a * c.max, 1.0) && is_close(a * slope, sixth) && is_close(a * offset, 0.5)
        }
        (None, Some((UnaryKind::HardSigmoid { alpha, beta }, from))) => {
            from == x && is_close(a, 1.0) && is_close(f64::from(alpha), sixth) && is_close(f64::from(beta), 0.5)
        }
        _ => false,
    };
    (found && b == 0.0).then_some(UnaryKind::HardSwish)
}
