//! Files and graphs, there and back.

mod common;
mod hostile;
mod round_trip;
mod shared;
