//! Where every value stands: one arena, shared by liveness, overlapping where a kernel allows it.

/// A buffer of the arena that must exist from step `first` to step `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffer {
    pub(crate) bytes: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Buffer {
    fn meets(&self, other: &Buffer) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Leave to overlap: buffer `output` may share bytes with buffer `input`, which dies in the step
/// that makes it, if it begins at least `distance` bytes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overlap {
    pub(crate) output: usize,
    pub(crate) input: usize,
    pub(crate) distance: usize,
}

/// What is to be placed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problem {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) overlaps: Vec<Overlap>,
    /// Offsets are multiples of it.
    pub(crate) alignment: usize,
}

/// Offsets of the buffers and the bytes of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) offsets: Vec<usize>,
    pub(crate) total: usize,
}

/// Orders tried beyond the first guesses.
const TRIALS: usize = 400;

impl Problem {
    /// Offsets such that no two buffers that live at one step share a byte without leave.
    ///
    /// Buffers are placed one after another at the lowest offset that is free; by size, by time and
    /// in orders that a deterministic random walk finds from there, the best of which is kept
    /// (greedy by size: Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net
    /// Inference", 2020).
    pub(crate) fn solve(&self) -> Placement {
        let count = self.buffers.len();
        let mut by_size: Vec<usize> = (0..count).collect();
        by_size.sort_by_key(|&i| (std::cmp::Reverse(self.buffers[i].bytes), self.buffers[i].first, i));
        let mut by_time: Vec<usize> = (0..count).collect();
        by_time.sort_by_key(|&i| (self.buffers[i].first, std::cmp::Reverse(self.buffers[i].bytes), i));
        let mut backwards = by_time.clone();
        backwards.reverse();
        let starts = [by_size, by_time, backwards];
        let placed = starts.map(|order| (self.place(&order), order));
        let Some((mut best, mut order)) = placed.into_iter().min_by_key(|(p, _)| p.total) else {
            return Placement { offsets: Vec::new(), total: 0 };
        };
        let mut random = 1u64;
        for _ in 0..if count > 2 { TRIALS } else { 0 } {
            let mut pick = || {
                // The constants of Knuth's MMIX.
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize % count
            };
            let (a, b) = (pick(), pick());
            order.swap(a, b);
            let trial = self.place(&order);
            if trial.total <= best.total {
                best = trial;
            } else {
                order.swap(a, b);
            }
        }
        best
    }

    /// Places the buffers in that order.
    fn place(&self, order: &[usize]) -> Placement {
        let mut offsets = vec![0usize; self.buffers.len()];
        let mut placed: Vec<usize> = Vec::with_capacity(order.len());
        let mut total = 0;
        for &at in order {
            // Half-open intervals of offsets that are taken.
            let mut taken: Vec<(usize, usize)> =
                placed.iter().filter_map(|&other| self.forbidden(at, other, offsets[other])).collect();
            taken.sort_unstable();
            let mut offset = 0usize;
            for (from, to) in taken {
                if from <= offset && offset < to {
                    offset = to.next_multiple_of(self.alignment);
                }
            }
            offsets[at] = offset;
            total = total.max(offset + self.buffers[at].bytes);
            placed.push(at);
        }
        Placement { offsets, total: total.next_multiple_of(self.alignment) }
    }

    /// The offsets that buffer `at` may not have because of `other` at `there`.
    fn forbidden(&self, at: usize, other: usize, there: usize) -> Option<(usize, usize)> {
        let (mine, its) = (&self.buffers[at], &self.buffers[other]);
        if !mine.meets(its) || mine.bytes == 0 || its.bytes == 0 {
            return None;
        }
        let leave = |output: usize, input: usize| {
            self.overlaps.iter().find(|o| o.output == output && o.input == input).map(|o| o.distance)
        };
        let (mut low, mut high) = ((there + 1).saturating_sub(mine.bytes), there + its.bytes);
        if let Some(distance) = leave(at, other).filter(|&d| d < mine.bytes && d <= there) {
            low = low.max(there - distance + 1);
        }
        if let Some(distance) = leave(other, at).filter(|&d| d < its.bytes) {
            high = high.min(there + distance);
        }
        Some((low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem() -> impl Strategy<Value = Problem> {
        let one = (0usize..5000, 0usize..30, 0usize..6);
        let one = one.prop_map(|(bytes, first, length)| Buffer { bytes, first, last: first + length });
        (prop::collection::vec(one, 0..24), prop::collection::vec((0usize..24, 0usize..24, 0usize..3000), 0..12))
            .prop_map(|(buffers, pairs)| {
                let dies = |&(output, input, _): &(usize, usize, usize)| {
                    output != input
                        && output < buffers.len()
                        && input < buffers.len()
                        && buffers[input].last == buffers[output].first
                };
                let mut overlaps: Vec<Overlap> = Vec::new();
                for (output, input, distance) in pairs.into_iter().filter(dies) {
                    if !overlaps.iter().any(|o| (o.output, o.input) == (output, input)) {
                        overlaps.push(Overlap { output, input, distance });
                    }
                }
                Problem { buffers, overlaps, alignment: 4 }
            })
    }

    proptest! {
        #[test]
        fn buffers_share_bytes_only_with_leave(problem in problem()) {
            let placement = problem.solve();
            for (i, a) in problem.buffers.iter().enumerate() {
                let from = placement.offsets[i];
                prop_assert!(from % 4 == 0 && from + a.bytes <= placement.total);
                for (j, b) in problem.buffers.iter().enumerate().skip(i + 1) {
                    let to = placement.offsets[j];
                    let apart = from + a.bytes <= to || to + b.bytes <= from;
                    let leave = problem.overlaps.iter().any(|o| {
                        (o.output, o.input) == (i, j) && from + o.distance <= to
                            || (o.output, o.input) == (j, i) && to + o.distance <= from
                    });
                    prop_assert!(apart || leave || !a.meets(b) || a.bytes * b.bytes == 0, "{a:?} {from} {b:?} {to}");
                }
            }
        }
    }

    #[test]
    fn a_chain_in_place_needs_one_buffer() {
        let buffers: Vec<_> = (0..10).map(|i| Buffer { bytes: 640, first: i, last: i + 1 }).collect();
        let overlaps = (1..10).map(|i| Overlap { output: i, input: i - 1, distance: 0 }).collect();
        assert_eq!(Problem { buffers: buffers.clone(), overlaps, alignment: 4 }.solve().total, 640);
        assert_eq!(Problem { buffers, overlaps: Vec::new(), alignment: 4 }.solve().total, 2 * 640);
    }

    #[test]
    fn a_diagonal_overlap_costs_its_distance() {
        let buffers = vec![Buffer { bytes: 1000, first: 0, last: 1 }, Buffer { bytes: 1000, first: 1, last: 2 }];
        let overlaps = vec![Overlap { output: 1, input: 0, distance: 80 }];
        assert_eq!(Problem { buffers, overlaps, alignment: 16 }.solve().total, 1088);
    }
}
