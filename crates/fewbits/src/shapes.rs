//! Sizes for inputs whose shapes the model leaves open, and inputs made of nothing.

use std::collections::BTreeMap;

use fewbits_graph::{DType, Dim, Graph, Shape, Tensor, Value};
use half::f16;

/// Size of a symbolic dimension that is not the first.
const FREE_DIMENSION: usize = 16;

/// Fixes the shapes of public inputs, by name, and infers the others anew.
///
/// # Errors
/// A sentence that says which name is unknown or which shape does not fit.
pub fn fix_input_shapes(graph: &mut Graph, shapes: &[(String, Vec<usize>)]) -> Result<(), String> {
    for (name, dims) in shapes {
        let Some(&id) = graph.inputs.iter().find(|&&id| graph.value(id).name == *name) else {
            let names: Vec<&str> = graph.inputs.iter().map(|&id| graph.value(id).name.as_str()).collect();
            return Err(format!("there is no input `{name}`; the model has {}", names.join(", ")));
        };
        let value = graph.value_mut(id);
        let fits = value.shape.rank() == dims.len()
            && value.shape.0.iter().zip(dims).all(|(d, &n)| d.fixed().is_none_or(|fixed| fixed == n));
        if !fits {
            return Err(format!("input `{name}` has shape {}, which cannot be {}", value.shape, Shape::fixed(dims)));
        }
        value.shape = Shape::fixed(dims);
    }
    if shapes.is_empty() {
        return Ok(());
    }
    graph.infer().map_err(|e| e.to_string())
}

/// Shapes to run a model with when there is no data: `batch` (1 if not given) for a free first
/// dimension, 16 for other free ones; equal symbols get equal sizes.
///
/// Returns the shapes in the order of the inputs, and the sizes that were chosen beyond the batch,
/// as text (`S = 16`).
pub fn run_shapes(graph: &Graph, batch: Option<usize>) -> (Vec<Vec<usize>>, Vec<String>) {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    let dims = |graph: &'_ Graph| graph.inputs.iter().map(|&id| id.0).collect::<Vec<_>>();
    for at in dims(graph) {
        if let Some(Dim::Symbol(symbol)) = graph.values[at].shape.0.first() {
            sizes.insert(symbol, batch.unwrap_or(1));
        }
    }
    let mut chosen = Vec::new();
    for at in dims(graph) {
        for dim in graph.values[at].shape.0.iter().skip(1) {
            if let Dim::Symbol(symbol) = dim
                && !sizes.contains_key(&**symbol)
            {
                sizes.insert(symbol, FREE_DIMENSION);
                chosen.push(format!("{symbol} = {FREE_DIMENSION}"));
            }
        }
    }
    let size = |dim: &Dim| match dim {
        Dim::Fixed(n) => *n,
        Dim::Symbol(symbol) => sizes.get(&**symbol).copied().unwrap_or(FREE_DIMENSION),
    };
    let shapes = dims(graph).into_iter().map(|at| graph.values[at].shape.0.iter().map(size).collect()).collect();
    (shapes, chosen)
}

/// Inputs of the given shapes: floats are random in [0, 1), 8-bit integers random, other integers 1
/// (a legal token, mask and index in any model), from a fixed seed.
pub fn synthetic_inputs(graph: &Graph, shapes: &[Vec<usize>]) -> Vec<Tensor> {
    let mut random = SplitMix(0x5eed);
    graph.inputs.iter().zip(shapes).map(|(&id, shape)| random.tensor(graph.value(id), shape)).collect()
}

/// Steele, Lea & Flood 2014: a generator of 64 bits in three lines.
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        // The upper 24 bits are exact in f32.
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    fn tensor(&mut self, value: &Value, shape: &[usize]) -> Tensor {
        let (shape, n) = (shape.to_vec(), shape.iter().product());
        match value.dtype {
            DType::F32 => Tensor::new(shape, (0..n).map(|_| self.unit()).collect()),
            DType::F16 => Tensor::new(shape, (0..n).map(|_| f16::from_f32(self.unit())).collect()),
            DType::F64 => Tensor::new(shape, (0..n).map(|_| f64::from(self.unit())).collect()),
            DType::I8 => Tensor::new(shape, (0..n).map(|_| self.byte().cast_signed()).collect()),
            DType::U8 => Tensor::new(shape, (0..n).map(|_| self.byte()).collect()),
            DType::I16 => Tensor::new(shape, vec![1i16; n]),
            DType::I32 => Tensor::new(shape, vec![1i32; n]),
            DType::I64 => Tensor::new(shape, vec![1i64; n]),
            DType::Bool => Tensor::from_bools(shape, &vec![true; n]),
            // No format has a public input of packed 4-bit integers; int8 stands in.
            DType::I4 => Tensor::new(shape, vec![1i8; n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let mut graph = Graph::default();
        let shape = Shape(vec![Dim::symbol("N"), Dim::symbol("S"), Dim::Fixed(3)]);
        graph.add_input("ids", DType::I64, shape.clone());
        graph.add_input("x", DType::F32, shape);
        graph
    }

    #[test]
    fn equal_symbols_get_equal_sizes() {
        let (shapes, chosen) = run_shapes(&graph(), Some(4));
        assert_eq!(shapes, [[4, 16, 3], [4, 16, 3]]);
        assert_eq!(chosen, ["S = 16"]);
        assert_eq!(run_shapes(&graph(), None).0[0], [1, 16, 3]);
    }

    #[test]
    fn fixed_shapes_must_fit() {
        let mut g = graph();
        fix_input_shapes(&mut g, &[("x".into(), vec![1, 128, 3])]).unwrap();
        assert_eq!(g.value(g.inputs[1]).shape, Shape::fixed(&[1, 128, 3]));
        let unknown = fix_input_shapes(&mut g, &[("y".into(), vec![1])]).unwrap_err();
        assert_eq!(unknown, "there is no input `y`; the model has ids, x");
        let wrong = fix_input_shapes(&mut g, &[("ids".into(), vec![1, 128, 4])]).unwrap_err();
        assert_eq!(wrong, "input `ids` has shape [N, S, 3], which cannot be [1, 128, 4]");
    }

    #[test]
    fn synthetic_inputs_are_the_same_every_time() {
        let g = graph();
        let shapes = run_shapes(&g, None).0;
        let (a, b) = (synthetic_inputs(&g, &shapes), synthetic_inputs(&g, &shapes));
        assert_eq!(a, b);
        assert!(a[1].to_f32().iter().all(|x| (0.0..1.0).contains(x)));
        assert!(a[1].to_f32()[0] != a[1].to_f32()[1]);
        assert_eq!(a[0].to_i64().unwrap(), vec![1; 48]);
    }
}
