//! Arrays as they are handed to a model.

use std::fmt;

/// Element type of a model's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision. Delivered as [`ArrayData::F32`]; the engine narrows it.
    F16,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Truth value.
    Bool,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::U8 => "uint8",
            DType::I8 => "int8",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::Bool => "bool",
        })
    }
}

/// The elements of an [`Array`], in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// For inputs of [`DType::F32`] and [`DType::F16`]. Always finite.
    F32(Vec<f32>),
    /// For inputs of [`DType::U8`].
    U8(Vec<u8>),
    /// For inputs of [`DType::I8`].
    I8(Vec<i8>),
    /// For inputs of [`DType::I32`].
    I32(Vec<i32>),
    /// For inputs of [`DType::I64`].
    I64(Vec<i64>),
    /// For inputs of [`DType::Bool`].
    Bool(Vec<bool>),
}

/// A dense array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each axis; axis 0 counts samples.
    pub shape: Vec<usize>,
    /// As many elements as the product of `shape`.
    pub data: ArrayData,
}

/// Calls one generic expression on the vector inside an [`ArrayData`].
macro_rules! each_variant {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            ArrayData::F32($v) => $body,
            ArrayData::U8($v) => $body,
            ArrayData::I8($v) => $body,
            ArrayData::I32($v) => $body,
            ArrayData::I64($v) => $body,
            ArrayData::Bool($v) => $body,
        }
    };
}

impl ArrayData {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each_variant!(self, v => v.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements as stored ([`DType::F16`] never: see there).
    pub fn dtype(&self) -> DType {
        match self {
            ArrayData::F32(_) => DType::F32,
            ArrayData::U8(_) => DType::U8,
            ArrayData::I8(_) => DType::I8,
            ArrayData::I32(_) => DType::I32,
            ArrayData::I64(_) => DType::I64,
            ArrayData::Bool(_) => DType::Bool,
        }
    }

    fn reserve(&mut self, additional: usize) {
        each_variant!(self, v => v.reserve_exact(additional));
    }

    /// Appends, or says `false` when the types differ.
    fn append(&mut self, other: &ArrayData) -> bool {
        match (self, other) {
            (ArrayData::F32(a), ArrayData::F32(b)) => a.extend_from_slice(b),
            (ArrayData::U8(a), ArrayData::U8(b)) => a.extend_from_slice(b),
            (ArrayData::I8(a), ArrayData::I8(b)) => a.extend_from_slice(b),
            (ArrayData::I32(a), ArrayData::I32(b)) => a.extend_from_slice(b),
            (ArrayData::I64(a), ArrayData::I64(b)) => a.extend_from_slice(b),
            (ArrayData::Bool(a), ArrayData::Bool(b)) => a.extend_from_slice(b),
            _ => return false,
        }
        true
    }
}

impl Array {
    /// The type of the elements as stored.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements as `f32`, or `None` for another type.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            ArrayData::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Makes room for `samples` more arrays of this shape.
    pub(crate) fn reserve_samples(&mut self, samples: usize) {
        let len = self.data.len();
        self.data.reserve(len.saturating_mul(samples));
    }

    /// Joins `other` along axis 0; `false`, and nothing changed, when type or
    /// the other axes differ.
    pub(crate) fn join(&mut self, other: &Array) -> bool {
        let same = self.shape.len() == other.shape.len() && self.shape[1..] == other.shape[1..];
        if !same || !self.data.append(&other.data) {
            return false;
        }
        self.shape[0] += other.shape[0];
        true
    }
}
