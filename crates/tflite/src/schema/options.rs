//! The tables of operator attributes, each with its number in the schema's union.

use super::table::{Table, table};

/// A table of operator attributes.
pub(crate) trait Options: Table + Default + std::fmt::Debug + 'static {
    /// Its number in the union of such tables.
    const KIND: u8;
}

macro_rules! options {
    ($( $kind:literal $name:ident { $( $slot:literal $field:ident: $t:ty $(= $default:expr)?, )* } )*) => {
        table! { $( $name { $( $slot $field: $t $(= $default)?, )* } )* }
        $( impl Options for $name { const KIND: u8 = $kind; } )*
    };
}

options! {
    1 Conv2DOptions {
        0 padding: i8 = 0,
        1 stride_w: i32 = 0,
        2 stride_h: i32 = 0,
        3 activation: i8 = 0,
        4 dilation_w: i32 = 1,
        5 dilation_h: i32 = 1,
    }
    2 DepthwiseConv2DOptions {
        0 padding: i8 = 0,
        1 stride_w: i32 = 0,
        2 stride_h: i32 = 0,
        3 multiplier: i32 = 0,
        4 activation: i8 = 0,
        5 dilation_w: i32 = 1,
        6 dilation_h: i32 = 1,
    }
    5 Pool2DOptions {
        0 padding: i8 = 0,
        1 stride_w: i32 = 0,
        2 stride_h: i32 = 0,
        3 kernel_w: i32 = 0,
        4 kernel_h: i32 = 0,
        5 activation: i8 = 0,
    }
    8 FullyConnectedOptions {
        0 activation: i8 = 0,
        1 weights_format: i8 = 0,
        2 keep_num_dims: bool = false,
        3 asymmetric_quantize_inputs: bool = false,
    }
    9 SoftmaxOptions { 0 beta: f32 = 0.0, }
    10 ConcatenationOptions { 0 axis: i32 = 0, 1 activation: i8 = 0, }
    11 AddOptions { 0 activation: i8 = 0, 1 pot_scale_int16: bool = true, }
    12 L2NormOptions { 0 activation: i8 = 0, }
    15 ResizeBilinearOptions { 2 align_corners: bool = false, 3 half_pixel_centers: bool = false, }
    17 ReshapeOptions { 0 new_shape: Option<Vec<i32>>, }
    19 SpaceToDepthOptions { 0 block_size: i32 = 0, }
    21 MulOptions { 0 activation: i8 = 0, }
    23 GatherOptions { 0 axis: i32 = 0, 1 batch_dims: i32 = 0, }
    27 ReducerOptions { 0 keep_dims: bool = false, }
    28 SubOptions { 0 activation: i8 = 0, 1 pot_scale_int16: bool = true, }
    29 DivOptions { 0 activation: i8 = 0, }
    30 SqueezeOptions { 0 squeeze_dims: Option<Vec<i32>>, }
    32 StridedSliceOptions {
        0 begin_mask: i32 = 0,
        1 end_mask: i32 = 0,
        2 ellipsis_mask: i32 = 0,
        3 new_axis_mask: i32 = 0,
        4 shrink_axis_mask: i32 = 0,
        5 offset: bool = false,
    }
    35 SplitOptions { 0 num_splits: i32 = 0, }
    37 CastOptions { 0 from: i8 = 0, 1 to: i8 = 0, }
    40 ArgMaxOptions { 0 output_type: i8 = 0, }
    49 TransposeConvOptions { 0 padding: i8 = 0, 1 stride_w: i32 = 0, 2 stride_h: i32 = 0, 3 activation: i8 = 0, }
    55 ShapeOptions { 0 out_type: i8 = 0, }
    57 ArgMinOptions { 0 output_type: i8 = 0, }
    59 PackOptions { 0 count: i32 = 0, 1 axis: i32 = 0, }
    61 OneHotOptions { 0 axis: i32 = 0, }
    64 UnpackOptions { 0 num: i32 = 0, 1 axis: i32 = 0, }
    74 ResizeNearestNeighborOptions { 0 align_corners: bool = false, 1 half_pixel_centers: bool = false, }
    75 LeakyReluOptions { 0 alpha: f32 = 0.0, }
    77 MirrorPadOptions { 0 mode: i8 = 0, }
    79 SplitVOptions { 0 num_splits: i32 = 0, }
    94 DepthToSpaceOptions { 0 block_size: i32 = 0, }
    101 BatchMatMulOptions {
        0 adj_x: bool = false,
        1 adj_y: bool = false,
        2 asymmetric_quantize_inputs: bool = false,
    }
    102 CumsumOptions { 0 exclusive: bool = false, 1 reverse: bool = false, }
    116 GeluOptions { 0 approximate: bool = false, }
}
