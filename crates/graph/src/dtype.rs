//! Element types.

use std::fmt;

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// IEEE double precision; read from files, computed as `F32`.
    F64,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Signed 4-bit integer, two elements a byte, low nibble first.
    I4,
    /// Boolean, one byte an element (0 or 1).
    Bool,
}

impl DType {
    /// Bytes that `elements` densely packed elements take; `None` when the count overflows.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        match self {
            DType::I4 => Some(elements.div_ceil(2)),
            DType::I8 | DType::U8 | DType::Bool => Some(elements),
            DType::F16 | DType::I16 => elements.checked_mul(2),
            DType::F32 | DType::I32 => elements.checked_mul(4),
            DType::F64 | DType::I64 => elements.checked_mul(8),
        }
    }

    /// Whether the type is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16 | DType::F64)
    }

    /// The smallest and largest value a quantized element of this type can take, `None` for types
    /// that do not hold quantized values.
    pub fn integer_range(self) -> Option<(i32, i32)> {
        match self {
            DType::I4 => Some((-8, 7)),
            DType::I8 => Some((-128, 127)),
            DType::U8 => Some((0, 255)),
            DType::I16 => Some((-32768, 32767)),
            DType::I32 => Some((i32::MIN, i32::MAX)),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "float32",
            DType::F16 => "float16",
            DType::F64 => "float64",
            DType::I8 => "int8",
            DType::U8 => "uint8",
            DType::I16 => "int16",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::I4 => "int4",
            DType::Bool => "bool",
        })
    }
}
