//! Directories of images: labels, order, and images that do not decode.

use std::path::Path;

use crate::common::write;
use fewbits_data::config::OnBadImage;
use fewbits_data::{ArrayData, DType, Dataset, InputSpec, OpenOptions};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};

fn spec() -> [InputSpec; 1] {
    [InputSpec::new("x", DType::U8, vec![None, Some(2), Some(2), Some(3)])]
}

fn open(path: &Path) -> Result<Dataset, String> {
    Dataset::open(path, &spec(), &OpenOptions::default()).map_err(|e| e.to_string())
}

/// A 2x2 image of one colour, whose first byte tells it from the others.
fn picture(dir: &Path, name: &str, red: u8) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(2, 2, Rgb([red, 1, 2])).save(path).unwrap();
}

fn reds(data: &Dataset) -> Vec<u8> {
    let samples = data.samples(2).unwrap();
    samples
        .map(|sample| match &sample.unwrap().inputs[0].data {
            ArrayData::U8(v) => v[0],
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn class_directories_are_numbered_by_name() {
    let dir = tempfile::tempdir().unwrap();
    picture(dir.path(), "dog/b.png", 30);
    picture(dir.path(), "dog/a.PNG", 20);
    picture(dir.path(), "cat/z.png", 10);
    picture(dir.path(), "cat/deep/y.png", 5);
    picture(dir.path(), ".hidden/h.png", 99);
    picture(dir.path(), "loose.png", 98);
    let data = open(dir.path()).unwrap();
    assert_eq!(reds(&data), [5, 10, 20, 30]);
    assert_eq!(data.labels(), Some(vec![0, 0, 1, 1]));
    assert!(data.sample(0).unwrap().name.ends_with("y.png"));
    assert!(
        data.notes().iter().any(|n| n.contains("1 images stand beside the class directories")),
        "{:?}",
        data.notes()
    );
    std::fs::create_dir(dir.path().join("bird")).unwrap();
    assert!(open(dir.path()).unwrap_err().contains("bird holds no data: a class directory without images"));
}

#[test]
fn numbers_as_class_names_are_text_and_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["2", "10"] {
        picture(dir.path(), &format!("{name}/a.png"), 1);
    }
    let data = open(dir.path()).unwrap();
    assert_eq!(data.labels(), Some(vec![0, 1]));
    assert!(data.notes().iter().any(|n| n.contains("'10' is class 0")), "{:?}", data.notes());
}

#[test]
fn labels_file_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    for (name, red) in [("b.png", 2), ("a.png", 1), ("c.png", 3)] {
        picture(dir.path(), name, red);
    }
    assert!(!open(dir.path()).unwrap().has_labels());
    write(dir.path(), "labels.csv", b"file,class\nc.png,7\n./a.png,4\n");
    let data = open(dir.path()).unwrap();
    assert_eq!((reds(&data), data.labels()), (vec![1, 3], Some(vec![4, 7])));
    assert!(data.notes().iter().any(|n| n.contains("1 images are not in")), "{:?}", data.notes());
    write(dir.path(), "labels.csv", b"a.png,4\nnone.png,4\n");
    let message = open(dir.path()).unwrap_err();
    assert!(message.contains("labels.csv, line 2: 'none.png' is not in"), "{message}");
    write(dir.path(), "labels.csv", b"a.png,4\na.png,5\n");
    assert!(open(dir.path()).unwrap_err().contains("line 2: 'a.png' has a class already"));
    std::fs::remove_file(dir.path().join("labels.csv")).unwrap();
    write(dir.path(), "labels.txt", b"5\n6\n7\n");
    assert_eq!(open(dir.path()).unwrap().labels(), Some(vec![5, 6, 7]));
    write(dir.path(), "labels.txt", b"5\n6\n");
    assert!(open(dir.path()).unwrap_err().contains("labels.txt has 2 entries and the data has 3"));
}

#[test]
fn a_toml_names_folder_labels_and_preprocessing() {
    let dir = tempfile::tempdir().unwrap();
    picture(dir.path(), "pics/a.png", 1);
    write(dir.path(), "l.csv", b"a.png,4\n");
    let toml = write(dir.path(), "d.toml", b"images = 'pics'\nlabels = 'l.csv'\n[preprocess]\ncolor = 'bgr'\n");
    let data = open(&toml).unwrap();
    assert_eq!((reds(&data), data.labels()), (vec![2], Some(vec![4])));
    let wrong = write(dir.path(), "w.toml", b"images = 'pics'\n[preprocess]\nsize = 3\n");
    let message = open(&wrong).unwrap_err();
    assert!(message.contains("w.toml: preprocess.size: 3x3 does not fit input 'x' of shape [N, 2, 2, 3]"), "{message}");
}

#[test]
fn a_bad_image_is_an_error_or_skipped() {
    let dir = tempfile::tempdir().unwrap();
    picture(dir.path(), "a.png", 1);
    write(dir.path(), "b.jpg", b"\xff\xd8\xff\xe0 no more");
    picture(dir.path(), "c.png", 3);
    write(dir.path(), "labels.csv", b"a.png,1\nb.jpg,2\nc.png,3\n");
    let data = open(dir.path()).unwrap();
    let message = data.samples(2).unwrap().find_map(Result::err).unwrap().to_string();
    assert!(message.contains("b.jpg: this image cannot be used: "), "{message}");
    let skip = OpenOptions { on_bad_image: Some(OnBadImage::Skip), ..OpenOptions::default() };
    let data = Dataset::open(dir.path(), &spec(), &skip).unwrap();
    let mut batches = data.batches(2, 3).unwrap();
    let batch = batches.next().unwrap().unwrap();
    assert_eq!((batch.labels, batch.names), (Some(vec![1, 3]), vec!["a.png".to_owned(), "c.png".to_owned()]));
    assert!(batches.next().is_none());
    assert_eq!(batches.skipped().len(), 1);
    assert_eq!(batches.skipped()[0].name, "b.jpg");
    let only_bad = data.subset(&[1]).unwrap();
    let message = only_bad.batches(1, 1).unwrap().next().unwrap().unwrap_err().to_string();
    assert!(message.starts_with("all 1 images were skipped"), "{message}");
}

#[test]
fn kinds_of_png_are_decoded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("i.png");
    let decode = |image: DynamicImage| {
        image.save(&path).unwrap();
        let pixels = fewbits_data::source::decode(&path).unwrap();
        (pixels.channels, pixels.data)
    };
    assert_eq!(decode(GrayImage::from_pixel(1, 1, Luma([9])).into()), (1, vec![9]));
    assert_eq!(decode(RgbaImage::from_pixel(1, 1, Rgba([9, 8, 7, 0])).into()), (3, vec![9, 8, 7]));
    let deep = image::ImageBuffer::from_pixel(1, 1, Luma([0xff00u16]));
    assert_eq!(decode(DynamicImage::ImageLuma16(deep)), (1, vec![254]));
}

#[test]
fn empty_and_multi_input() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(dir.path()).unwrap_err().contains("holds no data: it has no .jpg, .jpeg or .png file"));
    picture(dir.path(), "a.png", 1);
    let two = [spec()[0].clone(), spec()[0].clone()];
    let message = Dataset::open(dir.path(), &two, &OpenOptions::default()).unwrap_err().to_string();
    assert!(message.contains("feeds a model of one input, and this model has 2"), "{message}");
}
