//! Simplification: every test checks the structure that is left and that the numbers stay.

mod affine;
mod cleanup;
mod layout;
mod patterns;
mod qdq;
mod support;
