//! Samples from a directory of images.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use image::{DynamicImage, ImageReader, Limits};

use crate::array::Array;
use crate::config::PreprocessConfig;
use crate::error::DataError;
use crate::labels::{LabelFile, NamedLabel};
use crate::preprocess::{Pipeline, Pixels};
use crate::source::{Opened, RawLabels, Source};
use crate::spec::InputSpec;

/// An image that needs more memory than this to decode is refused.
const MAX_DECODED_BYTES: u64 = 1 << 30;
/// Directories deeper than this are taken for a loop of links.
const MAX_DEPTH: usize = 16;

/// Opens a directory of images. `labels` is a labels file named elsewhere
/// than in the directory; the caller applies one that has no file names.
pub(crate) fn open(
    root: &Path,
    labels: Option<&Path>,
    specs: &[InputSpec],
    preprocess: Option<&PreprocessConfig>,
    config_origin: &str,
) -> Result<Opened, DataError> {
    let [spec] = specs else {
        return Err(DataError::InputCount {
            origin: root.display().to_string(),
            inputs: specs.len(),
            hint: "use an .npz with one array for each",
        });
    };
    let pipeline = Pipeline::new(preprocess, spec, config_origin)?;
    let mut notes = pipeline.notes().to_vec();
    let mut files = Vec::new();
    find_images(root, Path::new(""), MAX_DEPTH, &mut files)?;
    if files.is_empty() {
        return Err(DataError::Empty {
            origin: root.display().to_string(),
            reason: "it has no .jpg, .jpeg or .png file".to_owned(),
        });
    }
    files.sort_by_cached_key(|file| components(file));
    let own = ["labels.csv", "labels.txt"].map(|name| root.join(name)).into_iter().find(|p| p.is_file());
    let labelled = match labels.map(Path::to_owned).or(own) {
        Some(path) => from_file(root, files, &path, &mut notes)?,
        None => from_directories(root, files, &mut notes)?,
    };
    Ok(Opened {
        source: Box::new(Images { root: root.to_owned(), files: labelled.files, pipeline }),
        labels: labelled.labels,
        notes,
    })
}

struct Labelled {
    /// Relative to the root.
    files: Vec<PathBuf>,
    labels: Option<RawLabels>,
}

fn components(path: &Path) -> Vec<String> {
    path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect()
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    matches!(extension.to_ascii_lowercase().as_str(), "jpg" | "jpeg" | "png")
}

fn find_images(root: &Path, under: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let dir = root.join(under);
    for entry in std::fs::read_dir(&dir).map_err(|e| DataError::io(&dir, e))? {
        let name = entry.map_err(|e| DataError::io(&dir, e))?.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        let relative = under.join(&name);
        if root.join(&relative).is_dir() {
            if depth > 0 {
                find_images(root, &relative, depth - 1, files)?;
            }
        } else if is_image(&relative) {
            files.push(relative);
        }
    }
    Ok(())
}

/// Labels by a file: of the names that it lists, or in the order of the images.
fn from_file(root: &Path, files: Vec<PathBuf>, labels: &Path, notes: &mut Vec<String>) -> Result<Labelled, DataError> {
    let origin = labels.display().to_string();
    let entries = match LabelFile::read(labels)? {
        LabelFile::ByName(entries) => entries,
        LabelFile::InOrder(classes) => {
            return Ok(Labelled { files, labels: Some(RawLabels { origin, classes }) });
        }
    };
    let mut by_path = BTreeMap::new();
    for entry in &entries {
        let (relative, key) = locate(root, labels, entry)?;
        if by_path.insert(key, (relative, entry.class)).is_some() {
            return Err(DataError::Labels {
                path: labels.to_owned(),
                line: entry.line,
                reason: format!("'{}' has a class already", entry.file),
            });
        }
    }
    let unlisted = files.iter().filter(|file| !by_path.contains_key(&components(file))).count();
    if unlisted > 0 {
        notes.push(format!("{unlisted} images are not in {origin} and are left out"));
    }
    let (files, classes) = by_path.into_values().unzip();
    Ok(Labelled { files, labels: Some(RawLabels { origin, classes }) })
}

/// The image that a line names, relative to the root, and its sort key.
fn locate(root: &Path, labels: &Path, entry: &NamedLabel) -> Result<(PathBuf, Vec<String>), DataError> {
    let given = Path::new(&entry.file);
    let relative: PathBuf = given.components().filter(|part| *part != Component::CurDir).collect();
    if root.join(&relative).is_file() {
        let key = components(&relative);
        return Ok((relative, key));
    }
    Err(DataError::Labels {
        path: labels.to_owned(),
        line: entry.line,
        reason: format!("'{}' is not in {}", entry.file, root.display()),
    })
}

/// Sub-directories as classes, or no labels when there are none.
fn from_directories(root: &Path, files: Vec<PathBuf>, notes: &mut Vec<String>) -> Result<Labelled, DataError> {
    let names = class_names(root)?;
    let class_of = |file: &Path| {
        let parts = components(file);
        let name = parts.first().filter(|_| parts.len() > 1)?;
        names.binary_search(name).ok()
    };
    let (inside, loose): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|file| class_of(file).is_some());
    if inside.is_empty() {
        return Ok(Labelled { files: loose, labels: None });
    }
    let classes: Vec<i64> = inside.iter().filter_map(|file| i64::try_from(class_of(file)?).ok()).collect();
    for (class, name) in names.iter().enumerate() {
        if !classes.iter().any(|&c| usize::try_from(c) == Ok(class)) {
            return Err(DataError::Empty {
                origin: root.join(name).display().to_string(),
                reason: "a class directory without images would still count in the numbering of the classes; remove it or fill it".to_owned(),
            });
        }
    }
    if !loose.is_empty() {
        notes.push(format!(
            "{}: {} images stand beside the class directories and are left out",
            root.display(),
            loose.len()
        ));
    }
    let odd = names.iter().enumerate().find(|(class, name)| name.parse::<usize>().is_ok_and(|n| n != *class));
    if let Some((class, name)) = odd {
        notes.push(format!(
            "{}: class directories are numbered in the order of their names as text, so '{name}' is class {class}; \
             give a labels.csv if the model counts otherwise",
            root.display()
        ));
    }
    Ok(Labelled { files: inside, labels: Some(RawLabels { origin: root.display().to_string(), classes }) })
}

/// The sub-directories, sorted by name.
fn class_names(root: &Path) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root).map_err(|e| DataError::io(root, e))? {
        let name = entry.map_err(|e| DataError::io(root, e))?.file_name();
        let text = name.to_string_lossy().into_owned();
        if !text.starts_with('.') && root.join(&name).is_dir() {
            names.push(text);
        }
    }
    names.sort();
    Ok(names)
}

/// Decodes an image file to 8-bit gray or RGB. The format is told from the
/// content, not from the extension. EXIF orientation and colour profiles are
/// ignored, alpha is dropped, 16-bit samples are scaled to 8 bits.
///
/// # Errors
/// [`DataError::BadImage`], also for a file that cannot be read.
pub fn decode(path: &Path) -> Result<Pixels, DataError> {
    let bad = |reason: String| DataError::BadImage { path: path.to_owned(), reason };
    let mut reader =
        ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(|e| bad(e.to_string()))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let image = reader.decode().map_err(|e| bad(e.to_string()))?;
    let (width, height) = (image.width(), image.height());
    let (channels, data) = match image {
        DynamicImage::ImageLuma8(gray) => (1, gray.into_raw()),
        DynamicImage::ImageRgb8(rgb) => (3, rgb.into_raw()),
        gray @ (DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_)) => {
            (1, gray.into_luma8().into_raw())
        }
        other => (3, other.into_rgb8().into_raw()),
    };
    Ok(Pixels { width, height, channels, data })
}

struct Images {
    root: PathBuf,
    files: Vec<PathBuf>,
    pipeline: Pipeline,
}

impl Source for Images {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn name(&self, index: usize) -> String {
        self.files[index].display().to_string()
    }

    fn load(&self, index: usize) -> Result<Vec<Array>, DataError> {
        let path = self.root.join(&self.files[index]);
        let pixels = decode(&path)?;
        let input = self.pipeline.apply(&pixels).map_err(|reason| DataError::BadImage { path, reason })?;
        Ok(vec![input])
    }
}
