//! Constant folding: what does not depend on the inputs is computed once.

use fewbits_graph::{DType, Graph, NodeId, Op, Quantization, Result, SymInt, Tensor};

use super::Context;
use super::edit::Edit;

/// Makes constants of integer values that follow from shapes alone (`Shape` → `Gather` → `Concat`
/// chains over fixed dimensions, even where other dimensions are symbolic).
pub(super) fn fold_known_integers(graph: &mut Graph, _: &Context<'_>) -> Result<bool> {
    let known = graph.infer_integers()?;
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        let out = edit.out(node);
        if edit.node(node).outputs.len() != 1 || edit.is_output(out) || edit.value(out).quant.is_some() {
            continue;
        }
        let numbers = known[out.0].as_ref().and_then(|e| e.iter().map(SymInt::known).collect::<Option<Vec<i64>>>());
        let value = edit.value(out);
        if let (Some(numbers), Some(shape)) = (numbers, value.shape.to_fixed())
            && let Some(data) = integer_tensor(value.dtype, shape, &numbers)
        {
            edit.remove(node);
            edit.value_mut(out).data = Some(data);
        }
    }
    edit.finish()
}

fn integer_tensor(dtype: DType, shape: Vec<usize>, numbers: &[i64]) -> Option<Tensor> {
    match dtype {
        DType::I64 => Some(Tensor::new(shape, numbers.to_vec())),
        DType::I32 => {
            let narrow: std::result::Result<Vec<i32>, _> = numbers.iter().map(|&n| i32::try_from(n)).collect();
            Some(Tensor::new(shape, narrow.ok()?))
        }
        DType::Bool => Some(Tensor::from_bools(shape, &numbers.iter().map(|&n| n != 0).collect::<Vec<_>>())),
        _ => None,
    }
}

/// Evaluates nodes whose inputs are all constant.
///
/// Left alone are: domain changes and anything that reads a quantized constant (weights keep their
/// 8-bit storage; [`super::qdq`] knows what may be done to them), conversions from half precision
/// (half weights keep theirs), results that would be much larger than what they come from, and
/// nodes that write public outputs.
pub(super) fn fold_constants(graph: &mut Graph, context: &Context<'_>) -> Result<bool> {
    let mut edit = Edit::new(graph);
    for node in edit.nodes() {
        if may_fold(&edit, node, context.options.largest_constant)
            && let Some(results) = evaluate(&edit, node, context)
        {
            let outputs = edit.node(node).outputs.clone();
            edit.remove(node);
            for (out, data) in outputs.into_iter().zip(results) {
                edit.value_mut(out).data = Some(data);
            }
        }
    }
    edit.finish()
}

fn may_fold(edit: &Edit<'_>, id: NodeId, largest: usize) -> bool {
    let node = edit.node(id);
    let domain_change = match node.op {
        Op::Quantize(_) | Op::Dequantize(_) | Op::Requantize(_) => true,
        Op::Cast(_) => edit.input(id, 0).is_some_and(|v| edit.value(v).dtype == DType::F16),
        _ => false,
    };
    let plain = |v| edit.value(v).quant.is_none();
    let constant = |v| plain(v) && edit.constant(v).is_some();
    if domain_change
        || !node.inputs.iter().flatten().all(|&v| constant(v))
        || !node.outputs.iter().all(|&v| plain(v) && !edit.is_output(v))
    {
        return false;
    }
    let before: usize = node.inputs.iter().flatten().filter_map(|&v| edit.constant(v)).map(|t| t.bytes().len()).sum();
    let bytes = |v| edit.value(v).shape.elements().and_then(|n| edit.value(v).dtype.byte_len(n));
    let after = node.outputs.iter().try_fold(0usize, |n, &v| n.checked_add(bytes(v)?));
    after.is_some_and(|after| after <= largest.max(before.saturating_mul(4)))
}

/// The node's results; `None` if the engine cannot compute it, or not as the graph says.
fn evaluate(edit: &Edit<'_>, id: NodeId, context: &Context<'_>) -> Option<Vec<Tensor>> {
    let node = edit.node(id);
    let inputs: Vec<Option<&Tensor>> = node.inputs.iter().map(|v| v.and_then(|v| edit.constant(v))).collect();
    let declared: Vec<(DType, Option<Quantization>)> =
        node.outputs.iter().map(|&v| (edit.value(v).dtype, None)).collect();
    // What cannot be computed now fails or works when the model runs: no reason to refuse it here.
    let results = (context.evaluate)(&node.op, &inputs, &declared).ok()?;
    let fits = |(t, &v): (&Tensor, &fewbits_graph::ValueId)| {
        t.dtype() == edit.value(v).dtype && edit.shape(v).to_fixed().as_deref() == Some(t.shape())
    };
    (results.len() == node.outputs.len() && results.iter().zip(&node.outputs).all(fits)).then_some(results)
}
