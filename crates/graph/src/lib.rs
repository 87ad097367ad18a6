//! The model as data: graph, typed values, operators, shape inference.
