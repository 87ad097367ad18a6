//! Plain numbers of every type: dispatch on the element type, integer arithmetic, casts.

use fewbits_graph::ops::BinaryKind;
use fewbits_graph::{DType, Element};
use half::f16;

use crate::site::{Lowered, Lowering, Site};

/// Runs `$body` with `$t` an unsigned integer as wide as an element of `$dtype`: for moving bytes.
macro_rules! by_width {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype.byte_len(1) {
            Some(1) if $dtype != fewbits_graph::DType::I4 => {
                type $t = u8;
                $body
            }
            Some(2) => {
                type $t = u16;
                $body
            }
            Some(4) => {
                type $t = u32;
                $body
            }
            Some(8) => {
                type $t = u64;
                $body
            }
            _ => Err(format!("{} elements cannot be moved one by one", $dtype)),
        }
    };
}

/// Runs `$body` with `$t` the type of the elements: `f32` and all integers (`bool` as bytes).
macro_rules! by_type {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            fewbits_graph::DType::F32 => {
                type $t = f32;
                $body
            }
            fewbits_graph::DType::F64 => {
                type $t = f64;
                $body
            }
            other => crate::ops::numeric::by_integer!(other, $t => $body),
        }
    };
}

/// Runs `$body` with `$t` the integer type of the elements (`bool` as bytes).
macro_rules! by_integer {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            fewbits_graph::DType::I8 => {
                type $t = i8;
                $body
            }
            fewbits_graph::DType::U8 | fewbits_graph::DType::Bool => {
                type $t = u8;
                $body
            }
            fewbits_graph::DType::I16 => {
                type $t = i16;
                $body
            }
            fewbits_graph::DType::I32 => {
                type $t = i32;
                $body
            }
            fewbits_graph::DType::I64 => {
                type $t = i64;
                $body
            }
            other => Err(format!("{other} elements are not supported")),
        }
    };
}

pub(super) use {by_integer, by_type, by_width};

/// Integers with the arithmetic that ONNX and TFLite give them: overflow wraps.
pub(super) trait Whole: Element + Ord {
    /// As the widest integer.
    fn wide(self) -> i64;
    /// The low bits.
    fn narrow(wide: i64) -> Self;
}

macro_rules! whole {
    ($($t:ty),*) => { $(impl Whole for $t {
        fn wide(self) -> i64 {
            i64::from(self)
        }

        fn narrow(wide: i64) -> Self {
            wide as $t
        }
    })* };
}
whole!(i8, u8, i16, i32, i64);

/// One element of a [`BinaryKind`] on integers; a division by zero is 0.
pub(super) fn whole_binary<T: Whole>(kind: BinaryKind, a: T, b: T) -> T {
    let (a, b) = (a.wide(), b.wide());
    T::narrow(match kind {
        BinaryKind::Add => a.wrapping_add(b),
        BinaryKind::Sub => a.wrapping_sub(b),
        BinaryKind::Mul => a.wrapping_mul(b),
        BinaryKind::Div => a.checked_div(b).unwrap_or(0),
        BinaryKind::Pow => power(a, b),
        BinaryKind::Min => a.min(b),
        BinaryKind::Max => a.max(b),
        BinaryKind::SquaredDifference => a.wrapping_sub(b).wrapping_mul(a.wrapping_sub(b)),
        BinaryKind::FloorDiv => match (a.checked_div(b), a.checked_rem(b)) {
            (Some(q), Some(r)) if r != 0 && (r < 0) != (b < 0) => q - 1,
            (q, _) => q.unwrap_or(0),
        },
        BinaryKind::FloorMod => match a.checked_rem(b) {
            Some(r) if r != 0 && (r < 0) != (b < 0) => r + b,
            r => r.unwrap_or(0),
        },
        BinaryKind::Mod => a.checked_rem(b).unwrap_or(0),
    })
}

/// `base` to the power of `exponent`, wrapping; negative powers are truncated towards zero.
fn power(base: i64, exponent: i64) -> i64 {
    match (u32::try_from(exponent), base) {
        (Ok(e), _) => base.wrapping_pow(e),
        (Err(_), 1) => 1,
        (Err(_), -1) => 1 - 2 * (exponent & 1),
        (Err(_), _) => 0,
    }
}

/// A number on its way from one type to another, without loss.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Real(f64),
}

trait Castable: Element {
    fn number(self) -> Number;
    fn of(number: Number) -> Self;
}

macro_rules! castable {
    ($($t:ty: $variant:ident as $wide:ty),*) => { $(impl Castable for $t {
        fn number(self) -> Number {
            Number::$variant(<$wide>::from(self))
        }

        fn of(number: Number) -> Self {
            match number {
                // Integers wrap, as in C.
                Number::Whole(n) => n as $t,
                // Towards zero, saturating.
                Number::Real(x) => x as $t,
            }
        }
    })* };
}
castable!(i8: Whole as i64, u8: Whole as i64, i16: Whole as i64, i32: Whole as i64, i64: Whole as i64);
castable!(f32: Real as f64, f64: Real as f64);

impl Castable for f16 {
    fn number(self) -> Number {
        Number::Real(self.to_f64())
    }

    fn of(number: Number) -> Self {
        match number {
            Number::Whole(n) => f16::from_f64(n as f64),
            Number::Real(x) => f16::from_f64(x),
        }
    }
}

fn cast_pair<A: Castable, B: Castable>(to_bool: bool) -> Lowered {
    Lowered::new(move |ctx| {
        let x = ctx.input::<A>(0);
        for (y, &x) in ctx.output::<B>(0).iter_mut().zip(x) {
            let number = x.number();
            *y = B::of(if to_bool { Number::Whole(i64::from(is_set(number))) } else { number });
        }
        Ok(())
    })
}

fn is_set(number: Number) -> bool {
    match number {
        Number::Whole(n) => n != 0,
        Number::Real(x) => x != 0.0,
    }
}

/// Conversion between plain element types.
pub(super) fn cast(site: &Site<'_>) -> Lowering {
    let (from, to) = (site.input(0)?.dtype, site.output()?.dtype);
    let to_bool = to == DType::Bool;
    macro_rules! to {
        ($a:ty) => {
            match to {
                DType::F16 => Ok(cast_pair::<$a, f16>(false)),
                _ => by_type!(to, B => Ok(cast_pair::<$a, B>(to_bool))),
            }
        };
    }
    match from {
        DType::F16 => to!(f16),
        _ => by_type!(from, A => to!(A)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_arithmetic_follows_onnx() {
        use BinaryKind as K;
        let case = |kind, a: i32, b: i32| whole_binary(kind, a, b);
        assert_eq!(case(K::Div, -7, 2), -3);
        assert_eq!(case(K::FloorDiv, -7, 2), -4);
        assert_eq!(case(K::FloorDiv, 7, -2), -4);
        assert_eq!(case(K::FloorMod, -7, 3), 2);
        assert_eq!(case(K::FloorMod, 7, -3), -2);
        assert_eq!(case(K::Mod, -7, 3), -1);
        assert_eq!(case(K::Pow, 3, 4), 81);
        assert_eq!(case(K::Pow, -1, -3), -1);
        assert_eq!(case(K::Pow, 2, -1), 0);
        assert_eq!(case(K::Div, 5, 0), 0);
        assert_eq!(case(K::Add, i32::MAX, 1), i32::MIN);
        assert_eq!(whole_binary(K::Div, i64::MIN, -1), 0);
    }
}
