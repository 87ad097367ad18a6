//! From an integer model file to C for a microcontroller.

use std::io::Write;
use std::path::{Path, PathBuf};

use fewbits_emit_c::{Cost, Emitted, Options, emit};
use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_graph::Graph;
use fewbits_report::{Export, ExportLayer};

use crate::{Error, Result, fix_input_shapes, read_model, run_shapes};

/// What `export` is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The integer model, `.onnx` or `.tflite`.
    pub model: PathBuf,
    /// The C file to write; the header goes beside it.
    pub output: PathBuf,
    /// Names, target and limits. The name is that of the header, too: the C file includes it.
    pub c: Options,
    /// Fixes shapes of inputs, by name. A free batch is 1.
    pub input_shapes: Vec<(String, Vec<usize>)>,
}

impl ExportOptions {
    /// The defaults: names from the C file's own, any target, no limits.
    pub fn new(model: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        let output = output.into();
        let c = Options { name: c_name(&output), ..Options::default() };
        ExportOptions { model: model.into(), output, c, input_shapes: Vec::new() }
    }
}

/// Whether a file name asks for C.
pub fn is_c(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("c"))
}

/// The name that a C file's own gives its functions: its stem, what no identifier has replaced.
pub fn c_name(output: &Path) -> String {
    let stem = output.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let name: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { format!("model_{name}") }
}

/// The header that the C file `output` includes, whose functions begin with `name`.
pub(crate) fn header_path(output: &Path, name: &str) -> PathBuf {
    output.with_file_name(format!("{name}.h"))
}

/// Reads an integer model and writes it as C: `<name>.c` at `output` and `<name>.h` beside it. Both
/// files appear, or neither.
///
/// # Errors
/// [`Error::Usage`] for an output that is no `.c` file; [`Error::EmitC`] for a model that is not
/// wholly integer, or does not fit the limits; what reading and simplifying meet.
pub fn export_file(options: &ExportOptions) -> Result<Export> {
    if !is_c(&options.output) {
        let what = format!("{} is no C file: give --output a name that ends in .c", options.output.display());
        return Err(Error::Usage(what));
    }
    drop(crate::files::prepare(&options.output)?);
    let mut graph = read_model(&options.model)?;
    fix_input_shapes(&mut graph, &options.input_shapes).map_err(|what| Error::model(&options.model, what))?;
    export_graph(graph, options)
}

/// As [`export_file`], of the graph of `options.model` with its input shapes fixed.
pub(crate) fn export_graph(graph: Graph, options: &ExportOptions) -> Result<Export> {
    let emitted = emit_model(graph, &options.model, &options.c)?;
    let header = header_path(&options.output, &options.c.name);
    write_both(&options.output, &emitted.source, &header, &emitted.header)?;
    Ok(report(&emitted.cost, options, &header))
}

/// Simplifies a graph, a free batch fixed to 1, and writes it as C. `path` is its name in messages.
fn emit_model(graph: Graph, path: &Path, options: &Options) -> Result<Emitted> {
    let (shapes, chosen) = run_shapes(&graph, None);
    if !chosen.is_empty() {
        let what = format!("C needs fixed shapes: set {} with --input-shape", chosen.join(", "));
        return Err(Error::model(path, what));
    }
    let graph = graph.with_input_shapes(&shapes).map_err(|e| Error::model(path, e.to_string()))?;
    let graph = simplify(graph, &SimplifyOptions::default()).map_err(Error::engine(path))?;
    emit(&graph, options).map_err(|source| Error::EmitC { path: path.to_owned(), source: Box::new(source) })
}

fn write_both(source: &Path, source_text: &str, header: &Path, header_text: &str) -> Result<()> {
    let prepared = [(source, source_text), (header, header_text)].map(|(path, text)| {
        let mut file = crate::files::prepare(path)?;
        file.write_all(text.as_bytes()).map_err(|e| Error::io("write", path, e))?;
        file.as_file().sync_all().map_err(|e| Error::io("write", path, e))?;
        Ok::<_, Error>((path, file))
    });
    let [source, header] = prepared;
    let (source, header) = (source?, header?);
    for (path, file) in [header, source] {
        file.persist(path).map_err(|e| Error::io("write", path, e.error))?;
    }
    Ok(())
}

fn report(cost: &Cost, options: &ExportOptions, header: &Path) -> Export {
    let layers = cost.layers.iter().map(|l| ExportLayer {
        node: l.node.clone(),
        op: l.op.to_owned(),
        output: l.output.clone(),
        macs: l.macs,
        constants: l.constants as u64,
        code: l.code as u64,
        ram: l.memory as u64,
    });
    Export {
        model: options.model.display().to_string(),
        source: options.output.display().to_string(),
        header: header.display().to_string(),
        target: options.c.target.to_string(),
        arena: cost.arena as u64,
        stack: cost.stack as u64,
        inputs: cost.inputs as u64,
        outputs: cost.outputs as u64,
        constants: cost.constants as u64,
        code: cost.code as u64,
        macs: cost.macs,
        layers: layers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_functions() {
        assert_eq!(c_name(Path::new("a/kws.c")), "kws");
        assert_eq!(c_name(Path::new("kws.int8-v2.c")), "kws_int8_v2");
        assert_eq!(c_name(Path::new("8bit.c")), "model_8bit");
        assert!(is_c(Path::new("A.C")) && !is_c(Path::new("a.cc")) && !is_c(Path::new("c")));
    }
}
