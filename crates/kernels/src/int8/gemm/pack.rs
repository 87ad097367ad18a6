//! The packed right-hand operand.
//!
//! Columns (output channels) are cut into panels of [`Layout::width`] columns; a last panel of at
//! most half that many is packed at half width. Inside a panel the depth is cut into groups of
//! [`Layout::group`] consecutive `k`, and each group is stored for all columns of the panel in
//! turn: `[k / group][column][k % group]`. Missing columns and depths are zero.

use std::ops::Range;

use crate::isa::Isa;

/// How operands are laid out for the inner loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// int16 pairs, zero point already subtracted on the left: multiply-add of pairs.
    Pairs,
    /// u8 (left, offset by 128) times i8 (right) in fours, compensated by column sums.
    Quads,
}

impl Layout {
    /// The layout an instruction set's inner loop wants.
    pub(crate) fn for_isa(isa: Isa) -> Self {
        match isa {
            Isa::Scalar | Isa::Avx2(_) => Self::Pairs,
            Isa::Avx512Vnni(_) => Self::Quads,
        }
    }

    /// Columns of a full panel.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::Pairs => 16,
            Self::Quads => 32,
        }
    }

    /// Depths stored together.
    pub(crate) fn group(self) -> usize {
        match self {
            Self::Pairs => 2,
            Self::Quads => 4,
        }
    }

    /// Rows of a full tile.
    pub(crate) fn rows(self) -> usize {
        match self {
            Self::Pairs => 6,
            Self::Quads => 8,
        }
    }

    /// Bytes of a widened left-hand element.
    pub(crate) fn row_bytes(self) -> usize {
        match self {
            Self::Pairs => 2,
            Self::Quads => 1,
        }
    }

    /// Depth rounded up to whole groups.
    pub(crate) fn padded_k(self, k: usize) -> usize {
        k.next_multiple_of(self.group())
    }

    /// Panels that hold `n` columns.
    pub(crate) fn panel_count(self, n: usize) -> usize {
        n.div_ceil(self.width())
    }

    /// Columns stored in panel `panel` of `n` columns.
    pub(crate) fn panel_width(self, n: usize, panel: usize) -> usize {
        let left = n - panel * self.width();
        if left <= self.width() / 2 { self.width() / 2 } else { self.width() }
    }

    /// Columns stored for `n` columns, the padding of the last panel included.
    pub(crate) fn padded_n(self, n: usize) -> usize {
        n.next_multiple_of(self.width() / 2)
    }

    /// Where element `(k, n)` is stored, for an operand of depth `depth` and `cols` columns.
    fn index(self, depth: usize, cols: usize, k: usize, n: usize) -> usize {
        let panel = n / self.width();
        let base = panel * self.width() * self.padded_k(depth);
        let width = self.panel_width(cols, panel);
        let group = self.group();
        base + (k / group * width + n % self.width()) * group + k % group
    }
}

/// Packed values of either layout.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Panels<'a> {
    Wide(&'a [i16]),
    Narrow(&'a [i8]),
}

/// A packed operand, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedView<'a> {
    /// Depth before padding.
    pub(crate) k: usize,
    /// Columns before padding.
    pub(crate) n: usize,
    pub(crate) data: Panels<'a>,
    /// What every sum of a column starts from, padded with zeros to whole panels.
    pub(crate) bias: &'a [i32],
    /// Sum of every column, padded; only read for [`Layout::Quads`].
    pub(crate) col_sums: &'a [i32],
}

impl PackedView<'_> {
    /// The layout of the values.
    pub(crate) fn layout(&self) -> Layout {
        match self.data {
            Panels::Wide(_) => Layout::Pairs,
            Panels::Narrow(_) => Layout::Quads,
        }
    }

    /// Columns of panel `panel`, those of its padding included.
    pub(crate) fn panel_columns(&self, panel: usize) -> Range<usize> {
        let layout = self.layout();
        let col = panel * layout.width();
        col..col + layout.panel_width(self.n, panel)
    }

    /// Where the values of panel `panel` are stored.
    pub(crate) fn panel_values(&self, panel: usize) -> Range<usize> {
        let (columns, padded) = (self.panel_columns(panel), self.layout().padded_k(self.k));
        columns.start * padded..columns.end * padded
    }
}

#[derive(Clone, Debug)]
enum Store {
    Wide(Vec<i16>),
    Narrow(Vec<i8>),
}

/// Weights packed once.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    k: usize,
    n: usize,
    store: Store,
    bias: Vec<i32>,
    col_sums: Vec<i32>,
}

impl Packed {
    /// Packs `k` by `n` weights read through `at(k, n)`; `bias`, if any, has `n` values.
    pub(crate) fn new(
        layout: Layout,
        k: usize,
        n: usize,
        bias: Option<&[i32]>,
        at: impl Fn(usize, usize) -> i8,
    ) -> Self {
        let mut padded_bias = vec![0; layout.padded_n(n)];
        if let Some(bias) = bias {
            padded_bias[..n].copy_from_slice(bias);
        }
        let mut col_sums = vec![0; layout.padded_n(n)];
        for (col, sum) in col_sums[..n].iter_mut().enumerate() {
            *sum = (0..k).map(|depth| i32::from(at(depth, col))).sum();
        }
        let len = packed_len(layout, k, n);
        let store = match layout {
            Layout::Pairs => {
                let mut data = vec![0i16; len];
                each(layout, k, n, |i, k, n| data[i] = i16::from(at(k, n)));
                Store::Wide(data)
            }
            Layout::Quads => {
                let mut data = vec![0i8; len];
                each(layout, k, n, |i, k, n| data[i] = at(k, n));
                Store::Narrow(data)
            }
        };
        Self { k, n, store, bias: padded_bias, col_sums }
    }

    /// The packed operand as the kernels take it.
    pub(crate) fn view(&self) -> PackedView<'_> {
        PackedView {
            k: self.k,
            n: self.n,
            data: match &self.store {
                Store::Wide(data) => Panels::Wide(data),
                Store::Narrow(data) => Panels::Narrow(data),
            },
            bias: &self.bias,
            col_sums: &self.col_sums,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.store {
            Store::Wide(data) => size_of_val(data.as_slice()),
            Store::Narrow(data) => data.len(),
        };
        weights + (self.bias.len() + self.col_sums.len()) * size_of::<i32>()
    }
}

/// Elements of a packed operand.
pub(crate) fn packed_len(layout: Layout, k: usize, n: usize) -> usize {
    layout.padded_k(k) * layout.padded_n(n)
}

/// Packs a run-time operand into [`Layout::Pairs`], its zero point subtracted.
///
/// `b` is `[k, n]`, or `[n, k]` when `transposed`. `dst` has [`packed_len`] elements.
pub(crate) fn pack_runtime(b: &[i8], k: usize, n: usize, transposed: bool, zero_point: i16, dst: &mut [i16]) {
    let layout = Layout::Pairs;
    let padded = layout.padded_k(k);
    dst.fill(0);
    for panel in 0..layout.panel_count(n) {
        let col = panel * layout.width();
        let width = layout.panel_width(n, panel);
        let cols = width.min(n - col);
        let dst = &mut dst[col * padded..(col + width) * padded];
        if transposed {
            for (j, row) in b[col * k..(col + cols) * k].chunks_exact(k.max(1)).enumerate() {
                for (depth, &value) in row.iter().enumerate() {
                    dst[(depth / 2 * width + j) * 2 + depth % 2] = i16::from(value) - zero_point;
                }
            }
        } else {
            for depth in 0..k {
                let row = &b[depth * n + col..depth * n + col + cols];
                let dst = &mut dst[depth / 2 * width * 2..(depth / 2 + 1) * width * 2];
                for (j, &value) in row.iter().enumerate() {
                    dst[j * 2 + depth % 2] = i16::from(value) - zero_point;
                }
            }
        }
    }
}

/// Calls `visit(index, k, n)` for every element of a packed operand.
fn each(layout: Layout, k: usize, n: usize, mut visit: impl FnMut(usize, usize, usize)) {
    for col in 0..n {
        for depth in 0..k {
            visit(layout.index(k, n, depth, col), depth, col);
        }
    }
}
