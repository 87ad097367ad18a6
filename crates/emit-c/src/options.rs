//! What the caller chooses.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// The machine the C is for. It decides which paths beside portable C the file contains, and how
/// wide buffers are aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Any: portable C, and every other path under its `#if`.
    #[default]
    Any,
    /// A desktop or server: portable C alone.
    Host,
    /// Arm Cortex-M4: DSP extension.
    CortexM4,
    /// Arm Cortex-M7: DSP extension.
    CortexM7,
    /// Arm Cortex-M33: DSP extension.
    CortexM33,
    /// Arm Cortex-M55: Helium.
    CortexM55,
    /// 32-bit RISC-V: portable C alone.
    Rv32,
}

impl Target {
    /// All targets with their names on a command line.
    pub const NAMES: [(&'static str, Target); 7] = [
        ("any", Target::Any),
        ("host", Target::Host),
        ("cortex-m4", Target::CortexM4),
        ("cortex-m7", Target::CortexM7),
        ("cortex-m33", Target::CortexM33),
        ("cortex-m55", Target::CortexM55),
        ("rv32", Target::Rv32),
    ];

    /// Whether the file has a path for the Arm DSP extension (`SMLAD`).
    pub fn has_dsp(self) -> bool {
        matches!(self, Target::Any | Target::CortexM4 | Target::CortexM7 | Target::CortexM33)
    }

    /// Whether the file has a path for Helium (the M-profile vector extension).
    pub fn has_mve(self) -> bool {
        matches!(self, Target::Any | Target::CortexM55)
    }

    /// Alignment of buffers in the arena, in bytes.
    pub fn alignment(self) -> usize {
        if matches!(self, Target::CortexM55) { 16 } else { 4 }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Target::NAMES.iter().find(|(_, t)| t == self).map_or("any", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Target::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, target)| *target).ok_or_else(|| {
            let names: Vec<_> = Target::NAMES.iter().map(|(name, _)| *name).collect();
            format!("unknown target; use one of {}", names.join(", "))
        })
    }
}

/// Whose arithmetic the C reproduces where the two references differ: int8 fully-connected layers.
/// All other operators are the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// LiteRT's reference kernels: fully-connected layers round once.
    #[default]
    LiteRt,
    /// TensorFlow Lite Micro: fully-connected layers round twice, as convolutions do.
    Tflm,
}

/// How a graph becomes C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Prefix of every public name, a C identifier; `model` gives `model_run`, `MODEL_ARENA_BYTES`
    /// and `#include "model.h"`.
    pub name: String,
    /// The machine.
    pub target: Target,
    /// Whose arithmetic.
    pub arithmetic: Arithmetic,
    /// Largest arena in bytes.
    pub ram: Option<usize>,
    /// Largest sum of weights, tables and code in bytes.
    pub flash: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "model".to_owned(),
            target: Target::default(),
            arithmetic: Arithmetic::default(),
            ram: None,
            flash: None,
        }
    }
}

/// Words that C or C++ keeps for itself and that a careless model name could be.
const KEYWORDS: &[&str] = &[
    "auto", "bool", "break", "case", "catch", "char", "class", "const", "continue", "default", "delete", "do",
    "double", "else", "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "new", "operator",
    "private", "public", "register", "return", "short", "signed", "sizeof", "static", "struct", "switch", "template",
    "this", "throw", "try", "typedef", "union", "unsigned", "using", "virtual", "void", "volatile", "while",
];

/// Checks that `name` can begin C names.
///
/// # Errors
/// [`Error::BadName`].
pub(crate) fn check_name(name: &str) -> Result<()> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let fits = starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if fits && !KEYWORDS.contains(&name) { Ok(()) } else { Err(Error::BadName { name: name.to_owned() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        for good in ["model", "a", "Net_2"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "2net", "_net", "a-b", "é", "class", "a b", "a;b"] {
            assert_eq!(check_name(bad), Err(Error::BadName { name: bad.to_owned() }));
        }
    }

    #[test]
    fn targets_have_names_both_ways() {
        for (name, target) in Target::NAMES {
            assert_eq!(name.parse(), Ok(target));
            assert_eq!(target.to_string(), name);
        }
        assert!("cortex-m0".parse::<Target>().unwrap_err().contains("cortex-m33"));
    }
}
