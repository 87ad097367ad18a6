//! Constants of the graph in the layouts that readers ask for, and constants that ONNX wants where
//! the graph has attributes.

use fewbits_graph::{DType, Granularity, Quantization, Tensor, ValueId};

use super::{Emitter, Form};
use crate::export::attribute::int;
use crate::import::constant::{Constant, Relay, Then};
use crate::proto::AttributeProto;
use crate::{Error, Result, tensor};

impl Emitter<'_> {
    fn initializer(&mut self, name: &str, data: &Tensor) -> Result<()> {
        self.initializers.push(tensor::write(name, data)?);
        Ok(())
    }

    /// A constant that the graph does not have; equal ones are written once.
    pub(crate) fn literal(&mut self, data: &Tensor) -> Result<String> {
        let key = format!("literal {} {:?} {:?}", data.dtype(), data.shape(), data.bytes());
        if let Some(name) = self.constants.get(&key) {
            return Ok(name.clone());
        }
        let name = self.fresh();
        self.initializer(&name, data)?;
        self.constants.insert(key, name.clone());
        Ok(name)
    }

    /// The int8 weights `id`, with axes permuted, as uint8: moved up by 128. ONNX Runtime's
    /// ConvInteger takes no others, and its product of unsigned and signed bytes saturates on CPUs
    /// without dot-product instructions.
    pub(crate) fn unsigned_weights(&mut self, id: ValueId, perm: &[usize]) -> Result<String> {
        let value = self.graph.value(id);
        let bytes = |t: Tensor| {
            let moved = t.as_slice::<i8>()?.iter().map(|v| v.cast_unsigned() ^ 0x80).collect();
            Some(Tensor::new::<u8>(t.shape().to_vec(), moved))
        };
        let data = value.data.as_ref().and_then(|t| t.transposed(perm)).and_then(bytes);
        let data = data.ok_or_else(|| Error::tensor(&value.name, "expected int8 weights"))?;
        let key = format!("unsigned {} {perm:?}", id.0);
        if let Some(name) = self.constants.get(&key) {
            return Ok(name.clone());
        }
        let name = self.constant_name(id);
        self.initializer(&name, &data)?;
        self.constants.insert(key, name.clone());
        Ok(name)
    }

    /// A vector of integers.
    pub(crate) fn int_vector(&mut self, values: &[i64]) -> Result<String> {
        self.literal(&Tensor::from_ints(values))
    }

    /// A float scalar.
    pub(crate) fn scalar(&mut self, value: f32) -> Result<String> {
        self.literal(&Tensor::scalar(value))
    }

    /// A constant with its axes relaid, as real numbers: integers are followed by their
    /// `DequantizeLinear`, half-precision numbers by a `Cast`.
    pub(crate) fn constant(&mut self, id: ValueId, relay: &Relay) -> Result<String> {
        let wanted = id;
        let id = self.converted.get(&id).copied().unwrap_or(id);
        let (name, quant) = self.raw_constant(id, relay)?;
        let value = self.graph.value(id);
        let key = format!("float {} {}", id.0, relay.key());
        if quant.is_none() && value.dtype != DType::F16 {
            return Ok(name);
        }
        if let Some(done) = self.constants.get(&key) {
            return Ok(done.clone());
        }
        let out = match quant {
            Some(q) if matches!(q.granularity, Granularity::Blocked { .. }) => self.dequantized_blocks(id, relay)?,
            Some(q) => {
                let out = self.converted_name(wanted);
                self.dequantize_linear(&name, out.clone(), value.dtype, &q)?;
                out
            }
            None => {
                let out = self.converted_name(wanted);
                let to = int("to", tensor::code(DType::F32).into());
                self.extra("Cast", vec![name], out.clone(), vec![to]);
                out
            }
        };
        self.constants.insert(key, out.clone());
        Ok(out)
    }

    /// The name of a constant's real numbers: that of the value that they are, once.
    fn converted_name(&mut self, wanted: ValueId) -> String {
        let first = self.constants.insert(format!("name {}", wanted.0), String::new()).is_none();
        match first && self.converted.contains_key(&wanted) {
            true => self.graph.value(wanted).name.clone(),
            false => self.fresh(),
        }
    }

    /// A constant with its axes relaid, as it is stored, and its parameters in that layout.
    pub(crate) fn raw_constant(&mut self, id: ValueId, relay: &Relay) -> Result<(String, Option<Quantization>)> {
        let value = self.graph.value(id);
        let data = value.data.clone().ok_or_else(|| Error::tensor(&value.name, "expected a constant"))?;
        let constant =
            Constant { tensor: data, quant: value.quant.clone(), stored: String::new(), then: Then::Nothing };
        let (data, quant) = constant.relaid(relay).map_err(|what| Error::tensor(&value.name, what))?;
        let key = format!("constant {} {}", id.0, relay.key());
        if let Some(name) = self.constants.get(&key) {
            return Ok((name.clone(), quant));
        }
        let name = self.constant_name(id);
        self.initializer(&name, &data)?;
        self.constants.insert(key, name.clone());
        Ok((name, quant))
    }

    /// Writes a `DequantizeLinear`.
    pub(crate) fn dequantize_linear(
        &mut self,
        input: &str,
        output: String,
        dtype: DType,
        quant: &Quantization,
    ) -> Result<()> {
        let (scale, zero_point, attributes) = self.dequantize_parameters(&output, dtype, quant)?;
        let inputs = vec![input.to_owned(), scale, zero_point];
        self.extra("DequantizeLinear", inputs, output, attributes);
        Ok(())
    }

    /// As [`Emitter::parameters`], for a `DequantizeLinear`: a zero point of 0 is its default and
    /// costs an initializer and a name, so it is left out.
    pub(crate) fn dequantize_parameters(
        &mut self,
        owner: &str,
        dtype: DType,
        quant: &Quantization,
    ) -> Result<(String, String, Vec<AttributeProto>)> {
        if quant.zero_points.iter().any(|&z| z != 0) {
            return self.parameters(owner, dtype, quant);
        }
        let (scale, attributes) = self.scales(owner, quant)?;
        Ok((scale, String::new(), attributes))
    }

    /// Scale and zero point as initializers, and the attributes that go with them.
    pub(crate) fn parameters(
        &mut self,
        owner: &str,
        dtype: DType,
        quant: &Quantization,
    ) -> Result<(String, String, Vec<AttributeProto>)> {
        let bad = || Error::tensor(owner, "its quantization parameters do not fit its type");
        let (scale, attributes) = self.scales(owner, quant)?;
        let shape = if attributes.is_empty() { Vec::new() } else { vec![quant.zero_points.len()] };
        let zero_points = zero_points(dtype, shape, &quant.zero_points).ok_or_else(bad)?;
        let zero_points = self.literal(&zero_points)?;
        Ok((scale, zero_points, attributes))
    }

    fn scales(&mut self, owner: &str, quant: &Quantization) -> Result<(String, Vec<AttributeProto>)> {
        let as_i64 = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (shape, attributes) = match quant.granularity {
            Granularity::PerTensor => (Vec::new(), Vec::new()),
            Granularity::PerChannel { axis } => (vec![quant.scales.len()], vec![int("axis", as_i64(axis))]),
            Granularity::Blocked { .. } => return Err(Error::tensor(owner, "block-wise scales need a constant")),
        };
        Ok((self.literal(&Tensor::new(shape, quant.scales.clone()))?, attributes))
    }

    /// The bias of a convolution or linear layer as real numbers. An integer bias whose every
    /// number survives the way to float and back is stored as float: its own
    /// `DequantizeLinear` with a scale for every channel would take more than twice the bytes,
    /// and ONNX Runtime and our reader quantize it again with the scales of input and weights.
    pub(crate) fn bias(&mut self, id: ValueId) -> Result<String> {
        let value = self.graph.value(id);
        let float = value.data.as_ref().zip(value.quant.as_ref()).and_then(|(data, quant)| exact_bias(data, quant));
        let Some(float) = float else { return self.float(id, Form::Stored) };
        let key = format!("bias {}", id.0);
        if let Some(name) = self.constants.get(&key) {
            return Ok(name.clone());
        }
        let name = self.constant_name(id);
        self.initializer(&name, &float)?;
        self.constants.insert(key, name.clone());
        Ok(name)
    }

    /// The name for a constant: its own the first time, an invented one for further layouts of it.
    fn constant_name(&mut self, id: ValueId) -> String {
        match self.constants.insert(format!("name {}", id.0), String::new()) {
            None => self.graph.value(id).name.clone(),
            Some(_) => self.fresh(),
        }
    }
}

/// The real numbers of an int32 vector with zero point 0, if rounding `number / scale` gives every
/// integer back.
fn exact_bias(data: &Tensor, quant: &Quantization) -> Option<Tensor> {
    let ints = data.as_slice::<i32>().filter(|_| data.dtype() == DType::I32 && data.shape().len() == 1)?;
    let per_tensor = quant.scales.len() == 1;
    if !quant.is_symmetric() || !(per_tensor || quant.scales.len() == ints.len()) {
        return None;
    }
    let scale = |i: usize| quant.scales[if per_tensor { 0 } else { i }];
    // Up to here the rounding of the product, and of the scale of input and weights that a reader
    // divides by instead, stays under half a unit.
    let exact = |q: i32, s: f32| q.unsigned_abs() < 1 << 21 && (q as f32 * s / s).round_ties_even() == q as f32;
    let floats = ints.iter().enumerate().map(|(i, &q)| exact(q, scale(i)).then(|| q as f32 * scale(i)));
    Some(Tensor::new(data.shape().to_vec(), floats.collect::<Option<Vec<f32>>>()?))
}

/// Zero points as a tensor of the quantized type.
pub(crate) fn zero_points(dtype: DType, shape: Vec<usize>, values: &[i32]) -> Option<Tensor> {
    macro_rules! narrow {
        ($t:ty) => {
            Tensor::new::<$t>(
                shape,
                values.iter().map(|&z| <$t>::try_from(z)).collect::<std::result::Result<_, _>>().ok()?,
            )
        };
    }
    Some(match dtype {
        DType::I8 => narrow!(i8),
        DType::U8 => narrow!(u8),
        DType::I16 => narrow!(i16),
        DType::I4 => {
            let narrow: std::result::Result<Vec<i8>, _> = values.iter().map(|&z| i8::try_from(z)).collect();
            Tensor::from_nibbles(shape, &narrow.ok()?)?
        }
        _ => return None,
    })
}
