//! The `.npy` format (NumPy Enhancement Proposal 1 and
//! `numpy/lib/format.py`): header, and rows read on demand.
//!
//! The header is parsed here and not by `npyz`, the known
//! crate: a hostile header makes that one allocate what the length field says, recurse as deep as the text
//! nests, and overflow on the product of the shape.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::DataError;

/// NumPy writes headers of about a hundred bytes and itself refuses to read
/// those over 10,000.
const MAX_HEADER: usize = 10_000;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Element types of `.npy` that are read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elem {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

impl Elem {
    /// From the letter and size of a NumPy type string, without its byte order.
    fn parse(code: &str) -> Option<Elem> {
        Some(match code {
            "b1" => Elem::Bool,
            "i1" => Elem::I8,
            "i2" => Elem::I16,
            "i4" => Elem::I32,
            "i8" => Elem::I64,
            "u1" => Elem::U8,
            "u2" => Elem::U16,
            "u4" => Elem::U32,
            "u8" => Elem::U64,
            "f2" => Elem::F16,
            "f4" => Elem::F32,
            "f8" => Elem::F64,
            _ => return None,
        })
    }

    pub(crate) fn size(self) -> usize {
        match self {
            Elem::Bool | Elem::I8 | Elem::U8 => 1,
            Elem::I16 | Elem::U16 | Elem::F16 => 2,
            Elem::I32 | Elem::U32 | Elem::F32 => 4,
            Elem::I64 | Elem::U64 | Elem::F64 => 8,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Elem::Bool => "bool",
            Elem::I8 => "int8",
            Elem::I16 => "int16",
            Elem::I32 => "int32",
            Elem::I64 => "int64",
            Elem::U8 => "uint8",
            Elem::U16 => "uint16",
            Elem::U32 => "uint32",
            Elem::U64 => "uint64",
            Elem::F16 => "float16",
            Elem::F32 => "float32",
            Elem::F64 => "float64",
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Elem::F16 | Elem::F32 | Elem::F64)
    }
}

/// What precedes the data of a `.npy`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) elem: Elem,
    pub(crate) big_endian: bool,
    pub(crate) fortran: bool,
    pub(crate) shape: Vec<usize>,
    /// Bytes before the data.
    pub(crate) len: u64,
    /// Bytes of data.
    pub(crate) data_len: u64,
}

impl Header {
    /// Reads a header from the start of `reader`, which holds `available`
    /// bytes in all, and checks that the data it promises is there.
    ///
    /// # Errors
    /// [`DataError::BadArray`], [`DataError::Truncated`], [`DataError::Empty`].
    pub(crate) fn read(reader: &mut dyn Read, available: u64, array: &str) -> Result<Header, DataError> {
        let bad = |reason: String| DataError::BadArray { array: array.to_owned(), reason };
        let io = |e: std::io::Error| bad(format!("cannot read the .npy header: {e}"));
        let mut magic = [0u8; 8];
        reader.read_exact(&mut magic).map_err(io)?;
        if &magic[..6] != MAGIC {
            return Err(bad("is not a .npy array".to_owned()));
        }
        let (prefix, text_len) = match magic[6] {
            1 => {
                let mut len = [0u8; 2];
                reader.read_exact(&mut len).map_err(io)?;
                (10u64, u32::from(u16::from_le_bytes(len)))
            }
            2 | 3 => {
                let mut len = [0u8; 4];
                reader.read_exact(&mut len).map_err(io)?;
                (12, u32::from_le_bytes(len))
            }
            version => return Err(bad(format!("has .npy version {version}; 1 to 3 are known"))),
        };
        let len = prefix + u64::from(text_len);
        let text_len = usize::try_from(text_len).unwrap_or(usize::MAX);
        if text_len > MAX_HEADER || len > available {
            return Err(bad(format!("has a .npy header of {text_len} bytes")));
        }
        let mut text = vec![0u8; text_len];
        reader.read_exact(&mut text).map_err(io)?;
        let text = std::str::from_utf8(&text).map_err(|_| bad("has a .npy header that is not text".to_owned()))?;
        let fields = Fields::parse(text).map_err(|e| bad(format!("has a malformed .npy header: {e}")))?;
        Header::check(fields, len, available, array)
    }

    fn check(fields: Fields, len: u64, available: u64, array: &str) -> Result<Header, DataError> {
        let bad = |reason: String| DataError::BadArray { array: array.to_owned(), reason };
        let (order, code) = fields.descr.split_at_checked(1).unwrap_or(("", ""));
        let elem = Elem::parse(code).filter(|_| matches!(order, "<" | ">" | "|" | "="));
        let Some(elem) = elem else {
            return Err(bad(format!("has element type '{}'; bool, integers and float16/32/64 are read", fields.descr)));
        };
        let data_len = fields
            .shape
            .iter()
            .try_fold(elem.size() as u64, |product, &n| product.checked_mul(n))
            .ok_or_else(|| bad(format!("has an impossible shape {:?}", fields.shape)))?;
        if data_len == 0 {
            return Err(DataError::Empty {
                origin: array.to_owned(),
                reason: format!("its shape is {:?}", fields.shape),
            });
        }
        if data_len > available - len {
            return Err(DataError::Truncated { array: array.to_owned(), expected: data_len, got: available - len });
        }
        let shape: Result<Vec<usize>, _> = fields.shape.iter().map(|&n| usize::try_from(n)).collect();
        Ok(Header {
            elem,
            big_endian: order == ">",
            fortran: fields.fortran && fields.shape.len() > 1,
            shape: shape.map_err(|_| bad("is too large for this machine".to_owned()))?,
            len,
            data_len,
        })
    }
}

/// The three entries of the header's dictionary.
#[derive(Debug, PartialEq)]
struct Fields {
    descr: String,
    fortran: bool,
    shape: Vec<u64>,
}

impl Fields {
    fn parse(text: &str) -> Result<Fields, String> {
        let mut scan = Scanner { rest: text };
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        scan.expect('{')?;
        while !scan.accept('}') {
            let key = scan.string()?;
            scan.expect(':')?;
            match key {
                "descr" => descr = Some(scan.string()?.to_owned()),
                "fortran_order" => fortran = Some(scan.boolean()?),
                "shape" => shape = Some(scan.tuple()?),
                other => return Err(format!("unknown entry '{other}'")),
            }
            if !scan.accept(',') {
                scan.expect('}')?;
                break;
            }
        }
        Ok(Fields {
            descr: descr.ok_or("no 'descr'")?,
            fortran: fortran.ok_or("no 'fortran_order'")?,
            shape: shape.ok_or("no 'shape'")?,
        })
    }
}

/// Reads the Python literals that a header is made of.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn accept(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.accept(wanted) {
            return Ok(());
        }
        let got = self.rest.chars().next();
        Err(format!("expected '{wanted}', got {got:?}"))
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.accept('\'') {
            '\''
        } else if self.accept('"') {
            '"'
        } else if self.rest.starts_with('[') {
            return Err("structured element types are not read".to_owned());
        } else {
            return Err("expected a string".to_owned());
        };
        let (text, rest) = self.rest.split_once(quote).ok_or("a string does not end")?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err("expected True or False".to_owned())
    }

    fn tuple(&mut self) -> Result<Vec<u64>, String> {
        self.expect('(')?;
        let mut extents = Vec::new();
        while !self.accept(')') {
            let digits = self.rest.len() - self.rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = self.rest.split_at(digits);
            let extent = number.parse().map_err(|_| "expected an extent of the shape")?;
            extents.push(extent);
            // Python 2 wrote long integers as `12L`.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(extents)
    }
}

/// Where the data of an array is.
#[derive(Debug)]
enum Storage {
    /// In a file, from this offset on: rows are read as they are asked for.
    File { file: Mutex<File>, start: u64 },
    /// In memory: compressed or Fortran-ordered data, which has no rows to seek to.
    Memory(Vec<u8>),
}

/// An array in a file, whose rows (index along axis 0) are read on demand.
#[derive(Debug)]
pub(crate) struct NpyArray {
    /// How messages call it.
    pub(crate) origin: String,
    pub(crate) header: Header,
    storage: Storage,
}

impl NpyArray {
    /// Opens a `.npy` file.
    ///
    /// # Errors
    /// [`DataError::Io`] and those of [`Header::read`].
    pub(crate) fn open(path: &Path) -> Result<NpyArray, DataError> {
        let origin = path.display().to_string();
        let io = |e| DataError::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let available = file.metadata().map_err(io)?.len();
        let header = Header::read(&mut file, available, &origin)?;
        let start = header.len;
        NpyArray::in_file(origin, header, file, start)
    }

    /// An array whose bytes stand in `file` from `start` on.
    pub(crate) fn in_file(origin: String, header: Header, mut file: File, start: u64) -> Result<NpyArray, DataError> {
        if header.fortran {
            let bad = |e: std::io::Error| DataError::BadArray { array: origin.clone(), reason: e.to_string() };
            file.seek(SeekFrom::Start(start)).map_err(bad)?;
            let mut bytes = vec![0u8; data_len(&header, &origin)?];
            file.read_exact(&mut bytes).map_err(bad)?;
            return Ok(NpyArray::in_memory(origin, header, bytes));
        }
        let storage = Storage::File { file: Mutex::new(file), start };
        Ok(NpyArray { origin, header, storage })
    }

    /// An array whose bytes, in the order that the header says, are at hand.
    pub(crate) fn in_memory(origin: String, mut header: Header, bytes: Vec<u8>) -> NpyArray {
        let bytes = if header.fortran {
            header.fortran = false;
            to_row_major(&bytes, &header.shape, header.elem.size())
        } else {
            bytes
        };
        NpyArray { origin, header, storage: Storage::Memory(bytes) }
    }

    /// Number of rows; a scalar has one.
    pub(crate) fn rows(&self) -> usize {
        self.header.shape.first().copied().unwrap_or(1)
    }

    /// Bytes held in memory for as long as the array is open.
    pub(crate) fn resident_bytes(&self) -> usize {
        match &self.storage {
            Storage::File { .. } => 0,
            Storage::Memory(bytes) => bytes.len(),
        }
    }

    /// The bytes of row `index`, in the file's byte order.
    pub(crate) fn row(&self, index: usize) -> Result<Cow<'_, [u8]>, DataError> {
        let rows = self.rows();
        if index >= rows {
            return Err(DataError::Index { index, len: rows });
        }
        let len = data_len(&self.header, &self.origin)? / rows;
        self.read(index * len, len)
    }

    /// All the bytes, in the file's byte order.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>, DataError> {
        self.read(0, data_len(&self.header, &self.origin)?)
    }

    fn read(&self, at: usize, len: usize) -> Result<Cow<'_, [u8]>, DataError> {
        match &self.storage {
            Storage::Memory(bytes) => Ok(Cow::Borrowed(&bytes[at..at + len])),
            Storage::File { file, start } => {
                let mut bytes = vec![0u8; len];
                // A poisoned lock means that another reader panicked between
                // seek and read; this one seeks anyway.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(start + at as u64)).and_then(|_| file.read_exact(&mut bytes)).map_err(
                    |e| DataError::BadArray {
                        array: self.origin.clone(),
                        reason: format!("the file changed since it was opened: {e}"),
                    },
                )?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

/// The header's data length, which was checked against the file, as a `usize`.
pub(crate) fn data_len(header: &Header, array: &str) -> Result<usize, DataError> {
    usize::try_from(header.data_len).map_err(|_| DataError::BadArray {
        array: array.to_owned(),
        reason: "is too large for this machine".to_owned(),
    })
}

/// Reorders column-major elements of `size` bytes to row-major.
fn to_row_major(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = size;
    for &extent in shape {
        strides.push(stride);
        stride *= extent;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; shape.len()];
    let mut at = 0;
    while out.len() < bytes.len() {
        out.extend_from_slice(&bytes[at..at + size]);
        // Count up with the last axis fastest, as an odometer does.
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, DataError> {
        Header::read(&mut &bytes[..], bytes.len() as u64, "a.npy")
    }

    #[test]
    fn reads_what_numpy_writes() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n";
        let header = read(&npy(text, &[0; 24])).unwrap();
        assert_eq!(header.elem, Elem::F32);
        assert_eq!(header.shape, [2, 3]);
        assert!(!header.fortran && !header.big_endian);
        assert_eq!(header.data_len, 24);
        assert_eq!(header.len, 10 + text.len() as u64);
    }

    #[test]
    fn reads_one_axis_scalar_and_big_endian() {
        let one = read(&npy("{'descr': '>i2', 'fortran_order': True, 'shape': (4,)}", &[0; 8])).unwrap();
        assert_eq!((one.shape, one.big_endian, one.fortran), (vec![4], true, false));
        let scalar = read(&npy("{'descr': '|u1', 'fortran_order': False, 'shape': ()}", &[7])).unwrap();
        assert!(scalar.shape.is_empty());
        let long = read(&npy("{'shape': (2L,), 'fortran_order': False, 'descr': \"<i8\"}", &[0; 16])).unwrap();
        assert_eq!(long.shape, [2]);
    }

    #[test]
    fn refuses_hostile_headers() {
        let cases: [(&str, &str); 9] = [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 9)}", "impossible shape"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "extent"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "extent"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (100,)}", "promises 400 bytes"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3)}", "holds no data"),
            ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "element type '|O'"),
            ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "structured"),
            ("{'descr': '<f4', 'shape': (1,)}", "no 'fortran_order'"),
            ("{'descr': '", "does not end"),
        ];
        for (header, wanted) in cases {
            let message = read(&npy(header, &[0; 8])).unwrap_err().to_string();
            assert!(message.contains(wanted), "{header}: {message}");
            assert!(message.starts_with("a.npy"), "{message}");
        }
        let mut huge = b"\x93NUMPY\x02\x00".to_vec();
        huge.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(read(&huge).unwrap_err().to_string().contains("4294967295 bytes"));
        assert!(read(b"\x93NUMPY\x09\x00..").unwrap_err().to_string().contains("version 9"));
        assert!(read(b"PK\x03\x04....").unwrap_err().to_string().contains("is not a .npy"));
        assert!(read(b"\x93NU").is_err());
    }

    #[test]
    fn column_major_becomes_row_major() {
        // The 2x3 array [[1,2,3],[4,5,6]] stored by columns.
        assert_eq!(to_row_major(&[1, 4, 2, 5, 3, 6], &[2, 3], 1), [1, 2, 3, 4, 5, 6]);
        let pairs = [1, 1, 4, 4, 2, 2, 5, 5, 3, 3, 6, 6];
        assert_eq!(to_row_major(&pairs, &[2, 3], 2), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(0u8.., 0..200), version in 1u8..4) {
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(&[version, 0]);
            file.extend_from_slice(&bytes);
            if let Ok(header) = read(&file) {
                assert!(header.len + header.data_len <= file.len() as u64);
            }
        }
    }
}
