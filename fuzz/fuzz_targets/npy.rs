//! `.npy` files as data, and as the labels of data.
#![no_main]

use fewbits_data::OpenOptions;
use fewbits_fuzz::{TemporaryFile, open_and_read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = TemporaryFile::new("data.npy", data);
    open_and_read(file.path(), &OpenOptions::default());
    let labels = OpenOptions { labels: Some(file.path().to_owned()), label_offset: Some(-1), ..OpenOptions::default() };
    open_and_read(file.path(), &labels);
});
