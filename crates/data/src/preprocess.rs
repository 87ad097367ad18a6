//! Pixels to model inputs.
//!
//! In order:
//!
//! 1. *Colour.* Gray images become RGB by repetition, an alpha channel is
//!    dropped; for one channel, L = (19595 R + 38470 G + 7471 B + 2¹⁵) ≫ 16
//!    (ITU-R BT.601, rounded as Pillow does).
//! 2. *Geometry*, on bytes, one of
//!    - `crop_fraction`: a square centre crop of `round(fraction × short side)`
//!      pixels, then a resize to `size`;
//!    - `resize`: the short side is brought to that length (the other is
//!      rounded down, as torchvision does) or the image to that height and
//!      width, then a centre crop;
//!    - neither: a resize to `size`, which changes the aspect ratio; an image
//!      that has the size already is left as it is.
//!
//!    The offset of a centre crop is rounded down.
//! 3. *Numbers.* `y = (x × scale − mean[c]) / std[c]` in `f32`, channels in the
//!    order given by `color`. What of it an input gets:
//!    - `float32` and `float16`: `y`;
//!    - `uint8`, `int8` with any of `scale`, `mean`, `std`: `y`, quantized with
//!      the input's own scale and zero point, so one TOML serves a float model
//!      and its quantized versions;
//!    - `uint8` without: `x`; `int8` without: `x − 128`.
//! 4. *Layout*: NHWC if the input's last axis has 1 or 3 entries, else NCHW if
//!    its second has, unless `layout` says it.
//!
//! Without a `[preprocess]` table a folder of images gets the customary
//! treatment: RGB, short side to `round(size × 256 / 224)`, bilinear, centre
//! crop, and for float inputs `x / 255` with the mean (0.485, 0.456, 0.406)
//! and standard deviation (0.229, 0.224, 0.225) of ImageNet; an image that has
//! the model's size is not resized. [`Pipeline::notes`] says so.

use fast_image_resize as fir;

use crate::array::{Array, ArrayData, DType};
use crate::config::{Color, Extent, Interpolation, Layout, PerChannel, PreprocessConfig};
use crate::error::DataError;
use crate::spec::InputSpec;

/// Largest side that can be asked for.
const MAX_SIDE: u32 = 16_384;
/// Largest intermediate image: an image of 1 × 60,000 pixels asked to have a
/// short side of 256 would otherwise take gigabytes.
const MAX_PIXELS: u64 = 1 << 28;
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A decoded image: bytes in row-major order, channels last.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
    /// `height × width × channels` bytes.
    pub data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Geometry {
    /// Straight to the final size.
    Stretch,
    /// Square centre crop of this fraction of the short side, then resize.
    CropThenResize(f64),
    /// Resize, then centre crop to the final size.
    ResizeThenCrop(Extent),
    /// As `ResizeThenCrop` with this short side, but a fitting image stays as it is.
    Customary(u32),
}

/// What every byte of every channel becomes: there are only 256.
#[derive(Clone, Debug, PartialEq)]
enum Tables {
    F32(Vec<[f32; 256]>),
    U8(Vec<[u8; 256]>),
    I8(Vec<[i8; 256]>),
}

/// Preprocessing with every choice made, for one input of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    geometry: Geometry,
    height: u32,
    width: u32,
    channels: usize,
    color: Color,
    layout: Layout,
    interpolation: Interpolation,
    tables: Tables,
    notes: Vec<String>,
}

impl Pipeline {
    /// Fits a configuration to an input; `None` is the customary treatment.
    /// `origin` names the configuration in messages.
    ///
    /// # Errors
    /// [`DataError::NotAnImageInput`] when the input has no image shape or
    /// type, [`DataError::Config`] when keys contradict each other or the input.
    pub fn new(config: Option<&PreprocessConfig>, spec: &InputSpec, origin: &str) -> Result<Pipeline, DataError> {
        let given = config.is_some();
        let config = config.cloned().unwrap_or_default();
        let check = Check { config: &config, spec, origin };
        let frame = check.frame()?;
        let color = check.color(frame.channels)?;
        let mut notes = Vec::new();
        let (height, width) = check.size(&frame)?;
        let geometry =
            if given { check.geometry(height, width)? } else { Geometry::Customary(customary_side(height.max(width))) };
        let norm = if given { check.norm(frame.channels)? } else { Norm::customary(spec, frame.channels) };
        let tables = check.tables(&norm, frame.channels)?;
        if given && geometry == Geometry::Stretch {
            notes.push(format!(
                "images of another size are stretched to {height}x{width}: neither crop_fraction nor resize is given"
            ));
        }
        if !given {
            notes.push(customary_note(&norm, &geometry, height, width, frame.channels));
        }
        if spec.dtype == DType::I8 && norm.is_identity() {
            notes.push(format!("input '{}' is int8: it gets pixel - 128", spec.name));
        }
        Ok(Pipeline {
            geometry,
            height,
            width,
            channels: frame.channels,
            color,
            layout: frame.layout,
            interpolation: config.interpolation.unwrap_or_default(),
            tables,
            notes,
        })
    }

    /// What was assumed and not said, for a person to read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The array for one image, with a leading axis of 1.
    ///
    /// # Errors
    /// The reason, when the image is too small for the crop or its buffer does
    /// not have the size it claims.
    pub fn apply(&self, image: &Pixels) -> Result<Array, String> {
        let expected = u64::from(image.width) * u64::from(image.height) * image.channels as u64;
        if expected == 0 || expected != image.data.len() as u64 || !matches!(image.channels, 1 | 3) {
            return Err(format!(
                "{} bytes are no image of {}x{} with {} channels",
                image.data.len(),
                image.height,
                image.width,
                image.channels
            ));
        }
        let coloured = self.recolor(image);
        let shaped = self.reshape(coloured)?;
        Ok(self.numbers(&shaped.data))
    }

    fn recolor(&self, image: &Pixels) -> Pixels {
        let data = match (image.channels, self.channels) {
            (3, 1) => image.data.chunks_exact(3).map(|p| luma(p[0], p[1], p[2])).collect(),
            (1, 3) => image.data.iter().flat_map(|&v| [v; 3]).collect(),
            _ => image.data.clone(),
        };
        Pixels { channels: self.channels, data, ..*image }
    }

    fn reshape(&self, image: Pixels) -> Result<Pixels, String> {
        let (height, width) = (self.height, self.width);
        let fits = (image.height, image.width) == (height, width);
        match self.geometry {
            Geometry::Customary(_) if fits => Ok(image),
            Geometry::Stretch => self.resize(image, height, width),
            Geometry::CropThenResize(fraction) => {
                let short = image.height.min(image.width);
                // In range: the fraction is at most 1.
                let side = ((f64::from(short) * fraction).round() as u32).max(1);
                let cropped = centre_crop(&image, side, side)?;
                self.resize(cropped, height, width)
            }
            Geometry::Customary(side) => self.resize_then_crop(image, Extent::Side(side)),
            Geometry::ResizeThenCrop(extent) => self.resize_then_crop(image, extent),
        }
    }

    fn resize_then_crop(&self, image: Pixels, extent: Extent) -> Result<Pixels, String> {
        let (height, width) = match extent {
            Extent::HeightWidth([height, width]) => (height, width),
            Extent::Side(side) => short_side_to(side, image.height, image.width)?,
        };
        let resized = self.resize(image, height, width)?;
        centre_crop(&resized, self.height, self.width)
    }

    fn resize(&self, image: Pixels, height: u32, width: u32) -> Result<Pixels, String> {
        if (image.height, image.width) == (height, width) {
            return Ok(image);
        }
        let largest = u64::from(height.max(image.height)) * u64::from(width);
        if largest > MAX_PIXELS {
            return Err(format!("{}x{} pixels would be resized to {height}x{width}", image.height, image.width));
        }
        // Columns, then rows, as Pillow: filters with negative lobes overshoot,
        // and the clamp to bytes between the passes makes their order visible.
        let rows = image.height;
        let narrowed = self.resize_pass(image, rows, width)?;
        self.resize_pass(narrowed, height, width)
    }

    fn resize_pass(&self, image: Pixels, height: u32, width: u32) -> Result<Pixels, String> {
        if (image.height, image.width) == (height, width) {
            return Ok(image);
        }
        let kind = match image.channels {
            1 => fir::PixelType::U8,
            _ => fir::PixelType::U8x3,
        };
        let channels = image.channels;
        let source =
            fir::images::Image::from_vec_u8(image.width, image.height, image.data, kind).map_err(|e| e.to_string())?;
        let mut target = fir::images::Image::new(width, height, kind);
        let options = fir::ResizeOptions::new().resize_alg(algorithm(self.interpolation));
        fir::Resizer::new().resize(&source, &mut target, &options).map_err(|e| e.to_string())?;
        Ok(Pixels { width, height, channels, data: target.into_vec() })
    }

    fn numbers(&self, pixels: &[u8]) -> Array {
        let data = match &self.tables {
            Tables::F32(tables) => ArrayData::F32(self.look_up(pixels, tables)),
            Tables::U8(tables) => ArrayData::U8(self.look_up(pixels, tables)),
            Tables::I8(tables) => ArrayData::I8(self.look_up(pixels, tables)),
        };
        let (height, width) = (self.height as usize, self.width as usize);
        let shape = match self.layout {
            Layout::Nhwc => vec![1, height, width, self.channels],
            Layout::Nchw => vec![1, self.channels, height, width],
        };
        Array { shape, data }
    }

    fn look_up<T: Copy>(&self, pixels: &[u8], tables: &[[T; 256]]) -> Vec<T> {
        let channels = self.channels;
        let source = |channel: usize| match self.color {
            Color::Bgr => channels - 1 - channel,
            Color::Rgb | Color::Gray => channel,
        };
        let mut out = Vec::with_capacity(pixels.len());
        match self.layout {
            Layout::Nhwc => {
                for pixel in pixels.chunks_exact(channels) {
                    for channel in 0..channels {
                        out.push(tables[channel][usize::from(pixel[source(channel)])]);
                    }
                }
            }
            Layout::Nchw => {
                for channel in 0..channels {
                    let plane = pixels.iter().skip(source(channel)).step_by(channels);
                    out.extend(plane.map(|&value| tables[channel][usize::from(value)]));
                }
            }
        }
        out
    }
}

/// Channels, layout and spatial extents of an image input.
struct Frame {
    channels: usize,
    layout: Layout,
    height: Option<u32>,
    width: Option<u32>,
}

/// `y = (x × scale − mean) / std`.
struct Norm {
    scale: f32,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Norm {
    fn customary(spec: &InputSpec, channels: usize) -> Norm {
        match (spec.dtype, channels) {
            (DType::F32 | DType::F16, 3) => {
                Norm { scale: 1.0 / 255.0, mean: IMAGENET_MEAN.to_vec(), std: IMAGENET_STD.to_vec() }
            }
            (DType::F32 | DType::F16, _) => Norm { scale: 1.0 / 255.0, ..Norm::identity(channels) },
            _ => Norm::identity(channels),
        }
    }

    fn identity(channels: usize) -> Norm {
        Norm { scale: 1.0, mean: vec![0.0; channels], std: vec![1.0; channels] }
    }

    fn is_identity(&self) -> bool {
        self.scale == 1.0 && self.mean.iter().all(|&m| m == 0.0) && self.std.iter().all(|&s| s == 1.0)
    }

    fn table(&self, channel: usize) -> [f32; 256] {
        let mut table = [0.0; 256];
        for (byte, entry) in (0u8..=255).zip(&mut table) {
            *entry = (f32::from(byte) * self.scale - self.mean[channel]) / self.std[channel];
        }
        table
    }
}

/// Checks one configuration against one input.
struct Check<'a> {
    config: &'a PreprocessConfig,
    spec: &'a InputSpec,
    origin: &'a str,
}

impl Check<'_> {
    fn wrong(&self, key: &'static str, problem: String) -> DataError {
        DataError::Config { origin: self.origin.to_owned(), key, problem }
    }

    fn no_image(&self, reason: &str) -> DataError {
        DataError::NotAnImageInput {
            input: self.spec.name.clone(),
            shape: self.spec.shape_text(),
            dtype: self.spec.dtype,
            reason: reason.to_owned(),
        }
    }

    fn frame(&self) -> Result<Frame, DataError> {
        if matches!(self.spec.dtype, DType::I32 | DType::I64 | DType::Bool) {
            return Err(self.no_image("images give float or 8-bit inputs; use an .npz"));
        }
        let &[_, a, b, c] = self.spec.shape.as_slice() else {
            return Err(self.no_image("an image input has four axes; use an .npz"));
        };
        let is_channels = |extent: Option<usize>| matches!(extent, Some(1 | 3));
        let layout = match self.config.layout {
            Some(layout) => layout,
            None if is_channels(c) => Layout::Nhwc,
            None if is_channels(a) => Layout::Nchw,
            None => return Err(self.no_image("neither its last nor its second axis has 1 or 3 channels")),
        };
        let (channels, height, width) = match layout {
            Layout::Nhwc => (c, a, b),
            Layout::Nchw => (a, b, c),
        };
        let Some(channels @ (1 | 3)) = channels else {
            return Err(self.no_image("the layout given puts neither 1 nor 3 on its axis of channels"));
        };
        let side = |extent: Option<usize>| match extent.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(side @ 1..=MAX_SIDE)) => Ok(Some(side)),
            Some(_) => Err(self.no_image("its height or width is out of range")),
        };
        Ok(Frame { channels, layout, height: side(height)?, width: side(width)? })
    }

    fn color(&self, channels: usize) -> Result<Color, DataError> {
        match (self.config.color, channels) {
            (None, 1) => Ok(Color::Gray),
            (None, _) => Ok(Color::Rgb),
            (Some(Color::Gray), 1) => Ok(Color::Gray),
            (Some(color @ (Color::Rgb | Color::Bgr)), 3) => Ok(color),
            (Some(color), _) => Err(self.wrong(
                "preprocess.color",
                format!("{color:?} does not give the {channels} channels of input '{}'", self.spec.name),
            )),
        }
    }

    fn extent(&self, key: &'static str, extent: Option<Extent>) -> Result<Option<(u32, u32)>, DataError> {
        let (height, width) = match extent {
            None => return Ok(None),
            Some(Extent::Side(side)) => (side, side),
            Some(Extent::HeightWidth([height, width])) => (height, width),
        };
        let range = 1..=MAX_SIDE;
        if range.contains(&height) && range.contains(&width) {
            return Ok(Some((height, width)));
        }
        Err(self.wrong(key, format!("{height}x{width} is out of range (1 to {MAX_SIDE})")))
    }

    /// Final height and width: `size`, else `crop`, else an exact `resize`, else the model's.
    fn size(&self, frame: &Frame) -> Result<(u32, u32), DataError> {
        let crop = self.extent("preprocess.crop", self.config.crop)?;
        let size = self.extent("preprocess.size", self.config.size)?;
        let exact = match (self.config.resize, crop) {
            (Some(resize @ Extent::HeightWidth(_)), None) => self.extent("preprocess.resize", Some(resize))?,
            _ => None,
        };
        if let (Some(size), Some(crop)) = (size, crop)
            && size != crop
        {
            return Err(
                self.wrong("preprocess.crop", format!("{}x{} contradicts size, {}x{}", crop.0, crop.1, size.0, size.1))
            );
        }
        let model = frame.height.zip(frame.width);
        let Some((height, width)) = size.or(crop).or(exact).or(model) else {
            return Err(self.wrong(
                "preprocess.size",
                format!(
                    "input '{}' has the free shape {}: say size = [height, width]",
                    self.spec.name,
                    self.spec.shape_text()
                ),
            ));
        };
        let agrees = frame.height.is_none_or(|h| h == height) && frame.width.is_none_or(|w| w == width);
        if !agrees {
            return Err(self.wrong(
                "preprocess.size",
                format!("{height}x{width} does not fit input '{}' of shape {}", self.spec.name, self.spec.shape_text()),
            ));
        }
        Ok((height, width))
    }

    fn geometry(&self, height: u32, width: u32) -> Result<Geometry, DataError> {
        let config = self.config;
        if let Some(fraction) = config.crop_fraction {
            if config.resize.is_some() || config.crop.is_some() {
                return Err(self.wrong(
                    "preprocess.crop_fraction",
                    "crops before the resize; it excludes resize and crop, which crop after it".to_owned(),
                ));
            }
            if !(fraction > 0.0 && fraction <= 1.0) {
                return Err(self.wrong("preprocess.crop_fraction", format!("{fraction} is not in (0, 1]")));
            }
            return Ok(Geometry::CropThenResize(fraction));
        }
        let Some(resize) = config.resize else {
            if config.crop.is_some() {
                return Err(self.wrong("preprocess.crop", "is taken after resize, which is missing".to_owned()));
            }
            return Ok(Geometry::Stretch);
        };
        self.extent("preprocess.resize", Some(resize))?;
        if let Extent::HeightWidth([h, w]) = resize
            && (h < height || w < width)
        {
            return Err(
                self.wrong("preprocess.resize", format!("{h}x{w} is smaller than the crop of {height}x{width}"))
            );
        }
        if let Extent::Side(side) = resize
            && side < height.min(width)
        {
            return Err(self.wrong(
                "preprocess.resize",
                format!("a short side of {side} is smaller than the crop of {height}x{width}"),
            ));
        }
        Ok(Geometry::ResizeThenCrop(resize))
    }

    fn norm(&self, channels: usize) -> Result<Norm, DataError> {
        let per_channel = |key, given: &Option<PerChannel>, default: f32| match given {
            None => Ok(vec![default; channels]),
            Some(PerChannel::All(value)) => Ok(vec![*value; channels]),
            Some(PerChannel::Each(values)) if values.len() == channels => Ok(values.clone()),
            Some(PerChannel::Each(values)) => {
                Err(self.wrong(key, format!("has {} numbers for {channels} channels", values.len())))
            }
        };
        Ok(Norm {
            scale: self.config.scale.unwrap_or(1.0),
            mean: per_channel("preprocess.mean", &self.config.mean, 0.0)?,
            std: per_channel("preprocess.std", &self.config.std, 1.0)?,
        })
    }

    fn tables(&self, norm: &Norm, channels: usize) -> Result<Tables, DataError> {
        let reals: Vec<[f32; 256]> = (0..channels).map(|channel| norm.table(channel)).collect();
        if reals.iter().flatten().any(|value| !value.is_finite()) {
            return Err(
                self.wrong("preprocess.scale, mean, std", "give numbers that are not finite (is a std 0?)".to_owned())
            );
        }
        if matches!(self.spec.dtype, DType::F32 | DType::F16) {
            return Ok(Tables::F32(reals));
        }
        let bytes: [u8; 256] = std::array::from_fn(|i| i as u8);
        if norm.is_identity() {
            return Ok(match self.spec.dtype {
                DType::I8 => Tables::I8(vec![bytes.map(|b| (b ^ 0x80).cast_signed()); channels]),
                _ => Tables::U8(vec![bytes; channels]),
            });
        }
        let Some(quantization) = self.spec.quantization.filter(|q| q.is_usable()) else {
            return Err(self.wrong(
                "preprocess.scale, mean, std",
                format!(
                    "give real numbers, and input '{}' is {} without a scale and zero point; leave them out to hand over raw pixels",
                    self.spec.name, self.spec.dtype
                ),
            ));
        };
        Ok(match self.spec.dtype {
            DType::I8 => {
                Tables::I8(reals.iter().map(|table| table.map(|y| quantization.quantize(y, -128, 127) as i8)).collect())
            }
            _ => Tables::U8(reals.iter().map(|table| table.map(|y| quantization.quantize(y, 0, 255) as u8)).collect()),
        })
    }
}

fn customary_side(size: u32) -> u32 {
    (f64::from(size) * 256.0 / 224.0).round() as u32
}

fn customary_note(norm: &Norm, geometry: &Geometry, height: u32, width: u32, channels: usize) -> String {
    let numbers = match (norm.is_identity(), channels) {
        (true, _) => "raw pixels",
        (false, 3) => "x/255 with ImageNet's mean and std",
        (false, _) => "x/255",
    };
    let side = match geometry {
        Geometry::Customary(side) => *side,
        _ => height.min(width),
    };
    let color = if channels == 3 { "RGB" } else { "gray" };
    format!(
        "no preprocessing was given; assumed: {color}, short side to {side}, bilinear, centre crop {height}x{width} \
         (images of that size as they are), {numbers}; a TOML says otherwise"
    )
}

fn luma(r: u8, g: u8, b: u8) -> u8 {
    let sum = u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + 0x8000;
    // The weights sum to 2^16, so the result is at most 255.
    (sum >> 16) as u8
}

fn algorithm(interpolation: Interpolation) -> fir::ResizeAlg {
    use fir::{FilterType, ResizeAlg};
    match interpolation {
        Interpolation::Nearest => ResizeAlg::Nearest,
        Interpolation::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Interpolation::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Interpolation::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        Interpolation::Area => ResizeAlg::Convolution(FilterType::Box),
    }
}

/// Height and width with the short side at `side`, the long one rounded down.
fn short_side_to(side: u32, height: u32, width: u32) -> Result<(u32, u32), String> {
    let (short, long) = (height.min(width), height.max(width));
    let scaled = u64::from(side) * u64::from(long) / u64::from(short);
    let scaled = u32::try_from(scaled).map_err(|_| format!("{height}x{width} pixels are too elongated to resize"))?;
    Ok(if height <= width { (side, scaled) } else { (scaled, side) })
}

fn centre_crop(image: &Pixels, height: u32, width: u32) -> Result<Pixels, String> {
    if height > image.height || width > image.width {
        return Err(format!("{}x{} pixels are too few for a crop of {height}x{width}", image.height, image.width));
    }
    let top = ((image.height - height) / 2) as usize;
    let left = ((image.width - width) / 2) as usize * image.channels;
    let row = image.width as usize * image.channels;
    let kept = width as usize * image.channels;
    let rows = image.data.chunks_exact(row).skip(top).take(height as usize);
    Ok(Pixels {
        width,
        height,
        channels: image.channels,
        data: rows.flat_map(|line| &line[left..left + kept]).copied().collect(),
    })
}

#[cfg(test)]
mod tests;
