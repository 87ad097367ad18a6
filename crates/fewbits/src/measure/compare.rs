//! Where the error arises: layer by layer.

use std::path::PathBuf;

use fewbits_engine::simplify::{SimplifyOptions, simplify};
use fewbits_graph::Tensor;
use fewbits_report::{Compare, Layer, format};

use crate::{DataOptions, Error, ModelData, Progress, Result, read_model};

/// What `compare` is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompareOptions {
    /// The float model.
    pub float: PathBuf,
    /// The quantized model.
    pub quantized: PathBuf,
    /// The data.
    pub data: PathBuf,
    /// How the data is read.
    pub data_options: DataOptions,
    /// At most this many samples, spread evenly over the data.
    pub samples: usize,
    /// Only the worst layers, at most this many; all if not given.
    pub top: Option<usize>,
    /// Threads; 0 takes all cores.
    pub threads: usize,
}

/// Compares the layers of two models that exist in both by name, worst first.
///
/// # Errors
/// Files and data that cannot be read or do not fit.
pub fn compare_files(options: &CompareOptions, progress: &mut dyn Progress) -> Result<Compare> {
    let read = |path: &PathBuf| simplify(read_model(path)?, &SimplifyOptions::default()).map_err(Error::engine(path));
    let (float, quantized) = (read(&options.float)?, read(&options.quantized)?);
    let data = ModelData::open(&options.data, &float, &options.float, &options.data_options)?;
    let data = data.with(data.dataset().spread(options.samples));
    if data.dataset().is_empty() {
        return Err(Error::Usage("at least one sample is needed: --samples 0".to_owned()));
    }
    let samples = data.batches(options.threads)?.map(|b| b.map(|b| b.inputs)).collect::<Result<Vec<Vec<Tensor>>>>()?;
    progress.start("comparing", samples.len());
    let counted = samples.iter().map(|sample| {
        progress.advance();
        sample.as_slice()
    });
    let comparison = fewbits_quantize::compare(&float, &quantized, counted, options.threads);
    let comparison = comparison.map_err(Error::quantize(&options.quantized))?;
    progress.finish();
    let mut layers: Vec<Layer> = comparison.layers.into_iter().map(layer).collect();
    let order = |layer: &Layer| layer.sqnr_db.unwrap_or(f64::NEG_INFINITY);
    // Stable: layers that are equally good stay in execution order.
    layers.sort_by(|a, b| order(a).total_cmp(&order(b)));
    let all = layers.len();
    layers.truncate(options.top.unwrap_or(all));
    let mut notes = data.dataset().notes().to_vec();
    if layers.len() < all {
        notes.push(format!("{} better layers are not shown", all - layers.len()));
    }
    Ok(Compare { samples: data.dataset().len() as u64, layers, notes })
}

fn layer(error: fewbits_quantize::LayerError) -> Layer {
    Layer {
        node: error.node,
        op: error.op.to_owned(),
        value: error.value,
        sqnr_db: format::finite_sqnr(Some(error.sqnr_db)),
        cosine: Some(error.cosine).filter(|c| c.is_finite()),
        max_abs: Some(error.max_abs).filter(|m| m.is_finite()),
    }
}
