//! The engine on small graphs, against textbook loops.

mod float;
mod integer;
mod movement;
mod narrow;
mod shapes;
mod support;
