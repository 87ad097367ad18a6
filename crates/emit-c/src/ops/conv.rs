//! Convolutions: patches of pixels through the filters, two pixels at a time.

use fewbits_graph::ops::Conv2d;

use super::layer::{Weights, row_sum};
use crate::code::{Code, less, sum, times};
use crate::kernel::{Arg, Data, Helper, Kernel, Layer, Lowering};
use crate::site::Site;

/// Sizes of a sliding window over NHWC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) batch: usize,
    pub(crate) input: [usize; 2],
    pub(crate) channels: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) out_channels: usize,
    pub(crate) stride: [usize; 2],
    pub(crate) dilation: [usize; 2],
    /// Top, left.
    pub(crate) padding: [usize; 2],
}

impl Window {
    pub(crate) fn new(
        site: &Site<'_>,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
        padding: [usize; 4],
    ) -> Result<Self, String> {
        let [batch, h, w, channels] = site.input(0)?.nhwc()?;
        let [_, out_h, out_w, out_channels] = site.output()?.nhwc()?;
        Ok(Window {
            batch,
            input: [h, w],
            channels,
            kernel,
            output: [out_h, out_w],
            out_channels,
            stride,
            dilation,
            padding: [padding[0], padding[1]],
        })
    }

    /// Whether a window may reach outside of the input along an axis.
    pub(crate) fn clipped(&self, axis: usize) -> bool {
        let last = (self.output[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis];
        self.padding[axis] > 0 || last - self.padding[axis] >= self.input[axis]
    }

    /// Whether output pixel `p` reads input pixel `p` and nothing else.
    pub(crate) fn pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.input == self.output
    }

    /// Bytes by which the output must begin before the input where pixels are computed in order,
    /// `together` of them from values read before any of them is written.
    ///
    /// After each step nothing may be written past the first byte that a later step reads (the
    /// diagonal overlap of Blacker et al., "Diagonal memory optimisation for machine learning on
    /// micro-controllers", 2020).
    pub(crate) fn distance(&self, together: Together) -> usize {
        let [out_h, out_w] = self.output;
        let pixels = self.batch * out_h * out_w;
        let first_read = |p: usize| {
            let (image, y, x) = (p / (out_h * out_w), p / out_w % out_h, p % out_w);
            let row = (y * self.stride[0]).saturating_sub(self.padding[0]).min(self.input[0]);
            let column = (x * self.stride[1]).saturating_sub(self.padding[1]).min(self.input[1]);
            ((image * self.input[0] + row) * self.input[1] + column) * self.channels
        };
        let mut worst = 0;
        for p in 0..pixels {
            // The pixel that is first read after `p` is written.
            let next = match together {
                Together::Nothing => p,
                Together::Pixel => p + 1,
            };
            if next < pixels {
                worst = worst.max(((p + 1) * self.out_channels).saturating_sub(first_read(next)));
            }
        }
        worst.next_multiple_of(16)
    }
}

/// What a kernel reads before it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    /// It writes parts of a pixel before it has read all of its window.
    Nothing,
    /// It reads a pixel's whole window first.
    Pixel,
}

/// The layers of all groups; `filters` is `[O, kh, kw, C / groups]`.
fn layers(op: &Conv2d, site: &Site<'_>, weights: &Weights, window: &Window) -> Result<Vec<Layer>, String> {
    let per_group = window.out_channels / op.groups;
    let k = window.kernel[0] * window.kernel[1] * window.channels / op.groups;
    (0..op.groups)
        .map(|group| {
            let first = group * per_group;
            let filters = weights.values[first * k..(first + per_group) * k].to_vec();
            weights.layer(site, op.activation, first..first + per_group, (k, filters), row_sum(k), false)
        })
        .collect()
}

pub(crate) fn conv2d(op: &Conv2d, site: &Site<'_>) -> Lowering {
    let [_, kh, kw, _] = site.input(1)?.nhwc()?;
    let window = Window::new(site, [kh, kw], op.stride, op.dilation, op.padding)?;
    let depthwise = op.groups > 1 && op.groups == window.channels && window.channels == window.out_channels;
    if depthwise {
        return super::depthwise::of_grouped(op, site, window);
    }
    let weights = Weights::new(site, 0, window.out_channels)?;
    let layers = layers(op, site, &weights, &window)?;
    Ok(patches(op.groups, site, &window, layers, weights.input_zero).into())
}

/// How windows reach the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They are rows of the input.
    Rows,
    /// Two at a time, gathered in the form the filters take.
    Gathered,
    /// Two at a time, copied byte by byte: pixels are not whole words.
    Copied,
    /// One at a time, group by group.
    Groups,
    /// There is one only.
    Single,
}

impl Way {
    fn of(window: &Window, groups: usize) -> Self {
        let pixels = window.batch * window.output[0] * window.output[1];
        match (groups, pixels) {
            (2.., _) => Way::Groups,
            (_, 2..) if window.pointwise() => Way::Rows,
            (_, 2..) if window.channels.is_multiple_of(4) => Way::Gathered,
            (_, 2..) => Way::Copied,
            _ => Way::Single,
        }
    }
}

/// Every pixel's window as one row of values, through the layers of all groups.
pub(crate) fn patches(groups: usize, site: &Site<'_>, window: &Window, layers: Vec<Layer>, zero: i8) -> Kernel {
    let (k, n) = (layers[0].k, layers[0].n);
    let pixels = window.batch * window.output[0] * window.output[1];
    let way = Way::of(window, groups);
    let patch = k.next_multiple_of(4);
    let dsp = site.options.target.has_dsp();
    let wide = if dsp { 4 * patch } else { 0 };
    let scratch = match way {
        Way::Rows => wide,
        Way::Gathered => wide.max(2 * patch),
        Way::Copied => wide + 2 * patch,
        Way::Groups | Way::Single => patch,
    };
    let mut code = Code::new();
    let fills = window.clipped(0) || window.clipped(1);
    let mut helpers = match way {
        Way::Rows => {
            walk_rows(&mut code, pixels, k, n);
            vec![Helper::DensePair]
        }
        _ => {
            let sizes = Patch { k, n, groups, wide: if way == Way::Copied { wide } else { 0 }, zero };
            walk_windows(&mut code, window, way, &sizes);
            match way {
                Way::Gathered => vec![Helper::Gather, Helper::Patches],
                Way::Copied => vec![Helper::Copy, Helper::DensePair],
                _ => vec![Helper::Copy],
            }
        }
    };
    if fills {
        helpers.push(if way == Way::Gathered { Helper::GatherFill } else { Helper::Fill });
    }
    let odd = pixels % 2 == 1 && way != Way::Gathered;
    if odd || way == Way::Groups {
        helpers.push(Helper::DenseOne);
    }
    let args = [Arg::Input(0, "x"), Arg::Constant("layer", Data::Layers(layers)), Arg::Output(0, "y"), Arg::Scratch];
    let distance = match way {
        // Both pixels of a pair are read while either is written.
        Way::Rows => window.distance(Together::Nothing) + window.out_channels,
        Way::Gathered | Way::Copied | Way::Single => window.distance(Together::Pixel),
        Way::Groups => window.distance(Together::Nothing),
    };
    let kernel = Kernel::new(args.to_vec(), code.finish()).helpers(&helpers);
    kernel.scratch(scratch).overlap(0, distance.next_multiple_of(16))
}

/// Sizes of what is gathered.
struct Patch {
    k: usize,
    n: usize,
    groups: usize,
    /// Bytes of scratch before the patches.
    wide: usize,
    zero: i8,
}

/// Windows of one pixel: rows of the input as they are.
fn walk_rows(code: &mut Code, pixels: usize, k: usize, n: usize) {
    code.count("i", pixels / 2);
    code.line(format_args!("model_dense_pair(x, x + {k}, layer, scratch, y, y + {n});"));
    code.line(format_args!("x += {};", 2 * k));
    code.line(format_args!("y += {};", 2 * n));
    code.close();
    if pixels % 2 == 1 {
        code.line("model_dense_one(x, layer, y);");
    }
}

/// Gathers windows into patches, two at a time where there are two.
fn walk_windows(code: &mut Code, w: &Window, way: Way, p: &Patch) {
    let (patch, pixels, n) = (p.k.next_multiple_of(4), w.batch * w.output[0] * w.output[1], p.n);
    code.line(format_args!("int8_t *const patches = {};", sum(&["scratch".to_owned(), p.wide.to_string()])));
    let pairs = matches!(way, Way::Gathered | Way::Copied);
    let second = if way == Way::Gathered { format!("MODEL_SECOND({patch})") } else { patch.to_string() };
    if pairs {
        code.line("int32_t waiting = 0;");
    }
    let mut depth = 2;
    if w.batch > 1 {
        code.count("image", w.batch);
        depth += 1;
    }
    code.count("oy", w.output[0]);
    code.count("ox", w.output[1]);
    if way == Way::Groups {
        // Pairs would need a patch for each group.
        code.count("group", p.groups);
        depth += 1;
    }
    code.line(match pairs {
        true => format!("int8_t *to = patches + waiting * {second};"),
        false => "int8_t *to = patches;".to_owned(),
    });
    gather(code, w, w.channels / p.groups, p.zero, way == Way::Gathered);
    if way == Way::Groups {
        code.line("model_dense_one(patches, layer + group, y);");
        code.line(format_args!("y += {n};"));
    }
    let pair = |y1: String| match way {
        Way::Gathered => format!("model_dense_patches(patches, {second}, layer, y, {y1});"),
        _ => format!("model_dense_pair(patches, patches + {second}, layer, scratch, y, {y1});"),
    };
    if pairs {
        code.line("++waiting;");
        code.open("if (waiting == 2)");
        code.line(pair(format!("y + {n}")));
        code.line("waiting = 0;");
        code.line(format_args!("y += {};", 2 * n));
        code.close();
    }
    code.close_all(depth);
    match way {
        // The second patch is an old one; the first one's results are written over its own.
        Way::Gathered if pixels % 2 == 1 => code.line(pair("y".to_owned())),
        Way::Copied | Way::Single if pixels % 2 == 1 => code.line("model_dense_one(patches, layer, y);"),
        _ => {}
    }
}

/// Copies the window of output pixel `oy`, `ox` to `to`, `per_pixel` channels of each pixel; what
/// lies outside is the input's zero point.
fn gather(code: &mut Code, w: &Window, per_pixel: usize, zero: i8, wide: bool) {
    let copy = |code: &mut Code, from: &str, bytes: usize| {
        if wide {
            code.line(format_args!("to = model_gather(to, {from}, {bytes});"));
        } else {
            code.line(format_args!("model_copy(to, {from}, {bytes});"));
            code.line(format_args!("to += {bytes};"));
        }
    };
    let fill = |code: &mut Code, bytes: usize| {
        if wide {
            code.line(format_args!("to = model_gather_fill(to, {zero}, {bytes});"));
        } else {
            code.line(format_args!("model_fill(to, {zero}, {bytes});"));
            code.line(format_args!("to += {bytes};"));
        }
    };
    let [h, wd] = w.input;
    let row = w.kernel[1] * per_pixel;
    let contiguous = w.dilation[1] == 1 && per_pixel == w.channels;
    let step = |tap: &str, axis: usize| times(tap, w.dilation[axis]);
    let origin = |out: &str, axis: usize| less(&times(out, w.stride[axis]), w.padding[axis] as i64);
    code.line(format_args!("const int32_t left = {};", origin("ox", 1)));
    code.count("ky", w.kernel[0]);
    code.line(format_args!("const int32_t iy = {};", sum(&[origin("oy", 0), step("ky", 0)])));
    let image = if w.batch > 1 { times("image", h) } else { "0".to_owned() };
    let group = if per_pixel == w.channels { "0".to_owned() } else { times("group", per_pixel) };
    let line = sum(&[image, "iy".to_owned()]);
    let line = if line.contains('+') { format!("({line})") } else { line };
    let base = |column: &str| {
        let column = if column.contains([' ']) { format!("({column})") } else { column.to_owned() };
        sum(&["x".into(), times(&line, wd * w.channels), times(&column, w.channels), group.clone()])
    };
    if w.clipped(0) {
        code.open(format_args!("if ((iy < 0) || (iy >= {h}))"));
        fill(code, row);
        code.line("continue;");
        code.close();
    }
    if contiguous && !w.clipped(1) {
        copy(code, &base("left"), row);
        code.close();
        return;
    }
    if contiguous {
        code.open(format_args!("if ((left >= 0) && (left <= {}))", wd as i64 - w.kernel[1] as i64));
        copy(code, &base("left"), row);
        code.line("continue;");
        code.close();
    }
    code.count("kx", w.kernel[1]);
    code.line(format_args!("const int32_t ix = {};", sum(&["left".to_owned(), step("kx", 1)])));
    if w.clipped(1) {
        code.open(format_args!("if ((ix < 0) || (ix >= {wd}))"));
        fill(code, per_pixel);
        code.line("continue;");
        code.close();
    }
    copy(code, &base("ix"), per_pixel);
    code.close_all(2);
}
