//! A dataset: a source, its labels, and an order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{DataConfig, OnBadImage, PreprocessConfig, SourcePath};
use crate::error::DataError;
use crate::labels::{self, LabelFile};
use crate::source::{Opened, RawLabels, Source, arrays, images};
use crate::spec::InputSpec;
use crate::stream::{Batches, Sample, Samples};

/// What a command line may say beside the path. Each field that is given goes
/// before the same key of a data TOML.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// A labels file (`.csv`, `.txt`, `.npy`).
    pub labels: Option<PathBuf>,
    /// Added to every label: 1 for a model whose class 0 is the background.
    pub label_offset: Option<i64>,
    /// What to do with an image that does not decode.
    pub on_bad_image: Option<OnBadImage>,
    /// How pixels become inputs; replaces the whole table.
    pub preprocess: Option<PreprocessConfig>,
}

/// Samples in a fixed order, with or without labels. Cloning and taking
/// subsets is cheap: they share the open source.
#[derive(Clone)]
pub struct Dataset {
    pub(crate) shared: Arc<Shared>,
    /// Indices into the source, in the order of delivery.
    pub(crate) order: Arc<[usize]>,
}

pub(crate) struct Shared {
    pub(crate) source: Box<dyn Source>,
    pub(crate) labels: Option<Vec<u32>>,
    pub(crate) on_bad_image: OnBadImage,
    notes: Vec<String>,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataset")
            .field("len", &self.len())
            .field("labels", &self.has_labels())
            .field("notes", &self.shared.notes)
            .finish_non_exhaustive()
    }
}

impl Dataset {
    /// Opens the data at `path` for a model with these inputs. See
    /// [`crate::source`] for what a path can be. Names, shapes and element
    /// types are checked here; values and images when they are read.
    ///
    /// # Errors
    /// Any [`DataError`] that names the file and says what was expected and
    /// what came, [`DataError::Empty`] when there is no sample.
    pub fn open(path: &Path, inputs: &[InputSpec], options: &OpenOptions) -> Result<Dataset, DataError> {
        let metadata = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let source = match extension.to_ascii_lowercase().as_str() {
            _ if metadata.is_dir() => {
                if arrays::npy_files(path)?.is_empty() {
                    SourcePath::Images(path.to_owned())
                } else {
                    SourcePath::Npy(path.to_owned())
                }
            }
            "npz" => SourcePath::Npz(path.to_owned()),
            "npy" => SourcePath::Npy(path.to_owned()),
            "toml" => return Dataset::open_config(path, inputs, options),
            _ => return Err(DataError::UnknownSource { path: path.to_owned() }),
        };
        Dataset::open_source(&source, inputs, options, "options")
    }

    fn open_config(path: &Path, inputs: &[InputSpec], options: &OpenOptions) -> Result<Dataset, DataError> {
        let config = DataConfig::read(path)?;
        let merged = OpenOptions {
            labels: options.labels.clone().or(config.labels),
            label_offset: options.label_offset.or(config.label_offset),
            on_bad_image: options.on_bad_image.or(config.on_bad_image),
            preprocess: options.preprocess.clone().or(config.preprocess),
        };
        Dataset::open_source(&config.source, inputs, &merged, &path.display().to_string())
    }

    fn open_source(
        source: &SourcePath,
        inputs: &[InputSpec],
        options: &OpenOptions,
        origin: &str,
    ) -> Result<Dataset, DataError> {
        let preprocess = options.preprocess.as_ref();
        let mut opened = match source {
            SourcePath::Images(dir) => images::open(dir, options.labels.as_deref(), inputs, preprocess, origin)?,
            SourcePath::Npz(file) => arrays::open_npz(file, inputs, preprocess, origin)?,
            SourcePath::Npy(path) if path.is_dir() => arrays::open_npy_dir(path, inputs, preprocess, origin)?,
            SourcePath::Npy(file) => arrays::open_npy(file, inputs, preprocess, origin)?,
        };
        if let (Some(path), SourcePath::Npz(_) | SourcePath::Npy(_)) = (&options.labels, source) {
            opened.labels = Some(array_label_file(path)?);
        }
        Dataset::from_opened(opened, options)
    }

    fn from_opened(opened: Opened, options: &OpenOptions) -> Result<Dataset, DataError> {
        let count = opened.source.len();
        let labels = match opened.labels {
            None => None,
            Some(raw) => {
                let classes = labels::with_offset(&raw.origin, &raw.classes, options.label_offset.unwrap_or(0))?;
                if classes.len() != count {
                    return Err(DataError::Count {
                        first: "the data".to_owned(),
                        expected: count,
                        second: raw.origin,
                        got: classes.len(),
                    });
                }
                Some(classes)
            }
        };
        Ok(Dataset {
            shared: Arc::new(Shared {
                source: opened.source,
                labels,
                on_bad_image: options.on_bad_image.unwrap_or_default(),
                notes: opened.notes,
            }),
            order: (0..count).collect(),
        })
    }

    /// Number of samples, skipped images included.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether this is an empty subset; data as opened never is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether every sample has a label.
    pub fn has_labels(&self) -> bool {
        self.shared.labels.is_some()
    }

    /// The labels in the order of delivery, offset added.
    pub fn labels(&self) -> Option<Vec<u32>> {
        let labels = self.shared.labels.as_ref()?;
        Some(self.order.iter().map(|&at| labels[at]).collect())
    }

    /// What was assumed or left out when the data was opened, for a person to read.
    pub fn notes(&self) -> &[String] {
        &self.shared.notes
    }

    /// Sample `index`, read on this thread.
    ///
    /// # Errors
    /// [`DataError::Index`], and what reading it meets.
    pub fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let at = *self.order.get(index).ok_or(DataError::Index { index, len: self.len() })?;
        self.shared.sample(at)
    }

    /// Streams the samples in order, read by `threads` threads (at least one).
    ///
    /// # Errors
    /// [`DataError::Worker`] when a thread cannot be started.
    pub fn samples(&self, threads: usize) -> Result<Samples, DataError> {
        Samples::start(self, threads, 1)
    }

    /// Streams batches of `size` samples in order, the last one perhaps
    /// smaller, read by `threads` threads. At most some two batches are held.
    ///
    /// # Errors
    /// [`DataError::BatchSize`] for 0, [`DataError::Worker`].
    pub fn batches(&self, size: usize, threads: usize) -> Result<Batches, DataError> {
        Batches::start(self, size, threads)
    }

    /// The samples at these positions, in this order; repetition is allowed.
    ///
    /// # Errors
    /// [`DataError::Index`].
    pub fn subset(&self, indices: &[usize]) -> Result<Dataset, DataError> {
        let len = self.len();
        let at = |&index: &usize| self.order.get(index).copied().ok_or(DataError::Index { index, len });
        Ok(self.with_order(indices.iter().map(at).collect::<Result<_, _>>()?))
    }

    /// The first `count` samples, or all. In a folder of class directories
    /// those are of the first classes: see [`Dataset::spread`].
    pub fn take(&self, count: usize) -> Dataset {
        self.with_order(self.order.iter().take(count).copied().collect())
    }

    /// All but the first `count` samples.
    pub fn skip(&self, count: usize) -> Dataset {
        self.with_order(self.order.iter().skip(count).copied().collect())
    }

    /// `count` samples evenly spaced over the data (all of them if fewer).
    pub fn spread(&self, count: usize) -> Dataset {
        self.split(count).0
    }

    /// Holds back `held` samples evenly spaced over the data: `(held, rest)`.
    /// Sample ⌊(i + ½) · len / held⌋ is the i-th held.
    pub fn split(&self, held: usize) -> (Dataset, Dataset) {
        let len = self.len();
        let held = held.min(len);
        let mut chosen = vec![false; len];
        for i in 0..held {
            // (2i + 1) len / 2 held < len, in u128 so that no product overflows.
            let at = (2 * i as u128 + 1) * len as u128 / (2 * held as u128);
            chosen[usize::try_from(at).unwrap_or(len - 1)] = true;
        }
        let side = |wanted: bool| {
            let members = self.order.iter().zip(&chosen).filter(|(_, c)| **c == wanted);
            self.with_order(members.map(|(&at, _)| at).collect())
        };
        (side(true), side(false))
    }

    fn with_order(&self, order: Arc<[usize]>) -> Dataset {
        Dataset { shared: Arc::clone(&self.shared), order }
    }
}

impl Shared {
    /// Reads the sample at this position of the source.
    pub(crate) fn sample(&self, at: usize) -> Result<Sample, DataError> {
        Ok(Sample {
            inputs: self.source.load(at)?,
            label: self.labels.as_ref().map(|labels| labels[at]),
            name: self.source.name(at),
        })
    }
}

/// A labels file for arrays, whose samples have no file names.
fn array_label_file(path: &Path) -> Result<RawLabels, DataError> {
    match LabelFile::read(path)? {
        LabelFile::InOrder(classes) => Ok(RawLabels { origin: path.display().to_string(), classes }),
        LabelFile::ByName(entries) => Err(DataError::Labels {
            path: path.to_owned(),
            line: entries.first().map_or(1, |entry| entry.line),
            reason: "names files, and the samples of an array have none: give one class a line".to_owned(),
        }),
    }
}
