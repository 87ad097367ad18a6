//! `fewbits quantize`: what it cost and what it gained.

use serde::Serialize;

use crate::evaluate::notes;
use crate::{Align, Report, SearchStep, Style, Table, format, search};

/// A weight tensor in which half precision turned values into infinity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overflow {
    /// The tensor's name.
    pub tensor: String,
    /// Elements that became infinite.
    pub elements: u64,
}

/// Layers whose weights have one width.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WidthCount {
    /// Bits of a weight.
    pub bits: u8,
    /// Layers that have it.
    pub layers: u64,
    /// Weights of these layers.
    pub weights: u64,
}

/// What `--max-size` did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SizeBudget {
    /// The most bytes allowed.
    pub limit_bytes: u64,
    /// Bytes of the model with each weight counted by its bits, packed.
    pub counted_bytes: u64,
    /// Widths that were chosen, the widest first.
    pub widths: Vec<WidthCount>,
}

/// What `--max-latency` did. All times are medians of runs on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LatencyBudget {
    /// The longest that a run may take.
    pub limit_ms: f64,
    /// A run of the float model.
    pub float_ms: f64,
    /// A run with all layers quantized.
    pub quantized_ms: f64,
    /// A run with the layers that were chosen.
    pub measured_ms: f64,
    /// Layers that could be quantized.
    pub layers: u64,
    /// Of these, those that stay float.
    pub float_layers: u64,
}

/// How far something may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// As good as data.
    High,
    /// Plausible.
    Medium,
    /// Measure before using it.
    Low,
}

/// Samples that were made because there is no data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Synthetic {
    /// What was made.
    pub made: String,
    /// How far the ranges that were chosen with it can be trusted.
    pub confidence: Confidence,
    /// Why.
    pub reason: String,
}

/// The summary that ends every quantization.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quantize {
    /// The float model's file.
    pub model: String,
    /// The file written; empty if `--max-drop` was missed: then nothing is written, and what follows
    /// is of the best that was tried, without latencies.
    pub output: String,
    /// The recipe written beside it; empty as `output`.
    pub recipe: String,
    /// `dynamic`, `int8` or `float16`.
    pub mode: String,
    /// Size of the float model in bytes, weights in external files included.
    pub bytes_before: u64,
    /// Size of the file written.
    pub bytes_after: u64,
    /// `bytes_after / bytes_before`.
    pub ratio: f64,
    /// Samples that ranges were chosen from; 0 where the mode needs none.
    pub calibration_samples: u64,
    /// The samples that were made for calibration, where there is no data; `null` where there is.
    pub synthetic: Option<Synthetic>,
    /// Samples, none of them used for calibration, on which the next fields were measured; 0
    /// without data.
    pub samples: u64,
    /// Share of output rows whose largest element is that of the float model; `null` without data.
    pub agreement: Option<f64>,
    /// SQNR against the float model in decibels, at most 200; `null` without data.
    pub sqnr_db: Option<f64>,
    /// Cosine similarity with the float model; `null` without data.
    pub cosine: Option<f64>,
    /// The float model's top-1 accuracy on those samples; `null` without labels.
    pub top1_before: Option<f64>,
    /// The quantized model's; `null` without labels.
    pub top1_after: Option<f64>,
    /// Median wall time of one run of the float model, measured here.
    pub latency_before_ms: f64,
    /// The same for the quantized model.
    pub latency_after_ms: f64,
    /// Threads of the latency measurement.
    pub threads: usize,
    /// What the drop is measured by: `top-1` where there are labels, else `agreement` for classifiers,
    /// else `output-error`, the energy of the outputs' error as a share of that of the float outputs;
    /// `null` without data.
    pub metric: Option<String>,
    /// Percentage points lost, by that metric; `null` without data.
    pub drop_points: Option<f64>,
    /// Lower end of the drop's 95 % confidence interval; `null` where there is none.
    pub drop_low_points: Option<f64>,
    /// Upper end of it.
    pub drop_high_points: Option<f64>,
    /// The most that `--max-drop` allows; `null` if it was not given.
    pub max_drop_points: Option<f64>,
    /// Whether the drop is within `--max-drop`; `true` if that was not given.
    pub accepted: bool,
    /// What the search for `--max-drop` tried, in order; empty without it.
    pub steps: Vec<SearchStep>,
    /// Wall time of that search; `null` without it.
    pub search_seconds: Option<f64>,
    /// What `--max-size` chose; `null` without it.
    pub size_budget: Option<SizeBudget>,
    /// What `--max-latency` chose; `null` without it.
    pub latency_budget: Option<LatencyBudget>,
    /// Tensors in which half precision overflowed.
    pub overflows: Vec<Overflow>,
    /// Samples that were left out because their image does not decode.
    pub skipped: u64,
    /// What looks bad.
    pub warnings: Vec<String>,
    /// What was assumed, and why something could not be measured.
    pub notes: Vec<String>,
}

impl Report for Quantize {
    fn text(&self, style: Style) -> String {
        let mut text = self.search(style);
        if self.output.is_empty() {
            text.push_str(&self.remarks(style));
            text.push_str("nothing was written\n");
            return text;
        }
        let mut table =
            Table::new(&[("", Align::Left), ("before", Align::Right), ("after", Align::Right), ("", Align::Left)]);
        let ratio = format!("{} of the size", format::ratio(self.bytes_after, self.bytes_before));
        table.row(["size".to_owned(), format::bytes(self.bytes_before), format::bytes(self.bytes_after), ratio]);
        if let (Some(before), Some(after)) = (self.top1_before, self.top1_after) {
            let change = format!("{:+.2} points", (after - before) * 100.0);
            table.row([
                "top-1".to_owned(),
                format::percent(self.top1_before),
                format::percent(self.top1_after),
                change,
            ]);
        }
        let threads = if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        table.row([
            "latency".to_owned(),
            format::milliseconds(self.latency_before_ms),
            format::milliseconds(self.latency_after_ms),
            format!("{}, {threads}", speedup(self.latency_before_ms, self.latency_after_ms)),
        ]);
        text.push_str(&table.text(style));
        text.push_str(&self.accuracy());
        if let Some(Synthetic { made, confidence, reason }) = &self.synthetic {
            let confidence = format!("{confidence:?}").to_lowercase();
            text.push_str(&format!("calibrated without data, on {made}: confidence {confidence}, as {reason}\n"));
        }
        text.push_str(&self.remarks(style));
        text.push_str(&format!("wrote {} and {}\n", self.output, self.recipe));
        text
    }
}

impl Quantize {
    /// What was tried and chosen before the result was made.
    fn search(&self, style: Style) -> String {
        let mut text = String::new();
        if let Some(budget) = &self.size_budget {
            let width = |w: &WidthCount| format!("{} of {} bits", w.layers, w.bits);
            let widths: Vec<String> = budget.widths.iter().map(width).collect();
            let (counted, limit) = (format::bytes(budget.counted_bytes), format::bytes(budget.limit_bytes));
            text.push_str(&format!("layers: {}; {counted} of at most {limit}, packed\n", widths.join(", ")));
        }
        if let Some(budget) = &self.latency_budget {
            text.push_str(&format!(
                "layers: {} of {} stay float; {} of at most {} (all float {}, none {})\n",
                budget.float_layers,
                budget.layers,
                format::milliseconds(budget.measured_ms),
                format::milliseconds(budget.limit_ms),
                format::milliseconds(budget.float_ms),
                format::milliseconds(budget.quantized_ms),
            ));
        }
        if !self.steps.is_empty() {
            text.push_str(&search::text(&self.steps, self.metric.as_deref().unwrap_or_default(), style));
            let (steps, seconds) = (self.steps.len(), self.search_seconds.unwrap_or_default());
            let of = if steps == 1 { "step" } else { "steps" };
            text.push_str(&format!("{steps} {of} in {seconds:.1} s, each measured on {} samples\n", self.samples));
        }
        text
    }

    fn remarks(&self, style: Style) -> String {
        let warning = |w: &String| format!("{} {w}\n", style.warning("WARNING:"));
        notes(&self.notes, style) + &self.warnings.iter().map(warning).collect::<String>()
    }

    fn accuracy(&self) -> String {
        if self.samples == 0 {
            return "accuracy was not measured: no data was given (--data or --eval)\n".to_owned();
        }
        let mut parts = Vec::new();
        if self.agreement.is_some() && self.metric.as_deref() != Some("output-error") {
            parts.push(format!("agreement {}", format::percent(self.agreement)));
        }
        parts.push(format!("SQNR {}", format::decibel(self.sqnr_db)));
        parts.push(format!("cosine {}", format::cosine(self.cosine)));
        let of = if self.samples == 1 { "sample" } else { "samples" };
        format!("against the float model on {} {of} not used for calibration: {}\n", self.samples, parts.join(", "))
    }
}

/// `2.4x faster`, `1.3x slower`.
fn speedup(before: f64, after: f64) -> String {
    if before <= 0.0 || after <= 0.0 {
        return format::NOTHING.to_owned();
    }
    match before / after {
        r if r >= 1.0 => format!("{r:.2}x faster"),
        r => format!("{:.2}x slower", 1.0 / r),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Quantize {
        Quantize {
            output: "m.int8.tflite".into(),
            recipe: "m.int8.recipe.toml".into(),
            bytes_before: 800_000,
            bytes_after: 202_400,
            samples: 50,
            agreement: Some(0.98),
            sqnr_db: Some(24.31),
            cosine: Some(0.998),
            top1_before: Some(0.986),
            top1_after: Some(0.984),
            latency_before_ms: 2.0,
            latency_after_ms: 0.8,
            threads: 1,
            warnings: vec!["look".into()],
            ..Quantize::default()
        }
    }

    #[test]
    fn summary_says_cost_and_gain() {
        assert_eq!(
            example().text(Style::Plain),
            "           before     after
size       800 KB    202 KB  0.253 of the size
top-1     98.60 %   98.40 %  -0.20 points
latency  2.000 ms  0.800 ms  2.50x faster, 1 thread
against the float model on 50 samples not used for calibration: agreement 98.00 %, SQNR 24.3 dB, cosine 0.99800
WARNING: look
wrote m.int8.tflite and m.int8.recipe.toml
"
        );
    }

    #[test]
    fn missing_data_is_said_not_hidden() {
        let report = Quantize { samples: 0, top1_before: None, top1_after: None, ..example() };
        let text = report.text(Style::Plain);
        assert!(text.contains("accuracy was not measured: no data was given"), "{text}");
        assert!(!text.contains("top-1"));
    }

    #[test]
    fn slower_is_called_slower() {
        assert_eq!(speedup(1.0, 2.0), "2.00x slower");
        assert_eq!(speedup(3.0, 2.0), "1.50x faster");
        assert_eq!(speedup(0.0, 2.0), "-");
    }
}
