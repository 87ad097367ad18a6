//! The list of every kernel in this crate, for `fewbits kernels` and for people.

use crate::isa::Isa;

/// One kernel: what it is called and whether this CPU can run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelInfo {
    /// `<dtype>_<op>_<tile>_<isa>`.
    pub name: &'static str,
    /// Name of the instruction set, as in [`Isa::name`].
    pub isa: &'static str,
    /// The operator family (`gemm`, `depthwise`, `elementwise`...).
    pub family: &'static str,
    /// Whether this CPU has the instruction set.
    pub available: bool,
}

impl KernelInfo {
    /// Describes a kernel; the instruction set is the last word of its name.
    pub fn new(name: &'static str, family: &'static str) -> Self {
        let isa = name.rsplit('_').next().unwrap_or(name);
        Self { name, isa, family, available: Isa::from_name(isa).is_ok() }
    }
}

/// Every integer kernel of this crate, sorted by name.
pub fn kernels() -> Vec<KernelInfo> {
    let mut all = crate::int8::kernels();
    all.sort_by_key(|kernel| kernel.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_end_in_a_known_isa() {
        let all = kernels();
        assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(all.iter().all(|kernel| Isa::NAMES.contains(&kernel.isa)));
        assert!(all.iter().any(|kernel| kernel.available));
    }
}
