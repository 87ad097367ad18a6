//! Measuring: accuracy, closeness to a reference, time.

pub(crate) mod accuracy;
pub(crate) mod analyze;
pub(crate) mod compare;
pub(crate) mod latency;
pub(crate) mod paired;
