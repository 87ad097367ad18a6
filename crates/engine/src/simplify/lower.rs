//! Operators spelled out before quantization.

use fewbits_graph::ops::{Binary, BinaryKind, DepthwiseConv2d, Unary, UnaryKind};
use fewbits_graph::{Activation, Graph, NodeId, Op, Shape, Tensor};

use super::edit::Edit;
use crate::Result;

/// Spells out what 8-bit formats have no operator for, so that the values between get ranges of
/// their own: SiLU as a sigmoid and a product (as TFLite and ONNX write it), batch normalisation
/// that could not be folded as a 1 × 1 depthwise convolution (rank 4) or a product and a sum.
///
/// HardSwish and GELU stay: on 8-bit edges they are tables of 256 entries.
///
/// # Errors
/// [`crate::Error::Graph`] if the graph is inconsistent.
pub fn lower_for_quantization(mut graph: Graph) -> Result<Graph> {
    graph.infer()?;
    let mut edit = Edit::new(&mut graph);
    for node in edit.nodes() {
        match edit.op(node) {
            Op::Unary(Unary { kind: UnaryKind::Silu }) => lower_silu(&mut edit, node),
            Op::BatchNorm(_) => {
                let _ = lower_batch_norm(&mut edit, node);
            }
            _ => {}
        }
    }
    edit.finish()?;
    graph.validate()?;
    Ok(graph)
}

fn lower_silu(edit: &mut Edit<'_>, node: NodeId) {
    let x = edit.input(node, 0);
    let out = edit.value(edit.out(node));
    let (name, dtype, shape) = (format!("{}_sigmoid", out.name), out.dtype, out.shape.clone());
    let gate = edit.add_value(&name, dtype, shape, None);
    edit.add_node(&format!("{}_sigmoid", edit.node(node).name.clone()), Unary { kind: UnaryKind::Sigmoid }, &[x], gate);
    edit.replace(node, Binary { kind: BinaryKind::Mul, activation: Activation::None }, &[x, Some(gate)]);
}

/// `None` (and no change) where the statistics are not constant.
fn lower_batch_norm(edit: &mut Edit<'_>, node: NodeId) -> Option<()> {
    let (x, affine) = super::affine::affine_of(edit, node)?;
    let activation = edit.op(node).activation().unwrap_or_default();
    let narrow = |numbers: &[f64]| numbers.iter().map(|&n| n as f32).collect::<Vec<f32>>();
    let (scale, shift) = (narrow(&affine.scale), narrow(&affine.shift));
    let channels = scale.len();
    let name = edit.node(node).name.clone();
    let rank = edit.shape(x).rank();
    let scale_shape = if rank == 4 { vec![1, 1, 1, channels] } else { vec![channels] };
    let weights = edit.add_constant(&format!("{name}_scale"), Tensor::new(scale_shape, scale));
    let bias = edit.add_constant(&format!("{name}_shift"), Tensor::new(vec![channels], shift));
    if rank == 4 {
        let conv = DepthwiseConv2d { stride: [1, 1], dilation: [1, 1], padding: [0; 4], multiplier: 1, activation };
        edit.replace(node, conv, &[Some(x), Some(weights), Some(bias)]);
        return Some(());
    }
    let shape: Shape = edit.shape(x).clone();
    let dtype = edit.value(x).dtype;
    let product = edit.add_value(&format!("{name}_scaled"), dtype, shape, None);
    let times = Binary { kind: BinaryKind::Mul, activation: Activation::None };
    edit.add_node(&format!("{name}_scaled"), times, &[Some(x), Some(weights)], product);
    edit.replace(node, Binary { kind: BinaryKind::Add, activation }, &[Some(product), Some(bias)]);
    Some(())
}
