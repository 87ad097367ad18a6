//! Choice between the portable body of a kernel and the same body compiled for AVX2.

use crate::isa::Avx2;

/// The AVX2+FMA+F16C token, when this CPU has them and `FEWBITS_ISA` does not ask for `scalar`.
pub(crate) fn avx2() -> Option<Avx2> {
    use std::sync::OnceLock;
    static TOKEN: OnceLock<Option<Avx2>> = OnceLock::new();
    *TOKEN.get_or_init(|| match std::env::var("FEWBITS_ISA") {
        Ok(isa) if isa.eq_ignore_ascii_case("scalar") => None,
        _ => Avx2::new(),
    })
}

/// Declares `fn name(isa, args..)`, which runs the `#[inline(always)]` function `body` compiled
/// with AVX2 and FMA when `isa` holds the proof, and as plain code otherwise.
///
/// The loops of `body` are written so that the compiler vectorises them; the source is the same,
/// so a body that fixes its operation order gives the same bits in both.
macro_rules! multiversion {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:expr) => {
        $(#[$doc])*
        fn $name(isa: Option<$crate::isa::Avx2>, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            if isa.is_some() {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn fast($($arg: $ty),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                // SAFETY: an `Avx2` token exists only where the CPU has AVX2, FMA and F16C.
                return unsafe { fast($($arg),*) };
            }
            let _ = isa;
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
