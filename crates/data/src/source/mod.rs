//! Where samples come from.
//!
//! *Arrays.* In an `.npz` an input is fed by the array of its name; in a
//! directory of `.npy`, by `<input>.npy`. Where a name has characters that
//! file names avoid, the name with each character outside `A-Z a-z 0-9 . _ -`
//! replaced by `_` is tried too. Axis 0 counts samples and is the same for all
//! arrays; an array `labels` (integers, `[n]` or `[n, 1]`) holds classes. For
//! a model of one input, the only array that is not `labels` is taken whatever
//! its name, and [`crate::Dataset::notes`] says so. If there are several
//! `.npy` files and none has the name of the model's only input, each file is
//! one sample, with or without a leading axis of 1, in the order of the file
//! names.
//!
//! Rows of an `.npy`, or of an `.npz` member stored without compression
//! (`np.savez`), are read from the file as they are asked for. Compressed
//! members (`np.savez_compressed`) and Fortran-ordered arrays have no rows to
//! seek to: they are held in memory, in their own element type, and a note
//! says how much.
//!
//! *Images* are the `.jpg`, `.jpeg` and `.png` files of a directory, in the
//! order of their paths relative to it, compared as text component by
//! component. A `labels.csv`, else a `labels.txt` in the directory names the
//! files and their classes; without one, sub-directories are classes, numbered
//! from 0 in the order of their names as text; without either there are no
//! labels. Files and directories whose names start with a dot are passed over.
//! EXIF orientation is ignored, as Pillow and the models' own training ignore
//! it. A directory with any `.npy` at its top is a directory of arrays.

pub(crate) mod arrays;
pub(crate) mod images;
pub(crate) mod npz;

pub use images::decode;

use crate::array::Array;
use crate::error::DataError;

/// Samples by index, from any thread.
pub(crate) trait Source: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// What messages call sample `index`.
    fn name(&self, index: usize) -> String;

    /// The inputs of sample `index < len()`, in the model's order, leading axis 1.
    fn load(&self, index: usize) -> Result<Vec<Array>, DataError>;
}

/// A source as it was opened.
pub(crate) struct Opened {
    pub(crate) source: Box<dyn Source>,
    /// As they stand in the data, no offset added, and where.
    pub(crate) labels: Option<RawLabels>,
    pub(crate) notes: Vec<String>,
}

pub(crate) struct RawLabels {
    pub(crate) origin: String,
    pub(crate) classes: Vec<i64>,
}
