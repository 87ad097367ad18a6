//! Matrix products: a packed right-hand side with our own AVX2 tile, and a safe wrapper of the
//! `gemm` crate for operands that are both only known at run time.

use super::Clamp;
use super::dispatch::avx2;
use super::parallel;
use crate::isa::Avx2;
use std::ops::Range;

/// Columns of one packed panel: two AVX2 registers.
pub(crate) const NR: usize = 16;
/// Rows of the register tile: 6x2 accumulators, two panel registers and a broadcast fill 15 of 16.
pub(crate) const MR: usize = 6;
/// Floats of the left operand that a block keeps in the second-level cache.
const BLOCK_FLOATS: usize = 1 << 16;

/// A constant right-hand side `B` (`k` x `n`) of a matrix product, with its bias, re-laid for the
/// kernel: panels of 16 columns, each `k` rows of 16 contiguous floats, padded with zeros.
///
/// Every output is `bias + sum over k in ascending order`, whatever the tile it falls in, so
/// results do not depend on blocking or threads.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    n: usize,
    k: usize,
    panels: Vec<f32>,
    bias: Vec<f32>,
}

impl PackedMatrix {
    /// Packs `weights` `[n, k]` row-major (one row an output) and `bias` `[n]`, zero if absent.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(weights: &[f32], n: usize, k: usize, bias: Option<&[f32]>) -> Self {
        assert_eq!(weights.len(), n * k, "weights are [n, k]");
        Self::from_fn(n, k, bias, |col, row| weights[col * k + row])
    }

    /// Packs the matrix whose entry for output `col` and inner index `row` is `value(col, row)`.
    ///
    /// # Panics
    /// If `bias` does not have `n` elements.
    pub fn from_fn(n: usize, k: usize, bias: Option<&[f32]>, value: impl Fn(usize, usize) -> f32) -> Self {
        let panel_count = n.div_ceil(NR);
        let mut panels = vec![0.0; panel_count * k * NR];
        for col in 0..n {
            let base = (col / NR) * k * NR + col % NR;
            for row in 0..k {
                panels[base + row * NR] = value(col, row);
            }
        }
        let mut padded = vec![0.0; panel_count * NR];
        if let Some(bias) = bias {
            assert_eq!(bias.len(), n, "bias is [n]");
            padded[..n].copy_from_slice(bias);
        }
        Self { n, k, panels, bias: padded }
    }

    /// Output columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inner size.
    pub fn k(&self) -> usize {
        self.k
    }

    /// `out[i, ..n] = clamp(a[i, ..k] * B + bias)` for `m` rows, rows `lda` and `ldc` apart.
    ///
    /// Columns of `out` beyond `n` are left alone, so groups may interleave.
    ///
    /// # Panics
    /// If a slice is shorter than its rows need.
    pub fn run(&self, a: &[f32], lda: usize, m: usize, out: &mut [f32], ldc: usize, clamp: Clamp) {
        self.check(a, lda, m, out, ldc);
        if m == 0 || self.n == 0 {
            return;
        }
        let isa = avx2();
        let parallel = parallel::worthwhile(m * self.n * self.k / 8);
        if m == 1 {
            // One row: the weights are the traffic, so the panels are what is shared out.
            let width = if parallel { 16 * NR } else { self.n };
            parallel::chunks_mut(&mut out[..self.n], width, parallel, |i, piece| {
                self.row(isa, a, i * width, piece, clamp);
            });
            return;
        }
        let mut rows = self.block_rows();
        if parallel {
            rows = rows.min(m.div_ceil(rayon::current_num_threads()).next_multiple_of(MR));
        }
        let end = (m - 1) * ldc + self.n;
        parallel::chunks_mut(&mut out[..end], rows * ldc, parallel, |i, piece| {
            let first = i * rows;
            self.block(isa, &a[first * lda..], lda, rows.min(m - first), piece, ldc, clamp);
        });
    }

    /// As [`run`](Self::run), on the calling thread only: for callers that split work themselves.
    pub(crate) fn run_single(&self, a: &[f32], lda: usize, m: usize, out: &mut [f32], ldc: usize, clamp: Clamp) {
        self.check(a, lda, m, out, ldc);
        let isa = avx2();
        let rows = self.block_rows();
        let mut first = 0;
        while first < m {
            let take = rows.min(m - first);
            self.block(isa, &a[first * lda..], lda, take, &mut out[first * ldc..], ldc, clamp);
            first += take;
        }
    }

    fn check(&self, a: &[f32], lda: usize, m: usize, out: &[f32], ldc: usize) {
        if m > 0 {
            assert!((m - 1) * lda + self.k <= a.len(), "left operand too short");
            assert!((m - 1) * ldc + self.n <= out.len(), "output too short");
            assert!(m == 1 || ldc >= self.n, "output rows overlap");
        }
    }

    /// Rows whose left operand fits the cache while the panels pass by.
    pub(crate) fn block_rows(&self) -> usize {
        block_rows(self.k)
    }

    fn block(&self, isa: Option<Avx2>, a: &[f32], lda: usize, m: usize, out: &mut [f32], ldc: usize, clamp: Clamp) {
        if m == 1 {
            return self.row(isa, a, 0, &mut out[..self.n], clamp);
        }
        let whole = Segments { rows: 0..self.k, count: 1, len: self.k, stride: 0 };
        self.tiles(isa, a, lda, &whole, m, out, ldc, clamp);
    }

    /// As [`run_single`](Self::run_single) with the left operand's rows in pieces, and only the
    /// rows of `B` that `segments` names.
    pub(crate) fn run_segments(
        &self,
        a: &[f32],
        lda: usize,
        segments: &Segments,
        m: usize,
        out: &mut [f32],
        ldc: usize,
        clamp: Clamp,
    ) {
        self.tiles(avx2(), a, lda, segments, m, out, ldc, clamp);
    }

    fn tiles(
        &self,
        isa: Option<Avx2>,
        a: &[f32],
        lda: usize,
        segments: &Segments,
        m: usize,
        out: &mut [f32],
        ldc: usize,
        clamp: Clamp,
    ) {
        for p in 0..self.n.div_ceil(NR) {
            let floats = &self.panels[p * self.k * NR..(p + 1) * self.k * NR];
            let panel = Panel {
                floats: &floats[segments.rows.start * NR..segments.rows.end * NR],
                bias: &self.bias[p * NR..(p + 1) * NR],
                cols: NR.min(self.n - p * NR),
            };
            panel.run(isa, a, lda, segments, m, &mut out[p * NR..], ldc, clamp);
        }
    }

    /// `piece = clamp(a[..k] * B[.., first..first + len] + bias)`; `first` is a multiple of 16.
    fn row(&self, isa: Option<Avx2>, a: &[f32], first: usize, piece: &mut [f32], clamp: Clamp) {
        const WIDE: usize = 4;
        let mut done = 0;
        while done < piece.len() {
            let p = (first + done) / NR;
            let cols = (piece.len() - done).min(NR);
            #[cfg(target_arch = "x86_64")]
            if let (Some(_), true) = (isa, piece.len() - done >= WIDE * NR) {
                let panels = &self.panels[p * self.k * NR..(p + WIDE) * self.k * NR];
                let bias = &self.bias[p * NR..(p + WIDE) * NR];
                let out = &mut piece[done..done + WIDE * NR];
                // SAFETY: the token proves AVX2 and FMA.
                unsafe { x86::row_1x64(panels, bias, &a[..self.k], out, clamp) };
                done += WIDE * NR;
                continue;
            }
            let whole = Segments { rows: 0..self.k, count: 1, len: self.k, stride: 0 };
            let tile = Tile {
                panel: &self.panels[p * self.k * NR..(p + 1) * self.k * NR],
                bias: &self.bias[p * NR..(p + 1) * NR],
                segments: &whole,
                lda: self.k,
                ldc: NR,
                cols,
                clamp,
            };
            tile.run(isa, 1, a, &mut piece[done..]);
            done += cols;
        }
    }
}

/// Rows of `k` floats that fit the cache while the panels pass by.
pub(super) fn block_rows(k: usize) -> usize {
    (BLOCK_FLOATS / k.max(1) / MR).clamp(1, 64) * MR
}

/// Up to 16 columns of a packed matrix, and their bias.
pub(super) struct Panel<'a> {
    /// `[k][16]`.
    pub(super) floats: &'a [f32],
    /// `[16]`.
    pub(super) bias: &'a [f32],
    /// Columns that are written.
    pub(super) cols: usize,
}

impl Panel<'_> {
    /// `out[i, ..cols] = clamp(a[i] * panel + bias)` for `m` rows, rows `lda` and `ldc` apart.
    pub(super) fn run(
        &self,
        isa: Option<Avx2>,
        a: &[f32],
        lda: usize,
        segments: &Segments,
        m: usize,
        out: &mut [f32],
        ldc: usize,
        clamp: Clamp,
    ) {
        let &Panel { floats: panel, bias, cols } = self;
        let mut r = 0;
        while r < m {
            let rows = MR.min(m - r);
            let tile = Tile { panel, bias, segments, lda, ldc, cols, clamp };
            tile.run(isa, rows, &a[r * lda..], &mut out[r * ldc..]);
            r += rows;
        }
    }
}

/// Where a row of the left operand lies: `count` runs of `len` floats, `stride` apart, which meet
/// rows `rows` of the packed matrix. A convolution reads the lines of its window like this,
/// straight from the image.
pub(crate) struct Segments {
    pub(crate) rows: Range<usize>,
    pub(crate) count: usize,
    pub(crate) len: usize,
    pub(crate) stride: usize,
}

impl Segments {
    /// Floats from the first of a row to its last, inclusive.
    fn reach(&self) -> usize {
        if self.rows.is_empty() { 0 } else { (self.count - 1) * self.stride + self.len }
    }
}

/// One register tile: up to six rows against one panel.
struct Tile<'a> {
    panel: &'a [f32],
    bias: &'a [f32],
    segments: &'a Segments,
    lda: usize,
    ldc: usize,
    cols: usize,
    clamp: Clamp,
}

impl Tile<'_> {
    fn run(&self, isa: Option<Avx2>, rows: usize, a: &[f32], out: &mut [f32]) {
        let s = self.segments;
        assert!(s.rows.len() == s.count * s.len && self.panel.len() == s.rows.len() * NR);
        assert!((rows - 1) * self.lda + s.reach() <= a.len());
        assert!((rows - 1) * self.ldc + self.cols <= out.len());
        assert!(self.bias.len() == NR && self.cols <= NR);
        #[cfg(target_arch = "x86_64")]
        if isa.is_some() {
            // SAFETY: the token proves AVX2 and FMA; the assertions above are the bounds that
            // the tile relies on.
            unsafe {
                match rows {
                    1 => x86::tile::<1>(self, a, out),
                    2 => x86::tile::<2>(self, a, out),
                    3 => x86::tile::<3>(self, a, out),
                    4 => x86::tile::<4>(self, a, out),
                    5 => x86::tile::<5>(self, a, out),
                    _ => x86::tile::<6>(self, a, out),
                }
            }
            return;
        }
        let _ = isa;
        self.scalar(rows, a, out);
    }

    fn scalar(&self, rows: usize, a: &[f32], out: &mut [f32]) {
        for r in 0..rows {
            let mut acc = [0.0f32; NR];
            acc.copy_from_slice(self.bias);
            let s = self.segments;
            for (i, w) in self.panel.chunks_exact(NR).enumerate() {
                let x = a[r * self.lda + i / s.len * s.stride + i % s.len];
                for c in 0..NR {
                    acc[c] += x * w[c];
                }
            }
            for c in 0..self.cols {
                out[r * self.ldc + c] = self.clamp.apply(acc[c]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Clamp, NR, Tile};
    use std::arch::x86_64::*;

    /// `f32_gemm_{M}x16_avx2`.
    ///
    /// # Safety
    /// `a` holds `M` rows, `lda` apart, of the floats that the segments reach; `out` `M` rows of
    /// `cols` floats `ldc` apart; the panel 16 floats for each float of the segments, the bias 16.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile<const M: usize>(t: &Tile<'_>, a: &[f32], out: &mut [f32]) {
        let (a, out) = (a.as_ptr(), out.as_mut_ptr());
        let mut w = t.panel.as_ptr();
        let lo = _mm256_set1_ps(t.clamp.min);
        let hi = _mm256_set1_ps(t.clamp.max);
        // SAFETY: every pointer stays inside the ranges the caller vouches for.
        unsafe {
            let mut acc = [[_mm256_loadu_ps(t.bias.as_ptr()), _mm256_loadu_ps(t.bias.as_ptr().add(8))]; M];
            for s in 0..t.segments.count {
                let a = a.add(s * t.segments.stride);
                for k in 0..t.segments.len {
                    let w0 = _mm256_loadu_ps(w);
                    let w1 = _mm256_loadu_ps(w.add(8));
                    w = w.add(NR);
                    for r in 0..M {
                        let x = _mm256_broadcast_ss(&*a.add(r * t.lda + k));
                        acc[r][0] = _mm256_fmadd_ps(x, w0, acc[r][0]);
                        acc[r][1] = _mm256_fmadd_ps(x, w1, acc[r][1]);
                    }
                }
            }
            for r in 0..M {
                // The value is the second operand: max/min return it when it is NaN.
                let y0 = _mm256_min_ps(hi, _mm256_max_ps(lo, acc[r][0]));
                let y1 = _mm256_min_ps(hi, _mm256_max_ps(lo, acc[r][1]));
                let row = out.add(r * t.ldc);
                if t.cols == NR {
                    _mm256_storeu_ps(row, y0);
                    _mm256_storeu_ps(row.add(8), y1);
                } else {
                    let mut tail = [0.0f32; NR];
                    _mm256_storeu_ps(tail.as_mut_ptr(), y0);
                    _mm256_storeu_ps(tail.as_mut_ptr().add(8), y1);
                    std::ptr::copy_nonoverlapping(tail.as_ptr(), row, t.cols);
                }
            }
        }
    }

    /// One row against four panels: eight independent chains hide the latency of the FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn row_1x64(panels: &[f32], bias: &[f32], a: &[f32], out: &mut [f32], clamp: Clamp) {
        let k = a.len();
        assert!(panels.len() == 4 * k * NR && bias.len() == 4 * NR && out.len() == 4 * NR);
        let lo = _mm256_set1_ps(clamp.min);
        let hi = _mm256_set1_ps(clamp.max);
        // SAFETY: the assertion gives each of the four panels k * 16 floats, and bias and output
        // 64 floats each.
        unsafe {
            let mut acc = [_mm256_setzero_ps(); 8];
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = _mm256_loadu_ps(bias.as_ptr().add(i * 8));
            }
            let w = panels.as_ptr();
            for (i, x) in a.iter().enumerate() {
                let x = _mm256_broadcast_ss(x);
                for p in 0..4 {
                    let at = w.add((p * k + i) * NR);
                    acc[2 * p] = _mm256_fmadd_ps(x, _mm256_loadu_ps(at), acc[2 * p]);
                    acc[2 * p + 1] = _mm256_fmadd_ps(x, _mm256_loadu_ps(at.add(8)), acc[2 * p + 1]);
                }
            }
            for (i, acc) in acc.into_iter().enumerate() {
                let y = _mm256_min_ps(hi, _mm256_max_ps(lo, acc));
                _mm256_storeu_ps(out.as_mut_ptr().add(i * 8), y);
            }
        }
    }
}

/// A matrix inside a slice: element `(i, j)` is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct MatrixRef<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub col_stride: usize,
}

impl<'a> MatrixRef<'a> {
    /// A row-major matrix of `cols` columns.
    pub fn row_major(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of a row-major matrix whose rows have `cols` elements.
    pub fn transposed(data: &'a [f32], cols: usize) -> Self {
        Self { data, row_stride: 1, col_stride: cols }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// `out = a * b` (or `out += a * b` if `accumulate`), `a` `m` x `k`, `b` `k` x `n`, `out` `m` x `n`
/// row-major with rows `ldc` apart: the `gemm` crate in the current rayon pool.
///
/// The library blocks by the shape alone and gives whole tiles to threads, so the bits do not
/// depend on how many there are (tested).
///
/// # Panics
/// If a slice is too short for its shape and strides.
pub fn gemm(
    m: usize,
    n: usize,
    k: usize,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    out: &mut [f32],
    ldc: usize,
    accumulate: bool,
) {
    let threads = rayon::current_num_threads();
    let parallelism = if threads > 1 && parallel::worthwhile(m * n * k / 8) {
        gemm::Parallelism::Rayon(threads)
    } else {
        gemm::Parallelism::None
    };
    gemm_with(m, n, k, a, b, out, ldc, accumulate, parallelism);
}

/// As [`gemm()`], on the calling thread only.
pub(crate) fn gemm_single(
    m: usize,
    n: usize,
    k: usize,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    out: &mut [f32],
    ldc: usize,
) {
    gemm_with(m, n, k, a, b, out, ldc, false, gemm::Parallelism::None);
}

fn gemm_with(
    m: usize,
    n: usize,
    k: usize,
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    out: &mut [f32],
    ldc: usize,
    accumulate: bool,
    parallelism: gemm::Parallelism,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k), "left operand too short");
    assert!(b.holds(k, n), "right operand too short");
    assert!((m - 1) * ldc + n <= out.len(), "output too short");
    assert!(m == 1 || ldc >= n, "output rows overlap");
    // SAFETY: the assertions bound every element (i, j) of the three matrices inside its slice,
    // `out` is exclusively borrowed and its rows do not overlap; slices are at most isize::MAX
    // bytes, so the strides convert without wrapping.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            ldc as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_and_avx2_tiles_agree() {
        let (k, n) = (37, 83);
        let weights: Vec<f32> = (0..n * k).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let bias: Vec<f32> = (0..n).map(|i| i as f32 / 10.0).collect();
        let packed = PackedMatrix::new(&weights, n, k, Some(&bias));
        let clamp = Clamp { min: -3.0, max: 5.0 };
        for m in 1..=13 {
            let a: Vec<f32> = (0..m * k).map(|i| ((i * 53 % 97) as f32 - 48.0) / 48.0).collect();
            let mut plain = vec![f32::NAN; m * n];
            let mut fast = vec![f32::NAN; m * n];
            packed.block(None, &a, k, m, &mut plain, n, clamp);
            packed.block(Avx2::new(), &a, k, m, &mut fast, n, clamp);
            for (p, f) in plain.iter().zip(&fast) {
                assert!((p - f).abs() <= 1e-5, "{p} {f}");
            }
        }
    }
}
