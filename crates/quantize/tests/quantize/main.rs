//! Quantization of whole networks. One test program, by theme.

mod common;
mod diagnose;
mod equalize;
mod modes;
mod weight_only;
