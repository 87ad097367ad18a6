//! What a graph says about differentiation, before anything is allocated.

use fewbits_graph::{DType, Graph, Node, Op, SymInt, Tensor, ValueId};

use crate::ops::derive;
use crate::site::{Derived, Edge, Site};
use crate::{Error, Result, Unsupported};

/// What is known of each value before buffers are shared out.
pub(crate) struct Analysis<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) dims: Vec<Vec<usize>>,
    /// Elements that are the same in every step.
    pub(crate) known: Vec<Option<Tensor>>,
    /// It depends on what is trained.
    pub(crate) active: Vec<bool>,
    /// The value whose buffers it shares.
    pub(crate) class: Vec<usize>,
    /// Nodes to differentiate, in execution order; those that only rename are left out.
    pub(crate) nodes: Vec<usize>,
    /// Inactive values that come from nodes and that active nodes or outputs read.
    pub(crate) imports: Vec<ValueId>,
}

/// Whether the first output of `node` is input 0 under another shape.
fn renames(graph: &Graph, node: &Node) -> bool {
    match node.op {
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_) => true,
        Op::Cast(_) => node.inputs[0].is_some_and(|v| graph.value(v).dtype == graph.value(node.outputs[0]).dtype),
        _ => false,
    }
}

impl<'g> Analysis<'g> {
    pub(crate) fn new(graph: &'g Graph, ints: &[Option<Vec<SymInt>>], roots: &[ValueId]) -> Result<Self> {
        let shape = |v: &fewbits_graph::Value| {
            v.shape.to_fixed().ok_or_else(|| Error::UnknownShape { value: v.name.clone(), shape: v.shape.clone() })
        };
        let dims = graph.values.iter().map(shape).collect::<Result<Vec<_>>>()?;
        let known = (0..dims.len()).map(|v| known(graph, v, &dims[v], ints[v].as_deref())).collect();
        let count = dims.len();
        let mut a = Analysis {
            graph,
            dims,
            known,
            active: vec![false; count],
            class: (0..count).collect(),
            nodes: Vec::new(),
            imports: Vec::new(),
        };
        for root in roots {
            a.active[root.0] = true;
            a.known[root.0] = None;
        }
        a.spread();
        Ok(a)
    }

    /// Follows what is trained from node to node.
    fn spread(&mut self) {
        let graph = self.graph;
        let live = live_nodes(graph);
        let mut read = Vec::new();
        for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| live[*i]) {
            let known = node.outputs.iter().all(|v| self.known[v.0].is_some());
            if known || !node.inputs.iter().flatten().any(|v| self.active[v.0]) {
                continue;
            }
            for out in &node.outputs {
                self.active[out.0] = true;
            }
            if renames(graph, node) {
                if let Some(x) = node.inputs[0] {
                    self.class[node.outputs[0].0] = self.class[x.0];
                }
                continue;
            }
            self.nodes.push(i);
            read.extend(node.inputs.iter().flatten().copied());
        }
        read.extend(&graph.outputs);
        let producers = graph.producers();
        let foreign = |v: &ValueId| !self.active[v.0] && self.known[v.0].is_none() && producers[v.0].is_some();
        let mut imports: Vec<ValueId> = read.into_iter().filter(foreign).collect();
        imports.sort_unstable();
        imports.dedup();
        self.imports = imports;
    }

    fn edge(&self, v: ValueId) -> Edge {
        let dtype = match (&self.known[v.0], self.graph.value(v).dtype) {
            // Half constants are read as floats.
            (Some(_), DType::F16) => DType::F32,
            (_, dtype) => dtype,
        };
        Edge { dtype, dims: self.dims[v.0].clone(), data: self.known[v.0].clone(), wanted: self.active[v.0] }
    }

    /// The derivative of every node, or all that have none.
    pub(crate) fn derive(&self) -> Result<Vec<Derived>> {
        let (mut derived, mut problems) = (Vec::new(), Vec::new());
        for &i in &self.nodes {
            let node = &self.graph.nodes[i];
            let site = Site {
                inputs: node.inputs.iter().map(|v| v.map(|v| self.edge(v))).collect(),
                outputs: node.outputs.iter().map(|&v| self.edge(v)).collect(),
            };
            match derive(&node.op, &site) {
                Ok(d) => derived.push(d),
                Err(what) => problems.push(Unsupported { node: node.name.clone(), op: node.op.name(), what }),
            }
        }
        if problems.is_empty() { Ok(derived) } else { Err(Error::Unsupported(problems)) }
    }

    pub(crate) fn len(&self, v: usize) -> usize {
        self.dims[v].iter().product()
    }
}

/// The elements of value `v`, if they are the same in every step.
fn known(graph: &Graph, v: usize, dims: &[usize], ints: Option<&[SymInt]>) -> Option<Tensor> {
    let value = &graph.values[v];
    if let Some(data) = &value.data {
        return Some(data.clone());
    }
    if graph.inputs.contains(&ValueId(v)) {
        return None;
    }
    let ints: Vec<i64> = ints?.iter().map(SymInt::known).collect::<Option<_>>()?;
    match value.dtype {
        DType::I64 => Tensor::from_ints(&ints).reshaped(dims.to_vec()),
        DType::I32 => {
            let narrow = ints.into_iter().map(i32::try_from).collect::<std::result::Result<Vec<_>, _>>().ok()?;
            Some(Tensor::new(vec![narrow.len()], narrow)).and_then(|t| t.reshaped(dims.to_vec()))
        }
        _ => None,
    }
}

/// Nodes that an output of the graph depends on.
fn live_nodes(graph: &Graph) -> Vec<bool> {
    let producers = graph.producers();
    let mut live = vec![false; graph.nodes.len()];
    let mut stack: Vec<_> = graph.outputs.iter().filter_map(|v| producers[v.0]).collect();
    while let Some(node) = stack.pop() {
        if !std::mem::replace(&mut live[node.0], true) {
            stack.extend(graph.node(node).inputs.iter().flatten().filter_map(|v| producers[v.0]));
        }
    }
    live
}
