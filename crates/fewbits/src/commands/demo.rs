//! `fewbits demo`: everything with nothing but the binary.

use std::path::{Path, PathBuf};

use fewbits::data::{ArrayData, DType, Dataset, InputSpec, OpenOptions};
use fewbits::quantize::{Format, Mode, Recipe, Statistics};
use fewbits::report::{Demo, DemoModel, Latency};
use fewbits::{
    DataOptions, Error, Job, Meter, Model, ModelData, Progress, RealOutput, Repeat, Result, RunOptions, read_model,
    size_on_disk, time_runs, write_file, write_model,
};

use crate::cli::DemoArgs;
use crate::console::Console;

const MODEL: &[u8] = include_bytes!("../../assets/digits_cnn.onnx");
const DATA: &[u8] = include_bytes!("../../assets/digits.npz");

/// Samples to calibrate with, as `quantize` takes by default.
const CALIBRATION: usize = 100;

const MODES: [(Mode, &str); 3] = [(Mode::Dynamic, "dynamic"), (Mode::Int8, "int8"), (Mode::Float16, "float16")];

pub(super) fn execute(args: &DemoArgs, console: &Console) -> Result<()> {
    let directory = &args.output_dir;
    let io = |source| Error::Io { action: "create", path: directory.clone(), source };
    std::fs::create_dir_all(directory).map_err(io)?;
    let (model, data) = (directory.join("digits_cnn.onnx"), directory.join("digits.npz"));
    write_file(&model, MODEL)?;
    write_file(&data, DATA)?;
    let float = Model::open(&model, &RunOptions { threads: 1, ..RunOptions::default() })?;
    let samples = ModelData::open(&data, float.graph(), &model, &DataOptions::default())?;
    let (train, test) = split(&data, &samples)?;
    let mut demo = Stage { directory, float, test, expected: Vec::new(), bytes: 0 };
    let calibration = train.with(train.dataset().spread(CALIBRATION));
    let mut progress = console.progress();
    progress.start("demo", MODES.len() + 1);
    let mut models = vec![demo.float_row(&model)?];
    progress.advance();
    for (mode, name) in MODES {
        models.push(demo.row(&model, mode, name, &calibration)?);
        progress.advance();
    }
    progress.finish();
    console.show(&Demo {
        directory: directory.display().to_string(),
        calibration_samples: calibration.dataset().len() as u64,
        test_samples: demo.test.dataset().len() as u64,
        models,
        next: "try it on your model: fewbits quantize MODEL.onnx -o MODEL.int8.tflite --data SAMPLES".to_owned(),
    })
}

/// The samples that the network was trained on, and the others, as the array `test` says.
fn split(path: &Path, samples: &ModelData) -> Result<(ModelData, ModelData)> {
    let flags = InputSpec::new("test", DType::U8, vec![None]);
    let flags = Dataset::open(path, &[flags], &OpenOptions::default())?;
    let mut sides = (Vec::new(), Vec::new());
    for (index, sample) in flags.samples(1)?.enumerate() {
        let held_out = matches!(&sample?.inputs[0].data, ArrayData::U8(flag) if flag[..] == [1]);
        if held_out { sides.1.push(index) } else { sides.0.push(index) }
    }
    let subset = |indices: &[usize]| -> Result<ModelData> { Ok(samples.with(samples.dataset().subset(indices)?)) };
    Ok((subset(&sides.0)?, subset(&sides.1)?))
}

/// What all rows of the table share.
struct Stage<'a> {
    directory: &'a Path,
    float: Model,
    test: ModelData,
    /// The float model's outputs, once they are known.
    expected: Vec<Vec<RealOutput>>,
    /// Size of the float model.
    bytes: u64,
}

impl Stage<'_> {
    fn float_row(&mut self, path: &Path) -> Result<DemoModel> {
        self.bytes = MODEL.len() as u64;
        for batch in self.test.batches(1)? {
            self.expected.push(self.float.run_real(&batch?.inputs)?);
        }
        let options = RunOptions { threads: 1, ..RunOptions::default() };
        let mut float = Model::simplified(self.float.graph().clone(), path, &options)?;
        self.measure("float", &mut float, self.bytes, vec![path.display().to_string()])
    }

    /// Quantizes for both formats and measures the ONNX file.
    fn row(&self, source: &Path, mode: Mode, name: &str, calibration: &ModelData) -> Result<DemoModel> {
        let recipe = Recipe::new(mode);
        let mut files = Vec::new();
        for (format, extension) in [(Format::Onnx, "onnx"), (Format::Tflite, "tflite")] {
            let job = Job::new(read_model(source)?, source, mode, format)?;
            let statistics: Option<Statistics> = match mode {
                Mode::Int8 => Some(job.calibrate(calibration, 1, &mut fewbits::Silent)?.0),
                Mode::Dynamic | Mode::Float16 | Mode::WeightOnly => None,
            };
            let (graph, _) = job.quantize(&recipe, statistics.as_ref())?;
            let path = self.directory.join(format!("digits_cnn.{name}.{extension}"));
            write_model(&graph, &path)?;
            files.push(path);
        }
        let written = read_model(&files[0])?;
        let bytes = size_on_disk(&files[0], &written)?;
        let options = RunOptions { threads: 1, ..RunOptions::default() };
        let mut model = Model::new(written, &files[0], &options)?;
        self.measure(name, &mut model, bytes, files.iter().map(|f: &PathBuf| f.display().to_string()).collect())
    }

    fn measure(&self, mode: &str, model: &mut Model, bytes: u64, files: Vec<String>) -> Result<DemoModel> {
        let mut meter = Meter::default();
        let mut first = None;
        for (batch, expected) in self.test.batches(1)?.zip(&self.expected) {
            let batch = batch?;
            let outputs = model.run_real(&batch.inputs)?;
            meter.push(&outputs, Some(expected), batch.labels.as_deref(), batch.count)?;
            first.get_or_insert(batch.inputs);
        }
        let times = time_runs(model, &first.unwrap_or_default(), Repeat { most: 2000, ..Repeat::SHORT })?;
        let result = meter.finish(0, Vec::new());
        Ok(DemoModel {
            mode: mode.to_owned(),
            bytes,
            ratio: bytes as f64 / self.bytes.max(1) as f64,
            top1: result.top1.unwrap_or_default(),
            agreement: result.agreement.unwrap_or_default(),
            sqnr_db: result.sqnr_db,
            median_ms: Latency::of_seconds(&times).map_or(0.0, |l| l.median_ms),
            files,
        })
    }
}
