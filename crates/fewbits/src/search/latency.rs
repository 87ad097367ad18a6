//! Which layers stay float under a limit of latency: those whose quantization costs the outputs most,
//! as far as our measured kernel times allow.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use fewbits_graph::{Graph, NodeId, Tensor};
use fewbits_quantize::{Choice, Form, Probe, Recipe, Statistics, adapt_inputs, choose, forms, quantized_layers};
use fewbits_report::{Latency, LatencyBudget};

use super::ladder::Raise;
use super::trials::{Resources, ranking_samples, unlearned};
use crate::{Error, Model, Progress, Result, RunOptions};

/// A limit of a run's wall time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatencyLimit {
    /// So many milliseconds.
    Milliseconds(f64),
    /// This share of the float model's.
    Share(f64),
}

impl LatencyLimit {
    /// The limit beside a float model that takes `float` milliseconds.
    fn milliseconds(self, float: f64) -> f64 {
        match self {
            LatencyLimit::Milliseconds(ms) => ms,
            LatencyLimit::Share(share) => share * float,
        }
    }
}

impl FromStr for LatencyLimit {
    type Err = String;

    /// `5`, `5ms`, `800us`, `0.1s`, or `60%` of the float model.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wanted = || format!("expected a time as 5ms, 800us or 0.1s, or a share as 60%, got '{text}'");
        let number = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%').trim_end();
        let unit = text.trim()[number.len()..].trim();
        let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(wanted)?;
        match unit {
            "" | "ms" => Ok(LatencyLimit::Milliseconds(number)),
            "us" => Ok(LatencyLimit::Milliseconds(number / 1e3)),
            "s" => Ok(LatencyLimit::Milliseconds(number * 1e3)),
            "%" => Ok(LatencyLimit::Share(number / 100.0)),
            _ => Err(wanted()),
        }
    }
}

impl fmt::Display for LatencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LatencyLimit::Milliseconds(ms) => write!(f, "{ms}ms"),
            LatencyLimit::Share(share) => write!(f, "{}%", share * 100.0),
        }
    }
}

/// Runs that times are the medians of: as many as fit into the time, within these bounds.
const LEAST_RUNS: usize = 7;
const MOST_RUNS: usize = 200;
const TIME: Duration = Duration::from_secs(1);

/// How often the programme is solved again because what stands between float and integer layers made
/// the model slower than its layers are.
const MOST_CORRECTIONS: usize = 6;

/// What is taken off the budget beside the excess that was measured, so that corrections end.
const MARGIN: f64 = 0.98;

/// Leaves those layers of `recipe` float that cost the outputs most, as many as keep a run within
/// `limit`. The result is measured, not only summed up: it depends on the machine and on what else it
/// does, while the recipe that comes out is exact.
///
/// # Errors
/// [`Error::Usage`] if the model is too slow quantized throughout.
pub(crate) fn within(
    resources: &Resources<'_>,
    recipe: &Recipe,
    limit: LatencyLimit,
    threads: usize,
    progress: &mut dyn Progress,
) -> Result<(Recipe, LatencyBudget)> {
    let plain = unlearned(recipe);
    let samples = ranking_samples(resources)?;
    let clock = Clock { resources, inputs: samples[0].clone(), threads };
    let graph = resources.job.graph();
    let quantized = resources.job.quantize(&plain, resources.statistics)?.0;
    let profiles = clock.profile([graph, &quantized])?;
    let (float_ms, whole_ms) = (profiles[0].run, profiles[1].run);
    let limit_ms = limit.milliseconds(float_ms);
    if whole_ms > limit_ms {
        return Err(Error::Usage(format!(
            "--max-latency {limit} ({limit_ms:.3} ms) cannot be met: quantized throughout the model takes \
             {whole_ms:.3} ms here, as float {float_ms:.3} ms"
        )));
    }
    let forms = forms(graph, &quantized);
    let layers = quantized_layers(graph, &forms);
    let noise = alone(resources, &plain, &forms, &layers, samples, progress)?;
    let time = |which: usize, id: NodeId| profiles[which].nodes.get(&graph.node(id).name).copied().unwrap_or(0.0);
    let items: Vec<Vec<Choice>> = layers
        .iter()
        .zip(&noise)
        .map(|(&id, &cost)| {
            let narrow = Choice { cost, size: time(1, id) };
            vec![narrow, Choice { cost: 0.0, size: time(0, id) }]
        })
        .collect();
    let fixed = whole_ms - items.iter().map(|item| item[0].size).sum::<f64>();
    let mut budget =
        LatencyBudget { limit_ms, float_ms, quantized_ms: whole_ms, layers: layers.len() as u64, ..Default::default() };
    let mut room = limit_ms;
    for _ in 0..MOST_CORRECTIONS {
        let Some(chosen) = choose(&items, room - fixed) else { break };
        let float = layers.iter().zip(&chosen).filter(|(_, choice)| **choice == 1);
        let names: Vec<String> = float.map(|(&id, _)| graph.node(id).name.clone()).collect();
        let mixed = Raise::Float.apply(&plain, &names);
        let mixed = resources.job.quantize(&mixed, resources.statistics)?.0;
        let now = clock.profile([graph, &mixed])?;
        let (limit_ms, measured) = (limit.milliseconds(now[0].run), now[1].run);
        if measured <= limit_ms {
            budget.float_layers = names.len() as u64;
            (budget.limit_ms, budget.float_ms, budget.measured_ms) = (limit_ms, now[0].run, measured);
            return Ok((Raise::Float.apply(recipe, &names), budget));
        }
        room *= MARGIN * limit_ms / measured;
    }
    budget.measured_ms = whole_ms;
    Ok((recipe.clone(), budget))
}

/// For each layer the energy of the outputs' error, as a share of that of the outputs, if it alone is
/// quantized.
fn alone(
    resources: &Resources<'_>,
    recipe: &Recipe,
    forms: &[Form],
    layers: &[NodeId],
    samples: Vec<Vec<Tensor>>,
    progress: &mut dyn Progress,
) -> Result<Vec<f64>> {
    let job = resources.job;
    let (graph, none) = (job.graph(), Statistics::default());
    let statistics = resources.statistics.unwrap_or(&none);
    let error = Error::quantize(job.path());
    let probe = Probe::new(graph, statistics, recipe, job.format(), samples, resources.threads).map_err(&error)?;
    let narrow: Vec<NodeId> = graph.node_ids().filter(|n| forms[n.0] != Form::Float).collect();
    let others = |i: usize| -> Vec<String> {
        let others = narrow.iter().filter(|&&n| n != layers[i]);
        others.map(|&n| graph.node(n).name.clone()).collect()
    };
    progress.start("sensitivity", layers.len());
    let only = |i: usize| Raise::Float.apply(recipe, &others(i));
    let db = probe.sqnr_db(layers.len(), only, &mut || progress.advance()).map_err(&error)?;
    progress.finish();
    // Outputs that are no numbers are worse than anything that can be summed up.
    Ok(db.into_iter().map(|db| if db.is_nan() { 1e6 } else { 10f64.powf(-db / 10.0).min(1e6) }).collect())
}

/// Measures wall times on one sample.
struct Clock<'a> {
    resources: &'a Resources<'a>,
    inputs: Vec<Tensor>,
    threads: usize,
}

/// Median milliseconds of a run, and of each node by name, scaled so that all nodes sum up to a run.
struct Profile {
    run: f64,
    nodes: BTreeMap<String, f64>,
}

impl Clock<'_> {
    /// The profiles of some graphs, run in turns, so that whatever else the machine does slows down all
    /// of them.
    fn profile<const N: usize>(&self, graphs: [&Graph; N]) -> Result<Vec<Profile>> {
        let path = self.resources.job.path();
        let options = RunOptions { threads: self.threads, ..RunOptions::default() };
        let model = |graph: &Graph| -> Result<(Model, Vec<Tensor>)> {
            let model = Model::simplified(graph.clone(), path, &options)?;
            Ok((model, adapt_inputs(graph, &self.inputs)))
        };
        let mut models = graphs.into_iter().map(model).collect::<Result<Vec<_>>>()?;
        let mut runs = vec![Vec::new(); N];
        let mut nodes = vec![BTreeMap::<String, Vec<f64>>::new(); N];
        let begin = Instant::now();
        while runs[0].len() < LEAST_RUNS || (runs[0].len() < MOST_RUNS && begin.elapsed() < TIME) {
            for ((model, inputs), (runs, nodes)) in models.iter_mut().zip(runs.iter_mut().zip(&mut nodes)) {
                // The first of the two brings the model into the caches.
                for step in model.engine().run_profiled(inputs).map_err(Error::engine(path))? {
                    nodes.entry(step.node).or_default().push(step.ns as f64 / 1e9);
                }
                let start = Instant::now();
                model.run(inputs)?;
                runs.push(start.elapsed().as_secs_f64());
            }
        }
        let median = |times: &[f64]| Latency::of_seconds(times).map_or(0.0, |l| l.median_ms);
        let profile = |(runs, nodes): (Vec<f64>, BTreeMap<String, Vec<f64>>)| {
            let run = median(&runs);
            let mut nodes: BTreeMap<String, f64> = nodes.into_iter().map(|(node, t)| (node, median(&t))).collect();
            let sum: f64 = nodes.values().sum();
            if sum > 0.0 {
                nodes.values_mut().for_each(|t| *t *= run / sum);
            }
            Profile { run, nodes }
        };
        Ok(runs.into_iter().zip(nodes).map(profile).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_times_or_shares() {
        let limit = |text: &str| text.parse::<LatencyLimit>();
        let ms = |ms: f64| Ok(LatencyLimit::Milliseconds(ms));
        assert_eq!((limit("5"), limit("5 ms"), limit("0.1s")), (ms(5.0), ms(5.0), ms(100.0)));
        assert_eq!((limit("800us"), limit("60%")), (ms(0.8), Ok(LatencyLimit::Share(0.6))));
        for wrong in ["", "ms", "-1", "5 years", "inf"] {
            assert!(limit(wrong).unwrap_err().contains("5ms"), "{wrong}");
        }
        for text in ["5ms", "60%"] {
            assert_eq!(limit(text).unwrap().to_string(), text);
        }
    }
}
