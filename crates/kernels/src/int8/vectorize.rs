//! Plain loops compiled twice: once for any CPU, once for AVX2.

/// Defines `fn name(isa: Isa, ...)` whose body the compiler vectorizes for AVX2 when `isa` has it.
///
/// The body is the same Rust code either way, and Rust never reorders or fuses float operations,
/// so both versions give the same bits.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$life:lifetime>)? ($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name $(<$life>)? (isa: crate::isa::Isa, $($arg: $ty),*) {
            #[inline(always)]
            fn body $(<$life>)? ($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2 $(<$life>)? ($($arg: $ty),*) {
                    body($($arg),*)
                }
                if isa.avx2().is_some() {
                    // SAFETY: the token inside `isa` proves that this CPU has AVX2.
                    return unsafe { avx2($($arg),*) };
                }
            }
            let _ = isa;
            body($($arg),*)
        }
    };
}

pub(crate) use vectorized;

/// Rounds half to even a value whose magnitude is below 2^22: adding 1.5 * 2^23 leaves the integer
/// in the low bits of the sum, rounded by the addition itself.
#[inline(always)]
pub(crate) fn round_small(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

/// `x` clamped to `[low, high]`; NaN becomes `low`. Two instructions, unlike `f32::clamp`.
#[inline(always)]
pub(crate) fn clamp_low(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// Rounds half to even after clamping far outside int8, as `requant::round_even` does.
#[inline(always)]
pub(crate) fn round_clamped(x: f32) -> i32 {
    use super::requant::FLOAT_LIMIT;
    round_small(clamp_low(x, -FLOAT_LIMIT, FLOAT_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounding_is_half_to_even(x in -4.0e6f32..4.0e6, halves in -8_000_000i32..8_000_000) {
            prop_assert_eq!(round_small(x), x.round_ties_even() as i32);
            let half = halves as f32 / 2.0;
            prop_assert_eq!(round_small(half), half.round_ties_even() as i32);
        }
    }

    #[test]
    fn not_a_number_becomes_the_lowest() {
        assert_eq!(clamp_low(f32::NAN, -3.0, 4.0), -3.0);
        assert_eq!(round_clamped(f32::INFINITY), 65536);
        assert_eq!(round_clamped(f32::NEG_INFINITY), -65536);
    }
}
