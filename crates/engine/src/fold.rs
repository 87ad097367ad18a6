//! Constants, and what follows from them.

use std::borrow::Cow;

use fewbits_graph::{DType, Graph, Node, Op, Quantization, Tensor, TensorBytes, ValueId};
use fewbits_kernels::isa::Isa;

use crate::arena::Storage;
use crate::context::RunContext;
use crate::deferred::deferred;
use crate::lower::lower;
use crate::plan::operand;
use crate::site::{Environment, Operand, PackCache, Site};
use crate::{Error, Result, Rounding};

/// Largest result, in bytes, that folding may make out of smaller inputs: a `Fill` or `Expand` of
/// an absurd size belongs into the arena, where it is shared, not among the constants.
const GROWTH_LIMIT: usize = 1 << 24;

/// The constant values of a graph, aligned for their types.
#[derive(Clone)]
pub(crate) struct Constants {
    data: Vec<Option<Tensor>>,
    deferred: Vec<Option<ValueId>>,
}

impl Constants {
    /// Those that the graph holds.
    pub(crate) fn of(graph: &Graph) -> Self {
        let data = graph.values.iter().map(|v| v.data.as_ref().map(aligned)).collect();
        Constants { data, deferred: deferred(graph) }
    }

    pub(crate) fn get(&self, id: ValueId) -> Option<&Tensor> {
        self.data.get(id.0)?.as_ref()
    }

    /// The integer constant that stands in for `id`, which is never made float.
    pub(crate) fn deferred(&self, id: ValueId) -> Option<ValueId> {
        self.deferred.get(id.0).copied().flatten()
    }
}

/// The tensor with its bytes where elements of its type may stand (a mapped file may leave them
/// anywhere).
fn aligned(tensor: &Tensor) -> Tensor {
    let size = tensor.dtype().byte_len(1).unwrap_or(1);
    if tensor.bytes().as_ptr().align_offset(size) == 0 || tensor.bytes().is_empty() {
        return tensor.clone();
    }
    owned(tensor.dtype(), tensor.shape().to_vec(), tensor.bytes())
}

/// A tensor over `bytes`, whose number fits, aligned for its type.
pub(crate) fn owned(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Tensor {
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
    let bytes = TensorBytes::shared(std::sync::Arc::new(Words(words)), 0, bytes.len());
    bytes.and_then(|b| Tensor::from_bytes(dtype, shape, b)).expect("the bytes fit type and shape")
}

/// Keeps bytes on an 8-byte boundary.
struct Words(Vec<u64>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Executes every node whose inputs are constant and whose output shapes are fixed.
pub(crate) fn fold(graph: &Graph, constants: &mut Constants, env: &Environment) -> Result<()> {
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.outputs.iter().all(|v| constants.get(*v).is_some() || constants.deferred(*v).is_some()) {
            continue;
        }
        let Some((inputs, outputs)) = operands(graph, node, constants) else { continue };
        let by_shape = matches!(node.op, Op::ShapeOf(_));
        let known = by_shape || inputs.iter().flatten().all(|o| o.data.is_some());
        let read: usize = inputs.iter().flatten().map(Operand::bytes).fold(0, usize::saturating_add);
        let made: usize = outputs.iter().map(Operand::bytes).fold(0, usize::saturating_add);
        if !known || (made > GROWTH_LIMIT && made / 8 > read) {
            continue;
        }
        let results = evaluate(&node.op, Site { node: index, inputs, outputs, env });
        let fail = |what| Error::BadData { node: node.name.clone(), op: node.op.name(), what };
        for (id, tensor) in node.outputs.iter().zip(results.map_err(fail)?) {
            constants.data[id.0] = Some(tensor);
        }
    }
    Ok(())
}

/// Inputs and outputs of a node, `None` while a shape of them is symbolic.
fn operands(graph: &Graph, node: &Node, constants: &Constants) -> Option<(Vec<Option<Operand>>, Vec<Operand>)> {
    let at = |id: ValueId| Some(operand(graph, &graph.value(id).shape.to_fixed()?, constants, id));
    let inputs = node.inputs.iter().map(|v| v.map_or(Some(None), |v| at(v).map(Some)));
    let outputs = node.outputs.iter().map(|&v| at(v));
    Some((inputs.collect::<Option<_>>()?, outputs.collect::<Option<_>>()?))
}

/// Runs one node on its constant inputs.
fn evaluate(op: &Op, site: Site<'_>) -> std::result::Result<Vec<Tensor>, String> {
    let lowered = lower(op, &site)?;
    let allocate = |bytes: usize| Storage::new(bytes).map_err(|e| e.to_string());
    let mut scratch = allocate(lowered.scratch)?;
    let mut outputs = site.outputs.iter().map(|o| allocate(o.bytes())).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut ctx = RunContext { scratch: scratch.bytes_mut(), ..RunContext::default() };
    for (i, input) in site.inputs.iter().enumerate() {
        let replaced = lowered.replaced.iter().find(|(at, _)| *at == i).map(|(_, data)| data);
        let data = replaced.or(input.as_ref().and_then(|o| o.data.as_ref()));
        ctx.inputs.push(data.map_or(&[], Tensor::bytes));
    }
    for (storage, output) in outputs.iter_mut().zip(&site.outputs) {
        ctx.outputs.push(&mut storage.bytes_mut()[..output.bytes()]);
    }
    (lowered.kernel)(&mut ctx)?;
    drop(ctx);
    let results = outputs.iter().zip(&site.outputs);
    Ok(results.map(|(s, o)| owned(o.dtype, o.dims.clone(), &s.bytes()[..o.bytes()])).collect())
}

/// Computes one operator on constants, for folding. `declared` gives element type and quantization
/// of the outputs where the operator leaves them open (`Quantize`, `Requantize`, integer
/// operators).
///
/// # Errors
/// Shape errors, unsupported types, indices out of range.
pub fn evaluate_node(
    op: &Op,
    inputs: &[Option<&Tensor>],
    declared: &[(DType, Option<Quantization>)],
) -> Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.map(|t| (Cow::Borrowed(t), None))).collect();
    evaluate_parts(op, inputs, declared, Rounding::Float)
}

/// As [`evaluate_node`], on inputs that may be quantized; integer operators compute in `rounding`.
///
/// # Errors
/// As [`evaluate_node`].
pub fn evaluate_quantized_node(
    op: &Op,
    inputs: &[Option<(&Tensor, Option<&Quantization>)>],
    declared: &[(DType, Option<Quantization>)],
    rounding: Rounding,
) -> Result<Vec<Tensor>> {
    let inputs: Vec<_> = inputs.iter().map(|t| t.map(|(t, q)| (Cow::Borrowed(t), q.cloned()))).collect();
    evaluate_parts(op, inputs, declared, rounding)
}

fn evaluate_parts(
    op: &Op,
    inputs: Vec<Option<(Cow<'_, Tensor>, Option<Quantization>)>>,
    declared: &[(DType, Option<Quantization>)],
    rounding: Rounding,
) -> Result<Vec<Tensor>> {
    let mut graph = Graph::default();
    let mut ids = Vec::with_capacity(inputs.len());
    for (i, input) in inputs.into_iter().enumerate() {
        ids.push(input.map(|(tensor, quant)| {
            let id = graph.add_constant(format!("input {i}"), tensor.into_owned());
            graph.value_mut(id).quant = quant;
            id
        }));
    }
    let outputs = declared.iter().enumerate().map(|(i, (dtype, quant))| {
        let id = graph.add_value(format!("output {i}"), *dtype, Default::default());
        graph.value_mut(id).quant = quant.clone();
        id
    });
    let outputs = outputs.collect();
    graph.nodes.push(Node { name: "constant".to_owned(), op: op.clone(), inputs: ids, outputs });
    graph.infer()?;
    graph.validate()?;
    let env = Environment { isa: Isa::active()?, rounding, packed: PackCache::default() };
    let constants = Constants::of(&graph);
    let node = &graph.nodes[0];
    let fail = |what| Error::BadData { node: node.name.clone(), op: op.name(), what };
    let (inputs, outputs) = operands(&graph, node, &constants).ok_or_else(|| fail("a shape is unknown".to_owned()))?;
    evaluate(op, Site { node: 0, inputs, outputs, env: &env }).map_err(fail)
}
