//! Operators that only move elements: transposing, slicing, padding, splitting, tiling…
//!
//! The engine's own operator, run once on the positions of the elements instead of on the
//! elements, tells where each output element comes from. That map and its transpose are the two
//! passes.

use fewbits_engine::evaluate_node;
use fewbits_graph::{DType, Op, Tensor};
use fewbits_kernels::float::grad::blocks::BlockMap;

use crate::derivative::{Backward, Derivative, Forward};
use crate::site::{Derivation, Derived, Site};

/// Marks an element that is a fill, not an input's.
const FILL: i32 = -1;

/// For each output, where its elements come from.
struct Movement {
    parts: Vec<Part>,
}

struct Part {
    forward: BlockMap,
    backward: BlockMap,
    /// Elements that hold the fill value.
    filled: Vec<usize>,
    fill: f32,
}

pub(super) fn movement(op: &Op, site: &Site) -> Derivation {
    site.only(&[0])?;
    let input = site.input(0)?.elements();
    let fill = match op {
        Op::Pad(_) => fill_value(site)?,
        _ => 0.0,
    };
    let parts = positions(op, site)?.into_iter().map(|sources| part(input, &sources, fill));
    Ok(Derived::new(Movement { parts: parts.collect::<Result<_, _>>()? }))
}

fn fill_value(site: &Site) -> Result<f32, String> {
    match site.optional(2) {
        None => Ok(0.0),
        Some(edge) => {
            let data = edge.data.as_ref().ok_or("the fill value must be a constant")?;
            data.to_f32().first().copied().ok_or_else(|| "the fill value is empty".to_owned())
        }
    }
}

/// For each output of a moving operator the position in input 0 of each element, `None` for a fill.
pub(super) fn positions(op: &Op, site: &Site) -> Result<Vec<Vec<Option<usize>>>, String> {
    let x = site.input(0)?;
    let count = i32::try_from(x.elements()).map_err(|_| "a tensor of more than 2³¹ elements")?;
    let ramp = Tensor::new(x.dims.clone(), (0..count).collect());
    let fill = Tensor::scalar(FILL);
    let mut inputs = vec![Some(&ramp)];
    for (i, edge) in site.inputs.iter().enumerate().skip(1) {
        let known = |e: &crate::site::Edge| e.data.is_some();
        inputs.push(match edge {
            _ if matches!(op, Op::Pad(_)) && i == 2 => Some(&fill),
            Some(edge) if known(edge) => edge.data.as_ref(),
            Some(_) => return Err(format!("input {i} must be known before running")),
            None => None,
        });
    }
    if matches!(op, Op::Pad(_)) && inputs.len() == 2 {
        inputs.push(Some(&fill));
    }
    let declared = vec![(DType::I32, None); site.outputs.len()];
    let results = evaluate_node(op, &inputs, &declared).map_err(|e| e.to_string())?;
    let sources = |t: &Tensor| {
        let ints = t.as_slice::<i32>().ok_or("the engine moved the positions into another type")?;
        Ok(ints.iter().map(|&at| usize::try_from(at).ok()).collect())
    };
    results.iter().map(sources).collect()
}

fn part(input: usize, sources: &[Option<usize>], fill: f32) -> Result<Part, String> {
    let forward = BlockMap::moving(input, sources).ok_or("the tensor is too large")?;
    let backward = forward.transposed();
    let filled = if fill == 0.0 { Vec::new() } else { (0..sources.len()).filter(|&i| sources[i].is_none()).collect() };
    Ok(Part { forward, backward, filled, fill })
}

impl Derivative for Movement {
    fn forward(&mut self, run: &mut Forward<'_>) -> Result<(), String> {
        let x = run.input(0);
        for (part, out) in self.parts.iter().zip(&mut run.outputs) {
            part.forward.apply(x, out, false);
            part.filled.iter().for_each(|&i| out[i] = part.fill);
        }
        Ok(())
    }

    fn backward(&mut self, run: &mut Backward<'_>) {
        let Some(target) = run.target(0) else { return };
        let (dx, mut accumulate) = target.parts();
        for (part, dy) in self.parts.iter().zip(&run.gradients) {
            part.backward.apply(dy, dx, accumulate);
            accumulate = true;
        }
    }
}
