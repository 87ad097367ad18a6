//! Reductions over any set of axes, accumulated in f64 in an order fixed by the shape.

use super::dispatch::{avx2, multiversion};
use super::{parallel, vmath};

/// Outputs accumulated together when the innermost axis is kept.
const BLOCK: usize = 64;
/// Partial results along an innermost axis that is reduced.
const LANES: usize = 8;
/// Most merged axes of either sort.
const MAX_AXES: usize = 8;

/// What a reduction computes of the values it folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Arithmetic mean; NaN over nothing.
    Mean,
    /// Largest, NaN if any is NaN; `-inf` over nothing.
    Max,
    /// Smallest, NaN if any is NaN; `inf` over nothing.
    Min,
    /// Product.
    Prod,
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
    /// Sum of squares.
    SumSquare,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials, shifted by the maximum.
    LogSumExp,
}

/// Which axes of which shape are reduced: built once for a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    kept: Vec<Axis>,
    reduced: Vec<Axis>,
    out_len: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    len: usize,
    stride: usize,
}

impl Reduction {
    /// The reduction of a tensor of shape `dims` over `axes` (each below the rank; repeats count
    /// once). The output has the other axes in order.
    ///
    /// `None` if an axis is out of range or more than eight axes of a sort remain after merging
    /// neighbours.
    pub fn new(dims: &[usize], axes: &[usize]) -> Option<Self> {
        if axes.iter().any(|&a| a >= dims.len()) {
            return None;
        }
        let (mut kept, mut reduced): (Vec<Axis>, Vec<Axis>) = (Vec::new(), Vec::new());
        let mut stride = 1;
        let mut last = None;
        for (i, &len) in dims.iter().enumerate().rev() {
            let is_reduced = axes.contains(&i);
            if len == 1 {
                continue;
            }
            let list = if is_reduced { &mut reduced } else { &mut kept };
            match list.last_mut() {
                Some(axis) if last == Some(is_reduced) => axis.len *= len,
                _ => list.push(Axis { len, stride }),
            }
            last = Some(is_reduced);
            stride *= len;
        }
        kept.reverse();
        reduced.reverse();
        let size = |reduce: bool| {
            let dims = dims.iter().enumerate();
            dims.filter(|(i, _)| axes.contains(i) == reduce).map(|(_, d)| d).product()
        };
        let (out_len, count) = (size(false), size(true));
        (kept.len() <= MAX_AXES && reduced.len() <= MAX_AXES).then_some(Self { kept, reduced, out_len, count })
    }

    /// Elements of the output.
    pub fn out_len(&self) -> usize {
        self.out_len
    }

    /// Input elements folded into each output.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Reduces `x` into `out`.
    ///
    /// # Panics
    /// If a slice does not fit the shape.
    pub fn run(&self, kind: ReduceKind, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), self.out_len * self.count);
        assert_eq!(out.len(), self.out_len);
        let isa = avx2();
        let parallel = parallel::worthwhile(x.len());
        let chunk = (parallel::CHUNK / self.count.max(1)).max(1).next_multiple_of(BLOCK);
        parallel::chunks_mut(out, chunk, parallel, |i, out| {
            piece(isa, self, kind, x, i * chunk, out);
        });
    }

    /// Offset in the input of the first element of output `index`.
    fn base(&self, index: usize) -> usize {
        let mut rest = index;
        let mut offset = 0;
        for axis in self.kept.iter().rev() {
            offset += rest % axis.len * axis.stride;
            rest /= axis.len;
        }
        offset
    }

    /// Outputs from `index` on that are neighbours in the input too, at most a block.
    fn run_len(&self, index: usize, left: usize) -> usize {
        match self.kept.last() {
            Some(axis) if axis.stride == 1 => (axis.len - index % axis.len).min(BLOCK).min(left),
            _ => 1,
        }
    }
}

multiversion! {
    fn piece(plan: &Reduction, kind: ReduceKind, x: &[f32], first: usize, out: &mut [f32]) = piece_body
}

#[inline(always)]
fn piece_body(plan: &Reduction, kind: ReduceKind, x: &[f32], first: usize, out: &mut [f32]) {
    let mut done = 0;
    while done < out.len() {
        let width = plan.run_len(first + done, out.len() - done);
        let block = Block { plan, x, base: plan.base(first + done), width };
        let acc = block.reduce(kind);
        for (y, a) in out[done..done + width].iter_mut().zip(&acc) {
            *y = *a as f32;
        }
        done += width;
    }
}

struct Block<'a> {
    plan: &'a Reduction,
    x: &'a [f32],
    base: usize,
    width: usize,
}

impl Block<'_> {
    #[inline(always)]
    fn reduce(&self, kind: ReduceKind) -> [f64; BLOCK] {
        let sum = |a: f64, b: f64| a + b;
        let max = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
        match kind {
            ReduceKind::Sum => self.fold(0.0, |x, _| f64::from(x), sum),
            ReduceKind::Mean => {
                let count = self.plan.count as f64;
                self.fold(0.0, |x, _| f64::from(x), sum).map(|s| s / count)
            }
            ReduceKind::Max => self.fold(f64::NEG_INFINITY, |x, _| f64::from(x), max),
            ReduceKind::Min => {
                let min = |a: f64, b: f64| if b < a || b.is_nan() { b } else { a };
                self.fold(f64::INFINITY, |x, _| f64::from(x), min)
            }
            ReduceKind::Prod => self.fold(1.0, |x, _| f64::from(x), |a, b| a * b),
            ReduceKind::L1 => self.fold(0.0, |x, _| f64::from(x.abs()), sum),
            ReduceKind::SumSquare => self.fold(0.0, square, sum),
            ReduceKind::L2 => self.fold(0.0, square, sum).map(f64::sqrt),
            ReduceKind::LogSum => self.fold(0.0, |x, _| f64::from(x), sum).map(f64::ln),
            ReduceKind::LogSumExp => {
                let top = self.fold(f64::NEG_INFINITY, |x, _| f64::from(x), max);
                // An infinite maximum is the answer; subtracting it would make NaN.
                let shift = top.map(|t| if t.is_finite() { t } else { 0.0 });
                let exp = |x: f32, j: usize| f64::from(vmath::exp(x - shift[j] as f32));
                let mut sums = self.fold(0.0, exp, sum);
                for (s, m) in sums.iter_mut().zip(shift) {
                    *s = s.ln() + m;
                }
                sums
            }
        }
    }

    /// `combine` over `map(x, j)` of every element of output `j`, starting with `init`.
    #[inline(always)]
    fn fold(&self, init: f64, map: impl Fn(f32, usize) -> f64, combine: impl Fn(f64, f64) -> f64) -> [f64; BLOCK] {
        let mut acc = [init; BLOCK];
        if self.plan.count == 0 {
            return acc;
        }
        let Some((&inner, outer)) = self.plan.reduced.split_last() else {
            for (j, (acc, x)) in acc.iter_mut().zip(&self.x[self.base..][..self.width]).enumerate() {
                *acc = combine(*acc, map(*x, j));
            }
            return acc;
        };
        let mut index = [0; MAX_AXES];
        let mut at = self.base;
        loop {
            if inner.stride == 1 {
                acc[0] = combine(acc[0], fold_run(&self.x[at..at + inner.len], init, &map, &combine));
            } else {
                for i in 0..inner.len {
                    let line = &self.x[at + i * inner.stride..][..self.width];
                    for (j, (acc, x)) in acc.iter_mut().zip(line).enumerate() {
                        *acc = combine(*acc, map(*x, j));
                    }
                }
            }
            let mut wrapped = true;
            for (slot, axis) in index.iter_mut().zip(outer).rev() {
                *slot += 1;
                at += axis.stride;
                if *slot < axis.len {
                    wrapped = false;
                    break;
                }
                at -= axis.len * axis.stride;
                *slot = 0;
            }
            if wrapped {
                return acc;
            }
        }
    }
}

#[inline(always)]
fn square(x: f32, _: usize) -> f64 {
    f64::from(x) * f64::from(x)
}

/// Folds contiguous elements of one output in lanes, then the lanes as a tree.
#[inline(always)]
fn fold_run(x: &[f32], init: f64, map: impl Fn(f32, usize) -> f64, combine: impl Fn(f64, f64) -> f64) -> f64 {
    let mut acc = [init; LANES];
    let (main, rest) = x.as_chunks::<LANES>();
    for x in main {
        for i in 0..LANES {
            acc[i] = combine(acc[i], map(x[i], 0));
        }
    }
    for (acc, x) in acc.iter_mut().zip(rest) {
        *acc = combine(*acc, map(*x, 0));
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            acc[i] = combine(acc[i], acc[i + width]);
        }
        width /= 2;
    }
    acc[0]
}
