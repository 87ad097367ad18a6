//! Reverse-mode differentiation of a float [`Graph`](fewbits_graph::Graph), and losses.
//!
//! [`Tape::compile`] plans once for a set of input shapes: which nodes depend on what is trained,
//! which activations the backward pass reads, and one set of buffers. [`Tape::forward`] and
//! [`Tape::backward`] then run as often as wanted. [`Params`] live outside of the tape, so that an
//! optimiser changes them in place.
//!
//! Nodes that depend on nothing that is trained run in the [`Engine`](fewbits_engine::Engine),
//! whatever they are; all others need a derivative (one file an operator family, in `ops/`).
//!
//! Results and gradients are the same bits on any number of threads.

mod analysis;
mod buffers;
mod derivative;
mod error;
pub mod loss;
mod ops;
mod optimizer;
mod params;
mod plan;
mod returns;
mod simulation;
mod site;
mod tape;
mod trainee;

pub use error::{Error, Result, Unsupported};
pub use fewbits_kernels::float::grad::columns::add;
pub use optimizer::{Average, Decay, Method, Optimizer, Schedule, clip};
pub use params::Params;
pub use simulation::{EdgeGroup, Layer, Simulation};
pub use tape::{Gradients, Options, Tape};
pub use trainee::{Parameter, Trainee};
