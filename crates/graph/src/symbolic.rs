//! Integers that may be known only as an expression, for shape arithmetic.

use std::fmt;
use std::sync::Arc;

use crate::Dim;

/// An element of an integer tensor during shape inference: a number, or an expression by its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymInt {
    /// A number.
    Known(i64),
    /// An expression over symbolic dimensions.
    Expr(Arc<str>),
}

impl SymInt {
    /// The number, if known.
    pub fn known(&self) -> Option<i64> {
        match self {
            SymInt::Known(n) => Some(*n),
            SymInt::Expr(_) => None,
        }
    }

    /// `self + other`.
    pub fn add(&self, other: &Self) -> Self {
        self.combine(other, '+', i64::checked_add)
    }

    /// `self − other`.
    pub fn sub(&self, other: &Self) -> Self {
        self.combine(other, '-', i64::checked_sub)
    }

    /// `self × other`.
    pub fn mul(&self, other: &Self) -> Self {
        self.combine(other, '*', i64::checked_mul)
    }

    /// `self ÷ other`, towards zero as integer division in ONNX.
    pub fn div(&self, other: &Self) -> Self {
        self.combine(other, '/', i64::checked_div)
    }

    fn combine(&self, other: &Self, sign: char, f: fn(i64, i64) -> Option<i64>) -> Self {
        use SymInt::Known;
        match (self, other) {
            (Known(a), Known(b)) => {
                if let Some(n) = f(*a, *b) {
                    return Known(n);
                }
            }
            (a, Known(0)) if matches!(sign, '+' | '-') => return a.clone(),
            (Known(0), b) if sign == '+' => return b.clone(),
            (a, Known(1)) if matches!(sign, '*' | '/') => return a.clone(),
            (Known(1), b) if sign == '*' => return b.clone(),
            (_, Known(0)) | (Known(0), _) if sign == '*' => return Known(0),
            (a, b) if sign == '-' && a == b => return Known(0),
            (a, b) if sign == '/' && a == b => return Known(1),
            _ => {}
        }
        SymInt::Expr(bounded(format!("({self}{sign}{other})")))
    }

    /// The value as a dimension; `None` if it is a negative number.
    pub fn to_dim(&self) -> Option<Dim> {
        match self {
            SymInt::Known(n) => usize::try_from(*n).ok().map(Dim::Fixed),
            SymInt::Expr(e) => Some(Dim::Symbol(e.clone())),
        }
    }
}

/// Longest text of an expression, in bytes. That of `x + x`, of which a file can have any number in
/// a row, is twice as long as that of `x`.
const LONGEST: usize = 1024;

/// The expression, or a name for one that is too long: equal expressions have equal names.
pub(crate) fn bounded(text: String) -> Arc<str> {
    if text.len() <= LONGEST {
        return Arc::from(text);
    }
    // FNV-1a of 128 bits (Fowler, Noll and Vo).
    let hash = text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    Arc::from(format!("(expression {hash:032x})"))
}

impl From<i64> for SymInt {
    fn from(n: i64) -> Self {
        SymInt::Known(n)
    }
}

impl From<&Dim> for SymInt {
    fn from(d: &Dim) -> Self {
        match d {
            // Dimensions come from allocatable sizes, so the conversion does not lose anything.
            Dim::Fixed(n) => SymInt::Known(i64::try_from(*n).unwrap_or(i64::MAX)),
            Dim::Symbol(s) => SymInt::Expr(s.clone()),
        }
    }
}

impl fmt::Display for SymInt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SymInt::Known(n) => write!(f, "{n}"),
            SymInt::Expr(e) => f.write_str(e),
        }
    }
}

/// The product of dimensions as one expression.
pub(crate) fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> SymInt {
    dims.into_iter().fold(SymInt::Known(1), |n, d| n.mul(&SymInt::from(d)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn n(text: &str) -> SymInt {
        SymInt::from(&Dim::symbol(text))
    }

    #[test]
    fn neutral_numbers_leave_the_symbol() {
        let s = n("S");
        for same in [s.add(&0.into()), s.sub(&0.into()), s.mul(&1.into()), s.div(&1.into()), SymInt::from(0).add(&s)] {
            assert_eq!(same, s);
        }
        assert_eq!(SymInt::from(1).mul(&s), s);
        assert_eq!(s.mul(&0.into()), SymInt::Known(0));
        assert_eq!(s.sub(&s), SymInt::Known(0));
        assert_eq!(s.div(&s), SymInt::Known(1));
    }

    #[test]
    fn expressions_are_their_text() {
        assert_eq!(n("N").mul(&12.into()).to_string(), "(N*12)");
        assert_eq!(n("H").add(&(-3).into()).div(&2.into()).to_dim(), Some(Dim::symbol("((H+-3)/2)")));
        // Subtraction does not commute: 0 − S is not S.
        assert_eq!(SymInt::from(0).sub(&n("S")).to_string(), "(0-S)");
        assert_eq!(SymInt::from(-1).to_dim(), None);
    }

    #[test]
    fn doubled_expressions_stay_short_and_distinct() {
        let doubled = |mut x: SymInt, times: usize| {
            for _ in 0..times {
                x = x.add(&x);
            }
            x
        };
        let hundred = doubled(n("S"), 100);
        assert!(hundred.to_string().len() <= super::LONGEST);
        assert_eq!(hundred.sub(&doubled(n("S"), 100)), SymInt::Known(0));
        assert_ne!(hundred, doubled(n("S"), 99));
        assert_ne!(hundred, doubled(n("T"), 100));
    }

    #[test]
    fn overflow_and_division_by_zero_stay_expressions() {
        assert_eq!(SymInt::from(i64::MAX).add(&1.into()).known(), None);
        assert_eq!(SymInt::from(i64::MIN).div(&(-1).into()).known(), None);
        assert_eq!(SymInt::from(0).div(&0.into()).known(), None);
    }

    proptest! {
        #[test]
        fn numbers_compute_as_numbers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
            let (x, y) = (SymInt::from(a), SymInt::from(b));
            prop_assert_eq!(x.add(&y).known(), Some(a + b));
            prop_assert_eq!(x.sub(&y).known(), Some(a - b));
            prop_assert_eq!(x.mul(&y).known(), Some(a * b));
            prop_assert_eq!(x.div(&y).known(), a.checked_div(b));
        }
    }
}
