//! Attributes.

use bytes::Bytes;

use crate::proto::{AttributeProto, TensorProto, attribute_type};

fn attribute(name: &str, r#type: i32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type, ..AttributeProto::default() }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_type::INT) }
}

pub(super) fn size(name: &str, value: usize) -> AttributeProto {
    int(name, signed(value))
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, attribute_type::FLOAT) }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, attribute_type::INTS) }
}

pub(super) fn sizes(name: &str, values: &[usize]) -> AttributeProto {
    ints(name, &values.iter().map(|&v| signed(v)).collect::<Vec<_>>())
}

pub(super) fn text(name: &str, value: &'static str) -> AttributeProto {
    AttributeProto { s: Some(Bytes::from_static(value.as_bytes())), ..attribute(name, attribute_type::STRING) }
}

pub(super) fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, attribute_type::TENSOR) }
}

/// Sizes come from tensors that fit into memory, far below the range of `i64`.
pub(super) fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
