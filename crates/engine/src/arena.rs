//! Where intermediate values stand in memory: offsets by liveness, and the aligned storage itself.

use bytemuck::{Pod, Zeroable};

use crate::{Error, Result};

/// Alignment of every value: a cache line, and the widest vector register.
pub(crate) const ALIGN: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// Zeroed, aligned bytes.
#[derive(Default)]
pub(crate) struct Storage(Vec<Line>);

impl Storage {
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        let lines = bytes.div_ceil(ALIGN);
        let mut storage = Vec::new();
        storage.try_reserve_exact(lines).map_err(|_| Error::OutOfMemory { bytes })?;
        storage.resize(lines, Line::zeroed());
        Ok(Storage(storage))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// A buffer that must exist from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) bytes: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets for all buffers such that no two that live at the same step share a byte, and the size
/// of the whole.
///
/// Largest first, each into the smallest gap that holds it between the buffers placed before it
/// (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020: greedy by
/// size). `None` if the sum overflows.
pub(crate) fn assign(buffers: &[Lifetime]) -> Option<(Vec<usize>, usize)> {
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| buffers[i].bytes > 0).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), buffers[i].first, i));
    let mut offsets = vec![0usize; buffers.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut total = 0;
    for at in order {
        let size = buffers[at].bytes.checked_next_multiple_of(ALIGN)?;
        let mut best: Option<(usize, usize)> = None;
        let mut end: usize = 0;
        // `placed` is sorted by offset; `end` is the first byte after all neighbours seen so far.
        for &other in placed.iter().filter(|&&other| buffers[other].overlaps(&buffers[at])) {
            let gap = offsets[other].saturating_sub(end);
            if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, end));
            }
            end = end.max(offsets[other] + buffers[other].bytes.next_multiple_of(ALIGN));
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        offsets[at] = offset;
        total = total.max(offset.checked_add(size)?);
        let position = placed.partition_point(|&p| offsets[p] <= offset);
        placed.insert(position, at);
    }
    Some((offsets, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn buffers() -> impl Strategy<Value = Vec<Lifetime>> {
        let one = (0usize..5000, 0usize..30, 0usize..12);
        let one = one.prop_map(|(bytes, first, length)| Lifetime { bytes, first, last: first + length });
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn living_buffers_never_share_a_byte(buffers in buffers()) {
            let (offsets, total) = assign(&buffers).unwrap();
            for (i, a) in buffers.iter().enumerate() {
                prop_assert!(offsets[i] % ALIGN == 0 && offsets[i] + a.bytes <= total);
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                    prop_assert!(apart || !a.overlaps(b) || a.bytes == 0 || b.bytes == 0, "{a:?} and {b:?}");
                }
            }
        }

        #[test]
        fn the_arena_is_no_larger_than_all_buffers_and_no_smaller_than_the_fullest_step(buffers in buffers()) {
            let (_, total) = assign(&buffers).unwrap();
            let padded = |b: &Lifetime| b.bytes.next_multiple_of(ALIGN);
            prop_assert!(total <= buffers.iter().map(padded).sum());
            for step in 0..45 {
                let live = buffers.iter().filter(|b| b.first <= step && step <= b.last);
                prop_assert!(total >= live.map(padded).sum());
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<_> = (0..10).map(|i| Lifetime { bytes: 640, first: i, last: i + 1 }).collect();
        assert_eq!(assign(&chain).unwrap().1, 2 * 640);
    }

    #[test]
    fn storage_is_aligned() {
        let storage = Storage::new(100).unwrap();
        assert_eq!(storage.bytes().len(), 128);
        assert_eq!(storage.bytes().as_ptr().align_offset(ALIGN), 0);
    }
}
