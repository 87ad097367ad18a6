//! `fewbits bench`.

use serde::Serialize;

use crate::evaluate::notes;
use crate::{Align, Latency, Report, Style, Table, format};

/// Time spent in one node or kind of node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpTime {
    /// Node name.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Median time of a run, in milliseconds.
    pub ms: f64,
    /// Share of the sum over all nodes.
    pub share: f64,
}

/// Latency of a model on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// The model's file.
    pub model: String,
    /// `median_ms`, `p10_ms`, `p90_ms` of one run.
    #[serde(flatten)]
    pub latency: Latency,
    /// Threads used.
    pub threads: usize,
    /// Runs measured.
    pub iterations: u64,
    /// Inputs with the shapes they were run with, as `name [1, 3, 224, 224] float32`.
    pub inputs: Vec<String>,
    /// Instruction set of the integer kernels.
    pub isa: String,
    /// Multiply-accumulates of one run; `null` if shapes do not tell.
    pub macs: Option<u64>,
    /// Time by node, slowest first; `null` without `--profile`.
    pub profile: Option<Vec<OpTime>>,
    /// What was assumed.
    pub notes: Vec<String>,
}

impl Report for Bench {
    fn text(&self, style: Style) -> String {
        let mut table = Table::facts();
        table.row(["median".to_owned(), format::milliseconds(self.latency.median_ms)]);
        table.row(["p10".to_owned(), format::milliseconds(self.latency.p10_ms)]);
        table.row(["p90".to_owned(), format::milliseconds(self.latency.p90_ms)]);
        table.row(["threads".to_owned(), self.threads.to_string()]);
        table.row(["runs".to_owned(), format::grouped(self.iterations)]);
        table.row(["instruction set".to_owned(), self.isa.clone()]);
        if let Some(macs) = self.macs.filter(|_| self.latency.median_ms > 0.0) {
            let rate = macs as f64 / (self.latency.median_ms * 1e6);
            table.row(["MACs".to_owned(), format!("{} ({rate:.1} G/s)", format::count(macs))]);
        }
        for input in &self.inputs {
            table.row(["input", input]);
        }
        let mut text = table.text(style);
        if let Some(profile) = &self.profile {
            text.push('\n');
            text.push_str(&profile_text(profile, style));
        }
        text + &notes(&self.notes, style)
    }
}

/// Times summed by operator, then node by node.
fn profile_text(profile: &[OpTime], style: Style) -> String {
    let mut kinds: Vec<(&str, usize, f64, f64)> = Vec::new();
    for entry in profile {
        match kinds.iter_mut().find(|kind| kind.0 == entry.op) {
            Some(kind) => *kind = (kind.0, kind.1 + 1, kind.2 + entry.ms, kind.3 + entry.share),
            None => kinds.push((&entry.op, 1, entry.ms, entry.share)),
        }
    }
    kinds.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut by_kind = Table::new(&[
        ("operator", Align::Left),
        ("nodes", Align::Right),
        ("time", Align::Right),
        ("share", Align::Right),
    ]);
    for (op, nodes, ms, share) in kinds {
        by_kind.row([op.to_owned(), nodes.to_string(), format::milliseconds(ms), format::percent(Some(share))]);
    }
    let mut by_node = Table::new(&[
        ("node", Align::Left),
        ("operator", Align::Left),
        ("time", Align::Right),
        ("share", Align::Right),
    ]);
    for entry in profile {
        let share = format::percent(Some(entry.share));
        by_node.row([entry.node.clone(), entry.op.clone(), format::milliseconds(entry.ms), share]);
    }
    format!("{}\n{}", by_kind.text(style), by_node.text(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Bench {
        Bench {
            model: "m.onnx".into(),
            latency: Latency { median_ms: 2.0, p10_ms: 1.5, p90_ms: 3.0 },
            threads: 1,
            iterations: 40,
            inputs: vec!["x [1, 4] float32".into()],
            isa: "avx2".into(),
            macs: Some(4_000_000),
            profile: None,
            notes: vec![],
        }
    }

    #[test]
    fn json_has_the_quantiles_at_the_top() {
        let json = example().to_json().unwrap();
        for key in ["\"median_ms\":2.0", "\"p10_ms\":1.5", "\"p90_ms\":3.0", "\"threads\":1"] {
            assert!(json.contains(key), "{json}");
        }
        assert!(example().text(Style::Plain).contains("4.00 M (2.0 G/s)"));
    }

    #[test]
    fn profile_sums_by_operator_slowest_first() {
        let node = |node: &str, op: &str, ms: f64| OpTime { node: node.into(), op: op.into(), ms, share: ms / 10.0 };
        let profile = [node("a", "Softmax", 4.0), node("b", "Conv2d", 3.0), node("c", "Conv2d", 3.0)];
        let text = profile_text(&profile, Style::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "Conv2d        2  6.000 ms  60.00 %");
        assert_eq!(lines[2], "Softmax       1  4.000 ms  40.00 %");
        assert!(lines[5].starts_with("a "));
    }
}
