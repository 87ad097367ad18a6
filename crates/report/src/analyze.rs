//! `fewbits analyze`: what quantization does to a model, layer by layer, and why.

use serde::Serialize;

use crate::evaluate::notes;
use crate::{Align, Report, Style, Table, format};

/// Columns of running text.
const TEXT_WIDTH: usize = 100;

/// Everything that was measured of a model and what its quantization does to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Analyze {
    /// The float model's file.
    pub model: String,
    /// The mode analysed: `int8`, `dynamic` or `float16`.
    pub mode: String,
    /// Size of the float model in bytes.
    pub bytes: u64,
    /// Samples that statistics were gathered from.
    pub calibration_samples: u64,
    /// Samples that layers, remedies and flags were measured on.
    pub sensitivity_samples: u64,
    /// SQNR of the outputs in decibels on those, with everything quantized.
    pub sensitivity_sqnr_db: Option<f64>,
    /// Samples that modes were measured on: held back from calibration, where there are enough.
    pub samples: u64,
    /// What was found, the most serious first.
    pub findings: Vec<Diagnosed>,
    /// Flags that concern the whole model, each alone; the best first.
    pub flags: Vec<Trial>,
    /// The float model and every mode.
    pub modes: Vec<ModeFigures>,
    /// All layers, in execution order.
    pub layers: Vec<AnalyzedLayer>,
    /// The page written.
    pub html: Option<String>,
    /// What was assumed or left out.
    pub notes: Vec<String>,
    /// Layers that the terminal shows; all if not given.
    #[serde(skip)]
    pub shown: Option<usize>,
}

/// How much a finding matters at the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Its remedy buys 3 dB, or it makes a quarter of the noise of outputs that are not good.
    High,
    /// It makes a twentieth of the noise or more, its remedy buys half a decibel, or it leaves almost
    /// nothing of a layer's typical channel though the outputs do not show it.
    Medium,
    /// Less.
    Low,
}

impl Severity {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
        }
    }
}

/// A flag and what it does to the outputs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// As it is typed behind `fewbits quantize`.
    pub flag: String,
    /// SQNR of the outputs with it in decibels; `null` if it was not measured.
    pub sqnr_db: Option<f64>,
    /// How much better than without it.
    pub gain_db: Option<f64>,
}

/// A cause at a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosed {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The cause as one stable word.
    pub cause: String,
    /// The cause in a few words.
    pub title: String,
    /// What was seen, and what it does.
    pub explanation: String,
    /// How much it matters.
    pub severity: Severity,
    /// What to try, the most promising first.
    pub remedies: Vec<Trial>,
}

/// Size, accuracy and latency of the model in one mode.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModeFigures {
    /// `float`, `int8`, `dynamic` or `float16`.
    pub mode: String,
    /// Whether this is the mode that the rest of the report is about.
    pub analysed: bool,
    /// Bytes of the file.
    pub bytes: Option<u64>,
    /// SQNR of the outputs in decibels; `null` for the float model.
    pub sqnr_db: Option<f64>,
    /// Share of outputs that decide as the float model does.
    pub agreement: Option<f64>,
    /// Top-1 accuracy; `null` without labels.
    pub top1: Option<f64>,
    /// Median wall time of a run on one thread.
    pub median_ms: f64,
}

/// A histogram of equal bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// Lower border of the first bin.
    pub low: f32,
    /// Upper border of the last bin.
    pub high: f32,
    /// Elements in each bin.
    pub counts: Vec<u64>,
}

/// The weights of a layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WeightFigures {
    /// The constant's name.
    pub value: String,
    /// All elements.
    pub histogram: Histogram,
    /// Output channels.
    pub channels: u64,
    /// Output channels without weights.
    pub dead_channels: u64,
    /// Magnitude of the largest weight of each channel, in descending order: 33 quantiles.
    pub channel_largest: Vec<f32>,
    /// The magnitude that the widest scale can express; `null` where weights stay float.
    pub limit: Option<f32>,
    /// That of the median channel's scale.
    pub median_limit: Option<f32>,
}

/// The output of a layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ActivationFigures {
    /// The value's name.
    pub value: String,
    /// All elements of all samples.
    pub histogram: Histogram,
    /// Smallest element.
    pub min: f32,
    /// Largest element.
    pub max: f32,
    /// Lower end of the chosen range; `null` where the edge stays float.
    pub range_low: Option<f32>,
    /// Upper end.
    pub range_high: Option<f32>,
    /// Share of the elements outside of the range.
    pub saturated: Option<f64>,
    /// Channels (last axis); 0 where their number varies.
    pub channels: u64,
    /// Channels that never change.
    pub dead_channels: u64,
    /// Largest magnitude of each channel, in descending order: 33 quantiles.
    pub channel_largest: Vec<f32>,
}

/// A layer of the float model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AnalyzedLayer {
    /// Place in execution order, from 1.
    pub index: u64,
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// `float`, `int8`, `int8 weights` or `float16 weights`.
    pub form: String,
    /// SQNR of its output in decibels with everything before it quantized too.
    pub accumulated_db: Option<f64>,
    /// SQNR of the model's outputs with this layer alone quantized.
    pub alone_db: Option<f64>,
    /// SQNR of the model's outputs with everything but this layer quantized.
    pub kept_db: Option<f64>,
    /// What keeping it float buys: `kept_db` less the SQNR with everything quantized.
    pub gain_db: Option<f64>,
    /// Causes found at it.
    pub causes: Vec<String>,
    /// Its weights, where they are constant.
    pub weights: Option<WeightFigures>,
    /// Its output.
    pub activation: Option<ActivationFigures>,
}

impl Report for Analyze {
    fn text(&self, style: Style) -> String {
        let mut text = format!(
            "{} as {}: SQNR {} at the outputs on {} samples, calibrated with {}\n",
            self.model,
            self.mode,
            format::decibel(self.sensitivity_sqnr_db),
            self.sensitivity_samples,
            self.calibration_samples
        );
        text.push('\n');
        text.push_str(&self.findings_text(style));
        text.push_str(&self.flags_text(style));
        text.push_str(&self.modes_text(style));
        text.push_str(&self.layers_text(style));
        text.push_str(&notes(&self.notes, style));
        if let Some(html) = &self.html {
            text.push_str(&format!("wrote {html}\n"));
        }
        text
    }
}

impl Analyze {
    fn findings_text(&self, style: Style) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let heading = format!("{}: {} ({})", finding.title, finding.node, finding.op);
            // Padded before it is painted: escape codes have no width.
            let severity = format!("{:<6}", finding.severity.name());
            let severity = if finding.severity == Severity::Low { severity } else { style.warning(&severity) };
            text.push_str(&format!("{severity}  {}\n", style.heading(&heading)));
            text.push_str(&wrapped(&finding.explanation, "        "));
            for remedy in &finding.remedies {
                text.push_str(&format!("        try {}{}\n", remedy.flag, measured(remedy)));
            }
        }
        match self.findings.len() {
            0 => "nothing suspicious was found in weights and activations\n\n".to_owned(),
            _ => text + "\n",
        }
    }

    fn flags_text(&self, style: Style) -> String {
        let mut table = Table::new(&[("flag", Align::Left), ("SQNR", Align::Right), ("gain", Align::Right)]);
        for trial in &self.flags {
            table.row([trial.flag.clone(), format::decibel(trial.sqnr_db), gain(trial.gain_db)]);
        }
        if table.is_empty() { String::new() } else { table.text(style) + "\n" }
    }

    fn modes_text(&self, style: Style) -> String {
        let mut table = Table::new(&[
            ("mode", Align::Left),
            ("size", Align::Right),
            ("SQNR", Align::Right),
            ("agreement", Align::Right),
            ("top-1", Align::Right),
            ("latency", Align::Right),
        ]);
        for mode in &self.modes {
            table.row([
                mode.mode.clone(),
                mode.bytes.map_or_else(|| format::NOTHING.to_owned(), format::bytes),
                format::decibel(mode.sqnr_db),
                format::percent(mode.agreement),
                format::percent(mode.top1),
                format::milliseconds(mode.median_ms),
            ]);
        }
        if table.is_empty() { String::new() } else { table.text(style) + "\n" }
    }

    /// The layers that lose anything, the worst first.
    fn layers_text(&self, style: Style) -> String {
        let mut layers: Vec<&AnalyzedLayer> = self.layers.iter().filter(|l| l.alone_db.is_some()).collect();
        let order = |layer: &AnalyzedLayer| layer.alone_db.unwrap_or(f64::INFINITY);
        layers.sort_by(|a, b| order(a).total_cmp(&order(b)));
        let all = layers.len();
        layers.truncate(self.shown.unwrap_or(all));
        let mut table = Table::new(&[
            ("layer", Align::Left),
            ("operator", Align::Left),
            ("alone", Align::Right),
            ("gain if kept", Align::Right),
            ("accumulated", Align::Right),
            ("clipped", Align::Right),
            ("causes", Align::Left),
        ]);
        for layer in &layers {
            table.row([
                layer.node.clone(),
                layer.op.clone(),
                format::decibel(layer.alone_db),
                gain(layer.gain_db),
                format::decibel(layer.accumulated_db),
                clipped(layer),
                layer.causes.join(", "),
            ]);
        }
        let more = match all - layers.len() {
            0 => String::new(),
            n => format!("; {n} better ones are not shown (--all shows them)"),
        };
        let tail = format!(
            "{} of {all} quantized layers, the one that costs most alone first{more}\nalone: SQNR of the outputs with \
             only this layer quantized; gain: of keeping it float; accumulated: of its own output\n",
            layers.len()
        );
        if table.is_empty() { "no layer is quantized\n".to_owned() } else { table.text(style) + &tail }
    }
}

/// `: 24.1 dB (+3.2 dB)`, or nothing.
fn measured(trial: &Trial) -> String {
    match trial.sqnr_db {
        None => String::new(),
        db => format!(": {} ({})", format::decibel(db), gain(trial.gain_db)),
    }
}

/// `+3.2 dB`.
pub(crate) fn gain(db: Option<f64>) -> String {
    // Adding 0 makes -0 positive.
    let tenths = |db: f64| (db * 10.0).round() / 10.0 + 0.0;
    db.map_or_else(|| format::NOTHING.to_owned(), |db| format!("{:+.1} dB", tenths(db)))
}

/// Share of the output outside of its range.
pub(crate) fn clipped(layer: &AnalyzedLayer) -> String {
    match layer.activation.as_ref().and_then(|a| a.saturated) {
        None => format::NOTHING.to_owned(),
        Some(0.0) => "0 %".to_owned(),
        Some(share) => format!("{:.3} %", 100.0 * share),
    }
}

/// Words in lines of [`TEXT_WIDTH`], each behind `indent`.
fn wrapped(words: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > TEXT_WIDTH - indent.len() {
            text.push_str(&format!("{indent}{line}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text + &format!("{indent}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(node: &str, alone: Option<f64>) -> AnalyzedLayer {
        AnalyzedLayer {
            node: node.into(),
            op: "Conv2d".into(),
            accumulated_db: Some(30.0),
            alone_db: alone,
            gain_db: Some(0.25),
            activation: Some(ActivationFigures { saturated: Some(0.001), ..ActivationFigures::default() }),
            ..AnalyzedLayer::default()
        }
    }

    fn report() -> Analyze {
        let trial = Trial { flag: "--exclude a".into(), sqnr_db: Some(25.0), gain_db: Some(5.0) };
        Analyze {
            model: "m.onnx".into(),
            mode: "int8".into(),
            sensitivity_sqnr_db: Some(20.0),
            sensitivity_samples: 8,
            calibration_samples: 100,
            layers: vec![layer("a", Some(40.0)), layer("b", Some(22.0)), layer("c", None)],
            findings: vec![Diagnosed {
                node: "a".into(),
                op: "Conv2d".into(),
                cause: "huge-bias".into(),
                title: "A bias".into(),
                explanation: "so ".repeat(60).trim_end().to_owned(),
                severity: Severity::High,
                remedies: vec![trial],
            }],
            shown: Some(1),
            ..Analyze::default()
        }
    }

    #[test]
    fn the_worst_layer_stands_first_and_the_rest_is_counted() {
        let text = report().text(Style::Plain);
        assert!(text.starts_with("m.onnx as int8: SQNR 20.0 dB at the outputs on 8 samples"), "{text}");
        assert!(text.contains("\nb      Conv2d    22.0 dB       +0.3 dB      30.0 dB  0.100 %\n"), "{text}");
        assert!(text.contains("1 of 2 quantized layers") && text.contains("--all"), "{text}");
        let all = Analyze { shown: None, ..report() }.text(Style::Plain);
        assert!(all.find("\nb ") < all.find("\na ") && !all.contains("--all") && !all.contains("\nc "), "{all}");
    }

    #[test]
    fn findings_say_cause_and_flag_and_keep_to_the_width() {
        let text = report().text(Style::Plain);
        assert!(text.contains("high    A bias: a (Conv2d)\n"), "{text}");
        assert!(text.contains("        try --exclude a: 25.0 dB (+5.0 dB)\n"), "{text}");
        assert!(text.lines().filter(|l| l.contains("so so")).all(|l| l.len() <= TEXT_WIDTH), "{text}");
        let healthy = Analyze { findings: Vec::new(), ..report() }.text(Style::Plain);
        assert!(healthy.contains("nothing suspicious"));
    }

    #[test]
    fn json_keys_are_those_promised() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json().unwrap()).unwrap();
        let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            keys(&json),
            "bytes calibration_samples findings flags html layers mode model modes notes samples sensitivity_samples \
             sensitivity_sqnr_db"
        );
        assert_eq!(
            keys(&json["layers"][0]),
            "accumulated_db activation alone_db causes form gain_db index kept_db node op weights"
        );
        assert_eq!(keys(&json["findings"][0]), "cause explanation node op remedies severity title");
        assert_eq!(json["findings"][0]["severity"], "high");
        assert!(json["layers"][2]["alone_db"].is_null());
    }
}
