//! Graph → TFLite file.
//!
//! [`lower`] first rewrites what TFLite has no operator for into operators that it has; [`emit`]
//! then turns each node into one operator of the file (and constants for its axes and sizes).

mod emit;
mod lower;
mod model;
mod same;
mod version;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fewbits_graph::Graph;

use crate::{Error, Result};

/// Writes the graph as a TFLite file, replacing one that is there only when everything is written.
///
/// Shapes must have been inferred. Symbolic dimensions are marked as unknown in the file. Operators
/// that TFLite lacks are expressed by others where that is exact up to rounding.
///
/// # Errors
/// [`Error::Unwritable`] and [`Error::UnwritableValue`] for what TFLite cannot express,
/// [`Error::TooLarge`] beyond 2 GiB, [`Error::Graph`] for an inconsistent graph, [`Error::Io`].
pub fn write(graph: &Graph, path: &Path) -> Result<()> {
    let bytes = to_bytes(graph)?;
    replace(path, &bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// The bytes of the graph's TFLite file. Equal graphs give equal bytes.
///
/// # Errors
/// As [`write()`], without [`Error::Io`].
pub fn to_bytes(graph: &Graph) -> Result<Vec<u8>> {
    graph.validate()?;
    let lowered = lower::lower(graph.clone())?;
    let file = emit::emit(&lowered)?;
    model::finish(&lowered, file)
}

/// Puts a new file in the place of `path` in one step.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A new file in the folder of `path`, so that renaming it does not leave the file system.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    for attempt in 0..100 {
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (temporary, file)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "no free temporary name beside it"))
}
