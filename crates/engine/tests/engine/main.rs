//! The engine on small graphs, against textbook loops.

mod float;
mod integer;
mod movement;
mod shapes;
mod support;
