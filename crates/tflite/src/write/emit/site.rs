//! What writing one node works with.

use fewbits_graph::{DType, Dim, Node, Shape, Tensor, Value, ValueId};

use super::parts::{Attributes, Emit, TensorIndex, TensorInfo};
use crate::schema::enums::Builtin;
use crate::write::lower;
use crate::{Error, Result};

/// A node, and the file that it goes into.
pub(super) struct Site<'e, 'a> {
    pub(super) emit: &'e mut Emit<'a>,
    pub(super) node: &'a Node,
}

impl<'a> Site<'_, 'a> {
    /// An error at this node.
    pub(super) fn fail(&self, what: impl Into<String>) -> Error {
        lower::unwritable(self.node, what)
    }

    /// The value of input `i`.
    pub(super) fn value(&self, i: usize) -> Result<&'a Value> {
        let graph = self.emit.graph;
        lower::input(self.node, i).map(|id| graph.value(id))
    }

    /// The value of the first output.
    pub(super) fn result(&self) -> Result<&'a Value> {
        let graph = self.emit.graph;
        lower::output(self.node).map(|id| graph.value(id))
    }

    /// The four dimensions of input `i`.
    pub(super) fn dims4(&self, i: usize) -> Result<&'a [Dim; 4]> {
        let dims = self.value(i)?.shape.0.as_slice();
        dims.try_into().map_err(|_| self.fail(format!("input {i} should have 4 dimensions")))
    }

    /// The four fixed sizes of input `i`.
    pub(super) fn sizes4(&self, i: usize) -> Result<[usize; 4]> {
        let dims = self.dims4(i)?;
        match self.value(i)?.shape.to_fixed().as_deref() {
            Some(&[a, b, c, d]) => Ok([a, b, c, d]),
            _ => Err(self.fail(format!("input {i} must have a fixed shape, not {}", Shape(dims.to_vec())))),
        }
    }

    /// The elements of the constant integer input `i`.
    pub(super) fn ints(&self, i: usize) -> Result<Vec<i64>> {
        let value = self.value(i)?;
        let ints = value.data.as_ref().and_then(Tensor::to_i64);
        ints.ok_or_else(|| self.fail(format!("`{}` must be a constant of integers", value.name)))
    }

    /// Input `i` as an operand.
    pub(super) fn operand(&mut self, i: usize) -> Result<Option<TensorIndex>> {
        let id = lower::input(self.node, i)?;
        self.emit.operand(id).map(Some)
    }

    /// Input `i`, if it is there, else none at all.
    pub(super) fn optional(&mut self, i: usize) -> Result<Option<Option<TensorIndex>>> {
        match self.node.inputs.get(i).copied().flatten() {
            Some(_) => self.operand(i).map(Some),
            None => Ok(None),
        }
    }

    /// Input `i` without the conversion of half constants.
    pub(super) fn raw(&mut self, id: ValueId) -> Result<TensorIndex> {
        self.emit.tensor(id)
    }

    /// All inputs.
    pub(super) fn operands(&mut self) -> Result<Vec<Option<TensorIndex>>> {
        (0..self.node.inputs.len()).map(|i| self.operand(i)).collect()
    }

    /// An integer operand, constants of 64 bits as 32: that is what TFLite's kernels take.
    pub(super) fn index_operand(&mut self, i: usize) -> Result<Option<TensorIndex>> {
        let value = self.value(i)?;
        match &value.data {
            Some(data) if value.dtype == DType::I64 => {
                let ints = self.ints(i)?;
                let dims = data.shape().to_vec();
                self.i32s(&format!("index_{i}"), dims, &ints).map(Some)
            }
            _ => self.operand(i),
        }
    }

    /// A constant of 32-bit integers of this node.
    pub(super) fn i32s(&mut self, suffix: &str, dims: Vec<usize>, values: &[i64]) -> Result<TensorIndex> {
        let values = values.iter().map(|&v| i32::try_from(v)).collect::<std::result::Result<Vec<_>, _>>();
        let values = values.map_err(|_| self.fail(format!("its {suffix} do not fit 32 bits")))?;
        let name = format!("{}/{suffix}", self.node.name);
        self.emit.constant(&name, Tensor::new(dims, values), None)
    }

    /// A vector of 32-bit integers of this node.
    pub(super) fn vector(&mut self, suffix: &str, values: &[i64]) -> Result<Option<TensorIndex>> {
        self.i32s(suffix, vec![values.len()], values).map(Some)
    }

    /// A vector of sizes or axes of this node.
    pub(super) fn sizes(&mut self, suffix: &str, values: &[usize]) -> Result<Option<TensorIndex>> {
        let values = values.iter().map(|&v| i64::try_from(v)).collect::<std::result::Result<Vec<_>, _>>();
        let values = values.map_err(|_| self.fail(format!("its {suffix} do not fit 32 bits")))?;
        self.vector(suffix, &values)
    }

    /// A single 32-bit integer of this node.
    pub(super) fn integer(&mut self, suffix: &str, value: usize) -> Result<Option<TensorIndex>> {
        let value = i64::try_from(value).map_err(|_| self.fail(format!("its {suffix} does not fit 32 bits")))?;
        self.i32s(suffix, Vec::new(), &[value]).map(Some)
    }

    /// Input `i`, a constant of one element, without axes.
    pub(super) fn scalar_operand(&mut self, i: usize) -> Result<Option<TensorIndex>> {
        let value = self.value(i)?;
        match value.data.as_ref().filter(|_| value.shape.rank() > 0) {
            Some(data) => {
                let scalar = data.reshaped(Vec::new());
                let scalar = scalar.ok_or_else(|| self.fail(format!("`{}` must have one element", value.name)))?;
                let name = format!("{}/scalar_{i}", self.node.name);
                self.emit.constant(&name, scalar, value.quant.clone()).map(Some)
            }
            None => self.operand(i),
        }
    }

    /// An intermediate tensor of this node.
    pub(super) fn temporary(&mut self, suffix: &str, dtype: DType, shape: Shape) -> Result<TensorIndex> {
        let name = format!("{}/{suffix}", self.node.name);
        self.emit.temporary(&name, TensorInfo { dtype, shape, quant: None })
    }

    /// A number as an attribute.
    pub(super) fn attribute(&self, what: &str, n: usize) -> Result<i32> {
        i32::try_from(n).map_err(|_| self.fail(format!("its {what} does not fit 32 bits")))
    }

    /// Adds the operator with all outputs of the node.
    pub(super) fn write(
        &mut self,
        builtin: Builtin,
        attributes: Attributes,
        inputs: &[Option<TensorIndex>],
    ) -> Result<()> {
        let outputs = self.node.outputs.iter().map(|&v| self.emit.tensor(v)).collect::<Result<Vec<_>>>()?;
        self.emit.operator(builtin, attributes, inputs, &outputs)
    }
}
