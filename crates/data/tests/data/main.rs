//! Opening and streaming data of every kind from files.

mod arrays;
mod common;
mod images;
mod shared;
