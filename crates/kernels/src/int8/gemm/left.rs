//! The left-hand operand of the pair tiles.

/// Rows of int16 values, zero point subtracted. A row is a number of equally long segments, found
/// at the same offsets from the start of every row: one for a matrix, one for every line of the
/// kernel for a convolution that reads widened input lines where they lie.
#[derive(Clone, Copy)]
pub(crate) struct Wide<'a> {
    data: &'a [i16],
    row_stride: usize,
    offsets: &'a [usize],
    segment_len: usize,
}

impl<'a> Wide<'a> {
    /// Rows of one segment that lie one after another; `padded` is even.
    pub(crate) fn rows(data: &'a [i16], padded: usize) -> Self {
        Self { data, row_stride: padded, offsets: &[0], segment_len: padded }
    }

    /// Rows `row_stride` apart whose segments of `segment_len` values (even) start at `offsets`.
    pub(crate) fn segmented(data: &'a [i16], row_stride: usize, offsets: &'a [usize], segment_len: usize) -> Self {
        Self { data, row_stride, offsets, segment_len }
    }

    /// The rows from `row` on.
    pub(crate) fn skip_rows(self, row: usize) -> Self {
        Self { data: &self.data[row * self.row_stride..], ..self }
    }

    /// The segments of row `row`.
    pub(crate) fn segments(self, row: usize) -> impl Iterator<Item = &'a [i16]> {
        let from = row * self.row_stride;
        self.offsets.iter().map(move |offset| &self.data[from + offset..][..self.segment_len])
    }

    /// Elements from one row to the next.
    pub(super) fn row_stride(self) -> usize {
        self.row_stride
    }

    /// Where the segments of the first row start.
    pub(super) fn offsets(self) -> &'a [usize] {
        self.offsets
    }

    /// Values of a segment.
    pub(super) fn segment_len(self) -> usize {
        self.segment_len
    }

    /// The values after a check that `rows` whole rows are among them.
    pub(super) fn checked(self, rows: usize) -> &'a [i16] {
        let last = self.offsets.iter().max().map_or(0, |offset| offset + self.segment_len);
        assert!(rows == 0 || (rows - 1) * self.row_stride + last <= self.data.len(), "left-hand rows");
        self.data
    }
}
