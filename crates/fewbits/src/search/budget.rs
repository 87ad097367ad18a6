//! Bit widths of layers under a limit of size: those that cost the outputs least.

use std::fmt;
use std::str::FromStr;

use fewbits_graph::NodeId;
use fewbits_quantize::{Choice, LayerWidths, Override, Recipe, WeightBits, choose, layer_widths, weight_layers};
use fewbits_report::{SizeBudget, WidthCount, format};

use super::trials::{Resources, file_bytes, ranking_samples, unlearned};
use crate::{Error, Progress, Result};

/// Widths that a layer's weights may get.
const WIDTHS: [u8; 2] = [8, 4];

/// A limit of a file's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SizeLimit {
    /// So many bytes.
    Bytes(u64),
    /// This share of the float model's size.
    Share(f64),
}

impl SizeLimit {
    /// The limit in bytes for a float model of that many.
    pub fn bytes(self, float: u64) -> u64 {
        match self {
            SizeLimit::Bytes(bytes) => bytes,
            // Sizes of files are exact in f64.
            SizeLimit::Share(share) => (share * float as f64).floor() as u64,
        }
    }
}

impl FromStr for SizeLimit {
    type Err = String;

    /// `300000`, `300K`, `1.5M` (1 K = 1,000 bytes), `20%` or `0.2` of the float model.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wanted = || format!("expected bytes as 300000, 300K or 1.5M, or a share as 0.2 or 20%, got '{text}'");
        let trimmed = text.trim();
        let number = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%').trim_end();
        let unit = trimmed[number.len()..].trim().to_ascii_uppercase();
        let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(wanted)?;
        let bytes = |unit: f64| Ok(SizeLimit::Bytes((number * unit).floor() as u64));
        match unit.as_str() {
            "" if number <= 1.0 => Ok(SizeLimit::Share(number)),
            "%" if number <= 100.0 => Ok(SizeLimit::Share(number / 100.0)),
            "" | "B" => bytes(1.0),
            "K" | "KB" => bytes(1e3),
            "M" | "MB" => bytes(1e6),
            "G" | "GB" => bytes(1e9),
            _ => Err(wanted()),
        }
    }
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeLimit::Bytes(bytes) => write!(f, "{}", format::bytes(*bytes)),
            SizeLimit::Share(share) => write!(f, "{share} of the float model"),
        }
    }
}

/// Bits that a weight takes where it is stored: formats have types of four and of eight.
fn stored_bits(bits: WeightBits) -> u32 {
    if u8::from(bits) <= 4 { 4 } else { 8 }
}

/// Bytes that `elements` weights take.
fn stored_bytes(elements: usize, bits: WeightBits) -> f64 {
    (elements * stored_bits(bits) as usize).div_ceil(8) as f64
}

/// Narrows the weights of `recipe`'s layers until the model takes at most `limit` bytes, where it costs
/// the outputs least by the measured sensitivities. No layer gets more bits than the recipe gives it.
///
/// # Errors
/// [`Error::Usage`] if not even the narrowest weights fit.
pub(crate) fn within(
    resources: &Resources<'_>,
    recipe: &Recipe,
    limit: u64,
    progress: &mut dyn Progress,
) -> Result<(Recipe, SizeBudget)> {
    let (job, threads) = (resources.job, resources.threads);
    let (graph, plain) = (job.graph(), unlearned(recipe));
    let eight = Recipe { weights: WeightBits::default(), ..plain.clone() };
    let eight = Recipe { overrides: Default::default(), operators: Default::default(), ..eight };
    let quantized = job.quantize(&eight, resources.statistics)?.0;
    let layers = weight_layers(graph, &quantized);
    let whole = file_bytes(&quantized, job)? as f64;
    let widths: Vec<WeightBits> = WIDTHS.iter().filter_map(|&b| WeightBits::try_from(b).ok()).collect();
    let samples = ranking_samples(resources)?;
    progress.start("sensitivity", layers.len() * widths.len());
    let mut advance = || progress.advance();
    let measured = layer_widths(graph, resources.statistics, &plain, &layers, &widths, &samples, threads, &mut advance);
    let measured = measured.map_err(Error::quantize(job.path()))?;
    progress.finish();
    let widest = |nodes: &[NodeId]| recipe.weight_bits(graph.node(nodes[0]));
    let items: Vec<Vec<(WeightBits, Choice)>> =
        measured.iter().map(|l| choices(l, widest(&l.nodes), &widths)).collect();
    let packed: f64 = measured.iter().map(|l| stored_bytes(l.elements, WeightBits::default())).sum();
    let fixed = whole - packed;
    let only: Vec<Vec<Choice>> = items.iter().map(|item| item.iter().map(|(_, c)| *c).collect()).collect();
    let Some(chosen) = choose(&only, limit as f64 - fixed) else {
        let least = |item: &Vec<Choice>| item.iter().map(|c| c.size).fold(f64::INFINITY, f64::min);
        let smallest = fixed + only.iter().map(least).sum::<f64>();
        return Err(Error::Usage(format!(
            "--max-size {limit} cannot be met: with weights of 4 bits wherever that is possible the model takes {} \
             bytes, {} of them no weights of layers",
            format::grouped(smallest.ceil() as u64),
            format::grouped(fixed.ceil() as u64)
        )));
    };
    let mut narrowed = recipe.clone();
    let mut budget = SizeBudget { limit_bytes: limit, counted_bytes: fixed.ceil() as u64, widths: Vec::new() };
    for ((item, layer), at) in items.iter().zip(&measured).zip(chosen) {
        let (bits, choice) = item[at];
        budget.counted_bytes += choice.size as u64;
        count(&mut budget.widths, bits, layer);
        for &node in layer.nodes.iter().filter(|&&n| recipe.weight_bits(graph.node(n)) != bits) {
            narrowed.overrides.insert(graph.node(node).name.clone(), Override { weights: Some(bits) });
        }
    }
    budget.widths.sort_by_key(|w| std::cmp::Reverse(w.bits));
    Ok((narrowed, budget))
}

/// What a layer may become: the width that the recipe gives it, and narrower ones.
fn choices(layer: &LayerWidths, widest: WeightBits, widths: &[WeightBits]) -> Vec<(WeightBits, Choice)> {
    let allowed = widths.iter().zip(&layer.noise).filter(|(bits, _)| **bits <= widest);
    // Outputs that are no numbers are worse than anything that can be summed up.
    let choice = |(&bits, &noise): (&WeightBits, &f64)| {
        (bits, Choice { cost: noise.min(1e6), size: stored_bytes(layer.elements, bits) })
    };
    allowed.map(choice).collect()
}

fn count(widths: &mut Vec<WidthCount>, bits: WeightBits, layer: &LayerWidths) {
    let bits = bits.into();
    let (layers, weights) = (layer.nodes.len() as u64, layer.elements as u64);
    match widths.iter_mut().find(|w| w.bits == bits) {
        Some(width) => {
            width.layers += layers;
            width.weights += weights;
        }
        None => widths.push(WidthCount { bits, layers, weights }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_shares() {
        let size = |text: &str| text.parse::<SizeLimit>();
        assert_eq!(size("300000"), Ok(SizeLimit::Bytes(300_000)));
        assert_eq!((size("300K"), size("1.5 MB")), (Ok(SizeLimit::Bytes(300_000)), Ok(SizeLimit::Bytes(1_500_000))));
        assert_eq!((size("0.2"), size("20%")), (Ok(SizeLimit::Share(0.2)), Ok(SizeLimit::Share(0.2))));
        assert_eq!((size("2"), size("1")), (Ok(SizeLimit::Bytes(2)), Ok(SizeLimit::Share(1.0))));
        for wrong in ["", "K", "-1", "120%", "3 parsecs", "NaN", "1K2"] {
            assert!(size(wrong).unwrap_err().contains("1.5M"), "{wrong}");
        }
        assert_eq!((SizeLimit::Share(0.25).bytes(1001), SizeLimit::Bytes(7).bytes(1)), (250, 7));
    }

    #[test]
    fn a_layer_is_never_widened() {
        let bits = |b: u8| WeightBits::try_from(b).unwrap();
        let layer = LayerWidths { nodes: vec![NodeId(0)], elements: 33, noise: vec![0.0, 0.5, f64::INFINITY] };
        let found = choices(&layer, bits(4), &[bits(8), bits(4), bits(2)]);
        assert_eq!(found, [(bits(4), Choice { cost: 0.5, size: 17.0 }), (bits(2), Choice { cost: 1e6, size: 17.0 })]);
    }
}
