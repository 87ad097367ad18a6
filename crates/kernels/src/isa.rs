//! Instruction sets: what the CPU has, which one is used, and the proof that it may be used.
//!
//! A kernel written with CPU-specific intrinsics is only sound on a CPU that has them. Here the
//! proof is a value: [`Avx2`] and [`Avx512Vnni`] can only be made by a constructor that asked the
//! CPU, so a function that holds one may call the matching kernels, and every `unsafe` block has
//! that one sentence of argument.

use std::fmt;
use std::sync::OnceLock;

/// Name of the environment variable that forces an instruction set.
pub const ISA_ENV: &str = "FEWBITS_ISA";

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token if this CPU (and operating system) supports AVX2, FMA and F16C.
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c")
        {
            return Some(Self(()));
        }
        None
    }
}

/// Proof that this CPU has AVX-512 F, BW, DQ, VL and VNNI, and everything [`Avx2`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Vnni(Avx2);

impl Avx512Vnni {
    /// The token if this CPU (and operating system) supports all five AVX-512 subsets.
    pub fn new() -> Option<Self> {
        let avx2 = Avx2::new()?;
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl")
            && std::is_x86_feature_detected!("avx512vnni")
        {
            return Some(Self(avx2));
        }
        let _ = avx2;
        None
    }

    /// The weaker proof: such a CPU also runs every AVX2 kernel.
    pub fn avx2(self) -> Avx2 {
        self.0
    }
}

/// An instruction set that this CPU has, ordered from the plainest to the fastest.
///
/// The variants carry their proof, so a value of this type never names something the CPU lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Portable Rust; the reference every other path is tested against.
    Scalar,
    /// 256-bit integer and float vectors with fused multiply-add.
    Avx2(Avx2),
    /// 512-bit vectors with the four-way int8 dot product.
    Avx512Vnni(Avx512Vnni),
}

impl Isa {
    /// Every name that [`Isa::from_name`] knows, plainest first.
    pub const NAMES: [&'static str; 3] = ["scalar", "avx2", "avx512vnni"];

    /// The fastest instruction set of this CPU, ignoring the environment.
    pub fn detect() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar)
    }

    /// Every instruction set this CPU has, plainest first; never empty.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::Scalar];
        all.extend(Avx2::new().map(Self::Avx2));
        all.extend(Avx512Vnni::new().map(Self::Avx512Vnni));
        all
    }

    /// The instruction set of that name.
    ///
    /// # Errors
    /// [`IsaError::Unknown`] for a name that is not in [`Isa::NAMES`], [`IsaError::Unavailable`]
    /// for one that this CPU lacks.
    pub fn from_name(name: &str) -> Result<Self, IsaError> {
        if !Self::NAMES.contains(&name) {
            return Err(IsaError::Unknown { name: name.to_owned() });
        }
        Self::available()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| IsaError::Unavailable { name: name.to_owned(), best: Self::detect().name() })
    }

    /// The instruction set to use: the one `FEWBITS_ISA` names, otherwise [`Isa::detect`].
    ///
    /// The environment is read once a process; later calls return the first answer.
    ///
    /// # Errors
    /// As [`Isa::from_name`], when `FEWBITS_ISA` is set to something this CPU cannot honour.
    pub fn active() -> Result<Self, IsaError> {
        static ACTIVE: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        ACTIVE
            .get_or_init(|| match std::env::var(ISA_ENV) {
                Ok(name) if !name.is_empty() => Self::from_name(name.trim()),
                _ => Ok(Self::detect()),
            })
            .clone()
    }

    /// The name used by `FEWBITS_ISA` and at the end of kernel names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2(_) => "avx2",
            Self::Avx512Vnni(_) => "avx512vnni",
        }
    }

    /// The AVX2 proof, if this instruction set includes AVX2.
    pub fn avx2(self) -> Option<Avx2> {
        match self {
            Self::Scalar => None,
            Self::Avx2(token) => Some(token),
            Self::Avx512Vnni(token) => Some(token.avx2()),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a requested instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No instruction set has this name.
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// This CPU lacks the instruction set.
    Unavailable {
        /// The name asked for.
        name: String,
        /// The fastest one this CPU has.
        best: &'static str,
    },
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => {
                write!(f, "unknown instruction set \"{name}\"; {ISA_ENV} may be one of {}", Isa::NAMES.join(", "))
            }
            Self::Unavailable { name, best } => {
                write!(f, "this CPU has no {name}; the fastest it can run is {best} (unset {ISA_ENV} to use it)")
            }
        }
    }
}

impl std::error::Error for IsaError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_for_everything_available() {
        for isa in Isa::available() {
            assert_eq!(Isa::from_name(isa.name()), Ok(isa));
        }
        assert_eq!(Isa::available()[0], Isa::Scalar);
    }

    #[test]
    fn unknown_and_missing_names_are_errors_that_say_what_to_do() {
        let unknown = Isa::from_name("sse9").unwrap_err();
        assert!(unknown.to_string().contains("scalar, avx2, avx512vnni"));
        if Avx512Vnni::new().is_none() {
            let missing = Isa::from_name("avx512vnni").unwrap_err();
            assert!(missing.to_string().contains("unset FEWBITS_ISA"));
        }
    }

    #[test]
    fn vnni_implies_avx2() {
        for isa in Isa::available() {
            assert_eq!(isa.avx2().is_some(), isa != Isa::Scalar);
        }
    }
}
