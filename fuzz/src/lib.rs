//! What the fuzz targets share.

pub mod onnx_mutator;

use std::path::{Path, PathBuf};

use fewbits_data::{DType, Dataset, InputSpec, OpenOptions};
use fewbits_engine::SimplifyOptions;
use fewbits_graph::Graph;

/// Nodes of the largest graph that is taken further than reading. The passes repeat until nothing
/// changes; a limit keeps an execution short without hiding anything that a larger graph would
/// show.
const LARGEST: usize = 200;

/// Whether a graph is worth the time of writing and simplifying it.
pub fn is_small(graph: &Graph) -> bool {
    graph.nodes.len() <= LARGEST
}

/// Simplifies the graph; a graph that cannot be simplified is an error and not a panic, and what
/// comes out is valid.
///
/// # Panics
/// If the simplified graph breaks a rule of [`Graph::validate`], or changed its public values.
pub fn simplify(graph: Graph) {
    let public = |g: &Graph| -> Vec<_> {
        g.inputs.iter().chain(&g.outputs).map(|&v| (g.value(v).name.clone(), g.value(v).dtype)).collect()
    };
    let before = public(&graph);
    if let Ok(simplified) = fewbits_engine::simplify(graph, &SimplifyOptions::default()) {
        simplified.validate().expect("a simplified graph is valid");
        assert_eq!(before, public(&simplified), "public values keep names and types");
    }
}

/// A file with given contents that is gone when the value is dropped. It lies in memory where the
/// machine has such a place.
pub struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Writes the file. `name` must differ between files that exist at once.
    ///
    /// # Panics
    /// If it cannot be written: there is nothing to fuzz then.
    pub fn new(name: &str, contents: &[u8]) -> Self {
        let path = scratch().join(name);
        std::fs::write(&path, contents).expect("the scratch folder is writable");
        TemporaryFile(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A leftover is overwritten by the next execution.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A folder of this process.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = base.join(format!("fewbits-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the scratch folder can be made");
    folder
}

/// Inputs of models that between them ask for every conversion of arrays: free and fixed extents,
/// every element type, a quantized input, two inputs by name.
pub fn input_specs() -> Vec<Vec<InputSpec>> {
    let image = || InputSpec::new("image", DType::F32, vec![None, Some(1), None, None]);
    vec![
        vec![image()],
        vec![InputSpec::new("image", DType::I8, vec![None, None]).with_quantization(0.5, -3)],
        vec![InputSpec::new("image", DType::U8, vec![None, Some(3)]).with_quantization(0.02, 128)],
        vec![InputSpec::new("image", DType::I64, vec![None])],
        vec![
            InputSpec::new("ids", DType::I32, vec![None, Some(4)]),
            InputSpec::new("mask", DType::Bool, vec![None, Some(4)]),
        ],
        vec![InputSpec::new("image", DType::F16, vec![None, None, None])],
    ]
}

/// Opens the data for each of [`input_specs`] and reads samples from both ends.
pub fn open_and_read(path: &Path, options: &OpenOptions) {
    for specs in input_specs() {
        let Ok(data) = Dataset::open(path, &specs, options) else { continue };
        let len = data.len();
        assert!(len > 0, "data as opened is never empty");
        for index in [0, 1, len / 2, len - 1] {
            if let Ok(sample) = data.sample(index) {
                assert_eq!(sample.inputs.len(), specs.len());
            }
        }
        if let Some(labels) = data.labels() {
            assert_eq!(labels.len(), len);
        }
    }
}
