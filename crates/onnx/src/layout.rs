//! The two orders of axes that a value can be stored in.
//!
//! ONNX puts channels on axis 1; inside, spatial values are stored with channels last. A value of
//! rank r stored channels-last has the ONNX axes `[0, 2, …, r−1, 1]`.

/// How a stored value's axes relate to those of its ONNX name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// As in ONNX.
    Plain,
    /// Channels moved from axis 1 to the end.
    ChannelsLast,
}

/// The permutation from channels-first to channels-last: `[0, 2, …, r−1, 1]`.
pub(crate) fn to_last(rank: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    if rank > 2 {
        perm[1..].rotate_left(1);
    }
    perm
}

/// The permutation from channels-last to channels-first: `[0, r−1, 1, …, r−2]`.
pub(crate) fn to_first(rank: usize) -> Vec<usize> {
    let mut perm: Vec<usize> = (0..rank).collect();
    if rank > 2 {
        perm[1..].rotate_right(1);
    }
    perm
}

/// Whether a permutation changes nothing.
pub(crate) fn is_identity(perm: &[usize]) -> bool {
    perm.iter().enumerate().all(|(i, &p)| i == p)
}

impl Layout {
    /// The stored position of ONNX axis `axis`.
    pub(crate) fn stored_axis(self, axis: usize, rank: usize) -> usize {
        match self {
            Layout::ChannelsLast if rank > 2 && axis == 1 => rank - 1,
            Layout::ChannelsLast if rank > 2 && axis > 1 => axis - 1,
            _ => axis,
        }
    }

    /// The ONNX axis that is stored at position `axis`.
    pub(crate) fn onnx_axis(self, axis: usize, rank: usize) -> usize {
        match self {
            Layout::ChannelsLast if rank > 2 => to_last(rank)[axis],
            _ => axis,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permutations_undo_each_other() {
        assert_eq!(to_last(4), [0, 2, 3, 1]);
        assert_eq!(to_first(4), [0, 3, 1, 2]);
        for rank in 0..6 {
            let (last, first) = (to_last(rank), to_first(rank));
            assert!(is_identity(&first.iter().map(|&p| last[p]).collect::<Vec<_>>()));
        }
    }

    #[test]
    fn axes_go_there_and_back() {
        for rank in 1..6 {
            for axis in 0..rank {
                let stored = Layout::ChannelsLast.stored_axis(axis, rank);
                assert_eq!(Layout::ChannelsLast.onnx_axis(stored, rank), axis);
            }
        }
    }
}
