//! Looking for the cheapest recipe that keeps the accuracy, and for the best one of a given size.

pub(crate) mod budget;
mod ladder;
pub(crate) mod latency;
mod metric;
mod trials;

use fewbits_graph::Graph;
use fewbits_quantize::Recipe;
use fewbits_report::SearchStep;

use crate::measure::accuracy::Measured;
use crate::measure::paired::Metric;
use crate::{Progress, Result};

pub(crate) use ladder::Allowed;
pub(crate) use metric::classifies;
pub(crate) use trials::Resources;

/// A recipe, the graph that it makes, and what was measured of the file that the graph becomes.
pub(crate) struct Chosen {
    pub(crate) recipe: Recipe,
    pub(crate) graph: Graph,
    pub(crate) measured: Measured,
}

/// What a search found.
pub(crate) struct Found {
    /// The recipe that keeps the accuracy; `None` if none does.
    pub(crate) chosen: Option<Chosen>,
    /// What was tried, in order.
    pub(crate) steps: Vec<SearchStep>,
    /// What the loss was measured by.
    pub(crate) metric: Option<Metric>,
}

/// Tries recipes from cheap to dear until one loses at most `limit` points.
///
/// # Errors
/// Samples that cannot be read, a metric that the data or the model does not have.
pub(crate) fn search(
    resources: Resources<'_>,
    base: &Recipe,
    limit: f64,
    allowed: Allowed,
    progress: &mut dyn Progress,
) -> Result<Found> {
    let mut trials = trials::Trials::new(resources, limit, progress)?;
    let recipe = ladder::climb(base, limit, allowed, &mut trials)?;
    let metric = trials.metric();
    let (steps, held) = trials.finish();
    let chosen = recipe.zip(held).map(|(recipe, (graph, measured))| Chosen { recipe, graph, measured });
    Ok(Found { chosen, steps, metric })
}
