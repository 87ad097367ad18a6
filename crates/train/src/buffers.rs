//! Buffers shared by values whose lifetimes do not overlap.

/// Hands out buffers and takes them back, while a plan is made.
#[derive(Default)]
pub(crate) struct Pool {
    sizes: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// A buffer of at least `len` elements: the tightest free one that fits, else the largest free
    /// one made larger, else a new one.
    pub(crate) fn take(&mut self, len: usize) -> usize {
        let fitting = self.free.iter().enumerate().filter(|(_, b)| self.sizes[**b] >= len);
        let best = fitting.min_by_key(|(_, b)| self.sizes[**b]).map(|(at, _)| at);
        let largest = || self.free.iter().enumerate().max_by_key(|(_, b)| self.sizes[**b]).map(|(at, _)| at);
        match best.or_else(largest) {
            Some(at) => {
                let buffer = self.free.swap_remove(at);
                self.sizes[buffer] = self.sizes[buffer].max(len);
                buffer
            }
            None => self.fresh(len),
        }
    }

    /// A buffer that nothing had before: for values that stay.
    pub(crate) fn fresh(&mut self, len: usize) -> usize {
        self.sizes.push(len);
        self.sizes.len() - 1
    }

    /// Takes a buffer back.
    pub(crate) fn give(&mut self, buffer: usize) {
        debug_assert!(!self.free.contains(&buffer));
        self.free.push(buffer);
    }

    /// The buffers, zeroed.
    pub(crate) fn allocate(&self) -> Vec<Vec<f32>> {
        self.sizes.iter().map(|&len| vec![0.0; len]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn free_buffers_are_used_again_tightest_first() {
        let mut pool = Pool::default();
        let (a, b) = (pool.take(10), pool.take(4));
        pool.give(a);
        pool.give(b);
        assert_eq!(pool.take(3), b);
        assert_eq!(pool.take(12), a);
        assert_eq!(pool.take(1), 2);
        assert_eq!(pool.allocate().iter().map(Vec::len).collect::<Vec<_>>(), [12, 4, 1]);
    }
}
