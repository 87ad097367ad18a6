//! Element-wise operations on two tensors with numpy broadcasting.
//!
//! [`Broadcast`] turns two shapes into the fewest loops that walk them together; it is generic
//! over the element types, so integer and boolean operators are a closure away.

use super::Clamp;
use super::dispatch::{avx2, multiversion};
use super::parallel;

/// Most axes that remain after merging; merged shapes of real models have two or three.
const MAX_AXES: usize = 8;

/// How two tensors meet: the output shape, and merged loops with the stride of each operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    shape: Vec<usize>,
    loops: Vec<Loop>,
}

/// One merged axis; a stride of 0 repeats the operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Loop {
    len: usize,
    a: usize,
    b: usize,
}

impl Broadcast {
    /// The walk over shapes `a` and `b`, aligned at their last axes; `None` if some axis has two
    /// different lengths, neither of them 1, or more than eight axes remain after merging.
    pub fn new(a: &[usize], b: &[usize]) -> Option<Self> {
        let rank = a.len().max(b.len());
        let at = |dims: &[usize], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
        let mut shape = vec![0; rank];
        let mut loops: Vec<Loop> = Vec::with_capacity(rank);
        let (mut stride_a, mut stride_b) = (1, 1);
        for i in (0..rank).rev() {
            let (da, db) = (at(a, i), at(b, i));
            if da != db && da != 1 && db != 1 {
                return None;
            }
            let len = if da == 1 { db } else { da };
            shape[i] = len;
            let new = Loop { len, a: if da == 1 { 0 } else { stride_a }, b: if db == 1 { 0 } else { stride_b } };
            stride_a *= da;
            stride_b *= db;
            if len == 1 {
                continue;
            }
            match loops.last_mut() {
                // The outer axis continues the inner one in both operands: one loop.
                Some(inner) if new.a == inner.a * inner.len && new.b == inner.b * inner.len => {
                    inner.len *= len;
                }
                _ => loops.push(new),
            }
        }
        if loops.is_empty() {
            loops.push(Loop { len: 1, a: 0, b: 0 });
        }
        loops.reverse();
        (loops.len() <= MAX_AXES).then_some(Self { shape, loops })
    }

    /// The broadcast shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements of the output.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the output has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For every output element in order, the offset of the element of `a` and of `b` that it
    /// takes: the batch offsets of a batched matrix product when multiplied by the matrix sizes.
    pub fn offsets(&self) -> (Vec<usize>, Vec<usize>) {
        let (mut a, mut b) = (Vec::with_capacity(self.len()), Vec::with_capacity(self.len()));
        self.walk(0, self.len(), |_, len, i, j, step| {
            for t in 0..len {
                a.push(i + t * step.a);
                b.push(j + t * step.b);
            }
        });
        (a, b)
    }

    /// `out[i] = f(a[..], b[..])` for every output element, in parallel for large tensors.
    ///
    /// # Panics
    /// If a slice does not fit its shape.
    pub fn apply<A, B, O>(&self, a: &[A], b: &[B], out: &mut [O], f: impl Fn(A, B) -> O + Sync)
    where
        A: Copy + Sync,
        B: Copy + Sync,
        O: Send,
    {
        assert_eq!(out.len(), self.len());
        let parallel = parallel::worthwhile(out.len());
        parallel::chunks_mut(out, parallel::CHUNK, parallel, |i, piece| {
            self.piece(a, b, i * parallel::CHUNK, piece, &f);
        });
    }

    /// Output elements `first..first + out.len()`.
    #[inline(always)]
    fn piece<A: Copy, B: Copy, O>(&self, a: &[A], b: &[B], first: usize, out: &mut [O], f: impl Fn(A, B) -> O) {
        self.walk(first, out.len(), |at, len, i, j, step| {
            let out = &mut out[at..at + len];
            match (step.a, step.b) {
                (1, 1) => {
                    let pairs = a[i..i + len].iter().zip(&b[j..j + len]);
                    out.iter_mut().zip(pairs).for_each(|(y, (&a, &b))| *y = f(a, b));
                }
                (1, 0) => {
                    let b = b[j];
                    out.iter_mut().zip(&a[i..i + len]).for_each(|(y, &a)| *y = f(a, b));
                }
                (0, 1) => {
                    let a = a[i];
                    out.iter_mut().zip(&b[j..j + len]).for_each(|(y, &b)| *y = f(a, b));
                }
                _ => {
                    for (t, y) in out.iter_mut().enumerate() {
                        *y = f(a[i + t * step.a], b[j + t * step.b]);
                    }
                }
            }
        });
    }

    /// Calls `f(at, len, a, b, loop)` for runs along the innermost loop that together cover
    /// output elements `first..first + count`; `at` counts from `first`.
    #[inline(always)]
    fn walk(&self, first: usize, count: usize, mut f: impl FnMut(usize, usize, usize, usize, Loop)) {
        if count == 0 {
            return;
        }
        let Some((&inner, outer)) = self.loops.split_last() else {
            return;
        };
        let mut index = [0; MAX_AXES];
        let (mut col, mut rest) = (first % inner.len, first / inner.len);
        let (mut i, mut j) = (0, 0);
        for (slot, axis) in index.iter_mut().zip(outer).rev() {
            *slot = rest % axis.len;
            rest /= axis.len;
            i += *slot * axis.a;
            j += *slot * axis.b;
        }
        let mut done = 0;
        loop {
            let len = (inner.len - col).min(count - done);
            f(done, len, i + col * inner.a, j + col * inner.b, inner);
            done += len;
            if done == count {
                return;
            }
            col = 0;
            for (slot, axis) in index.iter_mut().zip(outer).rev() {
                *slot += 1;
                i += axis.a;
                j += axis.b;
                if *slot < axis.len {
                    break;
                }
                i -= axis.len * axis.a;
                j -= axis.len * axis.b;
                *slot = 0;
            }
        }
    }
}

/// Arithmetic on two floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryKind {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `a` to the power `b`
    Pow,
    /// The smaller; NaN if either is NaN.
    Min,
    /// The larger; NaN if either is NaN.
    Max,
    /// `(a - b)^2`
    SquaredDifference,
    /// Remainder with the sign of the dividend (C `fmod`, ONNX `Mod` with `fmod = 1`).
    Mod,
    /// Remainder with the sign of the divisor (Python `%`, TFLite `FLOOR_MOD`).
    FloorMod,
    /// `floor(a / b)`
    FloorDiv,
}

/// `out = clamp(kind(a, b))` over the broadcast of the two shapes.
///
/// # Panics
/// If a slice does not fit its shape.
pub fn binary(kind: BinaryKind, shapes: &Broadcast, a: &[f32], b: &[f32], out: &mut [f32], clamp: Clamp) {
    assert_eq!(out.len(), shapes.len());
    let isa = avx2();
    let parallel = parallel::worthwhile(out.len());
    parallel::chunks_mut(out, parallel::CHUNK, parallel, |i, piece| {
        binary_piece(isa, kind, shapes, a, b, i * parallel::CHUNK, piece, clamp);
    });
}

multiversion! {
    fn binary_piece(
        kind: BinaryKind,
        shapes: &Broadcast,
        a: &[f32],
        b: &[f32],
        first: usize,
        out: &mut [f32],
        clamp: Clamp,
    ) = binary_piece_body
}

#[inline(always)]
fn binary_piece_body(
    kind: BinaryKind,
    shapes: &Broadcast,
    a: &[f32],
    b: &[f32],
    first: usize,
    out: &mut [f32],
    clamp: Clamp,
) {
    use BinaryKind as K;
    match kind {
        K::Add => shapes.piece(a, b, first, out, |a, b| clamp.apply(a + b)),
        K::Sub => shapes.piece(a, b, first, out, |a, b| clamp.apply(a - b)),
        K::Mul => shapes.piece(a, b, first, out, |a, b| clamp.apply(a * b)),
        K::Div => shapes.piece(a, b, first, out, |a, b| clamp.apply(a / b)),
        K::Min => shapes.piece(a, b, first, out, |a, b| clamp.apply(minimum(a, b))),
        K::Max => shapes.piece(a, b, first, out, |a, b| clamp.apply(maximum(a, b))),
        K::SquaredDifference => {
            shapes.piece(a, b, first, out, |a, b| clamp.apply((a - b) * (a - b)));
        }
        K::Pow => shapes.piece(a, b, first, out, |a, b| clamp.apply(f32::powf(a, b))),
        K::Mod => shapes.piece(a, b, first, out, |a, b| clamp.apply(a % b)),
        K::FloorMod => shapes.piece(a, b, first, out, |a, b| clamp.apply(floor_mod(a, b))),
        K::FloorDiv => shapes.piece(a, b, first, out, |a, b| clamp.apply((a / b).floor())),
    }
}

#[inline(always)]
fn minimum(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn maximum(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

fn floor_mod(a: f32, b: f32) -> f32 {
    let r = a % b;
    if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
}

/// A comparison of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareKind {
    /// `a == b`
    Equal,
    /// `a != b`
    NotEqual,
    /// `a < b`
    Less,
    /// `a <= b`
    LessEqual,
    /// `a > b`
    Greater,
    /// `a >= b`
    GreaterEqual,
}

/// `out = kind(a, b)` as 0 or 1, over the broadcast of the two shapes, for any ordered type.
///
/// # Panics
/// If a slice does not fit its shape.
pub fn compare<T: Copy + PartialOrd + Sync>(kind: CompareKind, shapes: &Broadcast, a: &[T], b: &[T], out: &mut [u8]) {
    match kind {
        CompareKind::Equal => shapes.apply(a, b, out, |a, b| u8::from(a == b)),
        CompareKind::NotEqual => shapes.apply(a, b, out, |a, b| u8::from(a != b)),
        CompareKind::Less => shapes.apply(a, b, out, |a, b| u8::from(a < b)),
        CompareKind::LessEqual => shapes.apply(a, b, out, |a, b| u8::from(a <= b)),
        CompareKind::Greater => shapes.apply(a, b, out, |a, b| u8::from(a > b)),
        CompareKind::GreaterEqual => shapes.apply(a, b, out, |a, b| u8::from(a >= b)),
    }
}
