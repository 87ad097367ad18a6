//! Arithmetic on slices: float and integer kernels, one file an instruction set.
//!
//! Kernels know nothing of graphs or files. They take slices and plain sizes, lay tensors out as
//! NHWC, and come in a scalar version that is obviously right and faster ones that are tested
//! against it. Which one runs is decided once, by an [`isa::Isa`] value.

pub mod float;
pub mod int8;
pub mod isa;
pub mod registry;
pub mod shape;
