//! An integer graph as C: portable C99, constants in flash, one arena, no allocation and no library
//! but `<stdint.h>` and `<string.h>`.
//!
//! [`emit`] takes a simplified graph whose edges are `int8` (or `uint8` at the borders) and writes a
//! header and a source file. A float input that is quantized at once, and a float output that is
//! dequantized last, become integers with their scale and zero point as macros; wrappers for real
//! numbers stand under a macro.
//!
//! The arithmetic is that of LiteRT's reference kernels to the bit: 31-bit multipliers, rounded
//! twice in convolutions and element-wise operators and once in fully-connected layers
//! ([`Arithmetic`]), sums with 20 bits of headroom, fixed-point soft-max, logistic and tanh (David et
//! al., "TensorFlow Lite Micro: Embedded Machine Learning on TinyML Systems", 2021).
//!
//! ```
//! use fewbits_emit_c::{Options, emit};
//! use fewbits_graph::ops::{Unary, UnaryKind};
//! use fewbits_graph::{DType, Graph, Quantization, Shape};
//!
//! let mut graph = Graph::default();
//! let x = graph.add_input("x", DType::I8, Shape::fixed(&[1, 4]));
//! graph.value_mut(x).quant = Some(Quantization::per_tensor(0.1, 0));
//! let y = graph.add_node("act", Unary { kind: UnaryKind::Relu }, &[Some(x)], "y");
//! graph.value_mut(y).quant = Some(Quantization::per_tensor(0.1, 0));
//! graph.outputs.push(y);
//! graph.infer()?;
//! let files = emit(&graph, &Options::default())?;
//! assert!(files.header.contains("int model_run(const int8_t *input, int8_t *output);"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod borders;
mod code;
mod error;
mod helpers;
mod kernel;
mod ops;
mod options;
mod order;
mod plan;
mod program;
mod report;
mod site;
mod write;

use fewbits_graph::Graph;

pub use borders::Port;
pub use error::{Error, Result, Unsupported};
pub use options::{Arithmetic, Options, Target};
pub use report::{Cost, LayerCost};

/// A model as C.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    /// The header: goes into `<name>.h`.
    pub header: String,
    /// The source: goes into `<name>.c`; it includes `"<name>.h"`.
    pub source: String,
    /// What it costs.
    pub cost: Cost,
    /// The inputs, in the model's order.
    pub inputs: Vec<Port>,
    /// The outputs, in the model's order.
    pub outputs: Vec<Port>,
}

/// Writes a graph as C. It should be simplified (`fewbits_engine::simplify`), and its shapes fixed.
///
/// # Errors
/// [`Error::BadName`]; [`Error::Unsupported`] names every node that has no integer C, and why;
/// [`Error::Interface`] and [`Error::FreeShape`] for inputs and outputs that C cannot have;
/// [`Error::Ram`] and [`Error::Flash`] where the model exceeds the options' limits.
pub fn emit(graph: &Graph, options: &Options) -> Result<Emitted> {
    options::check_name(&options.name)?;
    let program = program::build(graph, options)?;
    let names = write::Names::new(&program, options);
    let source = write::Source::new(&program, &names, options);
    let cost = write::cost(&program, &source);
    check_limits(&cost, options)?;
    let header = write::header(&program, &names, options, &cost);
    Ok(Emitted { header, source: source.text, cost, inputs: program.inputs, outputs: program.outputs })
}

/// Refuses what does not fit, and names the layer that asks for most.
fn check_limits(cost: &Cost, options: &Options) -> Result<()> {
    if let Some(limit) = options.ram.filter(|&limit| cost.arena > limit) {
        let worst = cost.layers.iter().rev().max_by_key(|l| l.memory);
        let (node, op) = worst.map_or((String::new(), ""), |l| (l.node.clone(), l.op));
        let at_node = worst.map_or(0, |l| l.memory);
        return Err(Error::Ram { needed: cost.arena, limit, node, op, at_node });
    }
    if let Some(limit) = options.flash.filter(|&limit| cost.flash() > limit) {
        let worst = cost.layers.iter().rev().max_by_key(|l| l.constants + l.code);
        let (node, op) = worst.map_or((String::new(), ""), |l| (l.node.clone(), l.op));
        let at_node = worst.map_or(0, |l| l.constants + l.code);
        return Err(Error::Flash { needed: cost.flash(), limit, node, op, at_node });
    }
    Ok(())
}
