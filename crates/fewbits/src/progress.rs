//! Who is told how far long work is.

/// Listens to the progress of long work.
pub trait Progress {
    /// A step begins that has `total` parts.
    fn start(&mut self, what: &str, total: usize);
    /// One more part is done.
    fn advance(&mut self);
    /// Something to say of the step's state; the next replaces it.
    fn note(&mut self, _: &str) {}
    /// The step is over.
    fn finish(&mut self);
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silent;

impl Progress for Silent {
    fn start(&mut self, _: &str, _: usize) {}
    fn advance(&mut self) {}
    fn finish(&mut self) {}
}
