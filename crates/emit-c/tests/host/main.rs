//! C compiled for this machine with the address and undefined-behaviour sanitizers, against the
//! engine in its fixed-point rounding. One test program, by theme.

mod common;
mod elementwise;
mod interface;
mod layers;
mod movement;
mod refusals;
