//! Compiles a graph to a plan and runs it: fusions, packed weights, one arena.
