//! Shapes whose dimensions may be symbolic.

use std::fmt;
use std::sync::Arc;

/// One dimension of a tensor.
///
/// A symbolic dimension is known by its text: `N` from the file, or an expression over such names
/// (`(N*12)`) that shape inference built. Two dimensions with the same text are the same size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dim {
    /// A size known before running.
    Fixed(usize),
    /// A size known only from the run's inputs.
    Symbol(Arc<str>),
}

impl Dim {
    /// A symbolic dimension.
    pub fn symbol(name: impl AsRef<str>) -> Self {
        Dim::Symbol(Arc::from(name.as_ref()))
    }

    /// The size, if fixed.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(*n),
            Dim::Symbol(_) => None,
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        Dim::Fixed(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
        }
    }
}

/// The dimensions of a tensor, outermost first. A scalar has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of fixed dimensions.
    pub fn fixed(dims: &[usize]) -> Self {
        Shape(dims.iter().map(|&d| Dim::Fixed(d)).collect())
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// All dimensions as numbers, `None` if one is symbolic.
    pub fn to_fixed(&self) -> Option<Vec<usize>> {
        self.0.iter().map(Dim::fixed).collect()
    }

    /// Number of elements; `None` if a dimension is symbolic, or if the product of those that are
    /// not 0 is beyond what can be addressed (strides multiply them up even where one is 0).
    pub fn elements(&self) -> Option<usize> {
        element_count(&self.to_fixed()?)
    }

    /// The shape with dimensions reordered: `out[i] = self[perm[i]]`. `None` if `perm` is not a
    /// permutation of the axes.
    pub fn permuted(&self, perm: &[usize]) -> Option<Self> {
        let mut seen = vec![false; self.rank()];
        if perm.len() != self.rank() {
            return None;
        }
        for &p in perm {
            if *seen.get(p)? {
                return None;
            }
            seen[p] = true;
        }
        Some(Shape(perm.iter().map(|&p| self.0[p].clone()).collect()))
    }
}

/// As [`Shape::elements`].
pub(crate) fn element_count(dims: &[usize]) -> Option<usize> {
    let extent = extent(dims)?;
    Some(if dims.contains(&0) { 0 } else { extent })
}

/// Product of the dimensions that are not 0, which bounds every stride; `None` if so many elements
/// of the widest type have no address.
fn extent(dims: &[usize]) -> Option<usize> {
    let extent = dims.iter().filter(|&&d| d > 0).try_fold(1usize, |n, &d| n.checked_mul(d));
    extent.filter(|&n| n <= isize::MAX.unsigned_abs() / size_of::<u64>())
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dimension_of_zero_does_not_hide_an_overflow() {
        let huge = 1 << 40;
        for dims in [[0, huge, huge], [huge, 0, huge], [huge, huge, 0]] {
            assert_eq!(Shape::fixed(&dims).elements(), None, "{dims:?}");
        }
        assert_eq!(Shape::fixed(&[0, 1 << 62]).elements(), None);
        assert_eq!(Shape::fixed(&[3, 0, huge]).elements(), Some(0));
        assert_eq!(Shape::default().elements(), Some(1));
    }
}
