//! One page that needs nothing else: no script, font or style from anywhere, and no network.

mod svg;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use serde::Serialize;

use crate::analyze::{clipped, gain};
use crate::{
    ActivationFigures, Analyze, AnalyzedLayer, Diagnosed, ModeFigures, Severity, Trial, WeightFigures, format,
};

const PAGE: &str = include_str!("page.html");
const FINDING: &str = include_str!("finding.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Gains below this are shown in no colour: they differ by as much from one small set of samples to
/// another.
const NOTICEABLE_DB: f64 = 0.5;

#[derive(Serialize)]
struct Page<'a> {
    title: &'a str,
    style: Value,
    script: Value,
    facts: Vec<Fact>,
    findings: Vec<FindingBox>,
    /// Findings that cost little.
    minor: Vec<FindingBox>,
    /// The mode whose recipe flags are tried beside.
    base: &'a str,
    base_db: String,
    flags: Vec<TrialRow>,
    modes: Vec<ModeRow>,
    /// Whether labels gave top-1.
    top1: bool,
    modes_plot: Value,
    layers_plot: Value,
    layers: Vec<LayerRow>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct TrialRow {
    flag: String,
    /// Empty if it was not measured.
    db: String,
    gain: String,
    class: &'static str,
}

#[derive(Serialize)]
struct FindingBox {
    severity: &'static str,
    title: String,
    node: String,
    op: String,
    explanation: Value,
    remedies: Vec<TrialRow>,
}

#[derive(Serialize)]
struct ModeRow {
    mode: String,
    analysed: bool,
    bytes: String,
    db: String,
    agreement: String,
    top1: String,
    latency: String,
}

#[derive(Serialize)]
struct Plot {
    what: &'static str,
    value: String,
    svg: Value,
    low: String,
    high: String,
    text: String,
}

/// A row of the table; fields that end in `_v` are what it is sorted by.
#[derive(Serialize)]
struct LayerRow {
    index: u64,
    node: String,
    op: String,
    form: String,
    alone: String,
    alone_v: String,
    gain: String,
    gain_v: String,
    accumulated: String,
    accumulated_v: String,
    clipped: String,
    clipped_v: String,
    causes: String,
    plots: Vec<Plot>,
}

impl Analyze {
    /// The report as one HTML page that works without a network, and without scripts.
    ///
    /// # Errors
    /// None in practice: the templates are part of this crate.
    pub fn to_html(&self) -> Result<String, minijinja::Error> {
        let mut environment = Environment::empty();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_filter("length", minijinja::filters::length);
        environment.add_template("finding.html", FINDING)?;
        environment.add_template("page.html", PAGE)?;
        environment.get_template("page.html")?.render(Serde(self.page()))
    }

    fn page(&self) -> Page<'_> {
        let (minor, findings): (Vec<&Diagnosed>, Vec<&Diagnosed>) =
            self.findings.iter().partition(|f| f.severity == Severity::Low);
        let boxes = |findings: Vec<&Diagnosed>| findings.into_iter().map(finding_box).collect();
        Page {
            title: self.title(),
            style: Value::from_safe_string(STYLE.to_owned()),
            script: Value::from_safe_string(SCRIPT.to_owned()),
            facts: self.facts(),
            findings: boxes(findings),
            minor: boxes(minor),
            base: &self.mode,
            base_db: format::decibel(self.sensitivity_sqnr_db),
            flags: self.flags.iter().map(trial_row).collect(),
            modes: self.modes.iter().map(mode_row).collect(),
            top1: self.modes.iter().any(|m| m.top1.is_some()),
            modes_plot: Value::from_safe_string(svg::modes(&self.modes)),
            layers_plot: Value::from_safe_string(svg::layers(&self.layers)),
            layers: self.layers.iter().map(layer_row).collect(),
            notes: &self.notes,
        }
    }

    /// The model's file name.
    fn title(&self) -> &str {
        self.model.rsplit(['/', '\\']).next().unwrap_or(&self.model)
    }

    fn facts(&self) -> Vec<Fact> {
        let chosen = self.modes.iter().find(|m| m.analysed);
        let mut facts = vec![
            Fact { name: "mode", value: self.mode.clone() },
            Fact { name: "float size", value: format::bytes(self.bytes) },
        ];
        if let Some(mode) = chosen {
            facts.extend(mode.bytes.map(|b| Fact { name: "quantized size", value: format::bytes(b) }));
            facts.push(Fact { name: "SQNR of the outputs", value: format::decibel(mode.sqnr_db) });
            facts.push(Fact { name: "agreement", value: format::percent(mode.agreement) });
        }
        facts.push(Fact { name: "calibrated with", value: samples(self.calibration_samples) });
        facts.push(Fact { name: "layers measured on", value: samples(self.sensitivity_samples) });
        if self.samples > 0 {
            facts.push(Fact { name: "modes measured on", value: samples(self.samples) });
        }
        facts
    }
}

fn samples(n: u64) -> String {
    format!("{} sample{}", format::grouped(n), if n == 1 { "" } else { "s" })
}

fn trial_row(trial: &Trial) -> TrialRow {
    let class = match trial.gain_db {
        Some(db) if db >= NOTICEABLE_DB => "up",
        Some(db) if db <= -NOTICEABLE_DB => "down",
        _ => "",
    };
    let db = trial.sqnr_db.map_or_else(String::new, |db| format::decibel(Some(db)));
    TrialRow { flag: trial.flag.clone(), db, gain: gain(trial.gain_db), class }
}

fn finding_box(finding: &Diagnosed) -> FindingBox {
    FindingBox {
        severity: finding.severity.name(),
        title: finding.title.clone(),
        node: finding.node.clone(),
        op: finding.op.clone(),
        explanation: sentence(&finding.explanation),
        remedies: finding.remedies.iter().map(trial_row).collect(),
    }
}

/// The words as a sentence, with what stands between grave accents as code.
fn sentence(words: &str) -> Value {
    let mut letters = words.chars();
    let capital = letters.next().map_or_else(String::new, |c| c.to_uppercase().collect::<String>());
    let words = capital + letters.as_str() + ".";
    // A single accent, as part of a name, is one.
    let paired = words.matches('`').count().is_multiple_of(2);
    let parts = words.split('`').map(svg::escape).enumerate().map(|(i, part)| match (paired, i % 2) {
        (true, 1) => format!("<code>{part}</code>"),
        (false, _) if i > 0 => format!("`{part}"),
        _ => part,
    });
    Value::from_safe_string(parts.collect())
}

fn mode_row(mode: &ModeFigures) -> ModeRow {
    ModeRow {
        mode: mode.mode.clone(),
        analysed: mode.analysed,
        bytes: mode.bytes.map_or_else(|| format::NOTHING.to_owned(), format::bytes),
        db: format::decibel(mode.sqnr_db),
        agreement: format::percent(mode.agreement),
        top1: format::percent(mode.top1),
        latency: format::milliseconds(mode.median_ms),
    }
}

fn layer_row(layer: &AnalyzedLayer) -> LayerRow {
    let sorted = |x: Option<f64>| x.map_or_else(String::new, |x| format!("{x:.3}"));
    let saturated = layer.activation.as_ref().and_then(|a| a.saturated);
    LayerRow {
        index: layer.index,
        node: layer.node.clone(),
        op: layer.op.clone(),
        form: layer.form.clone(),
        alone: format::decibel(layer.alone_db),
        alone_v: sorted(layer.alone_db),
        gain: gain(layer.gain_db),
        gain_v: sorted(layer.gain_db),
        accumulated: format::decibel(layer.accumulated_db),
        accumulated_v: sorted(layer.accumulated_db),
        clipped: clipped(layer),
        clipped_v: saturated.map_or_else(String::new, |s| format!("{s:.7}")),
        causes: layer.causes.join(", "),
        plots: layer.weights.iter().map(weight_plot).chain(layer.activation.iter().map(activation_plot)).collect(),
    }
}

fn weight_plot(weights: &WeightFigures) -> Plot {
    let sides = |limit: Option<f32>| limit.map(|l| (-l, l));
    let inner = sides(weights.median_limit).filter(|_| weights.median_limit < weights.limit);
    let text = channels(weights.channels, weights.dead_channels, &weights.channel_largest);
    Plot {
        what: "Weights",
        value: weights.value.clone(),
        svg: Value::from_safe_string(svg::histogram(&weights.histogram, sides(weights.limit), inner, "weights")),
        low: short(weights.histogram.low),
        high: short(weights.histogram.high),
        text: text + ".",
    }
}

fn activation_plot(activation: &ActivationFigures) -> Plot {
    let range = activation.range_low.zip(activation.range_high);
    let mut text = format!("Elements {} to {}", short(activation.min), short(activation.max));
    match range {
        Some((low, high)) => text.push_str(&format!("; range {} to {}", short(low), short(high))),
        None => text.push_str("; the edge stays float"),
    }
    if let Some(share) = activation.saturated.filter(|s| *s > 0.0) {
        text.push_str(&format!("; {:.3} % outside", share * 100.0));
    }
    if activation.channels > 0 {
        let channels = channels(activation.channels, activation.dead_channels, &activation.channel_largest);
        text.push_str(&format!(". {channels}"));
    }
    Plot {
        what: "Output",
        value: activation.value.clone(),
        svg: Value::from_safe_string(svg::histogram(&activation.histogram, range, None, "output")),
        low: short(activation.histogram.low),
        high: short(activation.histogram.high),
        text: text + ".",
    }
}

/// How many channels there are, and how far the largest is from the median one; `largest` are the
/// quantiles of their magnitudes in descending order.
fn channels(all: u64, dead: u64, largest: &[f32]) -> String {
    let mut text = match (all, dead) {
        (1, _) => "1 channel".to_owned(),
        (all, 0) => format!("{all} channels"),
        (all, dead) => format!("{all} channels, {dead} of them dead"),
    };
    if let (Some(&most), Some(&middle)) = (largest.first(), largest.get(largest.len() / 2))
        && all > 1
    {
        text.push_str(&format!("; the largest reaches {}, the median one {}", short(most), short(middle)));
        if middle > 0.0 && most > 2.0 * middle {
            text.push_str(&format!(" ({} times)", short(most / middle)));
        }
    }
    text
}

/// Three digits.
fn short(x: f32) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        m if !(1e-3..1e5).contains(&m) => format!("{x:.1e}"),
        m if m < 0.1 => format!("{x:.4}"),
        m if m < 9.995 => format!("{x:.2}"),
        m if m < 99.95 => format!("{x:.1}"),
        _ => format!("{x:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;

    const HOSTILE: &str = "<script>alert('x')</script>\"&";

    fn layer(index: u64, node: &str) -> AnalyzedLayer {
        let histogram = Histogram { low: -1.0, high: 1.0, counts: vec![7; 60] };
        AnalyzedLayer {
            index,
            node: node.into(),
            op: "Conv2d".into(),
            form: "int8".into(),
            accumulated_db: Some(33.3),
            alone_db: Some(40.0),
            kept_db: Some(30.5),
            gain_db: Some(0.5),
            causes: vec!["huge-bias".into()],
            weights: Some(WeightFigures {
                value: node.into(),
                histogram: histogram.clone(),
                channels: 16,
                channel_largest: vec![1.0; 33],
                limit: Some(0.9),
                median_limit: Some(0.5),
                ..WeightFigures::default()
            }),
            activation: Some(ActivationFigures {
                value: node.into(),
                histogram,
                range_low: Some(-0.5),
                range_high: Some(0.5),
                saturated: Some(0.01),
                ..ActivationFigures::default()
            }),
        }
    }

    fn report(layers: Vec<AnalyzedLayer>) -> Analyze {
        let explanation = format!("the bias of `{HOSTILE}` is huge");
        let trial = Trial { flag: format!("--exclude {HOSTILE}"), sqnr_db: Some(25.0), gain_db: Some(5.0) };
        let finding = |severity| Diagnosed {
            node: HOSTILE.into(),
            op: "Conv2d".into(),
            cause: "huge-bias".into(),
            title: "A bias".into(),
            explanation: explanation.clone(),
            severity,
            remedies: vec![trial.clone()],
        };
        let mode = |mode: &str, sqnr_db| ModeFigures {
            mode: mode.into(),
            analysed: mode == "int8",
            bytes: Some(1000),
            sqnr_db,
            median_ms: 2.0,
            ..ModeFigures::default()
        };
        Analyze {
            model: format!("dir/{HOSTILE}.onnx"),
            mode: "int8".into(),
            findings: vec![finding(Severity::High), finding(Severity::Low)],
            flags: vec![trial.clone()],
            modes: vec![mode("float", None), mode("int8", Some(20.0))],
            layers,
            notes: vec![HOSTILE.into()],
            ..Analyze::default()
        }
    }

    #[test]
    fn hostile_names_are_text() {
        let page = report(vec![layer(1, HOSTILE)]).to_html().unwrap();
        assert!(!page.contains("<script>alert"), "a name became a script");
        assert!(page.contains("&lt;script&gt;alert"));
        assert_eq!(page.matches("<script>").count(), 1, "only our own");
        assert!(!page.contains("=\"<") && !page.contains("\"&\""));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = report(vec![layer(1, "a")]).to_html().unwrap();
        for outside in ["http://", "https://", "src=", "@import", "url(", "<link", "<img"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn a_layer_has_its_figures_and_plots() {
        let page = report(vec![layer(1, "first"), layer(2, "second")]).to_html().unwrap();
        assert_eq!(page.matches("<tbody id=\"layer-").count(), 2);
        assert_eq!(page.matches("class=\"histogram\"").count(), 4);
        for text in
            ["40.0 dB", "+0.5 dB", "33.3 dB", "1.000 %", "The bias of <code>&lt;script&gt;", "1 more that cost little"]
        {
            assert!(page.contains(text), "{text}");
        }
        assert!(page.contains("<th scope=\"row\">") && page.contains("<label for=\"search\">"));
    }

    #[test]
    fn names_in_sentences_are_code() {
        assert_eq!(sentence("behind `a<b` and `c`").to_string(), "Behind <code>a&lt;b</code> and <code>c</code>.");
        assert_eq!(sentence("odd ` one").to_string(), "Odd ` one.");
    }

    #[test]
    fn channels_are_compared_where_there_are_several() {
        assert_eq!(channels(1, 0, &[2.0]), "1 channel");
        assert_eq!(
            channels(4, 1, &[9.0, 3.0, 0.0]),
            "4 channels, 1 of them dead; the largest reaches 9.00, the median one 3.00 (3.00 times)"
        );
    }

    #[test]
    fn an_empty_report_is_a_page_too() {
        let page = Analyze::default().to_html().unwrap();
        assert!(page.contains("Nothing suspicious") && page.ends_with("</html>"), "{page}");
    }

    #[test]
    fn hundreds_of_layers_are_a_small_page() {
        let layers = (0..500).map(|i| layer(i, &format!("/model/features/block.{i}/conv/Conv"))).collect();
        let page = report(layers).to_html().unwrap();
        assert!(page.len() < 1_500_000, "{} bytes", page.len());
    }
}
