//! What an importer of one operator works with.

use fewbits_graph::{Activation, DType, Graph, Node, Op, Shape, Tensor, Value, ValueId};

use crate::schema::enums::{Builtin, activation_from_code};
use crate::schema::options::Options;
use crate::schema::table::read_verified;
use crate::{Error, Result};

/// One operator of the file, its tensors resolved.
pub(super) struct Site {
    pub(super) builtin: Builtin,
    /// Name of the node: that of the first output.
    pub(super) name: String,
    pub(super) inputs: Vec<Option<ValueId>>,
    /// At least one.
    pub(super) outputs: Vec<ValueId>,
    /// Kind and position of the attributes.
    pub(super) options: Option<(u8, usize)>,
}

/// The graph being built, and the operator at hand.
pub(super) struct Import<'a> {
    pub(super) graph: &'a mut Graph,
    pub(super) bytes: &'a [u8],
    pub(super) site: &'a Site,
}

impl Import<'_> {
    /// An error at this operator.
    pub(super) fn fail(&self, what: impl Into<String>) -> Error {
        Error::Node { node: self.site.name.clone(), op: self.site.builtin.name(), what: what.into() }
    }

    /// Input `i`, which must be there.
    pub(super) fn input(&self, i: usize) -> Result<ValueId> {
        self.optional(i).ok_or_else(|| self.fail(format!("input {i} is missing")))
    }

    /// Input `i`, if it is there.
    pub(super) fn optional(&self, i: usize) -> Option<ValueId> {
        self.site.inputs.get(i).copied().flatten()
    }

    /// Output `i`, which must be there.
    pub(super) fn output(&self, i: usize) -> Result<ValueId> {
        self.site.outputs.get(i).copied().ok_or_else(|| self.fail(format!("output {i} is missing")))
    }

    /// The value of input `i`.
    pub(super) fn value(&self, i: usize) -> Result<&Value> {
        self.input(i).map(|id| self.graph.value(id))
    }

    /// Number of dimensions of input `i`.
    pub(super) fn rank(&self, i: usize) -> Result<usize> {
        Ok(self.value(i)?.shape.rank())
    }

    /// Element type of input `i`.
    pub(super) fn dtype(&self, i: usize) -> Result<DType> {
        Ok(self.value(i)?.dtype)
    }

    /// The four dimensions of input `i`.
    pub(super) fn dims4(&self, i: usize) -> Result<[Option<usize>; 4]> {
        let dims: Vec<_> = self.value(i)?.shape.0.iter().map(fewbits_graph::Dim::fixed).collect();
        dims.try_into().map_err(|_| self.fail(format!("input {i} should have 4 dimensions")))
    }

    /// The attributes: the schema's defaults where the file has none.
    pub(super) fn options<T: Options>(&self) -> Result<T> {
        let Some((kind, at)) = self.site.options else { return Ok(T::default()) };
        if kind != T::KIND {
            return Err(self.fail(format!("its attributes are of kind {kind}, expected {}", T::KIND)));
        }
        let options = read_verified::<T>(self.bytes, at).map_err(|e| self.fail(format!("damaged attributes: {e}")))?;
        options.ok_or_else(|| self.fail("its attributes are cut short"))
    }

    /// The elements of the constant integer input `i`.
    pub(super) fn ints(&self, i: usize) -> Result<Vec<i64>> {
        let value = self.value(i)?;
        let ints = value.data.as_ref().and_then(Tensor::to_i64);
        ints.ok_or_else(|| self.fail(format!("input `{}` must be a constant of integers", value.name)))
    }

    /// The single element of the constant integer input `i`.
    pub(super) fn int(&self, i: usize) -> Result<i64> {
        match self.ints(i)?.as_slice() {
            [one] => Ok(*one),
            other => Err(self.fail(format!("input {i} should have one element, not {}", other.len()))),
        }
    }

    /// The axis that `axis` names in a tensor of `rank` dimensions; negative ones count from the end.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let n = i64::try_from(rank).unwrap_or(i64::MAX);
        let resolved = usize::try_from(if axis < 0 { axis.saturating_add(n) } else { axis });
        let valid = resolved.ok().filter(|&a| a < rank);
        valid.ok_or_else(|| self.fail(format!("axis {axis} is outside of {rank} dimensions")))
    }

    /// Several axes, ascending, each once.
    pub(super) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut axes = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// A positive attribute as a size.
    pub(super) fn size(&self, what: &str, n: i32) -> Result<usize> {
        let size = usize::try_from(n).ok().filter(|&n| n > 0);
        size.ok_or_else(|| self.fail(format!("{what} is {n}")))
    }

    /// The fused activation.
    pub(super) fn activation(&self, code: i8) -> Result<Activation> {
        activation_from_code(code)
            .ok_or_else(|| self.fail(format!("fused activation {code} is not supported (only RELU and its kin)")))
    }

    /// Adds the node itself, with all outputs.
    pub(super) fn emit(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<()> {
        self.push(String::new(), op.into(), inputs, self.site.outputs.clone());
        Ok(())
    }

    /// Adds the node itself with the operator's inputs as they are.
    pub(super) fn emit_same(&mut self, op: impl Into<Op>, count: usize) -> Result<()> {
        let inputs = (0..count).map(|i| self.input(i).map(Some)).collect::<Result<Vec<_>>>()?;
        self.emit(op, &inputs)
    }

    /// Adds a helper node whose output is a new value of the type and quantization of `like`.
    pub(super) fn emit_helper(
        &mut self,
        suffix: &str,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        like: ValueId,
    ) -> ValueId {
        let (dtype, quant) = (self.graph.value(like).dtype, self.graph.value(like).quant.clone());
        let out = self.graph.add_value(format!("{}/{suffix}", self.site.name), dtype, Shape::default());
        self.graph.value_mut(out).quant = quant;
        self.push(format!("/{suffix}"), op.into(), inputs, vec![out]);
        out
    }

    /// Adds a helper node with `count` new outputs of the type and quantization of its input.
    pub(super) fn emit_parts(&mut self, op: impl Into<Op>, input: ValueId, count: usize) -> Vec<ValueId> {
        let (dtype, quant) = (self.graph.value(input).dtype, self.graph.value(input).quant.clone());
        let part = |i: usize| {
            let out = self.graph.add_value(format!("{}/part_{i}", self.site.name), dtype, Shape::default());
            self.graph.value_mut(out).quant = quant.clone();
            out
        };
        let parts: Vec<_> = (0..count).map(part).collect();
        self.push("/split".to_owned(), op.into(), &[Some(input)], parts.clone());
        parts
    }

    /// Adds a helper node with an output of the operator itself.
    pub(super) fn emit_last(&mut self, suffix: &str, op: impl Into<Op>, input: ValueId, output: ValueId) {
        self.push(suffix.to_owned(), op.into(), &[Some(input)], vec![output]);
    }

    fn push(&mut self, suffix: String, op: Op, inputs: &[Option<ValueId>], outputs: Vec<ValueId>) {
        let name = format!("{}{suffix}", self.site.name);
        self.graph.nodes.push(Node { name, op, inputs: inputs.to_vec(), outputs });
    }

    /// Adds a constant of this node.
    pub(super) fn constant(&mut self, suffix: &str, data: Tensor) -> ValueId {
        self.graph.add_constant(format!("{}/{suffix}", self.site.name), data)
    }

    /// Adds a constant vector of integers of this node.
    pub(super) fn int_constant(&mut self, suffix: &str, data: &[i64]) -> ValueId {
        self.constant(suffix, Tensor::from_ints(data))
    }
}
