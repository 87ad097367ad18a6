//! What was measured, as tables for people and JSON for programs.
//!
//! Every command of the binary makes one value of this crate: a plain struct whose fields are its
//! JSON keys ([`Report::to_json`]) and which knows its table ([`Report::text`]). The keys are
//! stable: one is never renamed or given another unit, and what was not measured is `null`.
//! How a number was measured is not known here.

mod analyze;
mod bench;
mod catalogue;
mod compare;
mod demo;
mod evaluate;
mod export;
pub mod format;
mod html;
mod inspect;
mod latency;
mod quantize;
mod run;
mod search;
mod style;
mod table;
mod train;

pub use analyze::{
    ActivationFigures, Analyze, AnalyzedLayer, Diagnosed, Histogram, ModeFigures, Severity, Trial, WeightFigures,
};
pub use bench::{Bench, OpTime};
pub use catalogue::{Kernel, Kernels, Operator, Operators};
pub use compare::{Compare, Layer};
pub use demo::{Demo, DemoModel};
pub use evaluate::Evaluate;
pub use export::{Export, ExportLayer};
pub use inspect::{Edge, Inspect, OpCount, Port, Storage};
pub use latency::Latency;
pub use quantize::{Confidence, LatencyBudget, Overflow, Quantize, SizeBudget, Synthetic, WidthCount};
pub use run::{Output, Run};
pub use search::SearchStep;
pub use style::Style;
pub use table::{Align, Table};
pub use train::{Train, TrainEpoch, train_csv};

/// A result that can be shown.
pub trait Report: serde::Serialize {
    /// For people: tables and sentences, each line ended by a newline.
    fn text(&self, style: Style) -> String;

    /// For programs: one JSON object on one line, ended by a newline.
    ///
    /// # Errors
    /// None in practice: the structs of this crate have string keys only.
    fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        Ok(text)
    }
}
