//! Backward kernels: what training needs beside the forward ones.
//!
//! Sums over many pixels are split into pieces that depend on the shape alone and added up in a
//! fixed order, so gradients are the same bits on any number of threads.

pub mod blocks;
pub mod columns;
pub mod conv;
pub mod depthwise;
pub mod fake_quantize;
pub mod rows;
pub mod unary;
