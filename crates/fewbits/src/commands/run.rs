//! `fewbits run`

use std::path::{Path, PathBuf};

use fewbits::graph::{Graph, Shape, Tensor};
use fewbits::report::{Output, Run};
use fewbits::{DataOptions, Error, Model, ModelData, Result, RunOptions, to_npy, write_file};

use crate::cli::{InputArg, RunArgs};
use crate::console::Console;

pub(super) fn execute(args: &RunArgs, console: &Console) -> Result<()> {
    let options = RunOptions { threads: args.threads, rounding: args.rounding.into(), ..RunOptions::default() };
    let mut model = Model::open(&args.model, &options)?;
    let files = assign(&model, &args.input)?;
    let inputs = read(&model, &files)?;
    let outputs = model.run(&inputs)?;
    std::fs::create_dir_all(&args.output_dir).map_err(|source| Error::Io {
        action: "create",
        path: args.output_dir.clone(),
        source,
    })?;
    let mut report = Run::default();
    let mut taken: Vec<PathBuf> = Vec::new();
    for (&id, tensor) in model.graph().outputs.iter().zip(&outputs) {
        let name = &model.graph().value(id).name;
        let path = free_path(&args.output_dir, name, &taken);
        write_file(&path, &to_npy(tensor))?;
        report.outputs.push(Output {
            name: name.clone(),
            dtype: tensor.dtype().to_string(),
            shape: tensor.shape().to_vec(),
            file: path.display().to_string(),
        });
        taken.push(path);
    }
    console.show(&report)
}

/// The file of each input, in the model's order.
fn assign(model: &Model, arguments: &[InputArg]) -> Result<Vec<PathBuf>> {
    let graph = model.graph();
    let names: Vec<&str> = graph.inputs.iter().map(|&id| graph.value(id).name.as_str()).collect();
    let mut files: Vec<Option<PathBuf>> = vec![None; names.len()];
    for argument in arguments {
        let at = match &argument.name {
            Some(name) => names.iter().position(|n| n == name),
            None if names.len() == 1 => Some(0),
            None => None,
        };
        let given = argument.name.as_deref().unwrap_or("without a name");
        let Some(at) = at else {
            let what = format!("--input {given}: the model's inputs are {}", names.join(", "));
            return Err(Error::Usage(what));
        };
        if files[at].replace(argument.file.clone()).is_some() {
            return Err(Error::Usage(format!("--input {}: given twice", names[at])));
        }
    }
    let pairs = names.iter().zip(files);
    pairs.map(|(name, file)| file.ok_or_else(|| Error::Usage(format!("--input {name}=FILE.npy is missing")))).collect()
}

/// Reads whole arrays; their first axis is the batch of the run.
fn read(model: &Model, files: &[PathBuf]) -> Result<Vec<Tensor>> {
    let graph = model.graph();
    let mut inputs = Vec::with_capacity(files.len());
    for (&id, file) in graph.inputs.iter().zip(files) {
        if file.extension().is_none_or(|e| e != "npy") {
            return Err(Error::Usage(format!("{}: inputs are read from .npy files", file.display())));
        }
        // A graph of this input alone gives the checks and conversions that data gets; a scalar is
        // read as its one row.
        let mut alone = Graph::default();
        let value = graph.value(id);
        let scalar = value.shape.rank() == 0;
        let shape = if scalar { Shape::fixed(&[1]) } else { value.shape.clone() };
        let input = alone.add_input(&value.name, value.dtype, shape);
        alone.value_mut(input).quant.clone_from(&value.quant);
        let options = DataOptions { any_number: true, ..DataOptions::default() };
        let tensors = ModelData::open(file, &alone, model.path(), &options)?.whole()?.inputs;
        inputs.extend(tensors.into_iter().map(|t| if scalar { t.reshaped(Vec::new()).unwrap_or(t) } else { t }));
    }
    Ok(inputs)
}

/// `<name>.npy`, characters that file names avoid replaced by `_`, a number added where taken.
fn free_path(directory: &Path, name: &str, taken: &[PathBuf]) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let stem: String = name.chars().map(plain).collect();
    // `.` and `..` are directories, and a leading dot hides a file.
    let stem = if stem.is_empty() || stem.starts_with('.') { format!("_{stem}") } else { stem };
    let first = directory.join(format!("{stem}.npy"));
    let others = (1..).map(|n| directory.join(format!("{stem}_{n}.npy")));
    std::iter::once(first.clone()).chain(others).find(|path| !taken.contains(path)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_names_become_file_names_inside_the_directory() {
        let directory = Path::new("out");
        let path = |name, taken: &[PathBuf]| free_path(directory, name, taken);
        assert_eq!(path("logits", &[]), Path::new("out/logits.npy"));
        assert_eq!(path("../../etc/passwd", &[]), Path::new("out/_.._.._etc_passwd.npy"));
        assert_eq!(path("", &[]), Path::new("out/_.npy"));
        let taken = [PathBuf::from("out/a_0.npy")];
        assert_eq!(path("a:0", &taken), Path::new("out/a_0_1.npy"));
    }
}
