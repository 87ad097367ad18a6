//! Causes by name, in words, and what addresses them.

use fewbits_graph::NodeId;

use crate::{Calibration, Mode, Recipe, WeightScales};

/// Which channels of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those that it writes: filters.
    Output,
    /// Those that it reads: columns of all filters.
    Input,
}

/// Why a layer loses more than it should.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// One channel of the output is far larger than the others, and all share one scale.
    OutlierChannel {
        /// The channel.
        channel: usize,
        /// Its largest magnitude.
        largest: f32,
        /// That of the median channel.
        median: f32,
        /// How many times larger its weights are than those of the median channel, if that is
        /// where it comes from.
        weights: Option<f32>,
    },
    /// One channel of the weights is far larger than the others it shares a scale with.
    OutlierWeights {
        /// Of which side.
        side: Side,
        /// The channel.
        channel: usize,
        /// Its largest magnitude.
        largest: f32,
        /// That of the median channel.
        median: f32,
    },
    /// A scale and shift of each channel that no convolution took in.
    UnfoldedBatchNorm {
        /// Largest scale over the median one.
        spread: f32,
        /// Steps of the output that one step of the input becomes in the channel of the largest
        /// scale.
        amplification: Option<f32>,
        /// Why it could not be folded.
        reason: String,
    },
    /// A bias so large that the products beside it get few of the levels.
    HugeBias {
        /// The channel.
        channel: usize,
        /// Its bias.
        bias: f32,
        /// How far the output of the median channel varies.
        varies: f32,
        /// The levels that this takes.
        levels: Option<f32>,
        /// How many times coarser weights became for the bias to fit into 32 bits.
        coarser: Option<f32>,
    },
    /// The range is far wider than where nearly all elements lie.
    FewLevels {
        /// The range.
        range: (f32, f32),
        /// Where all but one in a thousand elements lie.
        bulk: (f32, f32),
        /// Levels between.
        levels: f32,
    },
    /// Much of the signal lies outside of the range.
    ClippedTails {
        /// Share of the elements outside.
        saturated: f64,
        /// Energy cut off, as a share of the signal's.
        energy: f64,
        /// The range.
        range: (f32, f32),
        /// Smallest and largest element.
        extremes: (f32, f32),
    },
    /// The sum's two addends have very different ranges.
    UnequalAddends {
        /// Width of the wider range.
        wide: f32,
        /// Width of the other.
        narrow: f32,
    },
    /// Many channels do nothing.
    DeadChannels {
        /// How many.
        dead: usize,
        /// Of how many.
        channels: usize,
    },
    /// The layer costs much, and no single cause was found.
    Sensitive {
        /// Decibels at the outputs that keeping it float buys.
        gain_db: f64,
    },
}

impl Cause {
    /// The cause as one word for programs; never renamed.
    pub fn key(&self) -> &'static str {
        match self {
            Cause::OutlierChannel { .. } => "outlier-channel",
            Cause::OutlierWeights { .. } => "outlier-weights",
            Cause::UnfoldedBatchNorm { .. } => "unfolded-batch-norm",
            Cause::HugeBias { .. } => "huge-bias",
            Cause::FewLevels { .. } => "few-levels",
            Cause::ClippedTails { .. } => "clipped-tails",
            Cause::UnequalAddends { .. } => "unequal-addends",
            Cause::DeadChannels { .. } => "dead-channels",
            Cause::Sensitive { .. } => "sensitive-layer",
        }
    }

    /// The cause in a few words.
    pub fn title(&self) -> &'static str {
        match self {
            Cause::OutlierChannel { .. } => "One channel far larger than the others",
            Cause::OutlierWeights { .. } => "One channel of weights far larger than the others",
            Cause::UnfoldedBatchNorm { .. } => "Batch normalization that could not be folded",
            Cause::HugeBias { .. } => "A bias far larger than the products",
            Cause::FewLevels { .. } => "Few levels used",
            Cause::ClippedTails { .. } => "Clipped tails",
            Cause::UnequalAddends { .. } => "Addends of very different ranges",
            Cause::DeadChannels { .. } => "Dead channels",
            Cause::Sensitive { .. } => "A sensitive layer",
        }
    }

    /// Levels of 256 that the cause leaves to what is typical of the layer: its median channel, its
    /// bulk, the narrow addend. `None` for causes that are no matter of levels.
    pub fn levels(&self) -> Option<f32> {
        match self {
            Cause::OutlierChannel { largest, median, .. } | Cause::OutlierWeights { largest, median, .. } => {
                Some(256.0 * median / largest)
            }
            Cause::UnfoldedBatchNorm { amplification, .. } => amplification.map(|steps| 256.0 / steps.max(1.0)),
            Cause::HugeBias { levels, .. } => *levels,
            Cause::FewLevels { levels, .. } => Some(*levels),
            Cause::UnequalAddends { wide, narrow } => Some(256.0 * narrow / wide),
            Cause::ClippedTails { .. } | Cause::DeadChannels { .. } | Cause::Sensitive { .. } => None,
        }
    }

    /// What was seen, and what it does.
    pub fn explanation(&self) -> String {
        match self {
            Cause::OutlierChannel { channel, largest, median, weights } => {
                let from = weights.map_or_else(String::new, |ratio| {
                    format!("; its weights are {} times those of the median channel", number(ratio))
                });
                format!(
                    "channel {channel} of the output reaches {}, the median channel {}: {} times as much{from}. All \
                     channels share one scale, which leaves the median channel {} of 256 levels",
                    number(*largest),
                    number(*median),
                    number(largest / median),
                    number(256.0 * median / largest),
                )
            }
            Cause::OutlierWeights { side, channel, largest, median } => {
                let (which, shared) = match side {
                    Side::Output => ("output", "the tensor has one scale for all channels"),
                    Side::Input => ("input", "every filter has one scale for all of its inputs"),
                };
                format!(
                    "weights of {which} channel {channel} reach {}, those of the median channel {}: {} times as much. As \
                     {shared}, the median channel is left {} of 255 levels",
                    number(*largest),
                    number(*median),
                    number(largest / median),
                    number(255.0 * median / largest),
                )
            }
            Cause::UnfoldedBatchNorm { spread, amplification, reason } => {
                let steps = amplification.map_or_else(String::new, |steps| {
                    format!(
                        ". Its input has one scale for all channels, and one step of it becomes up to {} steps of the \
                         output",
                        number(steps)
                    )
                });
                format!(
                    "a scale and shift of each channel, of which the largest scale is {} times the median one, was not \
                     folded into a convolution: {reason}{steps}",
                    number(*spread)
                )
            }
            Cause::HugeBias { channel, bias, varies, levels, coarser } => {
                let levels = levels.map_or_else(String::new, |levels| {
                    format!(", and the range that holds the bias leaves that {} of 256 levels", number(levels))
                });
                let coarser = coarser.map_or_else(String::new, |factor| {
                    format!("; weights became {} times coarser so that the bias fits into 32 bits", number(factor))
                });
                format!(
                    "the bias of channel {channel} is {}, while the output of the median channel varies by {}{levels}\
                     {coarser}",
                    number(*bias),
                    number(*varies)
                )
            }
            Cause::FewLevels { range, bulk, levels } => format!(
                "the range is {}, but all but one in 1,000 of the elements lie within {}: they share {} of 256 levels",
                interval(*range),
                interval(*bulk),
                number(*levels)
            ),
            Cause::ClippedTails { saturated, energy, range, extremes } => format!(
                "{} % of the elements lie outside of the range {} (they reach {}), which cuts off {} % of the signal's \
                 energy",
                number((saturated * 100.0) as f32),
                interval(*range),
                interval(*extremes),
                number((energy * 100.0) as f32)
            ),
            Cause::UnequalAddends { wide, narrow } => format!(
                "one addend's range is {} wide, the other's {}: of the narrow one, the sum keeps {} levels",
                number(*wide),
                number(*narrow),
                number(256.0 * narrow / wide)
            ),
            Cause::DeadChannels { dead, channels } => format!(
                "{dead} of {channels} output channels never change: they cost time and bytes, but no accuracy; pruning \
                 them needs no retraining"
            ),
            Cause::Sensitive { gain_db } => format!(
                "keeping this layer in float improves the outputs by {gain_db:.1} dB; no single cause was found in its \
                 numbers"
            ),
        }
    }
}

/// A change of the recipe that addresses a cause.
#[derive(Clone, Debug, PartialEq)]
pub enum Remedy {
    /// Keep these nodes float.
    Exclude(Vec<String>),
    /// Choose ranges in another way.
    Calibration(Calibration),
    /// Choose weight scales in another way.
    WeightScales(WeightScales),
    /// One weight scale for a channel.
    PerChannel,
    /// Another mode.
    Mode(Mode),
}

impl Remedy {
    /// The recipe with the change.
    pub fn apply(&self, recipe: &Recipe) -> Recipe {
        let mut changed = recipe.clone();
        match self {
            Remedy::Exclude(nodes) => changed.exclude = excluded(recipe, nodes),
            Remedy::Calibration(method) => changed.calibration = *method,
            Remedy::WeightScales(method) => changed.weight_scales = *method,
            Remedy::PerChannel => changed.per_tensor = false,
            Remedy::Mode(mode) => changed.mode = *mode,
        }
        changed
    }

    /// The change as it is typed behind `fewbits quantize`, beside the flags of `recipe`.
    pub fn flag(&self, recipe: &Recipe) -> String {
        match self {
            // The flag replaces the nodes that a recipe file names.
            Remedy::Exclude(nodes) => {
                let names: Vec<String> = excluded(recipe, nodes).iter().map(|n| shell_word(n)).collect();
                format!("--exclude {}", names.join(" "))
            }
            Remedy::Calibration(method) => format!("--calibration {}", calibration_name(*method)),
            Remedy::WeightScales(method) => format!("--weight-scales {}", scales_name(*method)),
            Remedy::PerChannel => "without --per-tensor".to_owned(),
            Remedy::Mode(Mode::Dynamic) => "--mode dynamic".to_owned(),
            Remedy::Mode(Mode::Int8) => "--mode int8".to_owned(),
            Remedy::Mode(Mode::Float16) => "--mode float16".to_owned(),
            Remedy::Mode(Mode::WeightOnly) => "--mode weight-only".to_owned(),
        }
    }
}

/// The nodes that a recipe excludes, and others, each once.
fn excluded(recipe: &Recipe, nodes: &[String]) -> Vec<String> {
    let mut all = recipe.exclude.clone();
    for node in nodes {
        if !all.contains(node) {
            all.push(node.clone());
        }
    }
    all
}

fn calibration_name(method: Calibration) -> &'static str {
    match method {
        Calibration::Minmax => "minmax",
        Calibration::MovingAverage => "moving-average",
        Calibration::Percentile => "percentile",
        Calibration::Entropy => "entropy",
        Calibration::Mse => "mse",
    }
}

fn scales_name(method: WeightScales) -> &'static str {
    match method {
        WeightScales::Max => "max",
        WeightScales::Mse => "mse",
        WeightScales::Auto => "auto",
    }
}

/// `text` as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_.:-+,=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A cause at a node, and what addresses it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The node of the float graph.
    pub node: NodeId,
    /// Why.
    pub cause: Cause,
    /// What to try, the most promising first; empty where nothing is lost.
    pub remedies: Vec<Remedy>,
}

/// Three digits: `0.0123`, `1.23`, `12.3`, `1,230`.
fn number(x: f32) -> String {
    let magnitude = x.abs();
    match magnitude {
        0.0 => "0".to_owned(),
        m if !(1e-3..1e9).contains(&m) => format!("{x:.1e}"),
        m if m < 0.1 => format!("{x:.4}"),
        m if m < 9.995 => format!("{x:.2}"),
        m if m < 99.95 => format!("{x:.1}"),
        m => {
            let digits = format!("{m:.0}");
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
            format!("{}{}", if x < 0.0 { "-" } else { "" }, groups.join(","))
        }
    }
}

fn interval((low, high): (f32, f32)) -> String {
    format!("{} to {}", number(low), number(high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [(0.0, "0"), (1.0, "1.00"), (-12.34, "-12.3"), (999.9, "1,000"), (1_234_567.0, "1,234,567")];
        for (x, text) in cases {
            assert_eq!(number(x), text);
        }
        assert_eq!((number(1e-7), number(0.0123)), ("1.0e-7".to_owned(), "0.0123".to_owned()));
    }

    #[test]
    fn flags_are_words_of_a_shell() {
        let recipe = Recipe { exclude: vec!["a".into()], ..Recipe::new(Mode::Int8) };
        let remedy = Remedy::Exclude(vec!["a".into(), "b c".into(), "it's".into(), "/m/Conv_1:0".into()]);
        assert_eq!(remedy.flag(&recipe), "--exclude a 'b c' 'it'\\''s' /m/Conv_1:0");
        assert_eq!(remedy.apply(&recipe).exclude, ["a", "b c", "it's", "/m/Conv_1:0"]);
    }
}
