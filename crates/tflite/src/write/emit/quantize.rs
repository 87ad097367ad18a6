//! Where the domain of a value changes.

use super::parts::Attributes;
use super::site::Site;
use crate::Result;
use crate::schema::enums::Builtin;
use crate::write::lower;

pub(super) fn quantize(at: &mut Site<'_, '_>) -> Result<()> {
    let x = at.raw(lower::input(at.node, 0)?)?;
    at.write(Builtin::QUANTIZE, Attributes::none(), &[Some(x)])
}

pub(super) fn dequantize(at: &mut Site<'_, '_>) -> Result<()> {
    let x = at.raw(lower::input(at.node, 0)?)?;
    at.write(Builtin::DEQUANTIZE, Attributes::none(), &[Some(x)])
}
