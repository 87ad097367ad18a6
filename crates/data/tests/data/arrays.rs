//! `.npz`, `.npy` and directories of `.npy`: what is read, and every refusal.

use std::path::Path;

use crate::common::{f32s, i64s, npy, stored_npz, write};
use fewbits_data::{ArrayData, Batch, DType, Dataset, InputSpec, OpenOptions};
use zip::write::{SimpleFileOptions, ZipWriter};

fn spec(name: &str, dtype: DType, shape: &[usize]) -> InputSpec {
    let mut shape: Vec<Option<usize>> = shape.iter().copied().map(Some).collect();
    shape.insert(0, None);
    InputSpec::new(name, dtype, shape)
}

fn open(path: &Path, specs: &[InputSpec]) -> Result<Dataset, String> {
    Dataset::open(path, specs, &OpenOptions::default()).map_err(|e| e.to_string())
}

fn batches(data: &Dataset, size: usize, threads: usize) -> Result<Vec<Batch>, String> {
    let stream = data.batches(size, threads).unwrap();
    stream.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

fn counting(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn stored_npz_streams_in_order_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let labels: Vec<i64> = (0..23).collect();
    let file = stored_npz(&[
        ("a", f32s(&[23, 2], &counting(46))),
        ("b", i64s(&[23], &labels)),
        ("labels", i64s(&[23, 1], &labels)),
    ]);
    let path = write(dir.path(), "x.npz", &file);
    // The order of the inputs is the model's, not the archive's.
    let data = open(&path, &[spec("b", DType::I64, &[]), spec("a", DType::F32, &[2])]).unwrap();
    assert_eq!((data.len(), data.has_labels()), (23, true));
    assert!(data.notes().is_empty(), "{:?}", data.notes());
    let expected = batches(&data, 5, 1).unwrap();
    assert_eq!(expected.len(), 5);
    assert_eq!(expected[4].inputs[1].shape, [3, 2]);
    assert_eq!(expected[1].labels, Some(vec![5, 6, 7, 8, 9]));
    assert_eq!(expected[1].inputs[0].data, ArrayData::I64(vec![5, 6, 7, 8, 9]));
    assert_eq!(expected[1].inputs[1].as_f32().unwrap(), &counting(46)[10..20]);
    assert!(expected[0].names[3].ends_with("x.npz: array 'b'[3]"), "{:?}", expected[0].names);
    for threads in [2, 3, 64] {
        assert_eq!(batches(&data, 5, threads).unwrap(), expected, "{threads} threads");
    }
    assert_eq!(batches(&data, 1000, 3).unwrap()[0].len(), 23);
    assert_eq!(data.batches(0, 1).err().unwrap().to_string(), "a batch needs at least one sample");
}

#[test]
fn a_stream_dropped_early_ends_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "x.npy", &f32s(&[5000, 1], &counting(5000)));
    let data = open(&path, &[spec("x", DType::F32, &[1])]).unwrap();
    let mut stream = data.batches(4, 3).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().len(), 4);
    // Joins the workers: hangs if one still waits for room.
    drop(stream);
}

#[test]
fn compressed_npz_is_held_in_memory_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.npz");
    let mut writer = ZipWriter::new(std::fs::File::create(&path).unwrap());
    let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    writer.start_file("x.npy", deflated).unwrap();
    std::io::Write::write_all(&mut writer, &f32s(&[3, 4], &counting(12))).unwrap();
    writer.finish().unwrap();
    let data = open(&path, &[spec("x", DType::F32, &[4])]).unwrap();
    assert!(data.notes()[0].contains("48 bytes are held in memory"), "{:?}", data.notes());
    assert_eq!(data.sample(2).unwrap().inputs[0].as_f32().unwrap(), [8.0, 9.0, 10.0, 11.0]);
    assert_eq!(data.sample(3).unwrap_err().to_string(), "sample 3 was asked for, and there are 3");
}

#[test]
fn names_fall_back_only_where_nothing_can_be_mistaken() {
    let dir = tempfile::tempdir().unwrap();
    let one = |n| f32s(&[n, 1], &counting(n));
    let path = write(dir.path(), "x.npz", &stored_npz(&[("arr_0", one(2)), ("labels", i64s(&[2], &[1, 0]))]));
    let data = open(&path, &[spec("input", DType::F32, &[1])]).unwrap();
    assert!(data.notes()[0].contains("'arr_0' is the only array and feeds input 'input'"), "{:?}", data.notes());
    let two = write(dir.path(), "y.npz", &stored_npz(&[("arr_0", one(2)), ("arr_1", one(2))]));
    let message = open(&two, &[spec("input", DType::F32, &[1])]).unwrap_err();
    assert!(message.contains("no array for input 'input'") && message.contains("'arr_0', 'arr_1'"), "{message}");
    // Characters that file names avoid.
    let odd = write(dir.path(), "z.npz", &stored_npz(&[("serving_x_0", one(2)), ("other", one(2))]));
    let data = open(&odd, &[spec("serving/x:0", DType::F32, &[1])]).unwrap();
    assert!(data.notes()[0].contains("'other' is no input of the model"), "{:?}", data.notes());
    // An input that is itself called `labels` is an input.
    let both = write(dir.path(), "l.npz", &stored_npz(&[("labels", one(2))]));
    assert!(!open(&both, &[spec("labels", DType::F32, &[1])]).unwrap().has_labels());
}

#[test]
fn misfits_are_told_before_the_first_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "x.npz", &stored_npz(&[("x", f32s(&[2, 4, 5, 3], &[0.0; 120]))]));
    let message = open(&path, &[spec("x", DType::F32, &[3, 4, 5])]).unwrap_err();
    assert!(message.contains("input 'x' expects shape [N, 3, 4, 5], got [2, 4, 5, 3]"), "{message}");
    assert!(message.contains("looks like NHWC"), "{message}");
    let message = open(&path, &[spec("x", DType::I64, &[4, 5, 3])]).unwrap_err();
    assert!(message.contains("expects int64, got float32"), "{message}");
    let single = write(dir.path(), "s.npy", &f32s(&[4, 5], &[0.0; 20]));
    let message = open(&single, &[InputSpec::new("x", DType::F32, vec![None, Some(5)])]).map(|d| d.len());
    assert_eq!(message, Ok(4));
    let message = open(&single, &[InputSpec::new("x", DType::F32, vec![Some(1), Some(4), Some(5)])]).unwrap_err();
    assert!(message.contains("the first axis counts samples"), "{message}");
    let scalar = write(dir.path(), "n.npy", &f32s(&[], &[0.0]));
    assert!(open(&scalar, &[InputSpec::new("x", DType::F32, vec![None])]).unwrap_err().contains("got []"));
    let two = [spec("x", DType::F32, &[5]), spec("y", DType::F32, &[5])];
    assert!(open(&single, &two).unwrap_err().contains("this model has 2: use an .npz"));
}

#[test]
fn counts_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let arrays = [("a", f32s(&[3], &[0.0; 3])), ("b", f32s(&[2], &[0.0; 2]))];
    let path = write(dir.path(), "x.npz", &stored_npz(&arrays));
    let message = open(&path, &[spec("a", DType::F32, &[]), spec("b", DType::F32, &[])]).unwrap_err();
    assert!(message.contains("array 'b' has 2 entries") && message.contains("array 'a' has 3"), "{message}");
    let labelled = stored_npz(&[("a", f32s(&[3], &[0.0; 3])), ("labels", i64s(&[2], &[0, 1]))]);
    let path = write(dir.path(), "y.npz", &labelled);
    assert!(open(&path, &[spec("a", DType::F32, &[])]).unwrap_err().contains("'labels' has 2 entries"));
    let float_labels = stored_npz(&[("a", f32s(&[1], &[0.0])), ("labels", f32s(&[1], &[0.0]))]);
    let path = write(dir.path(), "z.npz", &float_labels);
    assert!(open(&path, &[spec("a", DType::F32, &[])]).unwrap_err().contains("labels are integers, got float32"));
}

#[test]
fn nan_names_array_and_sample_and_ends_the_stream() {
    let dir = tempfile::tempdir().unwrap();
    let mut values = counting(20);
    values[13] = f32::NAN;
    let path = write(dir.path(), "x.npz", &stored_npz(&[("x", f32s(&[10, 2], &values))]));
    let data = open(&path, &[spec("x", DType::F32, &[2])]).unwrap();
    let mut stream = data.batches(4, 2).unwrap();
    assert!(stream.next().unwrap().is_ok());
    let message = stream.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("x.npz: array 'x': sample 6 holds NaN"), "{message}");
    assert!(stream.next().is_none());
}

#[test]
fn malformed_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let x = [spec("x", DType::F32, &[2])];
    let good = stored_npz(&[("x", f32s(&[2, 2], &counting(4)))]);
    for cut in 0..good.len() {
        let path = write(dir.path(), "cut.npz", &good[..cut]);
        assert!(open(&path, &x).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        let path = write(dir.path(), "bad.npz", &bad);
        // Some flips leave a readable file; none may panic.
        if let Ok(data) = open(&path, &x) {
            let _ = batches(&data, 8, 1);
        }
    }
    let path = write(dir.path(), "short.npy", &npy("<f4", false, &[100, 2], &[0; 8]));
    let message = open(&path, &x).unwrap_err();
    assert!(message.ends_with("the header promises 800 bytes of data and the file has 8"), "{message}");
    assert!(open(&dir.path().join("absent.npz"), &x).unwrap_err().contains("absent.npz"));
    let text = write(dir.path(), "x.bin", b"");
    assert!(open(&text, &x).unwrap_err().contains("is no data source"));
    let empty = write(dir.path(), "e.npz", &stored_npz(&[]));
    assert!(open(&empty, &x).unwrap_err().contains("holds no data"));
    let none = write(dir.path(), "n.npy", &f32s(&[0, 2], &[]));
    assert!(open(&none, &x).unwrap_err().contains("holds no data: its shape is [0, 2]"));
}

#[test]
fn fortran_order_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = [1f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = write(dir.path(), "f.npy", &npy("<f4", true, &[2, 3], &bytes));
    let data = open(&path, &[spec("x", DType::F32, &[3])]).unwrap();
    assert_eq!(data.sample(1).unwrap().inputs[0].as_f32().unwrap(), [4.0, 5.0, 6.0]);
    assert!(data.notes()[0].contains("Fortran order"), "{:?}", data.notes());
}

#[test]
fn directory_with_a_file_for_each_input() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "ids.npy", &npy("<i4", false, &[2, 1], &[1, 0, 0, 0, 2, 0, 0, 0]));
    write(dir.path(), "mask.npy", &i64s(&[2, 1], &[1, 1]));
    write(dir.path(), "labels.npy", &npy("|u1", false, &[2], &[7, 3]));
    let specs = [spec("ids", DType::I64, &[1]), spec("mask", DType::I64, &[1])];
    let data = open(dir.path(), &specs).unwrap();
    assert_eq!(data.labels(), Some(vec![7, 3]));
    assert_eq!(data.sample(1).unwrap().inputs[0].data, ArrayData::I64(vec![2]));
    let third = [specs[0].clone(), spec("types", DType::I64, &[1])];
    let message = open(dir.path(), &third).unwrap_err();
    assert!(message.contains("no array for input 'types'") && message.contains("'mask'"), "{message}");
}

#[test]
fn directory_with_a_file_for_each_sample() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "s0.npy", &f32s(&[2], &[1.0, 2.0]));
    write(dir.path(), "s1.npy", &f32s(&[1, 2], &[3.0, 4.0]));
    write(dir.path(), "labels.npy", &i64s(&[2], &[1, 0]));
    let data = open(dir.path(), &[spec("x", DType::F32, &[2])]).unwrap();
    assert!(data.notes()[0].contains("each of the 2 files is one sample"), "{:?}", data.notes());
    let all = batches(&data, 2, 2).unwrap();
    assert_eq!(all[0].inputs[0].shape, [2, 2]);
    assert_eq!(all[0].inputs[0].as_f32().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(all[0].labels, Some(vec![1, 0]));
    write(dir.path(), "s2.npy", &f32s(&[3], &[0.0; 3]));
    assert!(
        open(dir.path(), &[spec("x", DType::F32, &[2])])
            .unwrap_err()
            .contains("s2.npy: input 'x' expects shape [N, 2], got [3]")
    );
}

#[test]
fn samples_of_different_lengths_need_batches_of_one() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.npy", &f32s(&[2], &[0.0; 2]));
    write(dir.path(), "b.npy", &f32s(&[3], &[0.0; 3]));
    let data = open(dir.path(), &[InputSpec::new("x", DType::F32, vec![None, None])]).unwrap();
    assert_eq!(batches(&data, 1, 2).unwrap().len(), 2);
    let message = batches(&data, 2, 2).unwrap_err();
    assert!(message.contains("b.npy' has shape [1, 3]") && message.contains("batches of one"), "{message}");
}

#[test]
fn reals_for_a_quantized_input() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "x.npy", &f32s(&[1, 3], &[-1.0, 0.0, 9.0]));
    let quantized = spec("x", DType::U8, &[3]).with_quantization(0.1, 128);
    let data = open(&path, std::slice::from_ref(&quantized)).unwrap();
    assert_eq!(data.sample(0).unwrap().inputs[0].data, ArrayData::U8(vec![118, 128, 218]));
    assert!(data.notes()[0].contains("quantized to uint8"), "{:?}", data.notes());
    assert!(open(&path, &[spec("x", DType::U8, &[3])]).is_err());
}

#[test]
fn subsets_keep_labels_and_order() {
    let dir = tempfile::tempdir().unwrap();
    let labels: Vec<i64> = (0..10).collect();
    let path =
        write(dir.path(), "x.npz", &stored_npz(&[("x", f32s(&[10], &counting(10))), ("labels", i64s(&[10], &labels))]));
    let data = open(&path, &[spec("x", DType::F32, &[])]).unwrap();
    let labels_of = |d: &Dataset| d.labels().unwrap();
    assert_eq!(labels_of(&data.subset(&[9, 0, 0]).unwrap()), [9, 0, 0]);
    assert!(data.subset(&[10]).is_err());
    assert_eq!(labels_of(&data.skip(7).take(2)), [7, 8]);
    let (held, rest) = data.split(3);
    assert_eq!((labels_of(&held), labels_of(&rest)), (vec![1, 5, 8], vec![0, 2, 3, 4, 6, 7, 9]));
    assert_eq!(labels_of(&data.spread(99)).len(), 10);
    let (none, all) = data.split(0);
    assert!(none.is_empty() && all.len() == 10);
    assert!(batches(&none, 4, 2).unwrap().is_empty());
    assert_eq!(batches(&held, 2, 2).unwrap()[0].inputs[0].as_f32().unwrap(), [1.0, 5.0]);
}

#[test]
fn images_in_an_array_by_a_toml() {
    let dir = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..24).collect();
    write(dir.path(), "d/x.npy", &npy("|u1", false, &[2, 2, 2, 3], &pixels));
    write(dir.path(), "d/y.npy", &npy("|u1", false, &[2], &[4, 5]));
    let toml = b"npy = 'd/x.npy'\nlabels = 'd/y.npy'\nlabel_offset = 1\n[preprocess]\nmean = 1\nstd = 2\n";
    let path = write(dir.path(), "data.toml", toml);
    let data = open(&path, &[spec("x", DType::F32, &[3, 2, 2])]).unwrap();
    assert_eq!(data.labels(), Some(vec![5, 6]));
    let sample = data.sample(1).unwrap();
    assert_eq!(sample.inputs[0].shape, [1, 3, 2, 2]);
    assert_eq!(sample.inputs[0].as_f32().unwrap()[..5], [5.5, 7.0, 8.5, 10.0, 6.0]);
    // The command line goes before the file.
    let options = OpenOptions { label_offset: Some(0), ..OpenOptions::default() };
    let data = Dataset::open(&path, &[spec("x", DType::F32, &[3, 2, 2])], &options).unwrap();
    assert_eq!(data.labels(), Some(vec![4, 5]));
    // The same images stored by planes.
    let planar: Vec<u8> =
        (0..2).flat_map(|n| (0..3).flat_map(move |c| (0..4).map(move |i| n * 12 + i * 3 + c))).collect();
    write(dir.path(), "d/x.npy", &npy("|u1", false, &[2, 3, 2, 2], &planar));
    assert_eq!(open(&path, &[spec("x", DType::F32, &[3, 2, 2])]).unwrap().sample(1).unwrap(), sample);
    write(dir.path(), "d/x.npy", &f32s(&[2, 2, 2, 3], &[0.0; 24]));
    let message = open(&path, &[spec("x", DType::F32, &[3, 2, 2])]).unwrap_err();
    assert!(message.contains("of uint8, got [2, 2, 2, 3] of float32"), "{message}");
}
