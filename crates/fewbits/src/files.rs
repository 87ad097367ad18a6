//! Writing files whole or not at all.

use std::io::Write;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Writes a file under a temporary name beside its place and renames it, so that nobody ever sees
/// half of it.
///
/// # Errors
/// [`Error::Io`] names the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = prepare(path)?;
    file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
    file.as_file().sync_all().map_err(|e| Error::io("write", path, e))?;
    file.persist(path).map_err(|e| Error::io("write", path, e.error))?;
    Ok(())
}

/// A temporary file in the directory of `path`: also the proof that a file can be written there.
pub(crate) fn prepare(path: &Path) -> Result<NamedTempFile> {
    if path.is_dir() {
        let source = std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory");
        return Err(Error::io("write", path, source));
    }
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fewbits-");
    // A temporary file is private by default; this one becomes a file like any other.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory).map_err(|e| Error::io("write", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = write_file(&dir.path().join("none/a.bin"), b"x").unwrap_err().to_string();
        assert!(message.starts_with("cannot write ") && message.contains("none/a.bin"), "{message}");
        assert!(write_file(dir.path(), b"x").unwrap_err().to_string().contains("directory"));
    }
}
