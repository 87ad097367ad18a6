//! Command line of fewbits.
fn main() {}
