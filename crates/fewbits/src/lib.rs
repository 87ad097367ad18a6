//! Makes trained neural networks small and fast, and proves it: library and command line.
