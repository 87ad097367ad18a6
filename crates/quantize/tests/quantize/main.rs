//! Quantization of whole networks. One test program, by theme.

mod common;
mod diagnose;
mod modes;
mod weight_only;
