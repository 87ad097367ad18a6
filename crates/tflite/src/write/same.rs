//! Which explicit paddings TFLite's two codes can say.

use fewbits_graph::Dim;

use crate::schema::enums::{PADDING_SAME, PADDING_VALID};

/// The code that means `padding` (`[top, left, bottom, right]`) for a window over an input of
/// `size` (`[H, W]`), if one does.
pub(super) fn padding_code(
    size: [&Dim; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: [usize; 4],
) -> Option<i8> {
    if padding == [0; 4] {
        return Some(PADDING_VALID);
    }
    let same = |axis: usize| {
        let extent = (kernel[axis].max(1) - 1) * dilation[axis] + 1;
        let total = match size[axis] {
            Dim::Fixed(n) => ((n.div_ceil(stride[axis]).max(1) - 1) * stride[axis] + extent).saturating_sub(*n),
            Dim::Symbol(_) if stride[axis] == 1 => extent - 1,
            Dim::Symbol(_) => return false,
        };
        padding[axis] == total / 2 && padding[axis + 2] == total - total / 2
    };
    (same(0) && same(1)).then_some(PADDING_SAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paddings_that_a_code_means_have_one() {
        let fixed = Dim::Fixed(8);
        let code = |size: &Dim, stride, padding| padding_code([size, size], [3, 3], [stride; 2], [1, 1], padding);
        assert_eq!(code(&fixed, 1, [0; 4]), Some(PADDING_VALID));
        assert_eq!(code(&fixed, 1, [1; 4]), Some(PADDING_SAME));
        // An even size with step 2 is padded at the end only.
        assert_eq!(code(&fixed, 2, [0, 0, 1, 1]), Some(PADDING_SAME));
        assert_eq!(code(&fixed, 2, [1; 4]), None);
        assert_eq!(code(&Dim::symbol("h"), 1, [1; 4]), Some(PADDING_SAME));
        assert_eq!(code(&Dim::symbol("h"), 2, [1; 4]), None);
    }
}
