//! Files and graphs, there and back.

mod common;
mod hostile;
mod integers;
mod round_trip;
mod shared;
mod size;
