//! Memory-mapped files: the model, and the external data beside it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::proto::TensorProto;
use crate::{Error, Result};

/// The bytes of a file, memory-mapped.
pub(crate) fn map(path: &Path) -> Result<Bytes> {
    let open = || -> std::io::Result<Bytes> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::new());
        }
        // SAFETY: the map is read-only and private to this process. The one hazard is another
        // process shortening the file meanwhile; our own writers never change a file in place but
        // rename a new one over it, which leaves this map's pages alone.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Bytes::from_owner(map))
    };
    open().map_err(|e| Error::io(format!("cannot read {}", path.display()), e))
}

/// External data files of one model, each mapped once.
pub(crate) struct External {
    folder: Option<PathBuf>,
    files: RefCell<BTreeMap<PathBuf, Bytes>>,
}

impl External {
    /// Files are looked for in `folder`; without one, external data is refused.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        External { folder: folder.map(Path::to_owned), files: RefCell::default() }
    }

    /// The bytes that `tensor` refers to.
    pub(crate) fn bytes(&self, tensor: &TensorProto) -> Result<Bytes> {
        let bad = |what: String| Error::tensor(&tensor.name, what);
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => {
                text.parse::<usize>().map(Some).map_err(|_| bad(format!("external data: bad {key} `{text}`")))
            }
        };
        let location = entry("location").ok_or_else(|| bad("external data without a location".to_owned()))?;
        let file = self.open(location).map_err(|e| bad(format!("external data: {e}")))?;
        let offset = number("offset")?.unwrap_or(0);
        let end = match number("length")? {
            Some(length) => offset.checked_add(length),
            None => Some(file.len()),
        };
        match end {
            Some(end) if offset <= end && end <= file.len() => Ok(file.slice(offset..end)),
            _ => Err(bad(format!("external data reaches beyond the {} bytes of `{location}`", file.len()))),
        }
    }

    fn open(&self, location: &str) -> Result<Bytes> {
        let folder = self.folder.as_ref().ok_or_else(|| {
            Error::model("the model refers to another file, but was not read from a folder; give a path")
        })?;
        let relative = Path::new(location);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !inside || location.contains('\\') {
            return Err(Error::model(format!("`{location}` is outside of the model's folder")));
        }
        let resolve = |p: &Path| p.canonicalize().map_err(|e| Error::io(format!("cannot read {}", p.display()), e));
        let folder = resolve(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
        let path = resolve(&folder.join(relative))?;
        if !path.starts_with(&folder) {
            return Err(Error::model(format!("`{location}` leads out of the model's folder")));
        }
        if !path.is_file() {
            return Err(Error::model(format!("`{location}` is not a file")));
        }
        if let Some(bytes) = self.files.borrow().get(&path) {
            return Ok(bytes.clone());
        }
        let bytes = map(&path)?;
        self.files.borrow_mut().insert(path, bytes.clone());
        Ok(bytes)
    }
}
