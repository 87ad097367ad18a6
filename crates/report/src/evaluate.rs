//! `fewbits evaluate`.

use serde::Serialize;

use crate::{Report, Style, Table, format};

/// Accuracy against labels, and closeness to a reference model.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluate {
    /// Samples run.
    pub samples: u64,
    /// Share of samples whose label has the largest output; `null` without labels.
    pub top1: Option<f64>,
    /// Share of samples whose label is among the five largest outputs; `null` without labels.
    pub top5: Option<f64>,
    /// Share of output rows whose largest element is that of the reference; `null` without one.
    pub agreement: Option<f64>,
    /// Signal-to-quantization-noise ratio against the reference, in decibels, at most 200 (which
    /// stands for identical outputs); `null` without a reference.
    pub sqnr_db: Option<f64>,
    /// Cosine similarity with the reference; `null` without one.
    pub cosine: Option<f64>,
    /// Samples that were left out because their image does not decode.
    pub skipped: u64,
    /// What was assumed, and why something could not be measured.
    pub notes: Vec<String>,
}

impl Report for Evaluate {
    fn text(&self, style: Style) -> String {
        let mut table = Table::facts();
        table.row(["samples".to_owned(), format::grouped(self.samples)]);
        if self.skipped > 0 {
            table.row(["skipped".to_owned(), format::grouped(self.skipped)]);
        }
        if self.top1.is_some() {
            table.row(["top-1".to_owned(), format::percent(self.top1)]);
            table.row(["top-5".to_owned(), format::percent(self.top5)]);
        }
        if self.agreement.is_some() {
            table.row(["agreement".to_owned(), format::percent(self.agreement)]);
        }
        if self.sqnr_db.is_some() {
            table.row(["SQNR".to_owned(), format::decibel(self.sqnr_db)]);
            table.row(["cosine".to_owned(), format::cosine(self.cosine)]);
        }
        table.text(style) + &notes(&self.notes, style)
    }
}

/// Notes, one a line.
pub(crate) fn notes(notes: &[String], style: Style) -> String {
    notes.iter().map(|note| format!("{}\n", style.faint(&format!("note: {note}")))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keys_are_those_promised() {
        let report = Evaluate { samples: 5, top1: Some(0.8), ..Evaluate::default() };
        assert_eq!(
            report.to_json().unwrap(),
            "{\"samples\":5,\"top1\":0.8,\"top5\":null,\"agreement\":null,\"sqnr_db\":null,\"cosine\":null,\
             \"skipped\":0,\"notes\":[]}\n"
        );
    }

    #[test]
    fn only_what_was_measured_is_printed() {
        let report = Evaluate { samples: 1500, agreement: Some(0.995), ..Evaluate::default() };
        assert_eq!(report.text(Style::Plain), "samples    1,500\nagreement  99.50 %\n");
    }
}
