//! What a kernel sees when it runs.

use bytemuck::Pod;

use crate::arena::ALIGN;
use crate::view::{cast, cast_mut};

/// Inputs and outputs up to this number take no allocation.
const INLINE: usize = 8;

/// A list that allocates only beyond [`INLINE`] entries.
#[derive(Default)]
pub(crate) struct List<T> {
    inline: [T; INLINE],
    spilled: Vec<T>,
    len: usize,
}

impl<T> List<T> {
    pub(crate) fn push(&mut self, item: T) {
        match self.inline.get_mut(self.len) {
            Some(place) => *place = item,
            None => self.spilled.push(item),
        }
        self.len += 1;
    }

    pub(crate) fn get(&self, i: usize) -> &T {
        debug_assert!(i < self.len);
        if i < INLINE { &self.inline[i] } else { &self.spilled[i - INLINE] }
    }

    pub(crate) fn get_mut(&mut self, i: usize) -> &mut T {
        debug_assert!(i < self.len);
        if i < INLINE { &mut self.inline[i] } else { &mut self.spilled[i - INLINE] }
    }
}

/// Inputs, outputs and scratch of one step. All slices are disjoint, except that inputs may be
/// each other's.
#[derive(Default)]
pub(crate) struct RunContext<'a> {
    pub(crate) inputs: List<&'a [u8]>,
    pub(crate) outputs: List<&'a mut [u8]>,
    pub(crate) scratch: &'a mut [u8],
    /// The output stands where the dying input stood: that input's slice is empty, and the output
    /// holds its elements.
    pub(crate) in_place: bool,
}

impl<'a> RunContext<'a> {
    /// Input `i`; empty if absent.
    pub(crate) fn input<T: Pod>(&self, i: usize) -> &'a [T] {
        cast(self.inputs.get(i))
    }

    /// Output `i`.
    pub(crate) fn output<T: Pod>(&mut self, i: usize) -> &mut [T] {
        cast_mut(self.outputs.get_mut(i))
    }

    /// The first output and the scratch bytes.
    pub(crate) fn output_and_scratch<T: Pod>(&mut self) -> (&mut [T], &mut [u8]) {
        (cast_mut(self.outputs.get_mut(0)), self.scratch)
    }
}

/// Cuts `len` elements off the front of scratch bytes, leaving the rest aligned.
pub(crate) fn carve<'s, T: Pod>(scratch: &mut &'s mut [u8], len: usize) -> &'s mut [T] {
    let bytes = len * size_of::<T>();
    let whole = std::mem::take(scratch);
    let (piece, rest) = whole.split_at_mut(carved(bytes).min(whole.len()));
    *scratch = rest;
    cast_mut(&mut piece[..bytes])
}

/// Scratch that [`carve`] uses up for `bytes` bytes.
pub(crate) fn carved(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}
