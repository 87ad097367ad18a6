//! Wall time of runs.

use std::time::{Duration, Instant};

use fewbits_graph::Tensor;

use crate::{Model, Result};

/// How often to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Runs that are not counted: caches and clocks settle.
    pub warm_up: usize,
    /// At least this many.
    pub least: usize,
    /// At most this many.
    pub most: usize,
    /// No more runs after this time, once the least are done.
    pub time: Duration,
}

impl Repeat {
    /// Half a second: enough for a median to be shown.
    pub const SHORT: Repeat = Repeat { warm_up: 2, least: 5, most: 200, time: Duration::from_millis(500) };

    /// Exactly this many.
    pub fn exactly(runs: usize) -> Repeat {
        Repeat { warm_up: 2, least: runs.max(1), most: runs.max(1), time: Duration::ZERO }
    }

    /// As many as fit into this time, at least five.
    pub fn for_time(time: Duration) -> Repeat {
        Repeat { warm_up: 2, least: 5, most: usize::MAX, time }
    }
}

/// Wall time of each run, in seconds.
///
/// # Errors
/// Inputs that do not fit the model.
pub fn time_runs(model: &mut Model, inputs: &[Tensor], repeat: Repeat) -> Result<Vec<f64>> {
    for _ in 0..repeat.warm_up {
        model.run(inputs)?;
    }
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < repeat.least || (times.len() < repeat.most && begin.elapsed() < repeat.time) {
        let start = Instant::now();
        model.run(inputs)?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}
