//! Reading samples ahead, on threads of their own, in a fixed order.
//!
//! Worker `w` of `n` reads samples `w, w + n, w + 2n, …` into its own bounded
//! channel; the consumer takes from the channels in turn. So the order is that
//! of the dataset for any number of threads, a slow consumer stops the workers,
//! and no lock is shared.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::array::Array;
use crate::config::OnBadImage;
use crate::dataset::Dataset;
use crate::error::DataError;

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// In the order of the model's inputs, each with a leading axis of 1.
    pub inputs: Vec<Array>,
    /// The class, offset added, if the data is labelled.
    pub label: Option<u32>,
    /// The image's path in its directory, or the array and index.
    pub name: String,
}

/// Several samples joined along axis 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// In the order of the model's inputs; axis 0 counts samples.
    pub inputs: Vec<Array>,
    /// One class a sample, if the data is labelled.
    pub labels: Option<Vec<u32>>,
    /// One name a sample; its length is the number of samples.
    pub names: Vec<String>,
}

impl Batch {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never true for a batch that [`Batches`] gave.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn begin(sample: Sample, size: usize) -> Batch {
        let mut inputs = sample.inputs;
        for input in &mut inputs {
            input.reserve_samples(size - 1);
        }
        Batch { inputs, labels: sample.label.map(|label| vec![label]), names: vec![sample.name] }
    }

    fn push(&mut self, sample: Sample) -> Result<(), DataError> {
        for (index, (all, one)) in self.inputs.iter_mut().zip(&sample.inputs).enumerate() {
            if !all.join(one) {
                let mut expected = all.shape.clone();
                expected[0] = 1;
                return Err(DataError::Ragged {
                    input: index,
                    first: self.names[0].clone(),
                    expected,
                    second: sample.name,
                    got: one.shape.clone(),
                });
            }
        }
        if let (Some(labels), Some(label)) = (&mut self.labels, sample.label) {
            labels.push(label);
        }
        self.names.push(sample.name);
        Ok(())
    }
}

/// An image that was left out under [`OnBadImage::Skip`].
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    /// The sample's name.
    pub name: String,
    /// The error, as text, with the file's path.
    pub reason: String,
}

/// Samples in order; see [`Dataset::samples`]. After an error the stream ends.
pub struct Samples {
    dataset: Dataset,
    receivers: Vec<Receiver<Result<Sample, DataError>>>,
    workers: Vec<JoinHandle<()>>,
    next: usize,
    delivered: usize,
    skipped: Vec<Skipped>,
    ended: bool,
}

impl Samples {
    pub(crate) fn start(dataset: &Dataset, threads: usize, batch: usize) -> Result<Samples, DataError> {
        let threads = threads.clamp(1, dataset.len().max(1));
        // Room for the next batch to be read while one is in use.
        let room = batch.div_ceil(threads).max(2);
        let mut samples = Samples {
            dataset: dataset.clone(),
            receivers: Vec::with_capacity(threads),
            workers: Vec::with_capacity(threads),
            next: 0,
            delivered: 0,
            skipped: Vec::new(),
            ended: false,
        };
        for worker in 0..threads {
            let (sender, receiver) = sync_channel(room);
            let shared = Arc::clone(&dataset.shared);
            let order = Arc::clone(&dataset.order);
            let read = move || {
                for &at in order.iter().skip(worker).step_by(threads) {
                    // Sending fails when the stream was dropped: nobody waits any more.
                    if sender.send(shared.sample(at)).is_err() {
                        break;
                    }
                }
            };
            let handle = std::thread::Builder::new().name(format!("data-{worker}")).spawn(read);
            samples.workers.push(handle.map_err(|e| DataError::Worker {
                sample: samples.name(worker),
                reason: format!("cannot be started: {e}"),
            })?);
            samples.receivers.push(receiver);
        }
        Ok(samples)
    }

    /// Images left out so far, in order.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn name(&self, index: usize) -> String {
        let at = self.dataset.order.get(index).copied();
        at.map_or_else(String::new, |at| self.dataset.shared.source.name(at))
    }

    fn receive(&mut self) -> Option<Result<Sample, DataError>> {
        while self.next < self.dataset.len() {
            let index = self.next;
            self.next += 1;
            let received = self.receivers[index % self.receivers.len()].recv();
            match received {
                Ok(Err(bad @ DataError::BadImage { .. })) if self.dataset.shared.on_bad_image == OnBadImage::Skip => {
                    self.skipped.push(Skipped { name: self.name(index), reason: bad.to_string() });
                }
                Ok(result) => return Some(result),
                Err(_) => {
                    return Some(Err(DataError::Worker {
                        sample: self.name(index),
                        reason: "ended before its work was done".to_owned(),
                    }));
                }
            }
        }
        let first = self.skipped.first().filter(|_| self.delivered == 0)?;
        Some(Err(DataError::AllSkipped { skipped: self.skipped.len(), first: first.reason.clone() }))
    }
}

impl Iterator for Samples {
    type Item = Result<Sample, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.receive();
        match &item {
            Some(Ok(_)) => self.delivered += 1,
            Some(Err(_)) | None => self.ended = true,
        }
        item
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        // Without receivers a worker that waits for room gives up.
        self.receivers.clear();
        for worker in self.workers.drain(..) {
            // A worker's panic was told as `DataError::Worker` when its sample was due.
            let _ = worker.join();
        }
    }
}

/// Batches in order; see [`Dataset::batches`]. After an error the stream ends.
pub struct Batches {
    samples: Samples,
    size: usize,
}

impl Batches {
    pub(crate) fn start(dataset: &Dataset, size: usize, threads: usize) -> Result<Batches, DataError> {
        if size == 0 {
            return Err(DataError::BatchSize);
        }
        let size = size.min(dataset.len().max(1));
        Ok(Batches { samples: Samples::start(dataset, threads, size)?, size })
    }

    /// Images left out so far, in order.
    pub fn skipped(&self) -> &[Skipped] {
        self.samples.skipped()
    }

    fn fill(&mut self, first: Sample) -> Result<Batch, DataError> {
        let mut batch = Batch::begin(first, self.size);
        while batch.len() < self.size {
            let Some(sample) = self.samples.next() else { break };
            batch.push(sample?)?;
        }
        Ok(batch)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.samples.next()? {
            Ok(first) => first,
            Err(e) => return Some(Err(e)),
        };
        let batch = self.fill(first);
        if batch.is_err() {
            self.samples.ended = true;
        }
        Some(batch)
    }
}
