//! The TFLite file format: tables by slot number and enumerations by number.

pub(crate) mod builder;
pub(crate) mod enums;
pub(crate) mod model;
pub(crate) mod options;
pub(crate) mod table;

/// Marks the file format, behind the root offset.
pub(crate) const FILE_IDENTIFIER: &str = "TFL3";
/// The only version of the schema in use.
pub(crate) const VERSION: u32 = 3;
