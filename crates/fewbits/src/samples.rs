//! Which samples are calibrated with, and which are measured on.

use std::path::{Path, PathBuf};

use fewbits_data::Dataset;

use crate::{DataOptions, Job, ModelData, QuantizeOptions, Result};

/// Most samples held back from calibration to measure on.
const HELD_BACK: usize = 50;

/// The samples of a quantization.
pub(crate) struct Samples {
    pub(crate) calibration: Option<ModelData>,
    pub(crate) measured: Option<ModelData>,
    pub(crate) notes: Vec<String>,
}

impl Samples {
    /// Samples that were made: nothing can be measured on them.
    pub(crate) fn made(path: &Path, options: &QuantizeOptions, job: &Job) -> Result<Samples> {
        let open = |path: &Path, how: &DataOptions| ModelData::open(path, job.graph(), &options.model, how);
        let calibration = open(path, &DataOptions::default())?;
        let measured = options.eval.as_ref().map(|eval| open(eval, &options.data_options)).transpose()?;
        let notes = measured.iter().flat_map(|d| d.dataset().notes().to_vec()).collect();
        Ok(Samples { calibration: Some(calibration), measured, notes })
    }

    pub(crate) fn open(options: &QuantizeOptions, job: &Job, calibrates: bool) -> Result<Samples> {
        let open = |path: &PathBuf| ModelData::open(path, job.graph(), &options.model, &options.data_options);
        let data = options.data.as_ref().map(open).transpose()?;
        let eval = options.eval.as_ref().map(open).transpose()?;
        let mut notes: Vec<String> = Vec::new();
        for note in data.iter().chain(&eval).flat_map(|d| d.dataset().notes()) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        if calibrates && options.data == options.eval {
            notes.push("--eval is --data: some of the samples measured on were calibrated with too".to_owned());
        }
        let Some(data) = data else {
            return Ok(Samples { calibration: None, measured: eval, notes });
        };
        let (calibration, held) = match (calibrates, &eval) {
            (true, Some(_)) => (data.dataset().spread(options.samples), None),
            // A search decides by small differences: it measures on all that is left.
            (true, None) if options.max_drop.is_some() && data.dataset().len() > options.samples => {
                let (calibration, rest) = data.dataset().split(options.samples);
                (calibration, Some(rest))
            }
            (true, None) => hold_back(data.dataset(), options.samples),
            (false, _) if options.max_drop.is_some() => (data.dataset().take(0), Some(data.dataset().clone())),
            (false, _) => (data.dataset().take(0), Some(data.dataset().spread(HELD_BACK))),
        };
        if calibrates && held.is_none() && eval.is_none() {
            notes.push("there is one sample only: nothing could be held back to measure on".to_owned());
        }
        let held = held.map(|held| data.with(held));
        Ok(Samples { calibration: calibrates.then(|| data.with(calibration)), measured: eval.or(held), notes })
    }
}

/// Samples to calibrate with, and others to measure on.
pub(crate) fn hold_back(data: &Dataset, samples: usize) -> (Dataset, Option<Dataset>) {
    if data.len() > samples {
        let (calibration, rest) = data.split(samples);
        return (calibration, Some(rest.spread(HELD_BACK)));
    }
    if data.len() < 2 {
        return (data.clone(), None);
    }
    let (held, calibration) = data.split((data.len() / 10).clamp(1, HELD_BACK));
    (calibration, Some(held))
}
