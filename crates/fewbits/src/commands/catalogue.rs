//! `fewbits kernels` and `fewbits operators`

use fewbits::kernels::{isa::Isa, registry};
use fewbits::report::{Kernel, Kernels};
use fewbits::{Error, Result, supported_operators};

use crate::console::Console;

pub(super) fn kernels(console: &Console) -> Result<()> {
    let active = Isa::active().map_err(|e| Error::Usage(e.to_string()))?;
    let kernel = |info: registry::KernelInfo| Kernel {
        name: info.name.to_owned(),
        family: info.family.to_owned(),
        isa: info.isa.to_owned(),
        available: info.available,
    };
    console.show(&Kernels {
        active: active.name().to_owned(),
        isas: Isa::available().into_iter().map(|isa| isa.name().to_owned()).collect(),
        kernels: registry::kernels().into_iter().map(kernel).collect(),
    })
}

pub(super) fn operators(console: &Console) -> Result<()> {
    console.show(&supported_operators())
}
