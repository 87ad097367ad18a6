//! Bytes of a `.npy` to the elements that an input takes.
//!
//! | array → input | float32, float16 | int64, int32 | uint8, int8 | bool |
//! |---|---|---|---|---|
//! | bool | 0 or 1 | 0 or 1 | 0 or 1 | same |
//! | integers of 8 and 16 bits | exact | exact | only the same type | no |
//! | wider integers | if the value is exact | if the value fits | no | no |
//! | float16, 32, 64 | nearest, finite | no | quantized, if the input says how | no |
//!
//! An `int8` array is never taken for a `uint8` input or the reverse: the two
//! differ by an offset of 128 as often as not, and a guess would be silent.

use half::f16;

use crate::array::{ArrayData, DType};
use crate::error::DataError;
use crate::npy::{Elem, Header};
use crate::spec::InputSpec;

/// Whether values of `elem` may be given to the input at all.
pub(crate) fn convertible(elem: Elem, spec: &InputSpec) -> bool {
    match spec.dtype {
        DType::F32 | DType::F16 => true,
        DType::I32 | DType::I64 => !elem.is_float(),
        DType::U8 => matches!(elem, Elem::U8 | Elem::Bool) || quantizes(elem, spec),
        DType::I8 => matches!(elem, Elem::I8 | Elem::Bool) || quantizes(elem, spec),
        DType::Bool => elem == Elem::Bool,
    }
}

/// Whether the input's quantization is applied to values of `elem`.
pub(crate) fn quantizes(elem: Elem, spec: &InputSpec) -> bool {
    let eight_bits = matches!(spec.dtype, DType::U8 | DType::I8);
    eight_bits && elem.is_float() && spec.quantization.is_some_and(|q| q.is_usable())
}

/// A value that the input cannot take, and its text.
enum Misfit {
    Value(String),
    NotFinite(f64),
}

/// Converts the bytes of sample `sample` of the array called `array`.
///
/// # Errors
/// [`DataError::ElementType`], [`DataError::Value`], [`DataError::NotFinite`].
pub(crate) fn convert(
    bytes: &[u8],
    header: &Header,
    spec: &InputSpec,
    array: &str,
    sample: usize,
) -> Result<ArrayData, DataError> {
    if !convertible(header.elem, spec) {
        return Err(element_type(array, header.elem, spec));
    }
    let raw = Raw { bytes, elem: header.elem, big_endian: header.big_endian, finite: spec.finite };
    let converted = match spec.dtype {
        DType::F32 | DType::F16 => raw.floats().map(ArrayData::F32),
        DType::I32 => raw.integers().map(ArrayData::I32),
        DType::I64 => raw.integers().map(ArrayData::I64),
        DType::Bool => Ok(ArrayData::Bool(bytes.iter().map(|&b| b != 0).collect())),
        DType::U8 if header.elem.is_float() => raw.quantized(spec, 0, 255).map(|q| ArrayData::U8(narrow(&q))),
        DType::I8 if header.elem.is_float() => raw.quantized(spec, -128, 127).map(|q| ArrayData::I8(narrow(&q))),
        DType::U8 => raw.integers().map(ArrayData::U8),
        DType::I8 => raw.integers().map(ArrayData::I8),
    };
    converted.map_err(|misfit| match misfit {
        Misfit::Value(value) => DataError::Value { array: array.to_owned(), sample, value, expected: spec.dtype },
        Misfit::NotFinite(value) => DataError::NotFinite { array: array.to_owned(), sample, value },
    })
}

pub(crate) fn element_type(array: &str, elem: Elem, spec: &InputSpec) -> DataError {
    DataError::ElementType { array: array.to_owned(), input: spec.name.clone(), expected: spec.dtype, got: elem.name() }
}

/// Every element as an `i64`, for labels.
///
/// # Errors
/// The text of the first value that does not fit, or `None` for a float type.
pub(crate) fn to_i64(bytes: &[u8], header: &Header) -> Result<Vec<i64>, Option<String>> {
    if header.elem.is_float() {
        return Err(None);
    }
    let raw = Raw { bytes, elem: header.elem, big_endian: header.big_endian, finite: true };
    raw.integers().map_err(|misfit| match misfit {
        Misfit::Value(value) => Some(value),
        Misfit::NotFinite(value) => Some(value.to_string()),
    })
}

/// Values already clamped into the range of `T`.
fn narrow<T: TryFrom<i32> + Default>(values: &[i32]) -> Vec<T> {
    values.iter().map(|&value| T::try_from(value).unwrap_or_default()).collect()
}

struct Raw<'a> {
    bytes: &'a [u8],
    elem: Elem,
    big_endian: bool,
    /// NaN and infinities are refused.
    finite: bool,
}

/// Decodes `$bytes` as numbers of `$type` and hands each to `$each`.
macro_rules! decode {
    ($raw:expr, $type:ty, $each:expr) => {{
        const SIZE: usize = size_of::<$type>();
        $raw.bytes
            .chunks_exact(SIZE)
            .map(|chunk| {
                let mut word = [0u8; SIZE];
                word.copy_from_slice(chunk);
                let value = if $raw.big_endian { <$type>::from_be_bytes(word) } else { <$type>::from_le_bytes(word) };
                $each(value)
            })
            .collect()
    }};
}

impl Raw<'_> {
    fn floats(&self) -> Result<Vec<f32>, Misfit> {
        match self.elem {
            Elem::Bool => Ok(self.bytes.iter().map(|&b| f32::from(b != 0)).collect()),
            Elem::U8 => Ok(self.bytes.iter().map(|&b| f32::from(b)).collect()),
            Elem::I8 => decode!(self, i8, |v| Ok(f32::from(v))),
            Elem::I16 => decode!(self, i16, |v| Ok(f32::from(v))),
            Elem::U16 => decode!(self, u16, |v| Ok(f32::from(v))),
            Elem::I32 => decode!(self, i32, |v| exact_f32(i128::from(v))),
            Elem::U32 => decode!(self, u32, |v| exact_f32(i128::from(v))),
            Elem::I64 => decode!(self, i64, |v| exact_f32(i128::from(v))),
            Elem::U64 => decode!(self, u64, |v| exact_f32(i128::from(v))),
            Elem::F16 => decode!(self, f16, |v: f16| self.checked(v.to_f32())),
            Elem::F32 => decode!(self, f32, |v: f32| self.checked(v)),
            Elem::F64 => decode!(self, f64, |v: f64| self.rounded(v)),
        }
    }

    fn checked(&self, value: f32) -> Result<f32, Misfit> {
        if value.is_finite() || !self.finite { Ok(value) } else { Err(Misfit::NotFinite(f64::from(value))) }
    }

    fn rounded(&self, value: f64) -> Result<f32, Misfit> {
        // The nearest f32; a double beyond its range becomes infinite.
        let float = value as f32;
        if value.is_finite() && !float.is_finite() {
            return Err(Misfit::Value(value.to_string()));
        }
        self.checked(float)
    }

    fn integers<T: TryFrom<i128>>(&self) -> Result<Vec<T>, Misfit> {
        match self.elem {
            Elem::Bool => self.bytes.iter().map(|&b| fit(i128::from(b != 0))).collect(),
            Elem::U8 => decode!(self, u8, |v| fit(i128::from(v))),
            Elem::I8 => decode!(self, i8, |v| fit(i128::from(v))),
            Elem::I16 => decode!(self, i16, |v| fit(i128::from(v))),
            Elem::U16 => decode!(self, u16, |v| fit(i128::from(v))),
            Elem::I32 => decode!(self, i32, |v| fit(i128::from(v))),
            Elem::U32 => decode!(self, u32, |v| fit(i128::from(v))),
            Elem::I64 => decode!(self, i64, |v| fit(i128::from(v))),
            Elem::U64 => decode!(self, u64, |v| fit(i128::from(v))),
            // Refused before, by `convertible`; the name of the type is the value that does not fit.
            Elem::F16 | Elem::F32 | Elem::F64 => Err(Misfit::Value(self.elem.name().to_owned())),
        }
    }

    fn quantized(&self, spec: &InputSpec, low: i32, high: i32) -> Result<Vec<i32>, Misfit> {
        let Some(quantization) = spec.quantization else {
            return Err(Misfit::Value(self.elem.name().to_owned()));
        };
        let reals = self.floats()?;
        Ok(reals.into_iter().map(|real| quantization.quantize(real, low, high)).collect())
    }
}

fn fit<T: TryFrom<i128>>(value: i128) -> Result<T, Misfit> {
    T::try_from(value).map_err(|_| Misfit::Value(value.to_string()))
}

fn exact_f32(value: i128) -> Result<f32, Misfit> {
    // There is no `From` for this pair; converting back shows whether it was exact.
    let float = value as f32;
    if float as i128 == value { Ok(float) } else { Err(Misfit::Value(value.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(elem: Elem, count: usize) -> Header {
        Header {
            elem,
            big_endian: false,
            fortran: false,
            shape: vec![1, count],
            len: 0,
            data_len: (elem.size() * count) as u64,
        }
    }

    fn run(bytes: &[u8], elem: Elem, spec: &InputSpec) -> Result<ArrayData, String> {
        let count = bytes.len() / elem.size();
        convert(bytes, &header(elem, count), spec, "x.npy", 4).map_err(|e| e.to_string())
    }

    fn spec(dtype: DType) -> InputSpec {
        InputSpec::new("in", dtype, vec![None, None])
    }

    #[test]
    fn lossless_conversions() {
        let f32s = spec(DType::F32);
        assert_eq!(run(&[3, 255], Elem::U8, &f32s), Ok(ArrayData::F32(vec![3.0, 255.0])));
        assert_eq!(run(&[0xff], Elem::I8, &f32s), Ok(ArrayData::F32(vec![-1.0])));
        let half = f16::from_f32(-1.5).to_le_bytes();
        assert_eq!(run(&half, Elem::F16, &f32s), Ok(ArrayData::F32(vec![-1.5])));
        let doubled = 0.1f64.to_le_bytes();
        assert_eq!(run(&doubled, Elem::F64, &f32s), Ok(ArrayData::F32(vec![0.1])));
        let id = 30_521i64.to_le_bytes();
        assert_eq!(run(&id, Elem::I64, &spec(DType::I32)), Ok(ArrayData::I32(vec![30_521])));
        assert_eq!(run(&[1, 0], Elem::Bool, &spec(DType::I64)), Ok(ArrayData::I64(vec![1, 0])));
    }

    #[test]
    fn big_endian_is_swapped() {
        let mut header = header(Elem::I32, 1);
        header.big_endian = true;
        let got = convert(&7i32.to_be_bytes(), &header, &spec(DType::I64), "x", 0).unwrap();
        assert_eq!(got, ArrayData::I64(vec![7]));
    }

    #[test]
    fn lossy_conversions_are_refused_by_type() {
        let message = run(&1f32.to_le_bytes(), Elem::F32, &spec(DType::I64)).unwrap_err();
        assert_eq!(
            message,
            "x.npy: input 'in' expects int64, got float32, which does not convert without loss; \
             save the array as int64"
        );
        assert!(run(&[1], Elem::U8, &spec(DType::I8)).unwrap_err().contains("expects int8, got uint8"));
        assert!(run(&[1], Elem::U8, &spec(DType::Bool)).is_err());
        assert!(run(&1i64.to_le_bytes(), Elem::I64, &spec(DType::U8)).is_err());
    }

    #[test]
    fn lossy_values_are_refused_with_their_place() {
        let wide = 16_777_217i32.to_le_bytes();
        assert_eq!(
            run(&wide, Elem::I32, &spec(DType::F32)).unwrap_err(),
            "x.npy: sample 4 holds 16777217, which float32 cannot represent"
        );
        let far = (1i64 << 40).to_le_bytes();
        assert!(run(&far, Elem::I64, &spec(DType::I32)).unwrap_err().contains("1099511627776"));
        assert!(run(&1e300f64.to_le_bytes(), Elem::F64, &spec(DType::F32)).unwrap_err().contains("sample 4"));
    }

    #[test]
    fn nan_and_infinity_are_refused_in_every_float_type() {
        for (bytes, elem) in [
            (f32::NAN.to_le_bytes().to_vec(), Elem::F32),
            (f64::NEG_INFINITY.to_le_bytes().to_vec(), Elem::F64),
            (f16::INFINITY.to_le_bytes().to_vec(), Elem::F16),
        ] {
            let message = run(&bytes, elem, &spec(DType::F32)).unwrap_err();
            assert!(message.starts_with("x.npy: sample 4 holds "), "{message}");
            assert!(message.contains("finite"), "{message}");
        }
    }

    #[test]
    fn reals_are_quantized_for_an_8_bit_input_that_says_how() {
        let spec = spec(DType::I8).with_quantization(0.5, -1);
        let bytes: Vec<u8> = [0f32, 0.25, 0.75, 1e9, -1e9].iter().flat_map(|v| v.to_le_bytes()).collect();
        // 0.25 / 0.5 = 0.5 and 1.5 tie: to even.
        assert_eq!(run(&bytes, Elem::F32, &spec), Ok(ArrayData::I8(vec![-1, -1, 1, 127, -128])));
    }
}
