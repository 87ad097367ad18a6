//! From nodes to kernels.

use fewbits_graph::{Graph, Node, Op};

use crate::convert::through_float;
use crate::fold::Constants;
use crate::ops;
use crate::route::{Edge, Edges, Route, route};
use crate::site::{Lowering, Operand, Site};

/// Lowers a node whose shapes are all fixed.
pub(crate) fn lower(op: &Op, site: &Site<'_>) -> Lowering {
    match route(op, &edges(site))? {
        Route::Native => ops::native(op, site),
        Route::Integer => ops::integer(op, site),
        Route::Dynamic => ops::dynamic(op, site),
        Route::ThroughFloat => through_float(op, site),
    }
}

/// Lowers a layer on float activations whose integer weights are dequantized as they are read.
pub(crate) fn lower_weight_only(op: &Op, site: &Site<'_>) -> Lowering {
    match op {
        Op::FullyConnected(op) => ops::weight_only(op, site),
        _ => Err("weights that stay integers need a fully-connected layer".into()),
    }
}

fn edges<'s>(site: &'s Site<'_>) -> Edges<'s> {
    fn edge(o: &Operand) -> Edge<'_> {
        Edge { dtype: o.dtype, quant: o.quant.as_ref(), constant: o.data.is_some() }
    }
    Edges {
        inputs: site.inputs.iter().map(|o| o.as_ref().map(edge)).collect(),
        outputs: site.outputs.iter().map(edge).collect(),
    }
}

/// Whether a node can be executed, as far as types tell. The error says why not.
pub(crate) fn check(graph: &Graph, node: &Node, constants: &Constants) -> Result<(), String> {
    let edge = |id: &fewbits_graph::ValueId| {
        let value = graph.value(*id);
        Edge { dtype: value.dtype, quant: value.quant.as_ref(), constant: constants.get(*id).is_some() }
    };
    let edges = Edges {
        inputs: node.inputs.iter().map(|v| v.as_ref().map(edge)).collect(),
        outputs: node.outputs.iter().map(edge).collect(),
    };
    route(&node.op, &edges).map(|_| ())
}
