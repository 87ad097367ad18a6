//! Derivatives against finite differences, and whole networks.

mod elementwise;
mod layers;
mod losses;
mod movement;
mod network;
mod normalise;
mod simulation;
mod support;
mod tape;
