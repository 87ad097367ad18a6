//! The parts of the file as they accumulate.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use fewbits_graph::{DType, Dim, Granularity, Graph, Quantization, Shape, Tensor, Value, ValueId};

use crate::schema::enums::{Builtin, PLACEHOLDER_CODE, dtype_code};
use crate::schema::model::{self, Buffer, OperatorCode, QuantizationParameters};
use crate::schema::options::Options;
use crate::schema::table::{Blob, UnionTable};
use crate::write::version::version;
use crate::{Error, Result};

/// Index of a tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::write) struct TensorIndex(pub(in crate::write) i32);

/// What versions of operators depend on.
#[derive(Clone, Debug)]
pub(in crate::write) struct TensorInfo {
    pub(in crate::write) dtype: DType,
    pub(in crate::write) shape: Shape,
    pub(in crate::write) quant: Option<Quantization>,
}

/// Attributes of an operator.
#[derive(Default)]
pub(in crate::write) struct Attributes {
    kind: u8,
    table: UnionTable,
    /// The version that the attributes ask for; types may ask for a later one.
    version: i32,
}

impl Attributes {
    /// None.
    pub(in crate::write) fn none() -> Self {
        Attributes::default()
    }

    /// That table.
    pub(in crate::write) fn of<T: Options>(table: T) -> Self {
        Attributes { kind: T::KIND, table: UnionTable::Write(std::sync::Arc::new(table)), version: 1 }
    }

    /// At least that version.
    pub(in crate::write) fn since(self, version: i32) -> Self {
        Attributes { version, ..self }
    }
}

/// What the file is assembled from.
pub(in crate::write) struct Parts {
    pub(in crate::write) tensors: Vec<model::Tensor>,
    pub(in crate::write) buffers: Vec<Buffer>,
    pub(in crate::write) codes: Vec<OperatorCode>,
    pub(in crate::write) operators: Vec<model::Operator>,
    /// The tensor of each value that the file has.
    pub(in crate::write) index: Vec<Option<TensorIndex>>,
}

/// Parts under construction.
pub(super) struct Emit<'a> {
    pub(super) graph: &'a Graph,
    parts: Parts,
    infos: Vec<TensorInfo>,
    /// Half constants, widened for readers that compute in single precision.
    widened: HashMap<ValueId, TensorIndex>,
    codes: HashMap<Builtin, u32>,
    /// Constants that were written, by a hash of their bytes.
    shared: HashMap<u64, Vec<u32>>,
    names: HashSet<String>,
}

impl<'a> Emit<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let parts = Parts {
            tensors: Vec::new(),
            // Buffer 0 is the empty one of all values that are computed.
            buffers: vec![Buffer::default()],
            codes: Vec::new(),
            operators: Vec::new(),
            index: vec![None; graph.values.len()],
        };
        // Axes and sizes are written anew, in 32 bits: they take over the names of what they replace.
        let stays = |v: &&Value| v.data.is_none() || v.quant.is_some() || v.dtype.is_float();
        let names = graph.values.iter().filter(stays).map(|v| v.name.clone()).collect();
        Emit {
            graph,
            parts,
            infos: Vec::new(),
            widened: HashMap::new(),
            codes: HashMap::new(),
            shared: HashMap::new(),
            names,
        }
    }

    pub(super) fn finish(self) -> Parts {
        self.parts
    }

    pub(super) fn info(&self, tensor: TensorIndex) -> &TensorInfo {
        // Indices are handed out by `push`, one for each element.
        &self.infos[usize::try_from(tensor.0).unwrap_or_default()]
    }

    /// The tensor of a value.
    pub(super) fn tensor(&mut self, id: ValueId) -> Result<TensorIndex> {
        if let Some(index) = self.parts.index[id.0] {
            return Ok(index);
        }
        let value = self.graph.value(id);
        let info = TensorInfo { dtype: value.dtype, shape: value.shape.clone(), quant: value.quant.clone() };
        let index = self.push(value.name.clone(), info, value.data.clone())?;
        self.parts.index[id.0] = Some(index);
        Ok(index)
    }

    /// The tensor of a value that is read as a number of single precision if it is a half constant.
    pub(super) fn operand(&mut self, id: ValueId) -> Result<TensorIndex> {
        let value = self.graph.value(id);
        let tensor = self.tensor(id)?;
        if value.dtype != DType::F16 || value.data.is_none() {
            return Ok(tensor);
        }
        if let Some(&wide) = self.widened.get(&id) {
            return Ok(wide);
        }
        let info = TensorInfo { dtype: DType::F32, shape: value.shape.clone(), quant: None };
        let wide = self.temporary(&format!("{}/float32", value.name), info)?;
        self.operator(Builtin::DEQUANTIZE, Attributes::none(), &[Some(tensor)], &[wide])?;
        self.widened.insert(id, wide);
        Ok(wide)
    }

    /// A tensor that no value of the graph stands for.
    pub(super) fn temporary(&mut self, name: &str, info: TensorInfo) -> Result<TensorIndex> {
        let name = self.fresh(name);
        self.push(name, info, None)
    }

    /// A constant that no value of the graph stands for.
    pub(super) fn constant(&mut self, name: &str, data: Tensor, quant: Option<Quantization>) -> Result<TensorIndex> {
        let name = self.fresh(name);
        let info = TensorInfo { dtype: data.dtype(), shape: Shape::fixed(data.shape()), quant };
        self.push(name, info, Some(data))
    }

    /// Sets the scales of a constant that the graph holds without.
    pub(super) fn set_quantization(&mut self, tensor: TensorIndex, quant: &Quantization) -> Result<()> {
        let at = usize::try_from(tensor.0).unwrap_or_default();
        let parameters = quantization(quant).ok_or_else(|| self.unwritable_blocks(at))?;
        self.parts.tensors[at].quantization = Some(parameters);
        Ok(())
    }

    fn unwritable_blocks(&self, at: usize) -> Error {
        let value = self.parts.tensors.get(at).and_then(|t| t.name.clone()).unwrap_or_default();
        Error::UnwritableValue { value, what: "TFLite has no block-wise scales here; write .onnx instead".to_owned() }
    }

    fn fresh(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut n = 0;
        while !self.names.insert(candidate.clone()) {
            n += 1;
            candidate = format!("{name}_{n}");
        }
        candidate
    }

    fn push(&mut self, name: String, info: TensorInfo, data: Option<Tensor>) -> Result<TensorIndex> {
        let fail = |what: &str| Error::UnwritableValue { value: name.clone(), what: what.to_owned() };
        let index = i32::try_from(self.parts.tensors.len()).map_err(|_| fail("the model has too many values"))?;
        let size = |d: &Dim| d.fixed().map_or(Ok(1), i32::try_from);
        let shape = info.shape.0.iter().map(size).collect::<std::result::Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| fail("a dimension does not fit 32 bits"))?;
        let open = |(d, &n): (&Dim, &i32)| if d.fixed().is_none() { -1 } else { n };
        let signature: Vec<i32> = info.shape.0.iter().zip(&shape).map(open).collect();
        let quant = match &info.quant {
            Some(q) => {
                Some(quantization(q).ok_or_else(|| fail("TFLite has no block-wise scales; write .onnx instead"))?)
            }
            None => None,
        };
        let buffer = match data {
            Some(data) => self.buffer(data).ok_or_else(|| fail("the model has too many constants"))?,
            None => 0,
        };
        self.parts.tensors.push(model::Tensor {
            shape_signature: (signature != shape).then_some(signature),
            shape,
            kind: dtype_code(info.dtype),
            buffer,
            name: Some(name),
            quantization: quant,
            has_rank: true,
            ..model::Tensor::default()
        });
        self.infos.push(info);
        Ok(TensorIndex(index))
    }

    /// The buffer of a constant; constants of equal bytes have one in common.
    fn buffer(&mut self, data: Tensor) -> Option<u32> {
        let mut hasher = DefaultHasher::new();
        hasher.write(data.bytes());
        let same_hash = self.shared.entry(hasher.finish()).or_default();
        let buffers = &mut self.parts.buffers;
        let equal = |&&i: &&u32| {
            let buffer = usize::try_from(i).ok().and_then(|i| buffers.get(i));
            matches!(buffer, Some(Buffer { data: Blob::Write(other), .. }) if other.bytes() == data.bytes())
        };
        if let Some(&buffer) = same_hash.iter().find(equal) {
            return Some(buffer);
        }
        let index = u32::try_from(buffers.len()).ok()?;
        same_hash.push(index);
        buffers.push(Buffer { data: Blob::Write(data), ..Buffer::default() });
        Some(index)
    }

    /// Adds an operator.
    pub(super) fn operator(
        &mut self,
        builtin: Builtin,
        attributes: Attributes,
        inputs: &[Option<TensorIndex>],
        outputs: &[TensorIndex],
    ) -> Result<()> {
        let ins: Vec<_> = inputs.iter().map(|t| t.map(|t| self.info(t))).collect();
        let outs: Vec<_> = outputs.iter().map(|&t| self.info(t)).collect();
        let version = version(builtin, &ins, &outs).max(attributes.version).max(1);
        let next = u32::try_from(self.parts.codes.len());
        let opcode_index = match (self.codes.get(&builtin), next) {
            (Some(&index), _) => index,
            (None, Ok(index)) => {
                self.codes.insert(builtin, index);
                self.parts.codes.push(operator_code(builtin));
                index
            }
            (None, Err(_)) => 0,
        };
        if let Some(code) = usize::try_from(opcode_index).ok().and_then(|i| self.parts.codes.get_mut(i)) {
            // One entry serves all uses: later versions include earlier ones.
            code.version = code.version.max(version);
        }
        self.parts.operators.push(model::Operator {
            opcode_index,
            inputs: inputs.iter().map(|t| t.map_or(-1, |t| t.0)).collect(),
            outputs: outputs.iter().map(|t| t.0).collect(),
            options_kind: attributes.kind,
            options: attributes.table,
        });
        Ok(())
    }
}

fn operator_code(builtin: Builtin) -> OperatorCode {
    OperatorCode {
        // Readers of old files look here.
        deprecated_builtin_code: i8::try_from(builtin.code()).unwrap_or(PLACEHOLDER_CODE),
        builtin_code: builtin.code(),
        ..OperatorCode::default()
    }
}

/// The parameters in the file's form; `None` for block-wise ones.
fn quantization(quant: &Quantization) -> Option<QuantizationParameters> {
    let quantized_dimension = match quant.granularity {
        Granularity::PerTensor => 0,
        Granularity::PerChannel { axis } => i32::try_from(axis).ok()?,
        Granularity::Blocked { .. } => return None,
    };
    Some(QuantizationParameters {
        scale: Some(quant.scales.clone()),
        zero_point: Some(quant.zero_points.iter().map(|&z| i64::from(z)).collect()),
        details_kind: 0,
        quantized_dimension,
    })
}
