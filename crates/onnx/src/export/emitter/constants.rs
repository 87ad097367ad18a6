//! Constants of the graph in the layouts that readers ask for, and constants that ONNX wants where
//! the graph has attributes.

use fewbits_graph::{DType, Granularity, Quantization, Tensor, ValueId};

use super::Emitter;
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
    pub(crate) fn literal(&mut self, what: &str, data: &Tensor) -> Result<String> {
        let key = format!("literal {} {:?} {:?}", data.dtype(), data.shape(), data.bytes());
        if let Some(name) = self.constants.get(&key) {
            return Ok(name.clone());
        }
        let name = self.fresh(what);
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
        let first = self.constants.insert(format!("name {}", id.0), String::new()).is_none();
        let name = if first { value.name.clone() } else { self.fresh(&format!("{}_unsigned", value.name)) };
        self.initializer(&name, &data)?;
        self.constants.insert(key, name.clone());
        Ok(name)
    }

    /// A vector of integers.
    pub(crate) fn int_vector(&mut self, values: &[i64]) -> Result<String> {
        let text: Vec<String> = values.iter().take(4).map(i64::to_string).collect();
        self.literal(&format!("ints_{}", text.join("_").replace('-', "m")), &Tensor::from_ints(values))
    }

    /// A float scalar.
    pub(crate) fn scalar(&mut self, value: f32) -> Result<String> {
        self.literal("scalar", &Tensor::scalar(value))
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
                let out = self.converted_name(wanted, &format!("{name}_dequantized"));
                self.quantization_node("DequantizeLinear", &name, out.clone(), value.dtype, &q)?;
                out
            }
            None => {
                let out = self.converted_name(wanted, &format!("{name}_float"));
                let to = int("to", tensor::code(DType::F32).into());
                self.extra(&format!("{name}_cast"), "Cast", vec![name], out.clone(), vec![to]);
                out
            }
        };
        self.constants.insert(key, out.clone());
        Ok(out)
    }

    /// The name of a constant's real numbers: that of the value that they are, once.
    fn converted_name(&mut self, wanted: ValueId, otherwise: &str) -> String {
        let first = self.constants.insert(format!("name {}", wanted.0), String::new()).is_none();
        match first && self.converted.contains_key(&wanted) {
            true => self.graph.value(wanted).name.clone(),
            false => self.fresh(otherwise),
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
        let taken = format!("name {}", id.0);
        let first = self.constants.insert(taken, String::new()).is_none();
        let name = if first { value.name.clone() } else { self.fresh(&format!("{}_relaid", value.name)) };
        self.initializer(&name, &data)?;
        self.constants.insert(key, name.clone());
        Ok((name, quant))
    }

    /// Writes a `QuantizeLinear` or `DequantizeLinear`.
    pub(crate) fn quantization_node(
        &mut self,
        operator: &str,
        input: &str,
        output: String,
        dtype: DType,
        quant: &Quantization,
    ) -> Result<()> {
        let (scale, zero_point, attributes) = self.parameters(&output, dtype, quant)?;
        let inputs = vec![input.to_owned(), scale, zero_point];
        self.extra(&format!("{output}_{operator}"), operator, inputs, output, attributes);
        Ok(())
    }

    /// Scale and zero point as initializers, and the attributes that go with them.
    pub(crate) fn parameters(
        &mut self,
        owner: &str,
        dtype: DType,
        quant: &Quantization,
    ) -> Result<(String, String, Vec<AttributeProto>)> {
        let bad = || Error::tensor(owner, "its quantization parameters do not fit its type");
        let as_i64 = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (shape, attributes) = match quant.granularity {
            Granularity::PerTensor => (Vec::new(), Vec::new()),
            Granularity::PerChannel { axis } => (vec![quant.scales.len()], vec![int("axis", as_i64(axis))]),
            Granularity::Blocked { .. } => return Err(Error::tensor(owner, "block-wise scales need a constant")),
        };
        let scale = self.literal(&format!("{owner}_scale"), &Tensor::new(shape.clone(), quant.scales.clone()))?;
        // An int32 bias has zero point 0, which the specification leaves out.
        if dtype == DType::I32 {
            return Ok((scale, String::new(), attributes));
        }
        let zero_points = zero_points(dtype, shape, &quant.zero_points).ok_or_else(bad)?;
        let zero_points = self.literal(&format!("{owner}_zero_point"), &zero_points)?;
        Ok((scale, zero_points, attributes))
    }
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
            let nibbles: Vec<u8> = values
                .iter()
                .map(|&z| i8::try_from(z).map(|z| z.cast_unsigned() & 0xf))
                .collect::<std::result::Result<_, _>>()
                .ok()?;
            let bytes: Vec<u8> = nibbles.chunks(2).map(|p| p[0] | (p.get(1).map_or(0, |h| h << 4))).collect();
            Tensor::from_bytes(DType::I4, shape, bytes.into())?
        }
        _ => return None,
    })
}
