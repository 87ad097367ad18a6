//! Labels: files of them, and arrays of them.
//!
//! A labels file (`.csv`, `.txt`) has one entry a line: a file and its class
//! (`n01440764_tench.jpg,0`), or only a class, in the order of the samples.
//! The class is an integer. In a `.csv` the fields are separated by a comma and
//! the first line may be a heading; in a `.txt` the class is the last word of
//! the line, so file names may hold spaces. A labels array (`.npy`) holds one
//! integer a sample.

use std::path::Path;

use crate::convert;
use crate::error::DataError;
use crate::npy::NpyArray;

/// The contents of a labels file.
#[derive(Debug, PartialEq)]
pub(crate) enum LabelFile {
    /// A class for each file named, with the line it stands on.
    ByName(Vec<NamedLabel>),
    /// One class a sample.
    InOrder(Vec<i64>),
}

/// One line of a labels file that names files.
#[derive(Debug, PartialEq)]
pub(crate) struct NamedLabel {
    pub(crate) file: String,
    pub(crate) class: i64,
    pub(crate) line: u64,
}

impl LabelFile {
    /// Reads a `.csv`, `.txt` or `.npy`, by its extension.
    pub(crate) fn read(path: &Path) -> Result<LabelFile, DataError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "csv" => read_csv(path),
            "txt" => read_txt(path),
            "npy" => array_labels(&NpyArray::open(path)?).map(LabelFile::InOrder),
            _ => Err(DataError::Config {
                origin: path.display().to_string(),
                key: "labels",
                problem: "a labels file is a .csv, a .txt or a .npy".to_owned(),
            }),
        }
    }
}

/// Labels of an array of shape `[n]` or `[n, 1]`.
pub(crate) fn array_labels(array: &NpyArray) -> Result<Vec<i64>, DataError> {
    let bad = |reason: String| DataError::BadArray { array: array.origin.clone(), reason };
    if !matches!(array.header.shape.as_slice(), [_] | [_, 1]) {
        return Err(bad(format!("labels have shape [n] or [n, 1], got {:?}", array.header.shape)));
    }
    convert::to_i64(&array.bytes()?, &array.header).map_err(|value| {
        bad(match value {
            Some(value) => format!("label {value} is too large"),
            None => format!("labels are integers, got {}", array.header.elem.name()),
        })
    })
}

/// Adds the offset and checks that a class number results.
pub(crate) fn with_offset(origin: &str, labels: &[i64], offset: i64) -> Result<Vec<u32>, DataError> {
    let class = |&label: &i64| {
        let class = label.checked_add(offset).and_then(|class| u32::try_from(class).ok());
        class.ok_or_else(|| DataError::Label { origin: origin.to_owned(), label, offset })
    };
    labels.iter().map(class).collect()
}

/// One line, split.
struct Row {
    line: u64,
    file: Option<String>,
    class: String,
}

fn read_csv(path: &Path) -> Result<LabelFile, DataError> {
    let file = std::fs::File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(file);
    let mut rows = Vec::new();
    for (number, record) in (1u64..).zip(reader.records()) {
        let record = record.map_err(|e| DataError::Labels {
            path: path.to_owned(),
            line: e.position().map_or(number, csv::Position::line),
            reason: e.to_string(),
        })?;
        let line = record.position().map_or(number, csv::Position::line);
        let (file, class) = match record.len() {
            1 => (None, &record[0]),
            2 => (Some(record[0].to_owned()), &record[1]),
            n => return Err(malformed(path, line, &format!("{n} fields"))),
        };
        rows.push(Row { line, file, class: class.to_owned() });
    }
    if rows.first().is_some_and(|row| row.class.parse::<i64>().is_err()) {
        rows.remove(0);
    }
    assemble(path, rows)
}

fn read_txt(path: &Path) -> Result<LabelFile, DataError> {
    let text = std::fs::read_to_string(path).map_err(|e| DataError::io(path, e))?;
    let rows = (1u64..).zip(text.lines()).filter_map(|(line, text)| {
        let text = text.trim();
        let (file, class) = match text.rsplit_once([' ', '\t', ',']) {
            Some((file, class)) => (Some(file.trim().to_owned()), class),
            None => (None, text),
        };
        (!text.is_empty()).then(|| Row { line, file, class: class.to_owned() })
    });
    assemble(path, rows.collect())
}

fn assemble(path: &Path, rows: Vec<Row>) -> Result<LabelFile, DataError> {
    let Some(first) = rows.first() else {
        return Err(DataError::Empty { origin: path.display().to_string(), reason: "no line has a class".to_owned() });
    };
    let named = first.file.is_some();
    let (mut by_name, mut in_order) = (Vec::new(), Vec::new());
    for row in rows {
        let Ok(class) = row.class.parse::<i64>() else {
            return Err(malformed(path, row.line, &format!("'{}'", row.class)));
        };
        match row.file {
            Some(file) if named => by_name.push(NamedLabel { file, class, line: row.line }),
            None if !named => in_order.push(class),
            _ => return Err(malformed(path, row.line, "a line unlike the first")),
        }
    }
    Ok(if named { LabelFile::ByName(by_name) } else { LabelFile::InOrder(in_order) })
}

fn malformed(path: &Path, line: u64, got: &str) -> DataError {
    DataError::Labels {
        path: path.to_owned(),
        line,
        reason: format!("expected a file and its class number, or only a class number, got {got}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<LabelFile, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        LabelFile::read(&path).map_err(|e| e.to_string())
    }

    fn named(rows: &[(&str, i64, u64)]) -> LabelFile {
        LabelFile::ByName(
            rows.iter().map(|&(file, class, line)| NamedLabel { file: file.to_owned(), class, line }).collect(),
        )
    }

    #[test]
    fn csv_with_and_without_heading() {
        assert_eq!(
            read("l.csv", "file,class\na.jpg,3\n\"b, c.jpg\", 0\n"),
            Ok(named(&[("a.jpg", 3, 2), ("b, c.jpg", 0, 3)]))
        );
        assert_eq!(read("l.csv", "a.jpg,3\r\n"), Ok(named(&[("a.jpg", 3, 1)])));
        assert_eq!(read("l.csv", "class\n4\n5\n"), Ok(LabelFile::InOrder(vec![4, 5])));
    }

    #[test]
    fn txt_takes_the_last_word_as_class() {
        assert_eq!(read("l.txt", "my cat.png 2\n\nd.png\t1\n"), Ok(named(&[("my cat.png", 2, 1), ("d.png", 1, 3)])));
        assert_eq!(read("l.txt", "1\n0\n"), Ok(LabelFile::InOrder(vec![1, 0])));
    }

    #[test]
    fn errors_name_the_line() {
        let names = read("l.txt", "n01440764 tench\n").unwrap_err();
        assert!(
            names.contains("l.txt, line 1: expected a file and its class number") && names.ends_with("'tench'"),
            "{names}"
        );
        assert!(read("l.csv", "a.jpg,1\nb.jpg,x\n").unwrap_err().contains("line 2"));
        assert!(read("l.csv", "a.jpg,1\nb.jpg,1,2\n").unwrap_err().contains("3 fields"));
        assert!(read("l.csv", "a.jpg,1\n5\n").unwrap_err().contains("a line unlike the first"));
        assert!(read("l.csv", "file,class\n").unwrap_err().contains("holds no data"));
        assert!(read("l.json", "{}").unwrap_err().contains(".csv, a .txt or a .npy"));
    }

    #[test]
    fn offset_must_give_a_class() {
        assert_eq!(with_offset("l", &[0, 999], 1).unwrap(), [1, 1000]);
        let message = with_offset("l.csv", &[3, 0], -1).unwrap_err().to_string();
        assert_eq!(message, "l.csv: label 0 with offset -1 is not a class number");
        assert!(with_offset("l", &[i64::MAX], 1).is_err());
    }
}
