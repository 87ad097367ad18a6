//! The model as data: [`Graph`], [`Node`], [`Op`], [`Value`], constants, shape and type inference,
//! validation and rewriting helpers.
//!
//! A model is a list of nodes in execution order over typed edges. Spatial values are stored
//! channels-last (NHWC). A quantized model is a graph whose edges have integer types and carry a
//! [`Quantization`]; there is no second representation.

mod dtype;
mod error;
mod fold;
mod fold_movement;
mod graph;
mod incremental;
mod infer;
mod op;
pub mod ops;
mod quant;
mod shape;
mod symbolic;
mod tensor;

pub use dtype::DType;
pub use error::{Error, Result};
pub use graph::{Graph, Node, NodeId, Value, ValueId};
pub use incremental::Inference;
pub use infer::{InferInput, TensorType};
pub use op::Op;
pub use ops::Activation;
pub use quant::{Granularity, Quantization};
pub use shape::{Dim, Shape};
pub use symbolic::SymInt;
pub use tensor::{Element, Tensor, TensorBytes};
