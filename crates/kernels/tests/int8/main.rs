//! Integer kernels: every instruction set of this CPU against definitions written out in the tests.

mod common;
mod elementwise;
mod layers;
mod matmul;
mod quantization;
mod reductions;
