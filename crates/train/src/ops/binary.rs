//! Arithmetic on two tensors with broadcasting.

use fewbits_graph::ops::{Binary, BinaryKind};
use fewbits_kernels::float::Clamp;
use fewbits_kernels::float::binary::{self as kernels, Broadcast};
use fewbits_kernels::float::grad::columns::Epilogue;
use fewbits_kernels::float::reduce::{ReduceKind, Reduction};

use super::clamp;
use crate::derivative::{Backward, Derivative, Forward, Target};
use crate::site::{Derivation, Derived, Edge, Site};

struct Arithmetic {
    kind: BinaryKind,
    kernel: kernels::BinaryKind,
    clamp: Clamp,
    epilogue: Epilogue,
    /// The two operands, and each with the output.
    both: Broadcast,
    with: [Broadcast; 2],
    fold: [Fold; 2],
}

/// The sum over the axes along which an operand was repeated.
pub(super) struct Fold(Option<Reduction>);

impl Fold {
    /// From the shape `out` back to `dims`, which broadcasts to it.
    pub(super) fn new(out: &[usize], dims: &[usize]) -> Result<Self, String> {
        let missing = out.len() - dims.len();
        let axes: Vec<usize> =
            (0..out.len()).filter(|&i| out[i] != 1 && (i < missing || dims[i - missing] == 1)).collect();
        if axes.is_empty() {
            return Ok(Fold(None));
        }
        Reduction::new(out, &axes).map(|r| Fold(Some(r))).ok_or_else(|| "too many axes".to_owned())
    }

    /// Whether nothing is summed.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Gives `target` the sums of `full`; `scratch` is as long as the target.
    pub(super) fn give(&self, full: &[f32], target: Target<'_>, scratch: &mut [f32]) {
        match &self.0 {
            None => target.give(full),
            Some(reduction) => target.set(scratch, |out| reduction.run(ReduceKind::Sum, full, out)),
        }
    }
}

pub(super) fn binary(op: &Binary, site: &Site) -> Derivation {
    let kernel = match op.kind {
        BinaryKind::Add => kernels::BinaryKind::Add,
        BinaryKind::Sub => kernels::BinaryKind::Sub,
        BinaryKind::Mul => kernels::BinaryKind::Mul,
        BinaryKind::Div => kernels::BinaryKind::Div,
        BinaryKind::Pow => kernels::BinaryKind::Pow,
        BinaryKind::Min => kernels::BinaryKind::Min,
        BinaryKind::Max => kernels::BinaryKind::Max,
        BinaryKind::SquaredDifference => kernels::BinaryKind::SquaredDifference,
        BinaryKind::FloorDiv | BinaryKind::FloorMod | BinaryKind::Mod => {
            return Err(format!("{:?} has no derivative", op.kind));
        }
    };
    let (a, b, out) = (site.input(0)?, site.input(1)?, site.output()?);
    let pair = |a: &Edge, b: &Edge| Broadcast::new(&a.dims, &b.dims).ok_or("the shapes do not broadcast");
    let clamp = clamp(op.activation);
    let derivative = Arithmetic {
        kind: op.kind,
        kernel,
        clamp,
        epilogue: Epilogue::new(out.elements(), 1),
        both: pair(a, b)?,
        with: [pair(out, a)?, pair(out, b)?],
        fold: [Fold::new(&out.dims, &a.dims)?, Fold::new(&out.dims, &b.dims)?],
    };
    let linear = matches!(op.kind, BinaryKind::Add | BinaryKind::Sub);
    let passes = |side: &usize| derivative.fold[*side].is_none() && (op.kind == BinaryKind::Add || *side == 0);
    let passes = [0, 1].into_iter().filter(|side| linear && passes(side)).collect();
    let product = op.kind == BinaryKind::Mul;
    let (first, second) = (site.wants(0), site.wants(1));
    let needs_a = !linear && (second || (first && !product && op.kind != BinaryKind::Div));
    let needs_b = !linear && (first || !product);
    let reads = Derived::new(derivative).reading(needs_a, &[0]).reading(needs_b, &[1]);
    Ok(reads.passing(passes).reading_outputs(!clamp.is_none()))
}

impl Derivative for Arithmetic {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        kernels::binary(self.kernel, &self.both, run.input(0), run.input(1), run.output(), self.clamp);
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        self.epilogue.run(dy, run.output(), self.clamp, None);
        for side in [0, 1] {
            if let Some(target) = run.target(side) {
                self.side(side, dy, target, run);
            }
        }
    }
}

impl Arithmetic {
    fn side(&self, side: usize, dy: &[f32], target: Target<'_>, run: &mut Backward<'_>) {
        use BinaryKind as K;
        let fold = &self.fold[side];
        let direct = fold.is_none() && !target.accumulate;
        let share = target.data.len();
        let operands = (run.optional(0).unwrap_or(&[]), run.optional(1).unwrap_or(&[]));
        let (a, b) = operands;
        if side == 0 && matches!(self.kind, K::Add | K::Sub) || self.kind == K::Add {
            let [scratch] = run.scratch.get([share]);
            return fold.give(dy, target, scratch);
        }
        let [full, scratch, spare] = run.scratch.get([dy.len(), share, dy.len()]);
        if direct {
            return self.full(side, dy, a, b, target.data, spare);
        }
        self.full(side, dy, a, b, full, spare);
        fold.give(full, target, scratch);
    }

    /// The gradient of one side in the shape of the output.
    fn full(&self, side: usize, dy: &[f32], a: &[f32], b: &[f32], out: &mut [f32], spare: &mut [f32]) {
        use BinaryKind as K;
        let [with_a, with_b] = &self.with;
        match (self.kind, side) {
            (K::Sub, _) => out.iter_mut().zip(dy).for_each(|(o, d)| *o = -d),
            (K::Mul, 0) => with_b.apply(dy, b, out, |d, b| d * b),
            (K::Mul, _) => with_a.apply(dy, a, out, |d, a| d * a),
            (K::Div, 0) => with_b.apply(dy, b, out, |d, b| d / b),
            _ => {
                // Both operands in full, then one walk over three slices.
                with_a.apply(dy, a, out, |_, a| a);
                with_b.apply(dy, b, spare, |_, b| b);
                let partial = partial(self.kind, side);
                for ((o, b), d) in out.iter_mut().zip(&*spare).zip(dy) {
                    *o = d * partial(*o, *b);
                }
            }
        }
    }
}

/// The partial derivative by one side. Where minimum and maximum meet, each side has half.
fn partial(kind: BinaryKind, side: usize) -> fn(f32, f32) -> f32 {
    use BinaryKind as K;
    match (kind, side) {
        (K::Div, _) => |a, b| -a / (b * b),
        (K::Pow, 0) => |a, b| if b == 0.0 { 0.0 } else { b * a.powf(b - 1.0) },
        (K::Pow, _) => |a, b| if a > 0.0 { a.powf(b) * a.ln() } else { 0.0 },
        (K::Min, 0) => |a, b| share(a < b, a == b),
        (K::Min, _) => |a, b| share(b < a, a == b),
        (K::Max, 0) => |a, b| share(a > b, a == b),
        (K::Max, _) => |a, b| share(b > a, a == b),
        (K::SquaredDifference, 0) => |a, b| 2.0 * (a - b),
        (K::SquaredDifference, _) => |a, b| 2.0 * (b - a),
        // The others are done without.
        _ => |_, _| 0.0,
    }
}

fn share(chosen: bool, tied: bool) -> f32 {
    let all = if chosen { 1.0 } else { 0.0 };
    if tied { 0.5 } else { all }
}
