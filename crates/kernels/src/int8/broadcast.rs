//! Broadcasting of two operands, NumPy's rules.

/// How two shapes broadcast together, reduced to as few dimensions as possible.
///
/// Dimensions are aligned at the right; a dimension of 1 repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Outermost first; never empty.
    dims: Vec<Dim>,
    a_len: usize,
    b_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dim {
    len: usize,
    a_stride: usize,
    b_stride: usize,
}

/// One innermost row: where it starts in the output and the operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) out: usize,
    pub(crate) a: usize,
    pub(crate) b: usize,
}

impl Broadcast {
    /// The broadcast of two shapes; `None` if they do not broadcast.
    pub fn new(a_shape: &[usize], b_shape: &[usize]) -> Option<Self> {
        let rank = a_shape.len().max(b_shape.len());
        let dim = |shape: &[usize], i: usize| {
            let missing = rank - shape.len();
            if i < missing { 1 } else { shape[i - missing] }
        };
        let (mut a_size, mut b_size) = (1, 1);
        let mut dims: Vec<Dim> = Vec::new();
        for i in (0..rank).rev() {
            let (a, b) = (dim(a_shape, i), dim(b_shape, i));
            if a != b && a != 1 && b != 1 {
                return None;
            }
            let next = Dim {
                len: if a == 1 { b } else { a },
                a_stride: if a == 1 { 0 } else { a_size },
                b_stride: if b == 1 { 0 } else { b_size },
            };
            a_size *= a;
            b_size *= b;
            match dims.last_mut() {
                _ if next.len == 1 => {}
                Some(inner)
                    if next.a_stride == inner.a_stride * inner.len && next.b_stride == inner.b_stride * inner.len =>
                {
                    inner.len *= next.len;
                }
                _ => dims.push(next),
            }
        }
        if dims.is_empty() {
            dims.push(Dim { len: 1, a_stride: 1, b_stride: 1 });
        }
        dims.reverse();
        Some(Self { dims, a_len: a_size, b_len: b_size })
    }

    /// Two operands of the same `len` elements.
    pub fn same(len: usize) -> Self {
        Self { dims: vec![Dim { len, a_stride: 1, b_stride: 1 }], a_len: len, b_len: len }
    }

    /// Elements of the output.
    pub fn out_len(&self) -> usize {
        self.dims.iter().map(|dim| dim.len).product()
    }

    /// Elements the operands must have.
    pub(crate) fn operand_lens(&self) -> (usize, usize) {
        (self.a_len, self.b_len)
    }

    /// Length of an innermost row, and whether each operand repeats one value along it.
    ///
    /// Along the innermost dimension a stride is 0 or 1 by construction.
    pub(crate) fn inner(&self) -> (usize, bool, bool) {
        let inner = self.dims[self.dims.len() - 1];
        (inner.len, inner.a_stride == 0, inner.b_stride == 0)
    }

    /// Visits every innermost row in output order.
    pub(crate) fn rows(&self, mut visit: impl FnMut(Row)) {
        let (inner, outer) = self.dims.split_last().expect("a broadcast has a dimension");
        let count: usize = outer.iter().map(|dim| dim.len).product();
        let count = if inner.len == 0 { 0 } else { count };
        for i in 0..count {
            let (mut rest, mut a, mut b) = (i, 0, 0);
            for dim in outer.iter().rev() {
                a += rest % dim.len * dim.a_stride;
                b += rest % dim.len * dim.b_stride;
                rest /= dim.len;
            }
            let out = i * inner.len;
            visit(Row { out, a, b });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_merge_when_both_operands_allow() {
        let same = Broadcast::new(&[2, 3, 4], &[2, 3, 4]).unwrap();
        assert_eq!(same, Broadcast::same(24));
        let channel = Broadcast::new(&[1, 5, 6, 7], &[7]).unwrap();
        assert_eq!((channel.dims.len(), channel.inner()), (2, (7, false, false)));
        let scalar = Broadcast::new(&[5, 6], &[]).unwrap();
        assert_eq!(scalar.inner(), (30, false, true));
        assert_eq!(scalar.operand_lens(), (30, 1));
        let gate = Broadcast::new(&[2, 3, 3, 4], &[2, 1, 1, 4]).unwrap();
        assert_eq!(gate.dims.len(), 3);
        assert_eq!(gate.operand_lens(), (72, 8));
    }

    #[test]
    fn shapes_that_do_not_broadcast_are_refused() {
        assert_eq!(Broadcast::new(&[2, 3], &[2]), None);
        assert_eq!(Broadcast::new(&[0], &[3]), None);
        assert_eq!(Broadcast::new(&[0], &[1]).unwrap().out_len(), 0);
    }
}
