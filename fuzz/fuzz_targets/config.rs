//! Texts: recipes, descriptions of data with preprocessing, lists of labels.
#![no_main]

use fewbits_data::OpenOptions;
use fewbits_fuzz::{TemporaryFile, open_and_read};
use fewbits_quantize::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    recipe(text);
    description(text);
    labels(text);
});

/// A recipe that is read is written and read again as the same.
fn recipe(text: &str) {
    let file = TemporaryFile::new("recipe.toml", text.as_bytes());
    let Ok(recipe) = Recipe::read(file.path()) else { return };
    let written = recipe.to_toml();
    let again: Recipe = toml::from_str(&written).expect("what was written is read");
    assert_eq!(format!("{recipe:?}"), format!("{again:?}"), "{written}");
}

/// A description of data beside which there is one array, `x.npy`.
fn description(text: &str) {
    // Paths are the user's own and may lead anywhere; here they must stay in the scratch folder.
    if let Ok(table) = toml::from_str::<toml::Table>(text)
        && table.values().filter_map(toml::Value::as_str).any(|path| path.contains(['/', '\\']) || path == "..")
    {
        return;
    }
    let _array = TemporaryFile::new("x.npy", ARRAY);
    let file = TemporaryFile::new("data.toml", text.as_bytes());
    open_and_read(file.path(), &OpenOptions::default());
}

/// Two rows of three floats.
const ARRAY: &[u8] = b"\x93NUMPY\x01\x00\x3a\x00\
    {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}\n\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The labels of two samples, in both forms of text.
fn labels(text: &str) {
    let array = TemporaryFile::new("x.npy", ARRAY);
    for name in ["labels.csv", "labels.txt"] {
        let file = TemporaryFile::new(name, text.as_bytes());
        let options = OpenOptions { labels: Some(file.path().to_owned()), ..OpenOptions::default() };
        open_and_read(array.path(), &options);
    }
}
