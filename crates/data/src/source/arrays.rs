//! Samples from arrays: `.npz`, `.npy`, and directories of `.npy`.

use std::path::{Path, PathBuf};

use crate::array::Array;
use crate::config::PreprocessConfig;
use crate::convert;
use crate::error::DataError;
use crate::labels;
use crate::npy::NpyArray;
use crate::preprocess::{Pipeline, Pixels};
use crate::source::{Opened, RawLabels, Source, npz};
use crate::spec::InputSpec;

const LABELS: &str = "labels";

/// The arrays of an `.npz`.
pub(crate) fn open_npz(
    path: &Path,
    specs: &[InputSpec],
    preprocess: Option<&PreprocessConfig>,
    config_origin: &str,
) -> Result<Opened, DataError> {
    let found = npz::open(path)?;
    Chosen::choose(&path.display().to_string(), found, specs)?.open(specs, preprocess, config_origin)
}

/// One `.npy`, for a model of one input.
pub(crate) fn open_npy(
    path: &Path,
    specs: &[InputSpec],
    preprocess: Option<&PreprocessConfig>,
    config_origin: &str,
) -> Result<Opened, DataError> {
    let origin = path.display().to_string();
    if specs.len() != 1 {
        return Err(DataError::InputCount { origin, inputs: specs.len(), hint: "use an .npz with one array for each" });
    }
    let chosen = Chosen { arrays: vec![NpyArray::open(path)?], labels: None, notes: Vec::new() };
    chosen.open(specs, preprocess, config_origin)
}

/// A directory of `.npy`.
pub(crate) fn open_npy_dir(
    dir: &Path,
    specs: &[InputSpec],
    preprocess: Option<&PreprocessConfig>,
    config_origin: &str,
) -> Result<Opened, DataError> {
    let origin = dir.display().to_string();
    let files = npy_files(dir)?;
    let stem = |path: &PathBuf| path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let data: Vec<PathBuf> = files.iter().filter(|p| stem(p) != LABELS).cloned().collect();
    if data.is_empty() {
        return Err(DataError::Empty { origin, reason: "it has no .npy file but labels.npy".to_owned() });
    }
    if let [spec] = specs
        && data.len() > 1
        && preprocess.is_none()
        && !data.iter().any(|p| is_name_of(&stem(p), &spec.name))
    {
        return open_samples(dir, data, spec);
    }
    let mut found = Vec::new();
    for path in &files {
        found.push((stem(path), NpyArray::open(path)?));
    }
    Chosen::choose(&origin, found, specs)?.open(specs, preprocess, config_origin)
}

/// The `.npy` files at the top of a directory, in the order of their names.
pub(crate) fn npy_files(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| DataError::io(dir, e))? {
        let path = entry.map_err(|e| DataError::io(dir, e))?.path();
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|e| e == "npy") && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_name_of(array: &str, input: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    array == input || input.chars().map(|c| if plain(c) { c } else { '_' }).eq(array.chars())
}

/// The arrays that feed the inputs, in the inputs' order.
struct Chosen {
    arrays: Vec<NpyArray>,
    labels: Option<NpyArray>,
    notes: Vec<String>,
}

impl Chosen {
    fn choose(origin: &str, mut found: Vec<(String, NpyArray)>, specs: &[InputSpec]) -> Result<Chosen, DataError> {
        let names: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return Err(DataError::Empty { origin: origin.to_owned(), reason: "it has no array".to_owned() });
        }
        let mut notes = Vec::new();
        let mut arrays = Vec::new();
        for spec in specs {
            let exact = found.iter().position(|(name, _)| *name == spec.name);
            let at = exact.or_else(|| found.iter().position(|(name, _)| is_name_of(name, &spec.name)));
            let at = at.or_else(|| only_candidate(&found, specs, spec, origin, &mut notes));
            let Some(at) = at else {
                return Err(DataError::MissingArray {
                    origin: origin.to_owned(),
                    input: spec.name.clone(),
                    found: names,
                });
            };
            arrays.push(found.remove(at).1);
        }
        let labels = found.iter().position(|(name, _)| name == LABELS).map(|at| found.remove(at).1);
        for (_, unused) in &found {
            notes.push(format!("{} is no input of the model and is left out", unused.origin));
        }
        Ok(Chosen { arrays, labels, notes })
    }

    fn open(
        mut self,
        specs: &[InputSpec],
        preprocess: Option<&PreprocessConfig>,
        config_origin: &str,
    ) -> Result<Opened, DataError> {
        let count = self.arrays.first().map_or(0, NpyArray::rows);
        for array in &self.arrays {
            let held = array.resident_bytes();
            if held > 0 {
                self.notes.push(format!(
                    "{} is compressed or in Fortran order: {held} bytes are held in memory; np.savez of a \
                     C-ordered array streams",
                    array.origin
                ));
            }
            if array.rows() != count {
                return Err(DataError::Count {
                    first: self.arrays[0].origin.clone(),
                    expected: count,
                    second: array.origin.clone(),
                    got: array.rows(),
                });
            }
        }
        let labels = match &self.labels {
            Some(array) => Some(RawLabels { origin: array.origin.clone(), classes: labels::array_labels(array)? }),
            None => None,
        };
        let source: Box<dyn Source> = match (preprocess, specs) {
            (Some(config), [spec]) => {
                let array = self.arrays.remove(0);
                let pipeline = Pipeline::new(Some(config), spec, config_origin)?;
                self.notes.extend_from_slice(pipeline.notes());
                Box::new(ImageRows::new(array, spec, pipeline)?)
            }
            (Some(_), _) => {
                return Err(DataError::InputCount {
                    origin: format!("{config_origin}: preprocess"),
                    inputs: specs.len(),
                    hint: "give arrays that are preprocessed already",
                });
            }
            (None, _) => Box::new(Rows::new(self.arrays, specs, &mut self.notes)?),
        };
        Ok(Opened { source, labels, notes: self.notes })
    }
}

/// For a model of one input, the only array that is not `labels`.
fn only_candidate(
    found: &[(String, NpyArray)],
    specs: &[InputSpec],
    spec: &InputSpec,
    origin: &str,
    notes: &mut Vec<String>,
) -> Option<usize> {
    let mut candidates = found.iter().enumerate().filter(|(_, (name, _))| name != LABELS);
    let (at, (name, _)) = candidates.next()?;
    if specs.len() != 1 || candidates.next().is_some() {
        return None;
    }
    notes.push(format!("{origin}: '{name}' is the only array and feeds input '{}'", spec.name));
    Some(at)
}

fn check_array(array: &NpyArray, sample: &[usize], spec: &InputSpec) -> Result<(), DataError> {
    if !spec.fits(sample) {
        return Err(DataError::Shape {
            array: array.origin.clone(),
            input: spec.name.clone(),
            expected: spec.shape_text(),
            got: format!("{:?}", array.header.shape),
            hint: shape_hint(&array.header.shape, spec),
        });
    }
    if !convert::convertible(array.header.elem, spec) {
        return Err(convert::element_type(&array.origin, array.header.elem, spec));
    }
    Ok(())
}

fn shape_hint(shape: &[usize], spec: &InputSpec) -> String {
    let transposed = match *shape {
        [_, a, b, c] => spec.fits(&[c, a, b]).then_some("NHWC").or_else(|| spec.fits(&[b, c, a]).then_some("NCHW")),
        _ => None,
    };
    if let Some(layout) = transposed {
        return format!(
            "; the array looks like {layout}: transpose it, or for uint8 images name it in a TOML with a [preprocess] table"
        );
    }
    if spec.fits(shape) {
        return "; the first axis counts samples: add it, even for one sample".to_owned();
    }
    String::new()
}

/// Row `i` of every array is sample `i`.
struct Rows {
    arrays: Vec<NpyArray>,
    specs: Vec<InputSpec>,
    count: usize,
}

impl Rows {
    fn new(arrays: Vec<NpyArray>, specs: &[InputSpec], notes: &mut Vec<String>) -> Result<Rows, DataError> {
        for (array, spec) in arrays.iter().zip(specs) {
            // A scalar has no axis of samples: its own shape, which never fits, goes into the message.
            let shape = array.header.shape.as_slice();
            check_array(array, shape.get(1..).unwrap_or(&[usize::MAX]), spec)?;
            if convert::quantizes(array.header.elem, spec) {
                notes.push(format!(
                    "{} holds real numbers and is quantized to {} for input '{}'",
                    array.origin, spec.dtype, spec.name
                ));
            }
        }
        Ok(Rows { count: arrays.first().map_or(0, NpyArray::rows), arrays, specs: specs.to_vec() })
    }
}

impl Source for Rows {
    fn len(&self) -> usize {
        self.count
    }

    fn name(&self, index: usize) -> String {
        row_name(self.arrays.first(), index)
    }

    fn load(&self, index: usize) -> Result<Vec<Array>, DataError> {
        let inputs = self.arrays.iter().zip(&self.specs);
        inputs.map(|(array, spec)| row(array, spec, index, index)).collect()
    }
}

fn row_name(array: Option<&NpyArray>, index: usize) -> String {
    let origin = array.map_or("", |array| array.origin.as_str());
    format!("{origin}[{index}]")
}

/// Row `at` of an array as an input, called sample `sample` in messages.
fn row(array: &NpyArray, spec: &InputSpec, at: usize, sample: usize) -> Result<Array, DataError> {
    let data = convert::convert(&array.row(at)?, &array.header, spec, &array.origin, sample)?;
    let mut shape = array.header.shape.clone();
    if let Some(first) = shape.first_mut() {
        *first = 1;
    }
    Ok(Array { shape, data })
}

/// Rows that are `uint8` images, `[n, h, w, c]`, `[n, c, h, w]` or `[n, h, w]`.
struct ImageRows {
    array: NpyArray,
    pipeline: Pipeline,
    width: u32,
    height: u32,
    channels: usize,
    planar: bool,
}

impl ImageRows {
    fn new(array: NpyArray, spec: &InputSpec, pipeline: Pipeline) -> Result<ImageRows, DataError> {
        let got = format!("{:?} of {}", array.header.shape, array.header.elem.name());
        let (height, width, channels, planar) = match *array.header.shape {
            [_, h, w, c @ (1 | 3)] => (h, w, c, false),
            [_, c @ (1 | 3), h, w] => (h, w, c, true),
            [_, h, w] => (h, w, 1, false),
            _ => (0, 0, 0, false),
        };
        let (Ok(height), Ok(width)) = (u32::try_from(height), u32::try_from(width)) else {
            return Err(not_images(&array, spec, got));
        };
        if channels == 0 || array.header.elem != crate::npy::Elem::U8 {
            return Err(not_images(&array, spec, got));
        }
        Ok(ImageRows { array, pipeline, width, height, channels, planar })
    }
}

fn not_images(array: &NpyArray, spec: &InputSpec, got: String) -> DataError {
    DataError::Shape {
        array: array.origin.clone(),
        input: spec.name.clone(),
        expected: "[N, height, width, 1 or 3] or [N, 1 or 3, height, width] of uint8".to_owned(),
        got,
        hint: "; [preprocess] takes images as bytes, leave it out for numbers that are ready".to_owned(),
    }
}

impl Source for ImageRows {
    fn len(&self) -> usize {
        self.array.rows()
    }

    fn name(&self, index: usize) -> String {
        row_name(Some(&self.array), index)
    }

    fn load(&self, index: usize) -> Result<Vec<Array>, DataError> {
        let bytes = self.array.row(index)?;
        let data = if self.planar && self.channels > 1 {
            let plane = bytes.len() / self.channels;
            let interleaved = (0..plane).flat_map(|i| (0..self.channels).map(move |c| c * plane + i));
            interleaved.map(|at| bytes[at]).collect()
        } else {
            bytes.into_owned()
        };
        let image = Pixels { width: self.width, height: self.height, channels: self.channels, data };
        let input = self.pipeline.apply(&image).map_err(|reason| DataError::BadArray {
            array: self.array.origin.clone(),
            reason: format!("sample {index}: {reason}"),
        })?;
        Ok(vec![input])
    }
}

/// One file a sample.
struct Files {
    paths: Vec<PathBuf>,
    spec: InputSpec,
}

fn open_samples(dir: &Path, data: Vec<PathBuf>, spec: &InputSpec) -> Result<Opened, DataError> {
    let labels_path = dir.join("labels.npy");
    let labels = match labels_path.is_file() {
        true => Some(RawLabels {
            origin: labels_path.display().to_string(),
            classes: labels::array_labels(&NpyArray::open(&labels_path)?)?,
        }),
        false => None,
    };
    let files = Files { paths: data, spec: spec.clone() };
    // All headers are read now, so that a misfit is told before the first run.
    for path in &files.paths {
        files.open(path)?;
    }
    let note = format!(
        "{}: no file is named '{}.npy', so each of the {} files is one sample",
        dir.display(),
        spec.name,
        files.paths.len()
    );
    Ok(Opened { source: Box::new(files), labels, notes: vec![note] })
}

impl Files {
    /// The array, its extents without and with a leading axis of 1 checked.
    fn open(&self, path: &Path) -> Result<(NpyArray, Vec<usize>), DataError> {
        let array = NpyArray::open(path)?;
        let whole = array.header.shape.clone();
        let sample = match whole.split_first() {
            Some((1, rest)) if self.spec.fits(rest) => rest.to_vec(),
            _ => whole,
        };
        check_array(&array, &sample, &self.spec)?;
        Ok((array, sample))
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn name(&self, index: usize) -> String {
        self.paths[index].display().to_string()
    }

    fn load(&self, index: usize) -> Result<Vec<Array>, DataError> {
        let (array, sample) = self.open(&self.paths[index])?;
        let data = convert::convert(&array.bytes()?, &array.header, &self.spec, &array.origin, index)?;
        let shape = std::iter::once(1).chain(sample).collect();
        Ok(vec![Array { shape, data }])
    }
}
