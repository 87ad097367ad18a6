//! Reading arithmetic with constants off a graph.

use fewbits_graph::ops::{Binary, BinaryKind, UnaryKind};
use fewbits_graph::{Activation, NodeId, Op, ValueId};

use super::super::activation::clamp_range;
use super::super::edit::Edit;

/// Nodes that one expression may consist of.
const MAX_DEPTH: usize = 8;

/// Whether a constant of a file is the wanted one: exporters print four to eight digits.
pub(super) fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * b.abs().max(1e-3)
}

/// `a × base + b`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) base: ValueId,
    pub(super) a: f64,
    pub(super) b: f64,
}

/// A binary node with one constant number as a line, whatever its fused activation.
fn line_of_node(edit: &Edit<'_>, node: NodeId) -> Option<Line> {
    let Op::Binary(op) = edit.op(node) else { return None };
    let (x, y) = (edit.input(node, 0)?, edit.input(node, 1)?);
    let (base, c, constant_first) = match (edit.scalar(y), edit.scalar(x)) {
        (Some(c), None) => (x, f64::from(c), false),
        (None, Some(c)) => (y, f64::from(c), true),
        _ => return None,
    };
    let (a, b) = match (op.kind, constant_first) {
        (BinaryKind::Add, _) => (1.0, c),
        (BinaryKind::Sub, false) => (1.0, -c),
        (BinaryKind::Sub, true) => (-1.0, c),
        (BinaryKind::Mul, _) => (c, 0.0),
        (BinaryKind::Div, false) => (1.0 / c, 0.0),
        _ => return None,
    };
    (edit.shape(base) == edit.shape(edit.out(node))).then_some(Line { base, a, b })
}

fn is_plain(edit: &Edit<'_>, node: NodeId) -> bool {
    edit.op(node).activation().unwrap_or_default() == Activation::None
}

/// `v` as a line over the value that at most `steps` plain binary nodes with constants lead to.
pub(super) fn line(edit: &Edit<'_>, v: ValueId, steps: usize) -> Line {
    let mut line = Line { base: v, a: 1.0, b: 0.0 };
    for _ in 0..steps {
        let step = edit.producer(line.base).filter(|&n| is_plain(edit, n)).and_then(|n| line_of_node(edit, n));
        let Some(step) = step else { break };
        line = Line { base: step.base, a: line.a * step.a, b: line.a * step.b + line.b };
    }
    line
}

/// As [`line`], as far as it goes.
pub(super) fn whole_line(edit: &Edit<'_>, v: ValueId) -> Line {
    line(edit, v, MAX_DEPTH)
}

/// Coefficients of 1, x, x², x³.
pub(super) type Polynomial = [f64; 4];

/// `v` as a polynomial of degree 3 or less in `x`.
pub(super) fn polynomial(edit: &Edit<'_>, v: ValueId, x: ValueId) -> Option<Polynomial> {
    polynomial_at(edit, v, x, MAX_DEPTH)
}

fn polynomial_at(edit: &Edit<'_>, v: ValueId, x: ValueId, depth: usize) -> Option<Polynomial> {
    if v == x {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    if let Some(c) = edit.scalar(v) {
        return Some([f64::from(c), 0.0, 0.0, 0.0]);
    }
    let node = edit.producer(v).filter(|&n| depth > 0 && is_plain(edit, n))?;
    polynomial_of_node(edit, node, x, depth - 1)
}

/// What the node computes before its fused activation, as a polynomial in `x`.
fn polynomial_of_node(edit: &Edit<'_>, node: NodeId, x: ValueId, depth: usize) -> Option<Polynomial> {
    let of = |slot: usize| polynomial_at(edit, edit.input(node, slot)?, x, depth);
    match edit.op(node) {
        Op::Unary(op) if op.kind == UnaryKind::Square => product(&of(0)?, &of(0)?),
        Op::Unary(op) if op.kind == UnaryKind::Neg => Some(of(0)?.map(|c| -c)),
        Op::Binary(Binary { kind, .. }) => {
            let (p, q) = (of(0)?, of(1)?);
            match kind {
                BinaryKind::Add => Some(std::array::from_fn(|i| p[i] + q[i])),
                BinaryKind::Sub => Some(std::array::from_fn(|i| p[i] - q[i])),
                BinaryKind::Mul => product(&p, &q),
                BinaryKind::Div if q[1..] == [0.0; 3] => Some(p.map(|c| c / q[0])),
                BinaryKind::Pow if q == [2.0, 0.0, 0.0, 0.0] => product(&p, &p),
                BinaryKind::Pow if q == [3.0, 0.0, 0.0, 0.0] => product(&product(&p, &p)?, &p),
                _ => None,
            }
        }
        _ => None,
    }
}

fn product(p: &Polynomial, q: &Polynomial) -> Option<Polynomial> {
    let mut out = [0.0; 4];
    for (i, a) in p.iter().enumerate() {
        for (j, b) in q.iter().enumerate().filter(|(_, b)| a * **b != 0.0) {
            *out.get_mut(i + j)? += a * b;
        }
    }
    Some(out)
}

pub(super) fn is_polynomial(p: Option<Polynomial>, wanted: Polynomial) -> bool {
    p.is_some_and(|p| p.iter().zip(wanted).all(|(&a, b)| is_close(a, b)))
}

/// A value that is clamped to an interval: by a clamp node, or by its producer's fused activation.
pub(super) struct Clamped {
    node: NodeId,
    pub(super) min: f64,
    pub(super) max: f64,
}

pub(super) fn clamped(edit: &Edit<'_>, v: ValueId) -> Option<Clamped> {
    let node = edit.producer(v)?;
    let (min, max) = match edit.op(node) {
        Op::Unary(op) => clamp_range(op.kind)?,
        Op::Binary(op) if op.activation != Activation::None => op.activation.range(),
        _ => return None,
    };
    Some(Clamped { node, min: f64::from(min), max: f64::from(max) })
}

impl Clamped {
    /// What is clamped, as a polynomial in `x`.
    pub(super) fn polynomial(&self, edit: &Edit<'_>, x: ValueId) -> Option<Polynomial> {
        match edit.op(self.node) {
            Op::Unary(_) => polynomial(edit, edit.input(self.node, 0)?, x),
            _ => polynomial_of_node(edit, self.node, x, MAX_DEPTH),
        }
    }

    /// What is clamped, as a line over what is found after one to `steps` nodes, shortest first.
    pub(super) fn lines(&self, edit: &Edit<'_>, steps: usize) -> Vec<Line> {
        let from = match edit.op(self.node) {
            Op::Unary(_) => edit.input(self.node, 0).map(|base| Line { base, a: 1.0, b: 0.0 }),
            _ => line_of_node(edit, self.node),
        };
        let Some(from) = from else { return Vec::new() };
        let further = |n| {
            let inner = line(edit, from.base, n);
            Line { base: inner.base, a: from.a * inner.a, b: from.a * inner.b + from.b }
        };
        (0..=steps).map(further).collect()
    }
}

/// The factors of a product that are no constant numbers, and the product of those that are.
///
/// Inner products are opened where nothing else reads them: a factor that is read elsewhere is
/// likely the `x` of the pattern.
pub(super) fn factors(edit: &Edit<'_>, root: NodeId) -> Option<(f64, Vec<ValueId>)> {
    let (mut constant, mut open, mut found) = (1.0, vec![(edit.out(root), MAX_DEPTH)], Vec::new());
    while let Some((v, depth)) = open.pop() {
        if let Some(c) = edit.scalar(v) {
            constant *= f64::from(c);
            continue;
        }
        let own = v == edit.out(root) || edit.sole_reader(v).is_some();
        let node = edit.producer(v).filter(|&n| own && depth > 0 && is_plain(edit, n));
        let kind = node.and_then(|n| match edit.op(n) {
            Op::Binary(op) => Some((n, op.kind)),
            _ => None,
        });
        match kind {
            Some((n, BinaryKind::Mul)) => {
                open.extend([1, 0].iter().filter_map(|&s| Some((edit.input(n, s)?, depth - 1))));
            }
            Some((n, BinaryKind::Div)) if edit.input(n, 1).and_then(|d| edit.scalar(d)).is_some() => {
                constant /= f64::from(edit.scalar(edit.input(n, 1)?)?);
                open.push((edit.input(n, 0)?, depth - 1));
            }
            _ => found.push(v),
        }
        if found.len() > 2 {
            return None;
        }
    }
    Some((constant, found))
}
