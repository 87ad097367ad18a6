//! The real binary, run in fresh directories. One test program, by theme.

mod analyze;
mod bad_input;
mod commands;
mod common;
mod demo;
mod equalize;
mod export;
mod quantize;
mod regression;
mod search;
mod train;
