//! `fewbits bench`

use std::time::Duration;

use fewbits::graph::Tensor;
use fewbits::kernels::isa::Isa;
use fewbits::report::{Bench, Latency, OpTime};
use fewbits::{Error, Model, Repeat, Result, RunOptions, run_shapes, synthetic_inputs, time_runs};

use super::shapes;
use crate::cli::BenchArgs;
use crate::console::Console;

/// Longest time of a measurement: an hour, which also keeps [`Duration`] from overflowing.
const LONGEST: f64 = 3600.0;

pub(super) fn execute(args: &BenchArgs, console: &Console) -> Result<()> {
    if !(0.0..=LONGEST).contains(&args.seconds) {
        return Err(Error::Usage(format!("--seconds {}: expected 0 to {LONGEST}", args.seconds)));
    }
    let options =
        RunOptions { threads: args.threads, rounding: args.rounding.into(), input_shapes: shapes(&args.input_shape) };
    let mut model = Model::open(&args.model, &options)?;
    let batch =
        usize::try_from(args.batch).map_err(|_| Error::Usage(format!("--batch {} is too large", args.batch)))?;
    let (sizes, chosen) = run_shapes(model.graph(), Some(batch));
    let inputs = synthetic_inputs(model.graph(), &sizes);
    let repeat = match args.iterations {
        Some(runs) => Repeat::exactly(runs),
        None => Repeat::for_time(Duration::from_secs_f64(args.seconds)),
    };
    let times = time_runs(&mut model, &inputs, repeat)?;
    let profile = if args.profile { Some(profile(&mut model, &inputs, times.len())?) } else { None };
    let Some(latency) = Latency::of_seconds(&times) else {
        return Err(Error::Usage("nothing was run: --iterations 0".to_owned()));
    };
    let mut notes = Vec::new();
    if !chosen.is_empty() {
        notes.push(format!("free dimensions: {} (--input-shape sets others)", chosen.join(", ")));
    }
    console.show(&Bench {
        model: args.model.display().to_string(),
        latency,
        threads: if args.threads == 0 { cores() } else { args.threads },
        iterations: times.len() as u64,
        inputs: input_texts(&model, &inputs),
        isa: Isa::active().map_or_else(|_| "unknown".to_owned(), |isa| isa.name().to_owned()),
        macs: macs(&model, &sizes),
        profile,
        notes,
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn input_texts(model: &Model, inputs: &[Tensor]) -> Vec<String> {
    let graph = model.graph();
    let text =
        |(&id, tensor): (_, &Tensor)| format!("{} {:?} {}", graph.value(id).name, tensor.shape(), tensor.dtype());
    graph.inputs.iter().zip(inputs).map(text).collect()
}

fn macs(model: &Model, sizes: &[Vec<usize>]) -> Option<u64> {
    let graph = model.graph().with_input_shapes(sizes).ok()?;
    Some(graph.nodes.iter().filter_map(|node| fewbits::engine::macs(&graph, node)).fold(0, u64::saturating_add))
}

/// The median time of each node over some runs, slowest first.
fn profile(model: &mut Model, inputs: &[Tensor], runs: usize) -> Result<Vec<OpTime>> {
    let path = model.path().to_owned();
    let mut steps: Vec<(String, &'static str, Vec<f64>)> = Vec::new();
    for _ in 0..runs.clamp(1, 50) {
        let times = model.engine().run_profiled(inputs).map_err(Error::engine(&path))?;
        if steps.is_empty() {
            steps = times.iter().map(|t| (t.node.clone(), t.op, Vec::new())).collect();
        }
        // The plan is the same in every run, and so are its steps.
        for (step, time) in steps.iter_mut().zip(&times) {
            step.2.push(time.ns as f64 / 1e9);
        }
    }
    let median = |times: &[f64]| Latency::of_seconds(times).map_or(0.0, |l| l.median_ms);
    let mut profile: Vec<OpTime> = steps
        .into_iter()
        .map(|(node, op, times)| OpTime { node, op: op.to_owned(), ms: median(&times), share: 0.0 })
        .collect();
    let total: f64 = profile.iter().map(|p| p.ms).sum();
    for entry in &mut profile {
        entry.share = if total > 0.0 { entry.ms / total } else { 0.0 };
    }
    profile.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(profile)
}
