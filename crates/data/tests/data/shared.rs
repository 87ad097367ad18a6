//! The shared data: real photographs and arrays.

use std::path::{Path, PathBuf};

use fewbits_data::{DType, Dataset, InputSpec, OpenOptions};

use crate::common::write;

/// `../shared/data` beside the workspace; its absence is a failure in CI.
fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if path.is_dir() {
        return Some(path.canonicalize().unwrap());
    }
    assert!(std::env::var_os("CI").is_none(), "../shared is absent");
    // The test harness shows this line, and nothing else would.
    #[allow(clippy::print_stderr)]
    {
        eprintln!("skipped: ../shared is absent");
    }
    None
}

fn nchw(side: usize) -> [InputSpec; 1] {
    [InputSpec::new("input", DType::F32, vec![None, Some(3), Some(side), Some(side)])]
}

#[test]
fn imagenet_folder_decodes_with_its_labels() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let images = shared.join("imagenet_500");
    let toml = format!(
        "images = '{}'\n[preprocess]\ncrop_fraction = 0.875\nsize = [224, 224]\ninterpolation = 'bicubic'\n\
         mean = [127, 127, 127]\nstd = [128, 128, 128]\n",
        images.display()
    );
    let path = write(dir.path(), "imagenet.toml", toml.as_bytes());
    let data = Dataset::open(&path, &nchw(224), &OpenOptions::default()).unwrap();
    assert_eq!(data.len(), 500);
    let labels = data.labels().unwrap();
    assert_eq!((labels[0], labels[1]), (0, 2));
    assert!(labels.windows(2).all(|pair| pair[0] < pair[1]), "synsets in order have classes in order");
    let (mut count, mut sum) = (0, 0.0);
    for batch in data.batches(32, 2).unwrap() {
        let batch = batch.unwrap();
        let pixels = batch.inputs[0].as_f32().unwrap();
        assert_eq!(pixels.len(), batch.len() * 3 * 224 * 224);
        count += batch.len();
        sum += pixels.iter().map(|&p| f64::from(p)).sum::<f64>();
    }
    assert_eq!(count, 500);
    let mean = sum / (500.0 * 3.0 * 224.0 * 224.0);
    assert!((mean - PILLOW_MEAN).abs() < 2e-4, "{mean}");
}

/// `np.mean((np.asarray(crop, np.float32) - 127) / 128)` over the 500 crops, with Pillow 13.0.
/// The two JPEG decoders round some pixels differently by one.
const PILLOW_MEAN: f64 = -0.084_818;

#[test]
fn cifar_array_by_a_toml() {
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let cifar = shared.join("cifar10_jpegq75");
    let toml = format!(
        "npy = '{0}/test5000_x_u8_nhwc.npy'\nlabels = '{0}/test5000_y_u8.npy'\n[preprocess]\nscale = 0.00392156862745098\n\
         mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n",
        cifar.display()
    );
    let path = write(dir.path(), "cifar.toml", toml.as_bytes());
    let data = Dataset::open(&path, &nchw(32), &OpenOptions::default()).unwrap();
    assert_eq!(data.len(), 5000);
    assert!(data.labels().unwrap().iter().all(|&label| label < 10));
    let raw = std::fs::read(cifar.join("test5000_x_u8_nhwc.npy")).unwrap();
    let first = &raw[raw.len() - 5000 * 32 * 32 * 3..][..3];
    let batch = data.batches(64, 2).unwrap().next().unwrap().unwrap();
    let pixels = batch.inputs[0].as_f32().unwrap();
    for (channel, (mean, std)) in [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)].into_iter().enumerate() {
        let expected = (f32::from(first[channel]) / 255.0 - mean) / std;
        assert!((pixels[channel * 1024] - expected).abs() < 1e-5, "channel {channel}");
    }
    assert_eq!(data.samples(2).unwrap().filter(Result::is_ok).count(), 5000);
}
