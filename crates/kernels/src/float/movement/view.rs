//! Strided views of a dense tensor, and the copy that makes a view dense again: transpose,
//! slice, expand, tile, space-to-depth and depth-to-space are all this one copy.

/// Side of the square tiles of a transposition: both sides of a tile stay in the first-level
/// cache, and a line fetched for one row serves the next ones.
const TILE: usize = 16;
/// Most axes that remain after merging.
const MAX_AXES: usize = 12;

/// A reading of a dense row-major tensor with other axes. Strides may be zero (repetition) or
/// negative (reversal).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    dims: Vec<usize>,
    strides: Vec<isize>,
    offset: isize,
}

impl View {
    /// The tensor of shape `dims` as it is.
    pub fn dense(dims: &[usize]) -> Self {
        let mut strides = vec![0; dims.len()];
        let mut stride = 1;
        for (s, d) in strides.iter_mut().zip(dims).rev() {
            *s = stride;
            stride *= *d as isize;
        }
        Self { dims: dims.to_vec(), strides, offset: 0 }
    }

    /// Shape of the view.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Axis `i` of the result is axis `perm[i]` of `self`.
    ///
    /// # Panics
    /// If `perm` is not a permutation of the axes.
    pub fn permute(&self, perm: &[usize]) -> Self {
        let mut seen = vec![false; self.dims.len()];
        perm.iter().for_each(|&p| seen[p] = true);
        assert!(perm.len() == seen.len() && seen.into_iter().all(|s| s), "not a permutation");
        Self {
            dims: perm.iter().map(|&p| self.dims[p]).collect(),
            strides: perm.iter().map(|&p| self.strides[p]).collect(),
            offset: self.offset,
        }
    }

    /// Every `step`-th of axis `axis` from `start` on, `len` of them; `step` may be negative.
    ///
    /// # Panics
    /// If the axis has no such elements.
    pub fn slice(mut self, axis: usize, start: usize, step: isize, len: usize) -> Self {
        if len > 0 {
            let last = start as isize + (len as isize - 1) * step;
            let inside = 0..self.dims[axis] as isize;
            assert!(inside.contains(&(start as isize)) && inside.contains(&last));
            self.offset += start as isize * self.strides[axis];
        }
        self.dims[axis] = len;
        self.strides[axis] *= step;
        self
    }

    /// The view repeated along axes of length 1, and along new leading axes, to shape `dims`;
    /// `None` if it does not broadcast to it.
    pub fn expand(&self, dims: &[usize]) -> Option<Self> {
        let lead = dims.len().checked_sub(self.dims.len())?;
        let mut strides = vec![0; dims.len()];
        for (i, (&from, &stride)) in self.dims.iter().zip(&self.strides).enumerate() {
            if from == dims[lead + i] {
                strides[lead + i] = stride;
            } else if from != 1 {
                return None;
            }
        }
        Some(Self { dims: dims.to_vec(), strides, offset: self.offset })
    }

    /// Each axis `i` repeated whole `repeats[i]` times. The result has two axes, repetition and
    /// element, for each; copied, it is the tiled tensor.
    ///
    /// # Panics
    /// If there is not one count an axis.
    pub fn tile(&self, repeats: &[usize]) -> Self {
        assert_eq!(repeats.len(), self.dims.len());
        let mut tiled = Self { dims: Vec::new(), strides: Vec::new(), offset: self.offset };
        for (i, &repeat) in repeats.iter().enumerate() {
            tiled.dims.extend([repeat, self.dims[i]]);
            tiled.strides.extend([0, self.strides[i]]);
        }
        tiled
    }

    /// NHWC space-to-depth with square `block`: from `[n, h, w, c]`, `[n, h/b, w/b, (by, bx, c)]`.
    ///
    /// # Panics
    /// If `block` does not divide height and width.
    pub fn space_to_depth([n, h, w, c]: [usize; 4], block: usize) -> Self {
        assert!(block > 0 && h.is_multiple_of(block) && w.is_multiple_of(block));
        Self::dense(&[n, h / block, block, w / block, block, c]).permute(&[0, 1, 3, 2, 4, 5])
    }

    /// NHWC depth-to-space with square `block`: the channels of `[n, h, w, c]` are read as
    /// `(by, bx, c')` (ONNX `DCR`, TFLite), or as `(c', by, bx)` if `crd` (ONNX `CRD`).
    ///
    /// # Panics
    /// If the square of `block` does not divide the channels.
    pub fn depth_to_space([n, h, w, c]: [usize; 4], block: usize, crd: bool) -> Self {
        assert!(block > 0 && c.is_multiple_of(block * block));
        let depth = c / (block * block);
        if crd {
            Self::dense(&[n, h, w, depth, block, block]).permute(&[0, 1, 4, 2, 5, 3])
        } else {
            Self::dense(&[n, h, w, block, block, depth]).permute(&[0, 1, 3, 2, 4, 5])
        }
    }

    /// Offset in the dense tensor of each element of the view, in order.
    pub(super) fn offsets(&self) -> impl Iterator<Item = usize> + '_ {
        let len: usize = self.dims.iter().product();
        let mut index = vec![0; self.dims.len()];
        let mut at = self.offset;
        (0..len).map(move |_| {
            let this = at as usize;
            for (i, slot) in index.iter_mut().enumerate().rev() {
                *slot += 1;
                at += self.strides[i];
                if *slot < self.dims[i] {
                    break;
                }
                at -= self.dims[i] as isize * self.strides[i];
                *slot = 0;
            }
            this
        })
    }

    /// The fewest loops that copy this view to a dense tensor.
    ///
    /// # Panics
    /// If more than twelve axes remain after merging.
    pub fn plan(&self) -> CopyPlan {
        let len = self.dims.iter().product();
        let mut axes: Vec<Axis> = Vec::new();
        for (&len, &stride) in self.dims.iter().zip(&self.strides) {
            if len == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(outer) if outer.from == stride * len as isize => {
                    outer.len *= len;
                    outer.from = stride;
                }
                _ => axes.push(Axis { len, from: stride, to: 0 }),
            }
        }
        let mut to = 1;
        for axis in axes.iter_mut().rev() {
            axis.to = to;
            to *= axis.len;
        }
        assert!(axes.len() <= MAX_AXES, "too many axes");
        let reach = |forward: bool| -> isize {
            let sides = axes.iter().filter(|a| (a.from > 0) == forward);
            sides.map(|a| (a.len as isize - 1) * a.from).sum()
        };
        let (low, high) = (self.offset + reach(false), self.offset + reach(true));
        assert!(len == 0 || low >= 0, "a view never starts before its tensor");
        let kind = Kind::of(&mut axes);
        let need = if len == 0 { 0 } else { high as usize + 1 };
        CopyPlan { axes, kind, offset: self.offset, len, need }
    }

    /// Copies the view of `x` to `out`, densely.
    ///
    /// # Panics
    /// If `x` is shorter than the view needs or `out` is not the size of the view.
    pub fn copy<T: Copy>(&self, x: &[T], out: &mut [T]) {
        self.plan().run(x, out);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    len: usize,
    from: isize,
    to: usize,
}

/// How the innermost loops run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Last axis contiguous on both sides.
    Runs,
    /// Last axis with any source stride.
    Strided,
    /// Last two axes of the list form a transposition: the first of them is contiguous in the
    /// source, the second in the destination.
    Transpose,
}

impl Kind {
    fn of(axes: &mut Vec<Axis>) -> Self {
        match axes.last() {
            None => Kind::Strided,
            Some(last) if last.from == 1 => Kind::Runs,
            Some(_) => match axes.iter().position(|a| a.from == 1) {
                Some(p) => {
                    // Loops may be nested in any order: bring the pair together.
                    let contiguous = axes.remove(p);
                    axes.insert(axes.len() - 1, contiguous);
                    Kind::Transpose
                }
                None => Kind::Strided,
            },
        }
    }
}

/// A copy worked out by [`View::plan`]: run it any number of times without allocating.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    axes: Vec<Axis>,
    kind: Kind,
    offset: isize,
    len: usize,
    need: usize,
}

impl CopyPlan {
    /// Elements copied.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is copied.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies.
    ///
    /// # Panics
    /// If `x` is shorter than the view needs or `out` is not the size of the view.
    pub fn run<T: Copy>(&self, x: &[T], out: &mut [T]) {
        assert_eq!(out.len(), self.len);
        if self.len == 0 {
            return;
        }
        assert!(x.len() >= self.need, "the view reaches beyond the tensor");
        let inner = match self.kind {
            Kind::Transpose => 2,
            Kind::Runs | Kind::Strided => 1,
        };
        let (outer, inner) = self.axes.split_at(self.axes.len().saturating_sub(inner));
        let mut index = [0; MAX_AXES];
        let (mut from, mut to) = (self.offset, 0);
        loop {
            self.innermost(inner, x, from as usize, &mut out[to..]);
            let mut wrapped = true;
            for (slot, axis) in index.iter_mut().zip(outer).rev() {
                *slot += 1;
                from += axis.from;
                to += axis.to;
                if *slot < axis.len {
                    wrapped = false;
                    break;
                }
                from -= axis.len as isize * axis.from;
                to -= axis.len * axis.to;
                *slot = 0;
            }
            if wrapped {
                return;
            }
        }
    }

    #[inline(always)]
    fn innermost<T: Copy>(&self, axes: &[Axis], x: &[T], from: usize, out: &mut [T]) {
        match (self.kind, axes) {
            (Kind::Runs, [run]) => out[..run.len].copy_from_slice(&x[from..from + run.len]),
            (Kind::Strided, [axis]) if axis.from == 0 => out[..axis.len].fill(x[from]),
            (Kind::Strided, [axis]) => {
                let mut at = from as isize;
                for y in &mut out[..axis.len] {
                    *y = x[at as usize];
                    at += axis.from;
                }
            }
            (Kind::Transpose, [source, destination]) => {
                transpose(source, destination, x, from, out);
            }
            _ => out[0] = x[from],
        }
    }
}

/// `out[i * source.to + j] = x[from + i + j * destination.from]`, tile by tile, or for the few planes
/// of a picture pixel by pixel.
fn transpose<T: Copy>(source: &Axis, destination: &Axis, x: &[T], from: usize, out: &mut [T]) {
    if source.to == destination.len && destination.from > 0 {
        let planes = (&x[from..], destination.from as usize);
        match destination.len {
            2 => return interleave::<T, 2>(planes, &mut out[..2 * source.len]),
            3 => return interleave::<T, 3>(planes, &mut out[..3 * source.len]),
            4 => return interleave::<T, 4>(planes, &mut out[..4 * source.len]),
            _ => {}
        }
    }
    for i0 in (0..source.len).step_by(TILE) {
        let rows = TILE.min(source.len - i0);
        for j0 in (0..destination.len).step_by(TILE) {
            let cols = TILE.min(destination.len - j0);
            for i in i0..i0 + rows {
                let mut at = (from + i) as isize + j0 as isize * destination.from;
                for y in &mut out[i * source.to + j0..][..cols] {
                    *y = x[at as usize];
                    at += destination.from;
                }
            }
        }
    }
}

/// Writes element `i` of `C` planes, `stride` elements apart, next to one another, for every `i`.
fn interleave<T: Copy, const C: usize>((x, stride): (&[T], usize), out: &mut [T]) {
    let len = out.len() / C;
    let planes: [&[T]; C] = std::array::from_fn(|c| &x[c * stride..][..len]);
    let (pixels, _) = out.as_chunks_mut::<C>();
    for (i, pixel) in pixels.iter_mut().enumerate() {
        *pixel = planes.map(|plane| plane[i]);
    }
}
