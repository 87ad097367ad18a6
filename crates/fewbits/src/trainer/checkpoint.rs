//! A training's state in a file.

use std::collections::HashMap;
use std::path::Path;

use fewbits_train::{Average, Optimizer, Parameter};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, write_file};

/// What a checkpoint says beside its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progressed {
    /// What the run was asked, as text: a checkpoint of another request is refused.
    pub(super) request: String,
    /// Optimiser steps taken.
    pub(super) steps: u64,
    /// Sum of the losses of the present epoch's steps, and of samples and hits.
    pub(super) loss: f64,
    pub(super) seen: u64,
    pub(super) right: u64,
    /// Measure of the best epoch.
    pub(super) best: Option<f64>,
    pub(super) best_epoch: u64,
    /// The epochs so far.
    pub(super) epochs: Vec<fewbits_report::TrainEpoch>,
}

/// The key under which safetensors' metadata holds [`Progressed`] as JSON: one key only, so that the
/// file's bytes do not depend on the order of a map.
const KEY: &str = "fewbits";

/// Everything that a run needs to go on.
pub(super) struct State<'a> {
    pub(super) parameters: &'a mut [Parameter],
    pub(super) optimizer: &'a mut Optimizer,
    pub(super) average: &'a mut Option<Average>,
    /// The parameters of the best epoch; empty before there was one.
    pub(super) best: &'a mut Vec<Vec<f32>>,
}

impl State<'_> {
    /// Every list of numbers with its name. All have the lengths of the parameters.
    fn lists(&mut self) -> Vec<(String, &mut Vec<f32>)> {
        let mut lists: Vec<(String, &mut Vec<f32>)> = Vec::new();
        lists.extend(self.parameters.iter_mut().enumerate().map(|(i, p)| (format!("parameter/{i:05}"), &mut p.values)));
        lists.extend(self.optimizer.first.iter_mut().enumerate().map(|(i, l)| (format!("first/{i:05}"), l)));
        lists.extend(self.optimizer.second.iter_mut().enumerate().map(|(i, l)| (format!("second/{i:05}"), l)));
        let average = self.average.iter_mut().flat_map(|a| a.values.iter_mut());
        lists.extend(average.enumerate().map(|(i, l)| (format!("average/{i:05}"), l)));
        lists.extend(self.best.iter_mut().enumerate().map(|(i, l)| (format!("best/{i:05}"), l)));
        lists
    }

    /// Writes the state whole or not at all.
    pub(super) fn write(&mut self, path: &Path, progressed: &Progressed) -> Result<()> {
        let bad = |what: String| Error::model(path, format!("the checkpoint cannot be written: {what}"));
        let text = serde_json::to_string(progressed).map_err(|e| bad(e.to_string()))?;
        let bytes: Vec<(String, Vec<u8>)> =
            self.lists().into_iter().map(|(name, list)| (name, little_endian(list))).collect();
        let views = bytes.iter().map(|(name, data)| {
            let view = TensorView::new(Dtype::F32, vec![data.len() / 4], data).map_err(|e| bad(e.to_string()))?;
            Ok((name.as_str(), view))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|e| bad(e.to_string()))?;
        write_file(path, &file)
    }

    /// Takes over the state of a file that was written for the same `request`.
    pub(super) fn read(&mut self, path: &Path, request: &str) -> Result<Progressed> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let bad = |what: String| Error::model(path, format!("this is no checkpoint of `fewbits train`: {what}"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
        let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| bad("no state in it".into()))?;
        let progressed: Progressed = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
        if progressed.request != request {
            let what = format!(
                "the checkpoint is of another training; give the same model, data and flags, or start anew without --resume\n  it was: {}\n  now:    {request}",
                progressed.request
            );
            return Err(Error::model(path, what));
        }
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
        if progressed.best.is_some() {
            *self.best = self.parameters.iter().map(|p| vec![0.0; p.values.len()]).collect();
        }
        for (name, list) in self.lists() {
            let tensor = tensors.tensor(&name).map_err(|e| bad(e.to_string()))?;
            if tensor.dtype() != Dtype::F32 || tensor.data().len() != list.len() * 4 {
                return Err(bad(format!("`{name}` has {} bytes, not {}", tensor.data().len(), list.len() * 4)));
            }
            for (x, bytes) in list.iter_mut().zip(tensor.data().chunks_exact(4)) {
                *x = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        self.optimizer.steps = progressed.steps;
        Ok(progressed)
    }
}

fn little_endian(list: &[f32]) -> Vec<u8> {
    list.iter().flat_map(|x| x.to_le_bytes()).collect()
}
