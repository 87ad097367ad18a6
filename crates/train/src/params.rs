//! What is trained.

use fewbits_graph::{DType, Graph, Op, Tensor, ValueId};

use crate::{Error, Result};

/// The trained constants of a graph, in the order in which they were named.
///
/// They stand apart from the graph and the tape: an optimiser changes `values` in place.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    ids: Vec<ValueId>,
    names: Vec<String>,
    shapes: Vec<Vec<usize>>,
    /// The elements, row-major, one list a parameter.
    pub values: Vec<Vec<f32>>,
}

impl Params {
    /// The constants `trainable` of `graph`, with their present elements.
    ///
    /// # Errors
    /// [`Error::NotTrainable`] for a value that is not a `float32` constant or stands there twice.
    pub fn of(graph: &Graph, trainable: &[ValueId]) -> Result<Params> {
        let mut params = Params { ids: Vec::new(), names: Vec::new(), shapes: Vec::new(), values: Vec::new() };
        for &id in trainable {
            let value = graph.value(id);
            let fail = |what: String| Error::NotTrainable { value: value.name.clone(), what };
            let data = value.data.as_ref().ok_or_else(|| fail("it is not a constant".to_owned()))?;
            if data.dtype() != DType::F32 {
                return Err(fail(format!("it is {}, not float32", data.dtype())));
            }
            if params.ids.contains(&id) {
                return Err(fail("it was named twice".to_owned()));
            }
            params.ids.push(id);
            params.names.push(value.name.clone());
            params.shapes.push(data.shape().to_vec());
            params.values.push(data.to_f32());
        }
        Ok(params)
    }

    /// Every `float32` constant of more than `larger_than` elements that a node of `graph` reads as
    /// weights, in the order of values: `0` takes all weights and biases, `1` leaves scalars out.
    /// Statistics of batch normalisations and fill values of paddings are not weights.
    pub fn all_of(graph: &Graph, larger_than: usize) -> Vec<ValueId> {
        let (mut read, mut other) = (vec![false; graph.values.len()], vec![false; graph.values.len()]);
        for node in &graph.nodes {
            for (i, v) in node.inputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?))) {
                let weights = match node.op {
                    Op::BatchNorm(_) => i < 3,
                    Op::Pad(_) => i == 0,
                    _ => true,
                };
                if weights { read[v.0] = true } else { other[v.0] = true }
            }
        }
        let wanted = |id: &ValueId| {
            let data = graph.value(*id).data.as_ref();
            let fits = data.is_some_and(|d| d.dtype() == DType::F32 && d.elements() > larger_than);
            fits && read[id.0] && !other[id.0]
        };
        graph.value_ids().filter(wanted).collect()
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The graph's value of parameter `index`.
    pub fn id(&self, index: usize) -> ValueId {
        self.ids[index]
    }

    /// Name of parameter `index` in the graph.
    pub fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// Shape of parameter `index`.
    pub fn shape(&self, index: usize) -> &[usize] {
        &self.shapes[index]
    }

    /// Writes the present values into `graph`, which must be the one they were taken from.
    ///
    /// # Errors
    /// [`Error::Length`] if a list no longer has the size of its parameter.
    pub fn store(&self, graph: &mut Graph) -> Result<()> {
        for (index, values) in self.values.iter().enumerate() {
            let expected = self.shapes[index].iter().product();
            if values.len() != expected {
                return Err(Error::Length { what: "parameter", index, expected, got: values.len() });
            }
            graph.value_mut(self.ids[index]).data = Some(Tensor::new(self.shapes[index].clone(), values.clone()));
        }
        Ok(())
    }
}
