//! Arithmetic on slices: float and integer kernels, one file an instruction set.
