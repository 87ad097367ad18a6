//! Convolution and pooling geometry shared by the float and integer kernels.

use std::ops::Range;

/// NHWC 2-D convolution/pooling geometry. All sizes in elements.
///
/// Bottom and right padding are implied by `out_h` / `out_w`: every tap that falls outside the
/// input is padding, on whichever side it falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images in the batch.
    pub batch: usize,
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Input channels (all groups together).
    pub in_c: usize,
    /// Output height.
    pub out_h: usize,
    /// Output width.
    pub out_w: usize,
    /// Output channels (all groups together).
    pub out_c: usize,
    /// Kernel height in taps.
    pub kernel_h: usize,
    /// Kernel width in taps.
    pub kernel_w: usize,
    /// Vertical stride.
    pub stride_h: usize,
    /// Horizontal stride.
    pub stride_w: usize,
    /// Vertical distance between taps; 1 is a dense kernel.
    pub dilation_h: usize,
    /// Horizontal distance between taps; 1 is a dense kernel.
    pub dilation_w: usize,
    /// Rows of padding above the input.
    pub pad_top: usize,
    /// Columns of padding to the left of the input.
    pub pad_left: usize,
    /// Groups; divides both `in_c` and `out_c`.
    pub groups: usize,
}

/// The taps of one kernel axis that land inside the input for one output coordinate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapRange {
    /// Kernel taps `k` whose input coordinate is inside the input (may be empty).
    pub taps: Range<usize>,
    /// Input coordinate of tap 0; negative inside the leading padding.
    pub origin: isize,
}

impl ConvShape {
    /// A 1x1, stride 1, unpadded, ungrouped convolution: a plain matrix product over the pixels.
    pub fn is_pointwise(&self) -> bool {
        self.kernel_h == 1
            && self.kernel_w == 1
            && self.stride_h == 1
            && self.stride_w == 1
            && self.pad_top == 0
            && self.pad_left == 0
            && self.groups == 1
            && self.in_h == self.out_h
            && self.in_w == self.out_w
    }

    /// One filter per input channel (`groups == in_c`), with any channel multiplier.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_c && self.in_c > 0 && self.out_c.is_multiple_of(self.in_c)
    }

    /// Elements of the input tensor `[batch, in_h, in_w, in_c]`.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Elements of the output tensor `[batch, out_h, out_w, out_c]`.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_h * self.out_w * self.out_c
    }

    /// Output pixels `batch * out_h * out_w`.
    pub fn out_pixels(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }

    /// Multiply-accumulates of the convolution, counting padding taps.
    pub fn macs(&self) -> u64 {
        let per_pixel = (self.kernel_h * self.kernel_w * self.out_c) as u64 * (self.in_c / self.groups.max(1)) as u64;
        self.out_pixels() as u64 * per_pixel
    }

    /// Vertical taps inside the input for output row `oy`.
    pub fn taps_h(&self, oy: usize) -> TapRange {
        taps(oy, self.stride_h, self.dilation_h, self.pad_top, self.kernel_h, self.in_h)
    }

    /// Horizontal taps inside the input for output column `ox`.
    pub fn taps_w(&self, ox: usize) -> TapRange {
        taps(ox, self.stride_w, self.dilation_w, self.pad_left, self.kernel_w, self.in_w)
    }
}

fn taps(out: usize, stride: usize, dilation: usize, pad: usize, kernel: usize, len: usize) -> TapRange {
    let origin = (out * stride) as isize - pad as isize;
    // Taps before the input's start, and before its end.
    let before = |edge: isize| {
        let distance = (edge - origin).max(0) as usize;
        // Divisions are dear in a loop over pixels, and most kernels are dense.
        if dilation <= 1 { distance } else { distance.div_ceil(dilation) }
    };
    let end = before(len as isize).min(kernel);
    TapRange { taps: before(0).min(end)..end, origin }
}

#[cfg(test)]
mod tests {
    use super::taps;

    #[test]
    fn taps_are_those_inside_the_input() {
        for (stride, dilation, pad, kernel, len) in [(1, 1, 1, 3, 5), (2, 3, 4, 5, 7), (3, 2, 0, 1, 2), (1, 2, 9, 3, 1)]
        {
            for out in 0..9 {
                let range = taps(out, stride, dilation, pad, kernel, len);
                let at = |k: usize| (out * stride + k * dilation) as isize - pad as isize;
                assert_eq!(range.origin, at(0));
                for k in 0..kernel {
                    let inside = (0..len as isize).contains(&at(k));
                    assert_eq!(range.taps.contains(&k), inside, "output {out}, tap {k}");
                }
            }
        }
    }
}
