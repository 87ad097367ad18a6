//! Shape inference one node at a time, for readers that must know shapes while they build a graph.

use crate::infer::{Ctx, InferInput};
use crate::{DType, Graph, NodeId, Result, SymInt, ValueId};

/// Longest integer constant that is followed, as in [`Graph::infer`].
const LONGEST: usize = 64;

/// What is known of integer values so far.
#[derive(Clone, Debug, Default)]
pub struct Inference {
    ints: Vec<Option<Vec<SymInt>>>,
}

impl Inference {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets type and shape of the outputs of `node`, whose inputs must have theirs already.
    /// Outputs that carry quantization parameters keep their declared element type.
    ///
    /// # Errors
    /// The node does not fit its inputs.
    pub fn node(&mut self, graph: &mut Graph, node: NodeId) -> Result<()> {
        for input in graph.node(node).inputs.iter().flatten() {
            self.learn_constant(graph, *input);
        }
        let node = graph.node(node);
        let inputs = node.inputs.iter().map(|v| {
            v.map(|v| {
                let value = graph.value(v);
                let ints = self.ints.get(v.0).and_then(Option::as_deref);
                InferInput { name: &value.name, dtype: value.dtype, shape: &value.shape, ints }
            })
        });
        let ctx = Ctx { node: &node.name, op: node.op.name(), inputs: inputs.collect() };
        let declared = node.outputs.first().map_or(DType::F32, |v| graph.value(*v).dtype);
        let types = node.op.infer(&ctx, declared)?;
        let known = types.first().and_then(|t| crate::fold::known_integers(&node.op, &ctx, t));
        let outputs = node.outputs.clone();
        for (&out, t) in outputs.iter().zip(types) {
            let value = graph.value_mut(out);
            if value.quant.is_none() {
                value.dtype = t.dtype;
            }
            value.shape = t.shape;
        }
        if let (Some(&first), Some(known)) = (outputs.first(), known) {
            self.set(first, known);
        }
        Ok(())
    }

    /// The elements of a small integer value, as far as they are known or symbolic.
    pub fn ints(&mut self, graph: &Graph, value: ValueId) -> Option<&[SymInt]> {
        self.learn_constant(graph, value);
        self.ints.get(value.0)?.as_deref()
    }

    fn learn_constant(&mut self, graph: &Graph, id: ValueId) {
        let value = graph.value(id);
        let Some(data) = value.data.as_ref().filter(|t| t.elements() <= LONGEST && value.quant.is_none()) else {
            return;
        };
        if self.ints.get(id.0).is_none_or(Option::is_none)
            && let Some(ints) = data.to_i64()
        {
            self.set(id, ints.into_iter().map(SymInt::Known).collect());
        }
    }

    fn set(&mut self, id: ValueId, ints: Vec<SymInt>) {
        if self.ints.len() <= id.0 {
            self.ints.resize(id.0 + 1, None);
        }
        self.ints[id.0] = Some(ints);
    }
}
