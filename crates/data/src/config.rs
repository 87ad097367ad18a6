//! The TOML file that describes data, and its preprocessing.
//!
//! ```toml
//! images = "imagenet_500"                 # or npz = "x.npz", or npy = "x.npy" or a directory of .npy
//! labels = "imagenet_500/labels.csv"      # optional: .csv, .txt or .npy
//! label_offset = 0                        # added to every label; 1 for models with a background class
//! on_bad_image = "error"                  # or "skip"
//!
//! [preprocess]
//! crop_fraction = 0.875                   # or: resize = 256 (short side) or [height, width], and crop = 224
//! size = [224, 224]
//! interpolation = "bicubic"               # nearest, bilinear, bicubic, lanczos, area
//! color = "rgb"                           # bgr, gray
//! mean = [127, 127, 127]
//! std = [128, 128, 128]
//! layout = "nchw"                         # or nhwc; default: from the model
//! ```
//!
//! Paths are relative to the TOML file. Unknown keys are errors. `mean` and
//! `std` are on the scale of the pixels, 0…255, unless `scale` brings the
//! pixels to another scale first; see [`crate::preprocess`] for the formula and
//! for what a missing key means.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::DataError;

/// What to do with an image that does not decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadImage {
    /// Stop with an error that names the file.
    #[default]
    Error,
    /// Leave it out, and list it in [`crate::Batches::skipped`].
    Skip,
}

/// How an image is brought to another size. All but `Nearest` are antialiased
/// when they shrink: the filter is stretched over the source pixels, as Pillow does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The source pixel under the centre of the target pixel.
    Nearest,
    /// Triangle filter.
    #[default]
    Bilinear,
    /// Catmull-Rom: cubic convolution with a = −0.5, as Pillow's `BICUBIC`.
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos,
    /// Mean of the source pixels covered (Pillow's `BOX`).
    Area,
}

/// Order of the colour channels that the model expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel: 0.299 R + 0.587 G + 0.114 B.
    Gray,
}

/// Order of the axes of an image input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, height, width, channels.
    Nhwc,
    /// Batch, channels, height, width.
    Nchw,
}

/// A size of an image: one number or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a number of pixels or [height, width]")]
pub enum Extent {
    /// Short side for `resize`; side of a square for `crop` and `size`.
    Side(u32),
    /// Height and width.
    HeightWidth([u32; 2]),
}

/// A number for all channels, or one for each.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "expected a number or a list of one number a channel")]
pub enum PerChannel {
    /// The same for all.
    All(f32),
    /// One each, in the order of the channels that the model gets.
    Each(Vec<f32>),
}

/// The `[preprocess]` table; see [`crate::preprocess`] for its meaning.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessConfig {
    /// Side of a centre crop as a fraction of the short side, taken before the resize.
    pub crop_fraction: Option<f64>,
    /// Short side, or height and width, that the whole image is brought to.
    pub resize: Option<Extent>,
    /// Centre crop taken after `resize`.
    pub crop: Option<Extent>,
    /// Final height and width; default: the model's.
    pub size: Option<Extent>,
    /// Default: bilinear.
    pub interpolation: Option<Interpolation>,
    /// Default: RGB, or gray for an input of one channel.
    pub color: Option<Color>,
    /// Multiplies the pixels first. Default 1.
    pub scale: Option<f32>,
    /// Subtracted. Default 0.
    pub mean: Option<PerChannel>,
    /// Divides last. Default 1.
    pub std: Option<PerChannel>,
    /// Default: from the shape of the model's input.
    pub layout: Option<Layout>,
}

/// A data TOML, read, with its paths made absolute or relative to the working directory.
#[derive(Debug)]
pub(crate) struct DataConfig {
    pub(crate) source: SourcePath,
    pub(crate) labels: Option<PathBuf>,
    pub(crate) label_offset: Option<i64>,
    pub(crate) on_bad_image: Option<OnBadImage>,
    pub(crate) preprocess: Option<PreprocessConfig>,
}

/// Which kind of source, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SourcePath {
    Images(PathBuf),
    Npz(PathBuf),
    Npy(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    images: Option<PathBuf>,
    npz: Option<PathBuf>,
    npy: Option<PathBuf>,
    labels: Option<PathBuf>,
    label_offset: Option<i64>,
    on_bad_image: Option<OnBadImage>,
    preprocess: Option<PreprocessConfig>,
}

impl DataConfig {
    /// Reads a data TOML.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Toml`], and [`DataError::Config`] when
    /// not exactly one source is named.
    pub(crate) fn read(path: &Path) -> Result<DataConfig, DataError> {
        let text = std::fs::read_to_string(path).map_err(|e| DataError::io(path, e))?;
        let raw: RawConfig = toml::from_str(&text)
            .map_err(|e| DataError::Toml { path: path.to_owned(), message: e.to_string().trim_end().to_owned() })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let source = match (raw.images, raw.npz, raw.npy) {
            (Some(p), None, None) => SourcePath::Images(base.join(p)),
            (None, Some(p), None) => SourcePath::Npz(base.join(p)),
            (None, None, Some(p)) => SourcePath::Npy(base.join(p)),
            _ => {
                return Err(DataError::Config {
                    origin: path.display().to_string(),
                    key: "images, npz, npy",
                    problem: "exactly one of the three names the data".to_owned(),
                });
            }
        };
        Ok(DataConfig {
            source,
            labels: raw.labels.map(|labels| base.join(labels)),
            label_offset: raw.label_offset,
            on_bad_image: raw.on_bad_image,
            preprocess: raw.preprocess,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DataConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.toml");
        std::fs::write(&path, text).unwrap();
        DataConfig::read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn every_key_is_read() {
        let config = read(
            "images = 'pics'\nlabels = 'pics/l.csv'\nlabel_offset = 1\non_bad_image = 'skip'\n\
             [preprocess]\nresize = 256\ncrop = [224, 200]\nsize = [224, 200]\n\
             interpolation = 'bicubic'\ncolor = 'bgr'\nscale = 0.5\nmean = [1, 2.5, 3]\nstd = 2\nlayout = 'nchw'\n",
        )
        .unwrap();
        assert!(matches!(&config.source, SourcePath::Images(p) if p.ends_with("pics") && p.is_absolute()));
        assert!(config.labels.unwrap().ends_with("pics/l.csv"));
        assert_eq!((config.label_offset, config.on_bad_image), (Some(1), Some(OnBadImage::Skip)));
        let wanted = PreprocessConfig {
            crop_fraction: None,
            resize: Some(Extent::Side(256)),
            crop: Some(Extent::HeightWidth([224, 200])),
            size: Some(Extent::HeightWidth([224, 200])),
            interpolation: Some(Interpolation::Bicubic),
            color: Some(Color::Bgr),
            scale: Some(0.5),
            mean: Some(PerChannel::Each(vec![1.0, 2.5, 3.0])),
            std: Some(PerChannel::All(2.0)),
            layout: Some(Layout::Nchw),
        };
        assert_eq!(config.preprocess, Some(wanted));
    }

    #[test]
    fn errors_name_file_and_key() {
        let cases = [
            ("images = 'a'\nimage_size = 3\n", "image_size"),
            ("images = 'a'\n[preprocess]\nmaen = 3\n", "maen"),
            ("images = 'a'\n[preprocess]\nsize = 'big'\n", "size = 'big'"),
            ("images = 'a'\n[preprocess]\ninterpolation = 'cubic'\n", "`cubic`"),
            ("images = 'a'\nnpz = 'b'\n", "images, npz, npy"),
            ("label_offset = 1\n", "images, npz, npy"),
            ("images = \n", "line 1"),
        ];
        for (text, wanted) in cases {
            let message = read(text).unwrap_err();
            assert!(message.contains("data.toml: ") && message.contains(wanted), "{text}: {message}");
        }
    }
}
