//! Members of an `.npz`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::error::DataError;
use crate::npy::{Header, NpyArray, data_len};

/// Deflate turns at most 258 bytes out of two bits, about 1032 : 1; a member
/// that claims more was not made by deflating.
const MAX_RATIO: u64 = 1_040;

/// Opens every array of the archive, in the order of their names.
///
/// # Errors
/// [`DataError::Io`] and [`DataError::BadArray`], and those of the header.
pub(crate) fn open(path: &Path) -> Result<Vec<(String, NpyArray)>, DataError> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| DataError::BadArray {
        array: path.display().to_string(),
        reason: format!("is not an .npz: {e}"),
    })?;
    let names = zip.file_names().map(|name| name.map(|n| n.into_owned()));
    let mut files: Vec<String> = names.collect::<Result<_, _>>().map_err(|e| DataError::BadArray {
        array: path.display().to_string(),
        reason: format!("has a member whose name is not text: {e}"),
    })?;
    files.sort();
    let mut arrays = Vec::new();
    for file in files {
        let Some(name) = file.strip_suffix(".npy") else {
            continue;
        };
        let origin = format!("{}: array '{name}'", path.display());
        let mut member =
            zip.by_name(&file).map_err(|e| DataError::BadArray { array: origin.clone(), reason: e.to_string() })?;
        let layout = Member {
            method: member.compression(),
            start: member.data_start().unwrap_or(0),
            packed: member.compressed_size(),
            size: member.size(),
        };
        arrays.push((name.to_owned(), open_member(path, origin, &layout, &mut member)?));
    }
    Ok(arrays)
}

/// What the archive's directory says of a member.
struct Member {
    method: CompressionMethod,
    start: u64,
    packed: u64,
    size: u64,
}

fn open_member(path: &Path, origin: String, member: &Member, reader: &mut dyn Read) -> Result<NpyArray, DataError> {
    let bad = |reason: String| DataError::BadArray { array: origin.clone(), reason };
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let file_len = file.metadata().map_err(|e| DataError::io(path, e))?.len();
    let end = member.start.checked_add(member.packed);
    if end.is_none_or(|end| end > file_len) {
        return Err(bad("the archive is shorter than its directory says".to_owned()));
    }
    match member.method {
        CompressionMethod::Stored => {
            let header = Header::read(reader, member.size.min(member.packed), &origin)?;
            let start = member.start + header.len;
            NpyArray::in_file(origin, header, file, start)
        }
        CompressionMethod::Deflated => {
            let possible = member.packed.saturating_mul(MAX_RATIO);
            let header = Header::read(reader, member.size.min(possible), &origin)?;
            let mut bytes = Vec::with_capacity(data_len(&header, &origin)?);
            reader
                .take(header.data_len)
                .read_to_end(&mut bytes)
                .map_err(|e| bad(format!("does not decompress: {e}")))?;
            if bytes.len() as u64 != header.data_len {
                return Err(DataError::Truncated { array: origin, expected: header.data_len, got: bytes.len() as u64 });
            }
            // The checksum is compared when the end is met, and not before.
            std::io::copy(&mut reader.take(1), &mut std::io::sink())
                .map_err(|e| bad(format!("does not decompress: {e}")))?;
            Ok(NpyArray::in_memory(origin, header, bytes))
        }
        other => Err(bad(format!("is compressed by {other}; np.savez and np.savez_compressed are read"))),
    }
}
