//! Compiles a graph to a plan and runs it: fusions, packed weights, one arena.
//!
//! [`Engine::compile`] does everything that can be done once; [`Engine::run`] allocates nothing but
//! its results. An operator works in the domain of its edges: `Conv2d` on `int8` edges is the
//! integer convolution, on `float32` edges with `int8` weights the dynamic-range one.

mod arena;
mod context;
mod convert;
mod deferred;
mod engine;
mod error;
mod fold;
mod lower;
mod macs;
mod ops;
mod plan;
mod route;
pub mod simplify;
mod site;
mod view;

pub use engine::{Engine, Options, StepProfile};
pub use error::{Error, Result, Unsupported};
pub use fewbits_graph::Element;
pub use fewbits_kernels::int8::Rounding;
pub use fold::{evaluate_node, evaluate_quantized_node};
pub use macs::macs;
pub use ops::activation_limits;
pub use simplify::{SimplifyOptions, simplify};
pub use view::TensorView;
