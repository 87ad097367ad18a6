//! Reductions over axes.

use fewbits_graph::ops::{Expand, Reduce, ReduceKind};
use fewbits_graph::{Op, Tensor};
use fewbits_kernels::float::grad::blocks::BlockMap;
use fewbits_kernels::float::reduce::{self as kernels, Reduction};

use super::movement::positions;
use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Edge, Site};

struct Fold {
    kind: ReduceKind,
    kernel: kernels::ReduceKind,
    reduction: Reduction,
    spread: Spread,
}

/// How an output's gradient reaches the inputs that it folds.
enum Spread {
    /// The same to each.
    Evenly(BlockMap),
    /// Each by its value: the output of each input.
    ByValue(Vec<u32>),
}

pub(super) fn reduce(op: &Reduce, site: &Site) -> Derivation {
    site.only(&[0])?;
    let kernel = match op.kind {
        ReduceKind::Sum => kernels::ReduceKind::Sum,
        ReduceKind::Mean => kernels::ReduceKind::Mean,
        ReduceKind::Max => kernels::ReduceKind::Max,
        ReduceKind::Min => kernels::ReduceKind::Min,
        ReduceKind::Prod => kernels::ReduceKind::Prod,
        ReduceKind::L1 => kernels::ReduceKind::L1,
        ReduceKind::L2 => kernels::ReduceKind::L2,
        ReduceKind::SumSquare => kernels::ReduceKind::SumSquare,
        ReduceKind::LogSum => kernels::ReduceKind::LogSum,
        ReduceKind::LogSumExp => kernels::ReduceKind::LogSumExp,
    };
    let x = site.input(0)?;
    let reduction = Reduction::new(&x.dims, &op.axes).ok_or("too many axes")?;
    let owners = owners(&x.dims, &op.axes)?;
    let even = matches!(op.kind, ReduceKind::Sum | ReduceKind::Mean);
    let spread = if even {
        let weight = if op.kind == ReduceKind::Mean { 1.0 / reduction.count() as f32 } else { 1.0 };
        let map = BlockMap::moving(reduction.out_len(), &owners).ok_or("the tensor is too large")?;
        Spread::Evenly(map.scaled(weight))
    } else {
        let narrow = |o: Option<usize>| u32::try_from(o.unwrap_or(0)).map_err(|_| "the tensor is too large".to_owned());
        Spread::ByValue(owners.into_iter().map(narrow).collect::<Result<_, _>>()?)
    };
    let derived = Derived::new(Fold { kind: op.kind, kernel, reduction, spread });
    Ok(derived.reading(!even, &[0]).reading_outputs(!even))
}

/// The output of each input element: the folded tensor expanded again.
fn owners(dims: &[usize], axes: &[usize]) -> Result<Vec<Option<usize>>, String> {
    let kept: Vec<usize> = dims.iter().enumerate().map(|(i, &d)| if axes.contains(&i) { 1 } else { d }).collect();
    let edge = |dims: &[usize], data: Option<Tensor>| Edge {
        dtype: fewbits_graph::DType::F32,
        dims: dims.to_vec(),
        data,
        wanted: false,
    };
    let sizes: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
    let inputs = vec![Some(edge(&kept, None)), Some(edge(&[dims.len()], Some(Tensor::from_ints(&sizes))))];
    let site = Site { inputs, outputs: vec![edge(dims, None)] };
    positions(&Op::Expand(Expand), &site)?.pop().ok_or_else(|| "there is no output".to_owned())
}

impl Derivative for Fold {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        self.reduction.run(self.kernel, run.input(0), run.output());
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let dy = run.gradient();
        let Some(target) = run.target(0) else { return };
        let owners = match &self.spread {
            Spread::Evenly(map) => return map.apply(dy, target.data, target.accumulate),
            Spread::ByValue(owners) => owners,
        };
        let (x, y) = (run.input(0), run.output());
        if matches!(self.kind, ReduceKind::Max | ReduceKind::Min) {
            share_among_ties(owners, x, y, dy);
        }
        let factor = factor(self.kind);
        let (dx, accumulate) = target.parts();
        for ((dx, x), &owner) in dx.iter_mut().zip(x).zip(owners) {
            let owner = owner as usize;
            let g = dy[owner] * factor(*x, y[owner]);
            *dx = if accumulate { *dx + g } else { g };
        }
    }
}

/// Divides each gradient by the number of inputs that have the extreme value.
fn share_among_ties(owners: &[u32], x: &[f32], y: &[f32], dy: &mut [f32]) {
    let mut ties = vec![0u32; y.len()];
    for (x, &owner) in x.iter().zip(owners) {
        ties[owner as usize] += u32::from(*x == y[owner as usize]);
    }
    dy.iter_mut().zip(ties).for_each(|(d, n)| *d /= n.max(1) as f32);
}

/// The derivative of the result `y` by an input `x`.
fn factor(kind: ReduceKind) -> fn(f32, f32) -> f32 {
    match kind {
        ReduceKind::Sum | ReduceKind::Mean => |_, _| 1.0,
        ReduceKind::Max | ReduceKind::Min => |x, y| if x == y { 1.0 } else { 0.0 },
        // Undefined where an input is 0, as in a division by it.
        ReduceKind::Prod => |x, y| y / x,
        ReduceKind::L1 => |x, _| if x == 0.0 { 0.0 } else { x.signum() },
        ReduceKind::L2 => |x, y| if y == 0.0 { 0.0 } else { x / y },
        ReduceKind::SumSquare => |x, _| 2.0 * x,
        ReduceKind::LogSum => |_, y| (-y).exp(),
        ReduceKind::LogSumExp => |x, y| (x - y).exp(),
    }
}
