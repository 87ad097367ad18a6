//! The files that a quantization leaves: a model or C, and the recipe.

use std::path::Path;

use fewbits_graph::Graph;
use fewbits_quantize::Recipe;

use crate::export::{ExportOptions, export_graph, is_c};
use crate::{Error, QuantizeOptions, Result, read_model, recipe_path, size_on_disk, write_model};

/// A result as its files hold it.
pub(crate) struct Written {
    /// The graph that a reader of the files has.
    pub(crate) graph: Graph,
    /// Size of a model file; of C, what its constants and its code take.
    pub(crate) bytes: u64,
    /// The files' names without the recipe's, for people.
    pub(crate) files: String,
}

/// Writes the result and its recipe; if the result cannot be written, there is no recipe either.
pub(crate) fn write_result(graph: Graph, recipe: &Recipe, options: &QuantizeOptions) -> Result<Written> {
    let path = recipe_path(&options.output);
    let file = crate::files::prepare(&path)?;
    let text = format!("# The recipe of {}, for --recipe.\n{}", file_name(&options.output), recipe.to_toml());
    std::fs::write(file.path(), text).map_err(|e| Error::io("write", &path, e))?;
    let written = if is_c(&options.output) { as_c(graph, options)? } else { as_model(graph, &options.output)? };
    file.persist(&path).map_err(|e| Error::io("write", &path, e.error))?;
    Ok(written)
}

fn as_model(graph: Graph, output: &Path) -> Result<Written> {
    write_model(&graph, output)?;
    drop(graph);
    let graph = read_model(output)?;
    let bytes = size_on_disk(output, &graph)?;
    Ok(Written { graph, bytes, files: output.display().to_string() })
}

/// C follows TFLite's rules: the graph goes through that format's bytes, so that the C is that of
/// the exported `.tflite` file, down to the names.
fn as_c(graph: Graph, options: &QuantizeOptions) -> Result<Written> {
    let error = |source| Error::Tflite { path: options.model.clone(), source: Box::new(source) };
    let bytes = fewbits_tflite::to_bytes(&graph).map_err(error)?;
    drop(graph);
    let graph = fewbits_tflite::read_bytes(&bytes).map_err(error)?;
    let exported = export_graph(graph.clone(), &ExportOptions::new(&options.model, &options.output))?;
    let files = format!("{} and {}", exported.source, exported.header);
    Ok(Written { graph, bytes: exported.constants + exported.code, files })
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
