//! Equalizing the shared models leaves what they compute as it is.

use std::io::Write;
use std::path::Path;

use fewbits::quantize::{Format, Mode, Recipe};
use fewbits::{Job, Model, RunOptions, Silent, read_model, run_shapes, synthetic_inputs};

#[test]
fn shared_models_compute_the_same() {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    if !models.exists() {
        assert!(std::env::var_os("CI").is_none(), "../shared is absent");
        let _ = writeln!(std::io::stderr(), "skipped: ../shared is absent");
        return;
    }
    // With none of MobileNetV1's edges free of clamps, it stays as it is.
    for (file, changes) in [
        ("resnet20_cifar10_dyn.onnx", true),
        ("resnet8_cifar10_float.tflite", true),
        ("vww_96_float.tflite", true),
        ("ad01_float.tflite", true),
        ("mobilenet_v1_025_224_dyn.onnx", false),
    ] {
        let path = models.join(file);
        let mut job = Job::new(read_model(&path).unwrap(), &path, Mode::Int8, Format::Onnx).unwrap();
        let before = job.graph().clone();
        let recipe = Recipe { equalize: true, ..Recipe::new(Mode::Int8) };
        assert_eq!(job.equalize(&recipe, None, 1, &mut Silent).unwrap(), changes, "{file}");
        let inputs = synthetic_inputs(&before, &run_shapes(&before, None).0);
        let [a, b] = [before, job.graph().clone()].map(|graph| {
            let mut model = Model::simplified(graph, &path, &RunOptions::default()).unwrap();
            model.run_real(&inputs).unwrap().remove(0).data
        });
        let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let error = a.iter().zip(&b).fold(0.0f32, |m, (x, y)| m.max((x - y).abs())) / largest;
        assert!(error < 1e-5, "{file}: {error}");
    }
}
