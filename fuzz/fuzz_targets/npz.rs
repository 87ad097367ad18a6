//! `.npz` archives as data and labels.
#![no_main]

use fewbits_data::OpenOptions;
use fewbits_fuzz::{TemporaryFile, open_and_read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = TemporaryFile::new("data.npz", data);
    open_and_read(file.path(), &OpenOptions::default());
});
