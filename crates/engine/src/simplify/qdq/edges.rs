//! Pairs of domain changes that are one, or none.

use fewbits_graph::ops::Requantize;
use fewbits_graph::{Granularity, Graph, Op, Result};

use super::super::Context;
use super::super::edit::Edit;
use super::dequantized_from;

/// `Dequantize` → `Quantize` with the same parameters is nothing, with others a `Requantize`; a
/// `Requantize` to the same parameters is nothing. (`Quantize` → `Dequantize` rounds, and stays.)
pub(in super::super) fn merge_domain_changes(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let Some(x) = edit.input(node, 0) else { continue };
        let source = match edit.op(node) {
            Op::Quantize(_) => dequantized_from(&edit, x),
            Op::Requantize(_) => Some(x),
            _ => None,
        };
        let per_tensor = |v| edit.value(v).quant.as_ref().is_some_and(|q| q.granularity == Granularity::PerTensor);
        let Some(source) = source.filter(|&s| per_tensor(s) && edit.constant(s).is_none()) else { continue };
        let same = edit.same_domain(source, edit.out(node));
        if !(same && edit.bypass(node, source)) && matches!(edit.op(node), Op::Quantize(_)) {
            edit.replace(node, Requantize, &[Some(source)]);
        }
    }
    edit.finish()
}
